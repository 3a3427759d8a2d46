"""Deep generative models from one command line, and the same configurations from Python.

>>> import gentool                                            # doctest: +SKIP
>>> model = gentool.load("outputs/train/vae-mnist/…").model   # doctest: +SKIP
>>> model.sample(16).shape                                    # doctest: +SKIP
torch.Size([16, 1, 28, 28])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gentool.data.dataset import Dataset
    from gentool.models.base import GenerativeModel
    from gentool.training.runs import Loaded

__all__ = ["__version__", "build", "load"]


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: the look-up costs more than `gentool --help` does."""
    if name == "__version__":
        from importlib.metadata import version

        return version("gentool")
    raise AttributeError(f"module 'gentool' has no attribute '{name}'")


def build(*overrides: str) -> tuple["GenerativeModel", "Dataset"]:
    """Build a fresh model and its dataset from what one would type after `gentool train`.

    Args:
        *overrides: `key=value` as on the command line: `build("model=vae", "dataset=digits", "model.beta=4")`.

    Returns:
        The untrained model on the CPU, initialised as `gentool train` with that `seed` does, and its dataset.

    Raises:
        UsageError: where the command line would refuse them.
    """
    from gentool.cli.compose import built

    return built(*overrides)


def load(ckpt: str | None = None, *, which: str | None = None, weights: str | None = None, **options: Any) -> "Loaded":
    """Load a trained model: a checkpoint file, a run folder, or the newest finished run.

    Args:
        ckpt: the path; None for the newest finished run under `outputs/`.
        which: `best` or `last` of a run folder; None for best where there is one.
        weights: `ema` or `raw`; None for ema where there is one.
        **options: `device="cpu"` (a choice of the group `device`; default auto), and the keys of the model's
            `sampler:` mapping: `load(ckpt, temperature=0.7)`.

    Returns:
        What `gentool.training.runs.load` returns; `.model` is the model in eval mode on the device, in fp32.

    Raises:
        UsageError: where there is no such checkpoint, or an option is unknown.
    """
    from gentool.cli.compose import loaded

    return loaded(ckpt, which, weights, options)
