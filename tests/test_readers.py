"""The commands that read a checkpoint, on runs that the program itself trained."""

import json
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gentool.cli import main
from gentool.commands import sample as sampling
from gentool.commands.reader import Examples, held_out
from gentool.commands.reconstruct import corrupted, squared_error
from gentool.commands.sample import sample
from gentool.commands.score import into_space
from gentool.data.dataset import Rows
from gentool.errors import UsageError
from gentool.training.folders import MARK
from gentool.training.runs import Loaded
from tests.metrics.models import Normal
from tests.spaces import space

SMALL = ["model.encoder.hidden_features=[16]", "model.decoder.hidden_features=[16]", "trainer.sample_every=1000"]
RUNS = {
    "digits": ["dataset=digits", "model.latent_dim=3", "trainer.steps=20", "trainer.ema=0.9"],
    "classes": ["dataset=digits", "dataset.binarize=dynamic", "model.latent_dim=2", "model.conditional=true",
                "trainer.steps=20", "trainer.ema=null"],
    "moons": ["dataset=moons", "dataset.examples=600", "model.latent_dim=2", "trainer.steps=20"],
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the three runs in it, which is the current one while these tests run."""
    folder = tmp_path_factory.mktemp("readers")
    before = Path.cwd()
    os.chdir(folder)
    for name, words in RUNS.items():
        assert main(["train", *words, *SMALL, f"out={name}", "device=cpu"]) == 0
    yield folder
    os.chdir(before)


@pytest.fixture
def run(place, capsys):
    """Run a command and return its folder, what it printed, its errors and exit code."""

    def run(*words):
        capsys.readouterr()
        code = main([*words, "device=cpu"])
        out, err = capsys.readouterr()
        lines = out.splitlines()
        return SimpleNamespace(code=code, err=err, out=out, folder=Path(lines[-1]) if lines else None)

    return run


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != MARK)


def test_samples_their_files_and_where_they_lie(run):
    done = run("sample", "ckpt=digits", "n=10", "images=true")
    assert done.code == 0
    assert done.folder.parent == Path("outputs/sample/vae-digits")
    assert files(done.folder) == [*(f"images/{i}.png" for i in range(10)), "samples.npz", "samples.png"]
    x = np.load(done.folder / "samples.npz")["x"]
    assert x.shape == (10, 1, 8, 8) and x.dtype == np.uint8 and x.max() <= 16 and x.std() > 0
    image = np.asarray(Image.open(done.folder / "images" / "3.png"))
    assert np.array_equal(image, np.round(x[3, 0] * (255 / 16)).astype(np.uint8))
    assert "best.pt" in done.out and "ema weights" in done.out


def test_the_seed_and_the_weights_decide_the_samples(run):
    def drawn(*words):
        return np.load(run("sample", "ckpt=digits", "n=9", *words).folder / "samples.npz")["x"]

    first = drawn()
    assert np.array_equal(drawn(), first)
    assert not np.array_equal(drawn("seed=1"), first)
    assert not np.array_equal(drawn("weights=raw"), first)
    assert np.array_equal(drawn("batch_size=4")[:4], drawn("batch_size=4", "n=5")[:4])
    assert len(np.unique(drawn("batch_size=4"), axis=0)) == 9


def test_classes_can_be_asked_for_and_are_in_the_file(run):
    def labels(*words):
        return np.load(run("sample", "ckpt=classes", "n=6", *words).folder / "samples.npz")["y"].tolist()

    assert labels("y=7") == [7] * 6
    assert labels("y=[0,3]") == [0, 3, 0, 3, 0, 3]
    assert len(set(labels())) > 1
    refused = run("sample", "ckpt=classes", "y=10")
    assert refused.code == 2 and "0..9" in refused.err
    assert run("sample", "ckpt=digits", "y=7").code == 2


def test_the_grid_shows_the_means_of_the_samples_in_the_file():
    class Means(Normal):
        conditional = False

        def sample(self, n, y=None):
            return (torch.rand(n, 1, 1, 1) * 8 + torch.randint(0, 2, (n, 1, 4, 4))).round().to(torch.uint8)

        def picture(self, n, y=None):
            return torch.rand(n, 1, 1, 1) * 8 + torch.zeros(n, 1, 4, 4)

    model = Means(space((1, 4, 4), levels=17))
    x = sampling._in_batches(partial(sampling._samples, model, None), 7, 3, 0)
    means = sampling._in_batches(partial(sampling._samples, model, None, drawn=model.picture), 7, 3, 0, first=5)
    assert (x[:5].float() - means).abs().max() <= 1.5
    assert len(means.unique()) == 5


@pytest.mark.parametrize("between", ["data", "prior", "axes"])
@pytest.mark.parametrize("name", ["digits", "classes", "moons"])
def test_walks_of_every_kind_on_images_and_points(run, between, name):
    words = ["ckpt=" + name, f"between={between}", "steps=3", "rows=2", "path=lerp"]
    if name == "moons" and between != "data":
        words.append("steps=2")
    done = run("interpolate", *words)
    assert done.code == 0, done.err
    assert files(done.folder) == ["interpolation.gif", "interpolation.png"]
    with Image.open(done.folder / "interpolation.gif") as gif:
        assert gif.n_frames >= 2
    if between == "data":
        pair = done.out.splitlines()[-2].rsplit(": ", 1)[1].split(", ")[0].split(" to ")
        assert (pair[0] == pair[1]) == (name == "classes")
    assert Image.open(done.folder / "interpolation.png").size[0] > 100


def test_the_classes_of_a_walk_can_be_chosen(run):
    def walked(name, *words):
        return run("interpolate", "ckpt=" + name, "between=data", "steps=2", *words).out.splitlines()[-2]

    assert walked("digits", "y=[2,9]", "rows=3").endswith(": 2 to 9, 2 to 9, 2 to 9")
    assert walked("digits", "y=[9,2]", "rows=1").endswith(": 9 to 2")
    assert walked("classes", "y=[4,4]", "rows=1").endswith(": 4 to 4")
    for name, words, says in [
        ("digits", ["between=data", "y=[2,10]"], "y=[2,10]: this data has the classes 0..9"),
        ("digits", ["between=data", "y=[2]"], "y=[2]: expected a list of 2"),
        ("digits", ["between=prior", "y=[2,9]"], "y=[2,9]: of test examples"),
        ("moons", ["between=data", "y=[0,7]"], "y=[0,7]: this data has"),
        ("classes", ["between=data", "y=[2,9]"], "y=[2,9]: the model sees the class"),
    ]:
        refused = run("interpolate", "ckpt=" + name, *words)
        assert refused.code == 2 and says in refused.err and refused.err.count("\n") == 1


def test_reconstructions_and_their_error(run):
    done = run("reconstruct", "ckpt=digits", "n=3")
    assert files(done.folder) == ["reconstruction.npz", "reconstruction.png"]
    stored = np.load(done.folder / "reconstruction.npz")
    by_hand = (((stored["x"] - stored["reconstruction"]) / 16.0) ** 2).mean()
    assert stored["mean_squared_error"] == pytest.approx(by_hand, rel=0.7)
    assert f"{float(stored['mean_squared_error']):.6g}" in done.out
    damaged = np.load(
        run("reconstruct", "ckpt=digits", "n=3", "corrupt=mask", "level=0.25").folder / "reconstruction.npz"
    )
    assert (damaged["given"][:, :, 2:6, 2:6] == 0).all() and damaged["x"][:, :, 2:6, 2:6].any()
    assert run("reconstruct", "ckpt=moons", "corrupt=gaussian").code == 0
    assert "corrupt=gaussian" in run("reconstruct", "ckpt=moons", "corrupt=mask").err


def test_codes_and_their_plane(run):
    done = run("latent", "ckpt=digits", "side=3")
    assert files(done.folder) == ["latent.npz", "latent.png", "manifold.png"]
    stored = np.load(done.folder / "latent.npz")
    assert stored["z"].shape == (len(stored["y"]), 3) and stored["axes"].shape == (2, 3)
    assert "principal components" in done.out
    assert f"deviation {stored['z'].std(0).min():.2f} to {stored['z'].std(0).max():.2f}; KL" in done.out
    flat = run("latent", "ckpt=classes", "side=3", "n=20", "y=4")
    assert "axes" not in np.load(flat.folder / "latent.npz") and np.load(flat.folder / "latent.npz")["z"].shape == (
        20,
        2,
    )
    points = run("latent", "ckpt=moons", "side=3")
    z = np.load(points.folder / "latent.npz")["z"].astype(np.float64)
    mean, covariance = z.mean(0), np.cov(z.T)
    nats = 0.5 * (np.trace(covariance) + mean @ mean - 2 - np.linalg.slogdet(covariance)[1])
    says = f"mean {mean[0]:.2f}, {mean[1]:.2f}; deviation {z[:, 0].std():.2f}, {z[:, 1].std():.2f}"
    assert f"{says}; KL(N(mean, covariance) || N(0, I)) {nats:.2f} nats" in points.out


def test_the_density_of_points_and_of_nothing_else(run):
    done = run("plot", "ckpt=moons", "resolution=12", "draws=5")
    assert files(done.folder) == ["density.npz", "density.png"]
    assert np.load(done.folder / "density.npz")["data_log_prob"].shape == (144,)
    refused = run("plot", "ckpt=digits")
    assert refused.code == 2 and "one or two dimensions" in refused.err


def test_scores_of_a_file_equal_the_models(run, place):
    x = np.random.default_rng(0).integers(0, 17, (7, 8, 8)).astype(np.uint8)
    np.save(place / "x=1.npy", x)
    done = run("score", "ckpt=digits", "data=x=1.npy", "draws=3")
    stored = np.load(done.folder / "log_prob.npz")
    assert files(done.folder) == ["log_prob.npz"]
    assert stored["kind"] == "importance" and stored["log_prob"].shape == (7,) and (stored["log_prob"] < 0).all()
    assert f"{stored['log_prob'].mean():.4f}" in done.out and "bits a dimension" in done.out
    np.savez(place / "channels.npz", x=x[..., None])
    again = np.load(run("score", "ckpt=digits", "data=channels.npz", "draws=3").folder / "log_prob.npz")
    assert np.array_equal(again["log_prob"], stored["log_prob"])


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((3, 8, 8), 17, np.uint8), "outside 0..16"),
        (np.full((3, 8, 8), 0.5), "fractions"),
        (np.zeros((3, 9, 8), np.uint8), "shape"),
        (np.zeros((0, 8, 8), np.uint8), "shape (0, 8, 8)"),
        (np.array(["a"]), "numbers"),
    ],
)
def test_files_outside_the_space_are_refused(run, place, array, says):
    np.save(place / "bad.npy", array)
    refused = run("score", "ckpt=digits", "data=bad.npy")
    assert refused.code == 2 and says in refused.err and refused.err.count("\n") == 1


def test_files_that_are_none_are_refused(run, place):
    (place / "cut.npz").write_bytes(b"PK\x03\x04 cut short")
    np.savez(place / "named.npz", images=np.zeros(3))
    for words, says in [([], "missing"), (["data=no.npy"], "no such file"), (["data=cut.npz"], "damaged"),
                        (["data=named.npz"], "images")]:  # fmt: skip
        refused = run("score", "ckpt=digits", *words)
        assert refused.code == 2 and says in refused.err, words


def test_grey_levels_are_binarised_as_the_run_did():
    grey = torch.full((500, 1, 2, 2), 51)
    binary = space((1, 2, 2), levels=2)
    drawn = into_space(grey, binary, "dynamic", 0, "f")
    assert drawn.float().mean() == pytest.approx(0.2, abs=0.04) and drawn.max() == 1
    assert into_space(grey, binary, "threshold", 0, "f").max() == 0
    ones = torch.ones(3, 1, 2, 2, dtype=torch.int64)
    assert into_space(ones, binary, "dynamic", 0, "f").min() == 1
    with pytest.raises(UsageError, match=r"outside 0\.\.1"):
        into_space(grey, binary, "none", 0, "f")


def test_numbers_and_how_they_were_measured(run):
    done = run("evaluate", "ckpt=classes", "n=120", "draws=5", "seed=3")
    assert files(done.folder) == ["metrics.json"]
    report = json.loads((done.folder / "metrics.json").read_text())
    assert set(report) == {"metrics", "standard_error", "protocol", "unavailable", "run"}
    assert set(report["metrics"]) == {"nll", "elbo", "bits_per_dim"}
    assert set(report["unavailable"]) == {"nats_per_token", "entropy_gap"}  # of text; where the density is known
    assert report["protocol"]["nll"] == {
        "split": "test", "n": 120, "binarize": "dynamic", "weights": "raw", "seed": 3, "conditional": True,
        "sampler": {"mean": True, "temperature": 1.0, "steps": 0}, "kind": "importance", "draws": 5,
    }  # fmt: skip
    assert report["metrics"]["bits_per_dim"] == pytest.approx(report["metrics"]["nll"] / (64 * np.log(2)))
    assert report["metrics"]["nll"] < -report["metrics"]["elbo"]
    assert f"{report['metrics']['nll']:.4f}" in done.out
    again = run("evaluate", "ckpt=classes", "n=120", "draws=5", "seed=3", "metrics=[nll]")
    assert json.loads((again.folder / "metrics.json").read_text())["metrics"] == {"nll": report["metrics"]["nll"]}


def test_what_cannot_be_measured_is_said(run):
    done = run("evaluate", "ckpt=moons", "draws=2", "split=valid", "metrics=[bits_per_dim,elbo]")
    report = json.loads((done.folder / "metrics.json").read_text())
    assert done.code == 0 and "integer levels" in report["unavailable"]["bits_per_dim"]
    assert report["protocol"]["elbo"]["split"] == "valid"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["evaluate", "metrics=[nl]"], "'nll'"),
        (["evaluate", "n=100000"], "n=100000"),
        (["evaluate", "dataset.path=x"], "dataset.path"),
        (["sample", "sampler.temprature=2"], "temperature"),
        (["sample", "complete=top"], "Completes"),
        (["sample", "prompt=a"], "Completes"),
        (["interpolate", "steps=1"], "steps=1"),
        (["latent", "y=1"], "y=1"),
        (["reconstruct", "level=2"], "level=2"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(run, words, says):
    before = sorted(Path("outputs").rglob("*"))
    refused = run(words[0], "ckpt=digits", *words[1:])
    assert refused.code == 2, refused.err
    assert says in refused.err and refused.err.count("\n") == 1
    assert sorted(Path("outputs").rglob("*")) == before


def test_out_names_the_folder_and_is_the_last_line(run, place):
    done = run("sample", "ckpt=moons", "n=3", "out=here", "sampler.temperature=0.5")
    assert done.folder == Path("here") and files(place / "here") == ["samples.npz", "samples.png"]


class Filler(Normal):
    """Fills what is unknown with the highest level."""

    def complete(self, x, known, y=None):
        return torch.where(known, x, torch.full_like(x, self.space.levels - 1))


def completing(monkeypatch, model, dataset=None):
    loaded = Loaded(model=model, config={"dataset": {}}, step=1, path=Path("x.pt"), weights="raw", name="filler-data")
    monkeypatch.setattr(sampling, "load", lambda *args, **kwargs: loaded)
    monkeypatch.setattr("gentool.commands.prompts.dataset_of", lambda *args: dataset)
    defaults = {"ckpt": None, "which": None, "weights": None, "sampler": {}, "dataset": {}, "seed": 0, "n": 4,
                "y": None, "batch_size": 3, "images": False, "prompt": None, "length": None,
                "complete": None}  # fmt: skip
    device = SimpleNamespace(torch=torch.device("cpu"))
    return lambda **words: sample(**{**defaults, "device": device, **words})


def test_prompts_begin_texts(monkeypatch, tmp_path):
    draw = completing(monkeypatch, Filler(space((6,), levels=3, vocabulary=("a", "b", "\n"))))
    folder = draw(prompt="ab", out=str(tmp_path))
    assert files(folder) == ["samples.npz", "samples.png", "samples.txt"]
    assert (folder / "samples.txt").read_text().startswith("=== sample 0 ===\nab\n\n\n\n\n=== sample 1")
    for prompt, length, says in [("abc", None, "'c'"), ("ababab", 5, "length=5: the prompt alone has 6 tokens")]:
        with pytest.raises(UsageError, match=says):
            draw(prompt=prompt, length=length, out=None)
    with pytest.raises(UsageError, match="no images"):
        draw(complete="top", out=None)


def test_images_are_completed_from_what_is_known(monkeypatch, tmp_path):
    empty, held = (Rows(torch.full((n, 1, 4, 6), 3, dtype=torch.uint8), None) for n in (0, 5))
    where = space((1, 4, 6), levels=17)
    dataset = SimpleNamespace(space=where, train=empty, valid=empty, test=held)
    draw = completing(monkeypatch, Filler(where), dataset)
    x = np.load(draw(complete="left", out=str(tmp_path / "left")) / "samples.npz")["x"]
    assert x.shape == (4, 1, 4, 6) and (x[..., :3] == 3).all() and (x[..., 3:] == 16).all()
    x = np.load(draw(complete="top", out=str(tmp_path / "top")) / "samples.npz")["x"]
    assert (x[..., :2, :] == 3).all() and (x[..., 2:, :] == 16).all()
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 5] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    x = np.load(draw(complete=str(tmp_path / "mask.png"), out=str(tmp_path / "mask")) / "samples.npz")["x"]
    assert (x[:, 0, 1, 5] == 3).all() and (x == 3).sum() == 4
    Image.fromarray(mask[:3]).save(tmp_path / "small.png")
    for words, says in [
        ("small.png", "6 x 3; the images are 6 x 4"),
        ("left/samples.npz", "no picture"),
        ("none", "top, left"),
    ]:
        with pytest.raises(UsageError, match=says):
            draw(complete=words if words == "none" else str(tmp_path / words), out=None)


def test_blocks_hold_the_same_examples_whatever_their_size():
    grey = torch.randint(0, 256, (23, 1, 3, 3), dtype=torch.uint8)
    ours = Examples(Rows(grey, torch.arange(23), draws=256), "test", 20, 5)

    def joined(size):
        blocks = list(ours.blocks(size, with_labels=True))
        return torch.cat([b.x for b in blocks]), torch.cat([b.y for b in blocks])

    x, y = joined(7)
    assert len(x) == 20 and y.tolist() == list(range(20)) and x.max() == 1
    assert torch.equal(joined(20)[0], x) and torch.equal(joined(1)[0], x)
    assert next(ours.blocks(7, with_labels=False)).y is None
    assert len(ours.pick(50).x) == 20


def test_the_default_split_is_the_one_least_seen():
    empty, full = Rows(torch.zeros(0, 2), None), Rows(torch.zeros(4, 2), None)
    assert held_out(SimpleNamespace(train=full, valid=full, test=full), 0).split == "test"
    assert held_out(SimpleNamespace(train=full, valid=empty, test=empty), 0).split == "train"
    with pytest.raises(UsageError, match="split=test is empty"):
        held_out(SimpleNamespace(train=full, valid=full, test=empty), 0, split="test")


def test_corruptions_have_their_level_and_stay_in_the_space():
    where = space((1, 40, 40), levels=5)
    x = torch.full((3, 1, 40, 40), 2, dtype=torch.uint8)
    torch.manual_seed(0)
    salted = corrupted(x, where, "salt_pepper", 0.3)
    assert [float((salted == value).float().mean()) for value in (0, 4)] == pytest.approx([0.15, 0.15], abs=0.03)
    masked = corrupted(x, where, "mask", 0.25)
    assert int((masked == 0).sum()) == 3 * 400 and (x == 2).all()
    noisy = corrupted(x, where, "gaussian", 0.25)
    where.check(noisy)
    assert noisy.float().std() == pytest.approx(1.0, abs=0.15)
    assert torch.equal(corrupted(x, where, "none", 0.9), x)
    assert squared_error(x, torch.zeros_like(x), where).tolist() == [0.25] * 3


def test_captions_are_not_taken_for_labels(run, place):
    words = ["model=vae", "dataset=shapes", "dataset.size=8", "dataset.examples=60", "trainer.steps=2", "out=captions"]
    assert run("train", *words, "trainer.batch_size=8", "trainer.sample_every=1000").code == 0
    for command in ("interpolate", "latent"):
        assert run(command, "ckpt=captions", f"out=captions_{command}").code == 0
    assert "y" not in np.load(place / "captions_latent" / "latent.npz")
