"""Runs on disk: their folders, and models built from checkpoints alone."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from gentool.device import Device
from gentool.errors import Unavailable, UsageError, nearest
from gentool.models.base import GenerativeModel, sampler_options
from gentool.options import Context, completed, part
from gentool.schema import check, check_values, find
from gentool.signatures import signature
from gentool.space import DataSpace
from gentool.training.checkpoints import read_checkpoint
from gentool.training.folders import OUTPUTS
from gentool.training.upgrades import upgraded

MODEL_HOMES = ("gentool.models", "gentool.nn", "gentool.probability")
DATA_HOMES = ("gentool.data",)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model rebuilt from a checkpoint, in eval mode and on its device.

    Attributes:
        model: the model, holding the weights named by `weights`.
        config: the run's whole resolved config.
        step: training steps it has seen.
        path: the checkpoint file.
        weights: "ema" where the averaged weights were taken, else "raw".
        name: "<model>-<dataset>".
    """

    model: GenerativeModel
    config: dict[str, Any]
    step: int
    path: Path
    weights: str
    name: str


def run_name(config: Mapping[str, Any]) -> str:
    """Return "<model>-<dataset>" of a run's config."""
    return f"{config['choices']['model']}-{config['choices']['dataset']}"


def checkpoint_file(ckpt: str, which: str | None) -> Path:
    """Return the checkpoint that `ckpt` means: a file itself; of a run folder `which`, else best, else last.

    Args:
        ckpt: a file or a run folder.
        which: `best` or `last` of a run folder; None: best where there is one.

    Returns:
        The file, which is there.

    Raises:
        UsageError: if there is none.
    """
    path = Path(ckpt).expanduser()
    if path.is_file():
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    for name in [which] if which else ["best", "last"]:
        if (folder / f"{name}.pt").is_file():
            return folder / f"{name}.pt"
    if not path.exists():
        raise UsageError(f"ckpt={ckpt}: no such file or folder")
    found = sorted(p.stem for p in folder.glob("*.pt"))
    hint = nearest(which, found) if which and found else "expected a checkpoint file or a run folder"
    raise UsageError(f"ckpt={ckpt}: no checkpoint {which or 'best or last'} there; {hint}")


def finished_runs() -> Iterator[Path]:
    """Yield the finished runs under outputs/, newest first."""
    summaries = [*OUTPUTS.glob("train/*/*/summary.json"), *OUTPUTS.glob("multirun/*/*/summary.json")]
    for summary in sorted(summaries, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        yield summary.parent


def load(
    ckpt: str | None,
    *,
    which: str | None,
    weights: str | None,
    device: Device,
    sampler: Mapping[str, Any],
    needs: type | tuple[type, ...] | None = None,
) -> Loaded:
    """Rebuild the model of a checkpoint.

    Args:
        ckpt: a checkpoint file or a run folder; None: the newest finished run that fits.
        which: best, last or step_00001000 of a run folder; None: best, else last.
        weights: ema or raw; None: EMA where there is one.
        device: where it shall run.
        sampler: overrides of the model's sampling knobs.
        needs: the capability protocol the command needs, or several of which one will do.

    Returns:
        The model, and what the checkpoint says of it.

    Raises:
        UsageError: if there is no such checkpoint, or a knob is unknown.
        Unavailable: if the model lacks the capability.
    """
    if ckpt is not None:
        return _load(checkpoint_file(ckpt, which), weights, device, sampler, needs)
    for run in finished_runs():
        try:
            loaded = _load(checkpoint_file(str(run), which), weights, device, sampler, needs)
        except Unavailable:
            continue
        return loaded
    fitting = f" that has {_names(needs)}" if needs and next(finished_runs(), None) else ""
    raise UsageError(f"no finished run{fitting} under {OUTPUTS}/; train one (gentool train), or give ckpt=")


def _load(
    path: Path,
    weights: str | None,
    device: Device,
    sampler: Mapping[str, Any],
    needs: type | tuple[type, ...] | None,
) -> Loaded:
    state = read_checkpoint(path)
    config = state["config"]
    model = build_model(config, DataSpace.from_state(state["space"]), state["model"])
    if needs is not None and not isinstance(model, needs):
        raise Unavailable(f"{type(model).__name__} does not implement {_names(needs, duties=True)}")
    if weights == "ema" and "ema" not in state:
        raise UsageError(f"weights=ema: {path} holds no averaged weights; it was trained without trainer.ema")
    taken = "ema" if "ema" in state and weights != "raw" else "raw"
    model.load_state_dict({**state["model"], **state["ema"]} if taken == "ema" else state["model"])
    model.eval().requires_grad_(False)
    override_sampler(model, sampler)
    device.place(model)
    return Loaded(model=model, config=config, step=state["step"], path=path, weights=taken, name=run_name(config))


def _names(needs: type | tuple[type, ...], *, duties: bool = False) -> str:
    """Name capabilities, and the methods each asks for."""
    protocols = needs if isinstance(needs, tuple) else (needs,)
    return " or ".join(p.__name__ + (f" ({_duties(p)})" if duties else "") for p in protocols)


def _duties(protocol: type) -> str:
    """Name the methods a capability asks for."""
    bases = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False)]
    return ", ".join(sorted({n for base in bases for n, v in vars(base).items() if callable(v) and n[0] != "_"}))


