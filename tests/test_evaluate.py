"""`gentool evaluate`, from the command line to its file: runs without a likelihood, and samples made elsewhere."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gentool.cli import main
from gentool.data.images import digits

DATA = digits(binarize="none", validation=0.1, test=0.2, seed=0)
SMALL = ["model.encoder.hidden_features=[16]", "model.decoder.hidden_features=[16]", "trainer.steps=20"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run of points without a likelihood, a run of digits, and training digits as files."""
    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ring = ["model=ae", "dataset=ring", "dataset.examples=600", "trainer.sample_every=1000", "out=ring"]
        assert main(["train", *ring, *SMALL, "device=cpu"]) == 0
        assert main(["train", "dataset=digits", *SMALL, "trainer.sample_every=1000", "out=digits", "device=cpu"]) == 0
        Path("pictures/deep").mkdir(parents=True)
        for i, x in enumerate(DATA.train.x[:30, 0].numpy()):
            Image.fromarray(np.round(x * (255 / 16)).astype(np.uint8)).save(f"pictures/{'deep/' * (i % 2)}{i}.png")
        np.savez("arrays.npz", x=DATA.train.x[:30].numpy())
        np.savez("one.npz", x=DATA.train.x[:1].numpy())
        np.savez("points.npz", x=np.zeros((5, 2), np.float32))
        yield folder


@pytest.fixture
def run(place, capsys, monkeypatch):
    """Run `evaluate` and return its report, what it printed and its exit code."""
    monkeypatch.chdir(place)

    def run(*words):
        capsys.readouterr()
        code = main(["evaluate", *words, "device=cpu"])
        out, err = capsys.readouterr()
        path = Path(out.splitlines()[-1]) / "metrics.json" if code == 0 else None
        return SimpleNamespace(code=code, err=err, out=out, report=path and json.loads(path.read_text()), path=path)

    return run


def test_draws_are_set_for_every_kind_of_likelihood_or_for_one(run):
    def draws(*words):
        return run("ckpt=digits", "metrics=[nll]", "n=20", *words).report["protocol"]["nll"]["draws"]

    assert (draws(), draws("draws=7"), draws("draws.importance=3"), draws("draws.bound=3")) == (100, 7, 3, 100)
    for wrong in ("draws=0", "draws=many", "draws.importance=0", "draws.imprtance=3"):
        done = run("ckpt=digits", "metrics=[nll]", wrong)
        assert done.code == 2 and done.err.count("\n") == 1 and wrong.partition("=")[0] in done.err
    assert "a positive integer or a mapping of importance, bound, ode" in run("ckpt=digits", "draws=many").err


def test_log_p_that_takes_a_hundred_passes_is_of_few_examples_unless_asked(run):
    small = ["model.denoiser.hidden_channels=[8]", "model.sampler.method=euler", "model.sampler.steps=2"]
    options = [*small, "trainer.steps=1", "trainer.sample_every=1000", "out=flow", "device=cpu"]
    assert main(["train", "model=flow_matching", "dataset=digits", *options]) == 0

    def sizes(*words):
        protocol = run("ckpt=flow", "metrics=[nll,bits_per_dim,frechet]", "num_samples=20", *words).report["protocol"]
        return [protocol[name]["n"] for name in ("nll", "bits_per_dim", "frechet")]

    assert sizes("costly_examples=5") == [5, 5, 359]
    assert sizes("costly_examples=5", "n=7") == [7, 7, 7]
    assert sizes() == [359, 359, 359]
    assert run("ckpt=digits", "metrics=[nll]", "costly_examples=5").report["protocol"]["nll"]["n"] == 359
    assert run("ckpt=flow", "costly_examples=0").code == 2
    small = ["model.encoder.hidden_channels=[4]", "model.decoder.hidden_channels=[4]"]
    options = [*small, "trainer.steps=1", "trainer.sample_every=1000", "out=conv", "device=cpu"]
    assert main(["train", "model=vae_conv", "dataset=digits", *options]) == 0
    protocol = run("ckpt=conv", "metrics=[nll,elbo]", "costly_examples=5").report["protocol"]
    assert protocol["nll"]["n"] == protocol["elbo"]["n"] == 5
    assert (
        run("ckpt=digits", "metrics=[nll]", "costly_examples=5", "sampler.steps=1").report["protocol"]["nll"]["n"] == 5
    )


def test_a_model_without_a_likelihood_is_measured_by_its_samples(run):
    report = run("ckpt=ring", "num_samples=200").report
    assert set(report["metrics"]) == {"frechet", "modes", "high_quality", "reverse_kl"}
    assert "HasLikelihood" in report["unavailable"]["nll"] and "2" in report["unavailable"]["class_histogram"]
    assert report["protocol"]["frechet"]["features"] == "points"
    assert report["protocol"]["frechet"]["num_samples"] == 200
    assert report["protocol"]["modes"]["num_samples"] == 2500  # the protocol's own number
    assert all(isinstance(value, float) for value in report["standard_error"].values())


