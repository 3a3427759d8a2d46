"""Composes configurations as the command line does, from Python: for `gentool.build`, for sweeps, for hints."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentool.cli import catalogue
from gentool.cli.arguments import key_of, quoted, read
from gentool.config import config_dir, looking_into
from gentool.kinds import kind_of
from gentool.options import Context, completed

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gentool.data.dataset import Dataset
    from gentool.models.base import GenerativeModel
    from gentool.training.runs import Loaded

Compose = Callable[[Sequence[str]], "DictConfig"]

SIMILAR = {"table": ["points"], "large": ["colour"], "colour": ["grey"]}
"""Kinds of data whose recipe is taken where there is none for a kind."""

LENGTHS = ("minutes", "steps", "examples", "epochs")
"""Options of the trainer that end a run: one that is typed puts those of a recipe out of force."""


def version_base(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the keywords that fix how this Hydra behaves: 1.3 wants version_base, 1.4 a list of what may be built."""
    if "execution_whitelist" in inspect.signature(function).parameters:
        return {"execution_whitelist": ("gentool.*", "torch.optim.*")}
    return {"version_base": "1.3"}


@contextmanager
def composer(verb: str, folders: Sequence[Path] = ()) -> Iterator[Compose]:
    """Give a function that composes the config of a command, `hydra` node included, from overrides ready for Hydra.

    Args:
        verb: the command.
        folders: config folders of the user.

    Yields:
        The function; it works inside the `with` alone.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    path = ",".join(quoted(f"file://{folder}") for folder in folders)
    search = [f"hydra.searchpath=[{path}]"] if folders else []

    def composed(overrides: Sequence[str]) -> "DictConfig":
        config = compose(verb, [*overrides, *search], return_hydra_config=True)
        recipe = _recipe(config)
        return composed([*overrides, f"recipe={recipe}"]) if recipe else config

    try:
        with (
            initialize_config_dir(config_dir=str(config_dir()), **version_base(initialize_config_dir)),
            looking_into(folders),
        ):
            yield composed
    finally:
        GlobalHydra.instance().hydra = outer


def _recipe(config: "DictConfig") -> str | None:
    """Return the recipe that `recipe=auto` means: that of the model and dataset, else of the model and kind of data."""
    chosen = config.hydra.runtime.choices
    if chosen.get("recipe") != "auto":
        return None
    data = _kind_of_data(config) or ""
    known = catalogue.choices("recipe")
    names = [f"{chosen['model']}-{word}" for word in (chosen["dataset"], data, *SIMILAR.get(data, ()))]
    return next((name for name in names if name in known), None)


def _kind_of_data(config: "DictConfig") -> str | None:
    """Return the kind of the data that a config names, by a glance at its files."""
    from omegaconf import OmegaConf

    if "dataset" not in config or not OmegaConf.is_dict(config.dataset) or "_target_" not in config.dataset:
        return None
    dataset: Any = OmegaConf.to_container(config.dataset, resolve=True)
    return kind_of(completed(dataset))


def plain(config: "DictConfig", verb: str) -> dict[str, Any]:
    """Resolve a composed config to plain types, and complete it.

    Args:
        config: the composed config, with its `hydra` node.
        verb: the command.

    Returns:
        The command's keys and `choices`, the file each group took.

    Raises:
        UsageError: if a value that must be given is not, or a part does not have an option that was typed.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, open_dict

    from gentool.errors import UsageError

    outer = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = config  # type: ignore[assignment]  # what ${hydra:…} looks into
    try:
        task = config.copy()
        with open_dict(task):
            task.pop("hydra", None)
        missing = sorted(OmegaConf.missing_keys(task))
        if missing:
            comments = {option.key: option.comment for option in catalogue.options(catalogue.verb_file(verb))}
            raise UsageError(
                f"{missing[0]}: missing; give {missing[0]}=… ({comments.get(missing[0]) or 'it has no default'})"
            )
        resolved: dict[str, Any] = OmegaConf.to_container(task, resolve=True)  # type: ignore[assignment]
    finally:
        HydraConfig.instance().cfg = outer
    chosen = {group: config.hydra.runtime.choices.get(group) for group in catalogue.groups(verb)}
    typed = {key_of(str(word)) for word in config.hydra.overrides.task}
    if any(f"trainer.{length}" in typed for length in LENGTHS):
        resolved["trainer"] |= {length: None for length in LENGTHS if f"trainer.{length}" not in typed}
    return {
        **completed(resolved, Context(typed, _kind_of_data(config))),
        "choices": {group: str(choice) for group, choice in chosen.items() if choice not in (None, "null")},
    }


def keywords(config: Mapping[str, Any], verb: str) -> dict[str, Any]:
    """Return a plain config as keyword arguments of its command: without `overwrite`, and `choices` of other YAML."""
    keys = {option.key.split(".")[0] for option in catalogue.options(catalogue.verb_file(verb))}
    left_out = {"overwrite", "choices"} - (keys & {"choices"})
    return {key: value for key, value in config.items() if key not in left_out}


def built(*overrides: str) -> tuple["GenerativeModel", "Dataset"]:
    """Build what `gentool.build` returns."""
    from hydra.utils import instantiate

    from gentool.cli import mistakes
    from gentool.schema import check
    from gentool.training.rng import fork

    arguments = read("train", overrides)
    with mistakes.explained("train", arguments), composer("train") as compose:
        composed = compose(arguments.overrides)
        config = plain(composed, "train")
        check(keywords(config, "train"))
        with fork(config["seed"]):
            dataset = instantiate(config["dataset"], _convert_="all")
            model = instantiate(config["model"], _convert_="all")(dataset.space)
    return model, dataset


def loaded(ckpt: str | None, which: str | None, weights: str | None, options: Mapping[str, Any]) -> "Loaded":
    """Load what `gentool.load` returns."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from gentool.errors import UsageError, nearest
    from gentool.training import runs

    choices = catalogue.choices("device")
    name = options.get("device", "auto")
    if name not in choices:
        raise UsageError(f"device={name}: no such choice; {nearest(name, choices)}")
    sampler = {key: value for key, value in options.items() if key != "device"}
    # in Python anything may be measured, so the networks run in fp32
    device = instantiate({**OmegaConf.load(choices[name]), "precision": "fp32"}, _convert_="all")
    return runs.load(ckpt, which=which, weights=weights, device=device, sampler=sampler)
