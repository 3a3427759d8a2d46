"""One job: a composed configuration is checked, seeded, and becomes one call."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentool import config as running
from gentool.cli.arguments import Arguments, key_of
from gentool.cli.compose import composer, keywords, plain
from gentool.describe import shown
from gentool.errors import UsageError, nearest
from gentool.schema import check

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gentool.cli.resume import Resumption


def run_job(verb: str, whole: "DictConfig", folders: Sequence[Path], resumption: "Resumption | None") -> Any:
    """Run a command on what Hydra was asked to compose.

    Args:
        verb: the command.
        whole: the job's `hydra` node: its overrides, and whether it is one of a sweep.
        folders: config folders of the user.
        resumption: the run to go on with, where `resume=` was typed.

    Returns:
        What the command returns: of `train`, what a sweep minimises.

    Raises:
        UsageError: if the config does not fit what it is for.
    """
    from hydra.utils import instantiate

    paths = [word for word in whole.hydra.overrides.hydra if key_of(word) == "hydra.searchpath"]
    with composer(verb, folders) as compose:  # once more: the recipe depends on what was composed
        config = plain(compose([*whole.hydra.overrides.task, *paths]), verb)
    if str(whole.hydra.mode).endswith("MULTIRUN") and "out" in config:
        finished, config = _place(verb, config, whole)
        if finished is not None:
            return finished
    if resumption is not None:
        from gentool.cli.resume import resumed

        config = resumed(resumption, config)
    check(keywords(config, verb))
    if "seed" in config:
        from gentool.training.rng import seed_all

        seed_all(config["seed"])
    if not isinstance(config.get("overwrite", False), bool):
        raise UsageError(f"overwrite={shown(config['overwrite'])}: expected true or false")
    with running.use(config):
        if config.get("out") and resumption is None:
            from gentool.training.folders import check_out

            check_out(verb, config["out"])
        # Built here, called by us: an error inside the command keeps its own type and traceback.
        command = instantiate({**keywords(config, verb), "_partial_": True}, _convert_="all")
        return command()


def show_job(verb: str, arguments: Arguments) -> None:
    """Print the completed config of a job: what `--cfg job` is.

    Args:
        verb: the command.
        arguments: what was typed after it; `--package` selects a part.

    Raises:
        UsageError: if the package is not there.
    """
    from omegaconf import OmegaConf

    with composer(verb, arguments.folders) as compose:
        config = OmegaConf.create(plain(compose(arguments.overrides), verb))
    package = arguments.flags.get("--package", "_global_")
    part = config if package == "_global_" else OmegaConf.select(config, package)
    if part is None:
        hint = nearest(package, map(str, config))
        raise UsageError(f"--package {package}: no such part of the configuration; {hint}")
    print(OmegaConf.to_yaml(part), end="")


def _place(verb: str, config: dict[str, Any], whole: Any) -> tuple[float | None, dict[str, Any]]:
    """Give a sweep's job its folder. A finished one gives its result, a stopped one goes on.

    Args:
        verb: the command.
        config: of the job, in plain types.
        whole: the job's composed config, with its `hydra` node.

    Returns:
        What the finished run minimised, else None; and the config.
    """
    from gentool.cli.resume import Resumption, job_changes, read_config, resumed
    from gentool.cli.sweep import job_folder

    folder = job_folder(whole.hydra)
    if verb != "train":
        return None, {**config, "out": str(folder), "overwrite": True}
    summary = folder / "summary.json"
    if summary.is_file():
        print(f"{folder} is finished: skipped")
        return _result(json.loads(summary.read_text(encoding="utf-8")), config), config
    if (folder / "checkpoints" / "last.pt").is_file():
        print(f"{folder} was stopped: going on")
        stored = read_config(Path(folder))
        return None, resumed(Resumption(folder, stored, job_changes(config, stored)), config)
    return None, {**config, "out": str(folder)}


def _result(summary: Mapping[str, Any], config: Mapping[str, Any]) -> float:
    """Return what a finished run minimised: `sweep.metric` of its final values, else its best validation value."""
    metric = config["sweep"]["metric"]
    value = summary["final"].get(metric) if metric else summary["best"]["value"]
    return float("nan") if value is None else float(value)