def test_everything_is_measured_or_says_why_not(run):
    done = run("ckpt=digits", "metrics=full", "num_samples=60", "n=80", "draws=2")
    report = done.report
    assert re.search(r"^\d+ metrics: about \d+ s for the model's part", done.out, re.M)  # before any of them
    from gentool.cli.catalogue import options, verb_file

    keys = [option.key.split(".") for option in options(verb_file("evaluate"))]
    known = {key[1] for key in keys if key[0] == "definitions" and len(key) > 1}
    assert set(report["metrics"]) | set(report["unavailable"]) == known
    assert {"frechet", "class_histogram", "memorisation", "linear_probe", "generalisation_gap"} <= set(
        report["metrics"]
    )
    assert "conditional=true" in report["unavailable"]["bayes_accuracy"]
    assert all(np.isfinite(value) for value in report["metrics"].values())
    assert report["metrics"]["checkpoint_bytes"] == Path("digits/checkpoints/best.pt").stat().st_size
    same = run("ckpt=digits", "metrics=[frechet,memorisation]", "num_samples=60", "n=80").report
    for name in ("frechet", "memorisation"):
        assert same["metrics"][name] == report["metrics"][name] and same["protocol"][name] == report["protocol"][name]


def test_pictures_and_arrays_of_the_same_samples_score_the_same(run):
    pictures, arrays = run("samples=pictures", "dataset=digits"), run("samples=arrays.npz", "dataset=digits")
    assert arrays.path.parts[:3] == ("outputs", "evaluate", "samples-digits")
    for name in ("frechet", "class_histogram"):
        assert pictures.report["metrics"][name] == pytest.approx(arrays.report["metrics"][name], rel=1e-6)
    assert arrays.report["protocol"]["frechet"] == {
        "split": "test", "n": 359, "binarize": "none", "samples": "arrays.npz", "seed": 0, "features": "digits-1",
        "num_samples": 30,
    }  # fmt: skip
    assert "only samples" in arrays.report["unavailable"]["nll"]
    few = run("samples=arrays.npz", "dataset=digits", "dataset.test=0.1", "metrics=[frechet]").report
    assert few["protocol"]["frechet"]["n"] == 180


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["samples=one.npz", "dataset=digits"], "expected 2 or more"),
        (["samples=arrays.npz"], "dataset=mnist"),
        (["samples=arrays.npz", "dataset=ring"], "samples=arrays.npz: examples have shape"),
        (["samples=points.npz", "dataset=digits"], "samples=points.npz"),
        (["samples=absent", "dataset=digits"], "samples=absent: no such file"),
        (["samples=pictures", "dataset=ring"], "expected a .npz"),
        (["samples=digits/checkpoints", "dataset=digits"], "no pictures"),
        (["samples=arrays.npz", "ckpt=ring", "dataset=digits"], "one of them"),
        (["ckpt=ring", "dataset=digits"], "samples=…"),
        (["ckpt=ring", "num_samples=1"], "num_samples=1"),
        (["ckpt=ring", "metrics=[frechett]"], "'frechet'"),
        (["ckpt=ring", "metrics=ful"], "metrics=ful"),
        (["ckpt=ring", "features=digit"], "'digits'"),
    ],
)
def test_mistakes_are_one_line(run, words, says):
    refused = run(*words)
    assert refused.code == 2 and says in refused.err and refused.err.count("\n") == 1, refused.err


def test_features_that_were_asked_for_and_cannot_be_had_are_a_mistake(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    for words, says in (
        (["ckpt=digits", "features=inception"], "pip install 'gentool[inception]'"),
        (["ckpt=ring", "definitions.recall.features=digits"], "grey digits"),
    ):
        refused = run(*words, "metrics=[nll,recall]", "out=never")
        assert refused.code == 2 and says in refused.err and refused.err.count("\n") == 1, refused.err
        assert not Path("never").exists()
    assert run("ckpt=digits", "features=inception", "metrics=[parameters]").code == 0  # they are for nothing here


def test_a_covariance_of_many_pixels_is_refused_and_no_other_distance(run, monkeypatch):
    monkeypatch.setattr("gentool.metrics.frechet.Frechet.most_dims", 63)  # instead of 4,096
    refused = run("ckpt=digits", "features=pixels", "metrics=[recall,frechet]", "out=never")
    assert refused.code == 2 and "64 dimensions of 1 x 8 x 8" in refused.err and refused.err.count("\n") == 1, (
        refused.err
    )
    assert "features=images" in refused.err and not Path("never").exists()
    assert run("ckpt=digits", "features=pixels", "metrics=[recall]", "num_samples=50").code == 0
    found = run("ckpt=digits", "features=images", "metrics=[frechet]", "num_samples=50").report
    assert found["protocol"]["frechet"]["features"] == "images-1"


def test_a_damaged_picture_is_named(run, place):
    (place / "bad").mkdir()
    (place / "bad" / "0.png").write_bytes(b"no picture")
    refused = run("samples=bad", "dataset=digits")
    assert refused.code == 2 and "bad/0.png: cannot be decoded" in refused.err
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(place / "bad" / "0.png")
    assert "8 x 9 pixels" in run("samples=bad", "dataset=digits").err
