"""Every mapping with `_target_` is options of that callable; an option has its default and its description there."""

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from gentool.cli.compose import composer, keywords, plain
from gentool.errors import UsageError
from gentool.kinds import KINDS
from gentool.options import TAGS, completed
from gentool.schema import RESERVED, check
from gentool.signatures import signature
from gentool.training.optimizers import Optimizers
from gentool.training.rng import fork
from tests.laws.subjects import MODELS, TINY, composed

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
GROUPS = ("model", "dataset", "optimizer", "schedule", "device", "experiment", "recipe")
VERBS = sorted(p.stem for p in CONFIGS.glob("*.yaml") if "\n_target_: gentool.commands." in p.read_text())
CHOICES = sorted((p.parent.name, p.stem) for g in GROUPS if g != "recipe" for p in (CONFIGS / g).glob("*.yaml"))
EXAMPLES = {
    "small": "digits",
    "grey": "mnist",
    "colour": "cifar10",
    "points": "moons",
    "table": "moons",
    "large": "cifar10",
}
TOYS = ("ring", "grid", "moons", "checkerboard", "two_gaussians", "mixture", "heights")


def targets(config: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping with a `_target_`, with where it stands."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield path, config
        for key, value in config.items():
            yield from targets(value, f"{path}.{key}".strip("."))
    elif isinstance(config, list):
        for i, value in enumerate(config):
            yield from targets(value, f"{path}.{i}")


def mismatches(path: str, config: Mapping[str, Any]) -> list[str]:
    """Where a completed mapping and the signature of its target differ."""
    target = get_object(config["_target_"])
    parameters = inspect.signature(target).parameters.values()
    keys = {str(key) for key in config} - set(RESERVED)
    if not config["_target_"].startswith("gentool."):  # torch.optim: its defaults are its own
        return [f"{path}.{key}: unknown" for key in keys - {p.name for p in parameters}]
    wanted = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    found = [f"{path}.{key}: not a keyword-only parameter" for key in sorted(keys - wanted)]
    found += [f"{path}.{key}: neither in the YAML nor with a default" for key in sorted(wanted - keys)]
    known = signature(config["_target_"])
    assert known is not None and set(known.options) == wanted, f"{config['_target_']}: its source is not read right"
    return found + [f"{path}.{name}: not described" for name, option in known.options.items() if not option.about]


@cache
def compose(verb: str, *overrides: str) -> dict[str, Any]:
    with composer(verb) as hydra:
        composed = hydra(list(overrides))
        for key, value in leaves(OmegaConf.to_container(composed, resolve=False)):
            if value == "???" and not key.startswith("hydra."):
                OmegaConf.update(composed, key, "given")
        return plain(composed, verb)


@pytest.mark.parametrize("verb", VERBS)
def test_commands_equal_their_yaml(verb):
    config = compose(verb)
    named = [case for case in targets(config) if case[0]]
    assert not [m for path, mapping in named for m in mismatches(path, mapping)]
    function = get_object(config["_target_"])
    wanted = {p.name for p in inspect.signature(function).parameters.values()}
    typed = set(keywords(config, verb)) - set(RESERVED)
    assert typed - {"choices"} == wanted - {"choices"}
    assert all(p.default is p.empty for p in inspect.signature(function).parameters.values())


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_choices_equal_their_signatures(group, name):
    config = compose("train", f"{group}={name}")
    cases = list(targets(config))
    assert cases
    assert not [m for path, mapping in cases if path for m in mismatches(path, mapping)]


@pytest.mark.parametrize(("group", "name"), [c for c in CHOICES if c[0] != "dataset"])
def test_defaults_are_of_the_type_they_ask_for(group, name):
    check(compose("train", f"{group}={name}"))


@pytest.mark.parametrize("path", sorted((CONFIGS / "recipe").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_are_of_a_model_and_a_dataset_or_a_kind_of_data(path):
    if path.stem == "auto":
        return
    model, _, data = path.stem.partition("-")
    assert (CONFIGS / "model" / f"{model}.yaml").is_file()
    assert data in KINDS or (CONFIGS / "dataset" / f"{data}.yaml").is_file()
    dataset = EXAMPLES.get(data, data)
    config = compose("train", f"model={model}", f"dataset={dataset}", f"recipe={path.stem}")
    given = OmegaConf.to_container(OmegaConf.load(path))
    for key, value in leaves(given):
        part, _, word = key.rpartition(".")
        chosen = str(OmegaConf.select(OmegaConf.create(config), f"{part}._target_"))
        if word in TAGS and chosen.rpartition(".")[2].lower() == value.replace("_", ""):
            continue  # the name of a part has become its target
        if not str(value).startswith("${"):
            assert OmegaConf.select(OmegaConf.create(config), key) == value, f"{key} does not arrive"


@pytest.mark.parametrize(("model", "dataset", "steps"), [
    ("vae", "moons", 21875), ("vae", "digits", 1180), ("vae", "fashion_mnist", 21094), ("nsf", "ring", 16407),
])  # fmt: skip
def test_a_recipe_is_found_by_the_dataset_else_by_the_kind_of_its_data(model, dataset, steps):
    assert compose("train", f"model={model}", f"dataset={dataset}")["trainer"]["steps"] == steps


def test_points_of_the_user_take_the_recipe_of_points(tmp_path):
    np.save(tmp_path / "mine.npy", np.zeros((30, 2), np.float32))
    config = compose("train", "model=wgan_gp", "dataset=array", f"++dataset.path={tmp_path}/mine.npy")
    assert config["model"]["penalty_weight"] == 0.1


def test_a_length_that_is_typed_wins_over_the_recipes():
    assert compose("train", "model=vae", "++trainer.epochs=3")["trainer"]["steps"] is None


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if key != "defaults" and isinstance(value, Mapping):
            yield from leaves(value, f"{path}{key}.")
        elif key != "defaults":
            yield f"{path}{key}", value


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_files_say_what_they_are_and_every_value_has_a_comment(path):
    lines = path.read_text().splitlines()
    said = [line for line in lines[:2] if line.startswith("# ") and not line.startswith("# @package")]
    assert said, "the first line is '# one line of description'"
    if path.parent.name not in ("model", "recipe", "experiment"):  # they give other values to what code describes
        assert uncommented(lines) == []


def uncommented(lines: list[str]) -> list[str]:
    """Values without a comment on their line or above them; names of targets and lists of defaults need none."""
    found, in_defaults = [], False
    for before, line in zip(["", *lines], lines, strict=False):
        in_defaults = line.startswith("defaults:") or (in_defaults and line.startswith((" ", "-", "#")))
        value = re.match(r"\s*([\w.]+):\s+([^#\s$].*)", line)  # an interpolation is explained where it points
        exempt = value and value[1] in ("_target_", "_partial_", "_convert_")
        if value and not exempt and not in_defaults and " #" not in line and not before.strip().startswith("#"):
            found.append(line)
    return found


def test_models_name_their_paper():
    for name in MODELS:
        assert re.search(r"^# paper: .+, \d{4}, https://", (CONFIGS / "model" / f"{name}.yaml").read_text(), re.M), name


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dataset", TOYS)
def test_every_model_trains_on_every_toy_or_says_why_not(model, dataset):
    needs_recipe = any(typed.startswith("dataset=") for typed in TINY.get(model, {"overrides": []})["overrides"])
    config = composed(model, *[f"dataset={dataset}"] * needs_recipe)
    data = instantiate(compose("train", f"dataset={dataset}")["dataset"], _convert_="all")
    with fork(0):
        try:
            built = instantiate(config.model, _convert_="all")(data.space)
        except UsageError:
            assert "points" in TINY[model]["refused"], "refused what it should take"
            return
        from gentool.data.batches import Batches

        batches = Batches(data.train, batch_size=min(8, len(data.train)), seed=0)
        factory = instantiate(config.optimizer, _convert_="all")
        optimizers = Optimizers(built, factory, lambda t: 1.0, steps=2, accumulate=1, clip_norm=None)
        for _ in range(2):
            metrics = built.train_step(batches, optimizers)
            optimizers.step += 1
    optimizers.check()
    assert all(torch.isfinite(value).all() for value in metrics.values())


def test_the_rules_catch_what_they_forbid():
    config = completed(OmegaConf.to_container(OmegaConf.load(CONFIGS / "model" / "vae.yaml")))
    assert mismatches("model", config) == []
    assert mismatches("model", {**config, "gamma": 1}) == ["model.gamma: not a keyword-only parameter"]
    del config["beta"]
    assert mismatches("model", config) == ["model.beta: neither in the YAML nor with a default"]
    assert mismatches("optimizer", {"_target_": "torch.optim.Adam", "rate": 1}) == ["optimizer.rate: unknown"]
    assert uncommented(["beta: 1.0", "beta: 1.0  # weight", "# weight", "beta: 1.0", "_target_: a.b"]) == ["beta: 1.0"]
