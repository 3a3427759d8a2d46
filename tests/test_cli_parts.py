"""The pieces of the command line: words made ready for Hydra, the schema, names of sweeps, changes of a resumed run."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from pydantic import Field, NonNegativeFloat, PositiveInt
from typing_extensions import TypedDict

from gentool import schema
from gentool.cli import catalogue, resume
from gentool.cli.arguments import read
from gentool.cli.resume import Resumption, resumed
from gentool.cli.sweep import job_name
from gentool.errors import UsageError


def value(verb, word, *flags):
    """Return what Hydra makes of a word after the dispatcher has seen it."""
    (override,) = OverridesParser.create().parse_overrides(read(verb, [*flags, word]).overrides)
    return override.value() if not override.is_sweep_override() else list(override.sweep_iterator())


@pytest.mark.parametrize("path", [
    "a/epoch=3-step=10.pt", "a b", "é/ß.pt", "x#1", "[1]", "{a}", "(1)", "1e5", "true", "a,b", 'say "hi"', "it's",
    "a\\", 'a\\"b', "a:b", "&", "50%",
])  # fmt: skip
@pytest.mark.parametrize("key", ["ckpt", "out", "dataset.path", "dataset.root"])
def test_paths_reach_hydra_as_they_are(key, path):
    assert value("sample", f"{key}={path}") == path


def test_paths_that_mean_something_else():
    assert value("sample", "ckpt=~/x.pt") == str(Path.home() / "x.pt")
    assert value("sample", "ckpt=null") is None
    assert value("sample", 'ckpt="a=b.pt"') == "a=b.pt"
    assert [item.text for item in value("sample", "ckpt=a=1.pt,b=2.pt", "-m")] == ["a=1.pt", "b=2.pt"]
    assert value("train", "--seed=3") == 3


def test_sampler_keys_are_added():
    assert read("sample", ["sampler.steps=3"]).overrides == ["++sampler.steps=3"]
    assert read("sample", ["sampler={steps:3},{steps:4}", "-m"]).overrides == ["++sampler={steps:3},{steps:4}"]
    both = "sampler=choice({steps:3},{steps:4})"
    assert read("sample", [both, "-m"]).overrides == [f"++{both}"]
    assert read("sample", ["seed=3", "sampler=3"]).overrides == ["seed=3", "sampler=3"]


class Knobs(TypedDict):
    temperature: NonNegativeFloat


class Thing:
    """Has a parameter of each kind."""

    def __init__(
        self, space: int, *, size: PositiveInt, kind: Literal["mlp", "conv"], rate: float, pair: tuple[float, float],
        sizes: list[PositiveInt], share: Annotated[float, Field(ge=0, lt=1)] | None, knobs: Knobs, path: Path,
        inner: Callable[..., Any], many: Mapping[str, Callable[..., Any]], flag: bool,
    ) -> None:  # fmt: skip
        pass


Thing.__module__ = "gentool.thing"
ADAM = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-3, "betas": [0.0, 0.9]}
GOOD = {
    "size": 3, "kind": "mlp", "rate": 1, "pair": [1, 0.5], "sizes": [1, 2], "share": None, "knobs": {"temperature": 1},
    "path": "x", "inner": ADAM, "many": {"a": ADAM, "b": ADAM}, "flag": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def find(monkeypatch):
    real = schema.find
    monkeypatch.setattr(schema, "find", lambda name, path="": Thing if name == "gentool.Thing" else real(name, path))


def test_schema_accepts_what_fits():
    schema.check({"thing": {"_target_": "gentool.Thing", "_partial_": True, **GOOD}})


@pytest.mark.parametrize(("change", "message"), [
    ({"size": "abc"}, "thing.size=abc: expected a positive integer"),
    ({"size": 0}, "thing.size=0: expected a positive integer"),
    ({"size": True}, "thing.size=true: expected a positive integer"),
    ({"size": 3.0}, "thing.size=3.0: expected a positive integer"),
    ({"size": None}, "thing.size=null: expected a positive integer"),
    ({"sise": 3}, "thing.sise=3: no such key; did you mean 'thing.size'?"),
    ({"space": 3}, "thing.space=3: no such key"),
    ({"kind": "cnv"}, "thing.kind=cnv: expected mlp or conv; did you mean 'conv'?"),
    ({"rate": "1"}, "thing.rate=1: expected a number"),
    ({"pair": [1]}, "thing.pair=[1]: expected a list of 2: a number, a number"),
    ({"sizes": [1, 0]}, "thing.sizes=[1, 0]: expected a list of which each is a positive integer"),
    ({"share": 1.0}, "thing.share=1.0: expected a number >= 0 and < 1 or null"),
    ({"knobs": {"temprature": 1}}, "thing.knobs.temprature=1: no such key; did you mean 'thing.knobs.temperature'?"),
    ({"knobs": {"temperature": -1}}, "thing.knobs.temperature=-1: expected a non-negative number"),
    ({"knobs": {}}, "thing.knobs.temperature: missing"),
    ({"path": 3}, "thing.path=3: expected a path"),
    ({"inner": 3}, "thing.inner=3: expected something to build"),
    ({"inner": {**ADAM, "lrr": 1}}, "thing.inner.lrr=1: no such key; did you mean 'thing.inner.lr'?"),
    ({"many": {"a": {**ADAM, "lr": "x"}}}, "thing.many.a.lr=x: expected a number"),
    ({"flag": "yes"}, "thing.flag=yes: expected true or false"),
])  # fmt: skip
def test_schema_refuses_the_rest(change, message):
    with pytest.raises(UsageError) as caught:
        schema.check({"thing": {"_target_": "gentool.Thing", "_partial_": True, **GOOD, **change}})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("key", GOOD)
def test_schema_misses_no_key(key):
    left = {name: inner for name, inner in GOOD.items() if name != key}
    with pytest.raises(UsageError, match=rf"^thing\.{key}: missing"):
        schema.check({"thing": {"_target_": "gentool.Thing", **left}})


@pytest.mark.parametrize(
    "target", ["torch.load", "os.system", "gentool.space.torch.load", "gentool.space.nope", "gentool.no"]
)
def test_schema_finds_only_our_own(target):
    with pytest.raises(UsageError, match="_target_="):
        schema.check({"thing": {"_target_": target}})


def test_names_of_jobs():
    assert job_name(["seed=1", "model.beta=2"]) == job_name(["model.beta=2", "seed=1"]) == "model.beta-2,seed-1"
    odd = job_name(['dataset.path="a=b/c d"'])
    assert not set(odd) & set('=/ "')
    assert odd != job_name(['dataset.path="a-b/c d"'])
    assert len(job_name([f"key{i}=value" for i in range(100)]).encode()) < 200


STORED = {
    "seed": 0, "out": None, "resume": None, "choices": {"model": "vae", "device": "auto"}, "model": {"latent_dim": 16},
    "trainer": {"epochs": 2, "steps": None, "batch_size": 8, "log_every": 5}, "device": {"kind": "auto"},
    "dataset": {"path": "a", "seed": 0},
}  # fmt: skip
COMPOSED = {**STORED, "device": {"kind": "cpu"}, "model": {"latent_dim": 16, "new": 7}}


def go_on(*changes):
    return resumed(Resumption(Path("RUN"), deepcopy(STORED), list(changes)), COMPOSED)


def test_resume_changes_what_may_change():
    config = go_on(
        ("trainer.epochs", 5), ("trainer.log_every", 1), ("dataset.path", "b"), ("device", "cpu"), ("seed", 0)
    )
    assert config["trainer"] == {**STORED["trainer"], "epochs": 5, "log_every": 1}
    assert config["dataset"]["path"] == "b"
    assert (config["device"], config["choices"]["device"], config["resume"]) == ({"kind": "cpu"}, "cpu", "RUN")
    assert config["model"] == {"latent_dim": 16, "new": 7}
    assert go_on()["device"] == {"kind": "auto"}


@pytest.mark.parametrize(("change", "diff"), [
    (("model.latent_dim", 8), "model.latent_dim: 16 -> 8"),
    (("trainer.batch_size", 4), "trainer.batch_size: 8 -> 4"),
    (("dataset.seed", 1), "dataset.seed: 0 -> 1"),
    (("seed", 1), "seed: 0 -> 1"),
    (("model", "gan"), "model: vae -> gan"),
    (("model.latent", 8), "did you mean 'model.latent_dim'"),
])  # fmt: skip
def test_resume_refuses_another_run(change, diff):
    with pytest.raises(UsageError, match=r"RUN") as caught:
        go_on(("trainer.epochs", 5), change)
    assert diff in str(caught.value)


def test_a_sweeps_job_goes_on_with_its_own_changes():
    new = {**deepcopy(STORED), "out": "x", "trainer": {**STORED["trainer"], "epochs": 9}, "device": {"kind": "cpu"}}
    assert resume.job_changes(new, STORED) == [("trainer.epochs", 9)]


def test_comments_of_a_yaml(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(
        '# A thing\n# $ gentool train a=1\ndefaults:\n  - b: c\n_target_: x\na: 1        # nats # or so\n            '
        '# and more\n# above\nb: "x # y"\nc:           # sub\n  d: a#b     # deep\n'
    )  # fmt: skip
    assert catalogue.options(file) == [
        ("a", "1", "nats # or so and more"), ("b", '"x # y"', "above"), ("c", "", "sub"), ("c.d", "a#b", "deep"),
    ]  # fmt: skip
    assert (catalogue.summary(file), catalogue.examples(file)) == ("A thing", ["gentool train a=1"])