def override_sampler(model: GenerativeModel, values: Mapping[str, Any]) -> None:
    """Set options of a model's sampler, or choose another one, checked like the values of its config.

    Args:
        model: changed in place.
        values: options to set, by name; `method` or `kind` chooses the sampler.

    Raises:
        UsageError: if the sampler has no such option, or the value does not fit it.
    """
    if not values:
        return
    options = sampler_options(model)
    described = signature(_dotted(type(model)))
    option = described.options.get("sampler") if described is not None else None
    if option is not None and option.variants:
        node = {"_target_": _dotted(type(model.sampler)), **options, **values}
        chosen = part(node, option, Context(typed={f"sampler.{key}" for key in values}), "sampler")
        check(chosen, "sampler")
        model.sampler = instantiate(chosen, _convert_="all")
        return
    given = {"method" if key == "kind" and "method" in options else key: value for key, value in values.items()}
    for key in given:
        if key not in options:
            hint = nearest(key, options) if options else "it has none"
            raise UsageError(f"sampler.{key}: {type(model).__name__} has no such sampling option; {hint}")
    model.sampler.update(check_values(type(model), {"sampler": {**options, **given}})["sampler"])


def _dotted(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def build_model(config: Mapping[str, Any], space: DataSpace, weights: Mapping[str, Any] | None) -> GenerativeModel:
    """Build the model a run's config describes; an option the config does not know takes its default.

    Args:
        config: a run's whole config.
        space: facts of the data.
        weights: the state it is to hold, whose sizes are checked before anything is allocated; None: no check.

    Returns:
        The model, untrained, on the CPU.

    Raises:
        UsageError: if the config may not be built, or does not describe these weights.
    """
    plain = completed(upgraded(config["model"], space.is_image))
    _allow(plain, MODEL_HOMES)
    build: Callable[[DataSpace], GenerativeModel] = instantiate(plain, _convert_="all")
    if weights is not None:
        with torch.device("meta"):
            expected = {name: tuple(t.shape) for name, t in build(space).state_dict().items()}
        if expected != {name: tuple(t.shape) for name, t in weights.items()}:
            raise UsageError("the checkpoint's weights do not fit the model its config describes")
    return build(space)


def _allow(node: Any, homes: tuple[str, ...]) -> None:
    """Refuse a config that would build something from outside `homes`; it is the object's home that counts.

    A name from elsewhere is not even looked up: importing a module runs its code.
    """
    if isinstance(node, Mapping):
        if "_target_" in node:
            name = str(node["_target_"])
            if not _is_at(name, homes) or not _is_at(getattr(find(name), "__module__", ""), homes):
                raise UsageError(f"the checkpoint asks to build {node['_target_']}, which is not allowed")
        for value in node.values():
            _allow(value, homes)
    elif isinstance(node, list):
        for value in node:
            _allow(value, homes)


def _is_at(name: str, homes: tuple[str, ...]) -> bool:
    return any(name == home or name.startswith(f"{home}.") for home in homes)


def build_dataset(loaded: Loaded, overrides: Mapping[str, Any]) -> Any:
    """Rebuild the dataset a run was trained on.

    Args:
        loaded: the run's model.
        overrides: keys of its dataset to change (root, path).

    Returns:
        The dataset, on the CPU.

    Raises:
        UsageError: if its data is not here any more, or is of another kind now.
    """
    plain = {**loaded.config["dataset"], **overrides}
    _allow(plain, DATA_HOMES)
    dataset = instantiate(plain, _convert_="all")
    if dataset.space.shape != loaded.model.space.shape or dataset.space.levels != loaded.model.space.levels:
        raise UsageError(
            f"{loaded.name}: the data is {dataset.space.shape} now; the model knows {loaded.model.space.shape}"
        )
    if dataset.space.vocabulary != loaded.model.space.vocabulary:
        other = sorted({*dataset.space.vocabulary} ^ {*loaded.model.space.vocabulary})
        raise UsageError(f"{loaded.name}: the text has other symbols now than the model knows: {', '.join(other)}")
    return dataset
