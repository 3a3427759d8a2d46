"""Runs, resumed runs and sweeps through the command line, as small as they can be."""

import json

import pytest

import gentool
from gentool.cli import main
from gentool.errors import UsageError

TINY = ["dataset=digits", "trainer.steps=2", "trainer.epochs=null", "model.encoder.hidden_features=[8]",
        "model.decoder.hidden_features=[8]", "device=cpu"]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return tmp_path


def test_resume_through_the_command_line(capsys, folder):
    assert main(["train", *TINY, "out=a run=1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "a run=1"
    assert main(["train", "resume=a run=1", "trainer.steps=4"]) == 0
    assert json.loads((folder / "a run=1" / "summary.json").read_text())["steps"] == 4
    capsys.readouterr()
    assert main(["train", "resume=a run=1", "model.latent_dim=8", "trainer.steps=6"]) == 2
    assert "model.latent_dim: 16 -> 8" in capsys.readouterr().err
    assert main(["train", "resume=a run=1/checkpoints/last.pt"]) == 2
    assert "did you mean resume=a run=1?" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["a run=1"]


def test_a_dry_run_prints_the_estimate_alone(capsys, folder):
    assert main(["train", *TINY, "dry_run=true"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["parameters", "memory", "time", "nothing"]
    assert "--cfg job" in lines[-1] and not list(folder.iterdir())


def test_a_run_ends_with_its_report_and_what_fits_its_model(capsys, folder):
    assert main(["train", *TINY, "out=run"]) == 0
    said = capsys.readouterr().out.partition("report: run/report.html")[2]
    assert [line.split()[1] for line in said.splitlines() if line.startswith("  gentool")] == [
        "sample",
        "interpolate",
        "latent",
        "evaluate",
        "compare",
    ]
    assert main(["train", "model=gan", "dataset=digits", "trainer.steps=2", "device=cpu", "out=other"]) == 0
    assert "gentool latent" not in capsys.readouterr().out


def test_a_sweep_skips_what_is_done_and_goes_on_with_what_is_not(capsys, folder):
    words = ["train", "-m", "model.latent_dim=2,3", "seed=0,1", *TINY]
    assert main(words) == 0
    (sweep,) = (folder / "outputs" / "multirun").iterdir()
    jobs = sorted(path.name for path in sweep.iterdir() if path.is_dir())
    assert jobs == [f"model.latent_dim-{z},seed-{s}" for z in (2, 3) for s in (0, 1)]
    times = {job: (sweep / job / "summary.json").stat().st_mtime_ns for job in jobs}
    (sweep / jobs[2] / "summary.json").unlink()
    capsys.readouterr()
    assert main([*words[:2], *reversed(words[2:])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.endswith("is finished: skipped")]) == 3
    assert len([line for line in lines if line.endswith("was stopped: going on")]) == 1
    assert [(sweep / job / "summary.json").stat().st_mtime_ns == times[job] for job in jobs] == [
        True,
        True,
        False,
        True,
    ]


def test_a_sweep_runs_on_past_a_failure_and_keeps_its_exit_code(capsys, folder):
    # Twelve steps: enough for a learning rate of 1e30 to overflow.
    words = ["optimizer.lr=1e30,1e-3", "trainer.steps=12", "trainer.log_every=1", "sweep.name=a=b"]
    assert main(["train", "-m", *TINY, *words]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "optimizer.lr=1e+30" in lines[0]
    assert lines[1] == "gentool: jobs of the sweep that failed: 1"
    assert (folder / "outputs/multirun/a-b/optimizer.lr-0.001/summary.json").is_file()


def test_a_sweep_over_a_readers_key(folder):
    assert main(["train", *TINY, "out=run"]) == 0
    assert main(["sample", "-m", "ckpt=run", "n=2", "seed=0,1", "device=cpu", "sweep.name=x"]) == 2
    assert main(["sample", "-m", "ckpt=run", "n=2", "seed=0,1", "device=cpu"]) == 0
    found = sorted(path.parent.name for path in folder.glob("outputs/multirun/*/*/samples.npz"))
    assert found == ["seed-0", "seed-1"]


def test_models_in_python():
    model, dataset = gentool.build("model=vae", "dataset=digits", "model.latent_dim=3")
    assert tuple(model.sample(2).shape) == (2, *dataset.space.shape)
    with pytest.raises(UsageError, match=r"did you mean 'model\.latent_dim'"):
        gentool.build("model.latnt_dim=3")


def test_checkpoints_in_python():
    assert main(["train", *TINY, "out=run"]) == 0
    assert gentool.load("run", device="cpu", temperature=0.5).model.sampler["temperature"] == 0.5
    with pytest.raises(UsageError, match="temperature"):
        gentool.load("run", temprature=0.5)
