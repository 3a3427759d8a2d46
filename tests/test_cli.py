"""The command line as people meet it: help, lists, mistakes, exit codes. Trains nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gentool
from gentool.cli import catalogue, main

ROOT = Path(gentool.__file__).parent.parent


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every command runs in an empty folder, and what it leaves there is looked at."""
    monkeypatch.chdir(tmp_path)
    for name in ("HYDRA_FULL_ERROR", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def python(*words, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, timeout=60, **options
    )


def refused(capsys, *words, code=2):
    """Return the one line on stderr of a command that could not start."""
    assert main(list(words)) == code
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    assert lines[0].startswith("gentool: ")
    return lines[0]


def test_help_lists_every_command_and_imports_nothing_heavy():
    heavy = "torch", "hydra", "omegaconf", "numpy", "yaml"
    code = "import sys; from gentool.cli import main; c = main(['--help'])"
    code += f"; print([m for m in {heavy} if m in sys.modules]); sys.exit(c)"
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    *text, imported = done.stdout.splitlines()
    assert imported == "[]"
    listed = [match[1] for line in text if (match := re.match(r"  (\w+)  +[A-Z]", line))]
    assert listed[0] == "train"
    assert set(listed) == {file.stem for file in (ROOT / "configs").glob("*.yaml")} - {"common", "reader"}


def test_module_and_program_are_the_same(capsys):
    done = python("-m", "gentool")
    assert main([]) == done.returncode == 0
    assert capsys.readouterr().out == done.stdout


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"gentool {gentool.__version__}")


@pytest.mark.parametrize("verb", catalogue.commands())
def test_help_of_every_command(verb, capsys):
    """Its summary, every key it takes with a comment, its groups with their choices, two examples or more."""
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"gentool {verb}: {catalogue.summary(catalogue.verb_file(verb))}")
    for option in catalogue.options(catalogue.verb_file(verb)):
        if option.value and not option.value.startswith("${"):
            assert f"  {option.key}=" in text
            assert option.comment, f"{verb}.yaml: {option.key} has no comment"
    assert len(re.findall(rf"^  gentool {verb}(?! \[)", text, re.MULTILINE)) >= 2
    assert max(map(len, text.splitlines())) <= 120


def test_help_shows_the_options_of_a_typed_choice(capsys):
    assert main(["train", "model=vae", "--help"]) == 0
    assert "model.latent_dim=" in capsys.readouterr().out


def test_composed_config_is_printed(capsys, folder):
    assert main(["train", "model=vae", "trainer.epochs=3", "--cfg", "job"]) == 0
    assert "epochs: 3" in capsys.readouterr().out
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("what", "line"), [
    ("models", r"^  vae +Variational autoencoder"),
    ("datasets", r"^  digits +\w+"),
    ("commands", r"^  train +Train a model"),
    ("metrics", r"^  nll +\S+"),
])  # fmt: skip
def test_list(what, line, capsys, folder):
    assert main(["list", what]) == 0
    assert re.search(line, capsys.readouterr().out, re.MULTILINE)
    assert not list(folder.iterdir())


def test_list_needs_no_torch():
    code = "import sys; from gentool.cli import main; c = main(['list']); print('torch' in sys.modules); sys.exit(c)"
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_list_of_one_model(capsys):
    assert main(["list", "model=vae"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^  model\.latent_dim=16 +\S+", text, re.MULTILINE)
    assert re.search(r"^  model\.sampler\.temperature=1\.0 +\S+", text, re.MULTILINE)
    assert "https://arxiv.org/abs/1312.6114" in text


@pytest.mark.parametrize(("words", "parts"), [
    (["trian"], ["trian", "'train'"]),
    (["model=vae"], ["the command comes first"]),
    (["train", "trainer.epcohs=3"], ["trainer.epcohs=3", "'trainer.epochs'"]),
    (["train", "epochs=3"], ["epochs=3", "'trainer.epochs'"]),
    (["train", "model.encoder.knd=mlp"], ["model.encoder.knd=mlp", "'model.encoder.kind'"]),
    (["train", "modle=vae"], ["modle=vae", "'model'"]),
    (["train", "model=vea"], ["model=vea", "'vae'"]),
    (["train", "model=null"], ["model=null", "vae"]),
    (["train", "dataset=3"], ["dataset=3", "digits"]),
    (["train", "dataset=digist"], ["dataset=digist", "'digits'"]),
    (["train", "experiment=nope"], ["experiment=nope"]),
    (["train", "device=cdua"], ["device=cdua", "'cuda'"]),
    (["train", "model.latent_dim=abc"], ["model.latent_dim=abc", "expected a positive integer"]),
    (["train", "model.latent_dim=0"], ["model.latent_dim=0", "expected a positive integer"]),
    (["train", "model.latent_dim=2.5"], ["model.latent_dim=2.5", "expected a positive integer"]),
    (["train", "model.encoder.kind=cnv"], ["model.encoder.kind=cnv", "'conv'"]),
    (["train", "device.kind=cup"], ["device.kind=cup", "'cpu'"]),
    (["train", "optimizer.lr=fast"], ["optimizer.lr=fast", "expected a number"]),
    (["train", "optimizer=none", "optimizer.lr=1"], ["optimizer.lr=1", "optimizer has no keys"]),
    (["train", "trainer=5"], ["trainer=5", "Trainer"]),
    (["train", "seed=0,1"], ["seed=0,1", "-m"]),
    (["train", "model.beta=(1"], ["model.beta=(1", "quote"]),
    (["train", "--seed", "3"], ["--seed", "seed=3"]),
    (["train", "--cfg", "jbo"], ["--cfg jbo", "'job'"]),
    (["train", "vae"], ["model=vae"]),
    (["train", "runs/x.pt"], ["resume=runs/x.pt"]),
    (["train", "--config-dir=nowhere"], ["nowhere", "no such folder"]),
    (["train", "hydra.nope=1"], ["hydra.nope=1"]),
    (["train", "resume=nowhere"], ["resume=nowhere", "no such folder"]),
    (["train", "-m", "--cfg", "job"], ["--cfg", "-m"]),
    (["train", "-m", "model.latent_dim=2,abc"], ["model.latent_dim=abc", "expected a positive integer"]),
    (["train", "-m", "model.latnt_dim=2,3"], ["model.latnt_dim", "'model.latent_dim'"]),
    (["train", "-m", "resume=x"], ["resume="]),
    (["sample", "x.pt"], ["ckpt=x.pt"]),
    (["sample", "cktp=x"], ["cktp=x", "'ckpt'"]),
    (["sample", "model=vae"], ["sample has no group model"]),
    (["sample", "ckpt=a=1 ~#é.pt"], ["ckpt=a=1 ~#é.pt"]),
    (["list", "modles"], ["modles", "'models'"]),
    (["list", "vae"], ["model=vae"]),
    (["list", "model=vea"], ["model=vea", "'vae'"]),
    (["list", "models", "datasets"], ["models datasets"]),
])  # fmt: skip
def test_mistakes_are_one_line_and_leave_nothing(words, parts, capsys, folder):
    line = refused(capsys, *words)
    for part in parts:
        assert part in line
    assert not list(folder.iterdir())


def test_sweep_under_torchrun_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    assert "torchrun" in refused(capsys, "train", "-m", "seed=0,1")


def test_full_error_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(["train", "trainer.epcohs=3"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_bugs_full_disks_and_interrupts_end_with_one_line(capsys, monkeypatch):
    from gentool.commands import list as command

    def raising(error):
        def list(*, what):
            raise error

        list.__module__ = "gentool.commands.list"
        monkeypatch.setattr(command, "list", list)

    raising(OSError(28, "No space left on device", "outputs/x.pt"))
    assert refused(capsys, "list", code=1) == "gentool: outputs/x.pt: No space left on device"
    raising(KeyError("oops"))
    assert "HYDRA_FULL_ERROR=1" in refused(capsys, "list", code=1)
    raising(KeyboardInterrupt())
    assert refused(capsys, "list", code=130) == "gentool: interrupted"


def test_a_reader_that_leaves_is_not_an_error():
    command = f"'{sys.executable}' -m gentool list | true"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60
    )
    assert done.stderr == ""


def test_ctrl_c_before_anything_runs_is_quiet():
    process = subprocess.Popen(
        [sys.executable, "-c", "import gentool.cli as c, time; c.catalogue.commands = lambda: print('on', flush=True) "
         "or time.sleep(30); raise SystemExit(c.main(['list']))"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == "gentool: interrupted\n"


@pytest.mark.parametrize(("line", "words"), [
    ("gentool tr", ["train"]),
    ("gentool train mod", ["model.", "model="]),
    ("gentool train model=vae", ["model=vae", "model=vae_conv", "model=vae_gan", "model=vae_svi"]),
    ("gentool train trainer.epo", ["trainer.epochs="]),
    ("gentool list model=vae_", ["model=vae_conv", "model=vae_gan", "model=vae_svi"]),
    ("gentool tour dataset=di", ["dataset=digits"]),
    ("gentool compare ev", ["evaluate="]),
    ("gentool verify wh", ["which="]),
    ("gentool sample mod", []),
    ("gentool nope ", []),
])  # fmt: skip
def test_completion(line, words, capsys, monkeypatch):
    monkeypatch.setenv("COMP_LINE", line)
    assert main(["-sc", "query=bash"]) == 0
    assert capsys.readouterr().out.split() == words


def test_completion_script_names_the_program(capsys):
    assert main(["-sc", "install=bash"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("hydra_bash_completion gentool")


def test_configs_of_the_user(capsys, folder):
    (folder / "mine" / "model").mkdir(parents=True)
    text = (ROOT / "configs" / "model" / "vae.yaml").read_text() + "latent_dim: 77\n"
    (folder / "mine" / "model" / "my_vae.yaml").write_text(text)
    assert main(["train", "--config-dir", "mine", "model=my_vae", "--cfg", "job"]) == 0
    assert "latent_dim: 77" in capsys.readouterr().out
    assert main(["train", "hydra.searchpath=[mine]", "model=my_vae", "--cfg", "job"]) == 0
    assert "latent_dim: 77" in capsys.readouterr().out
    assert main(["list", "--config-dir", "mine", "models"]) == 0
    assert "my_vae" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["evil", "far"])
def test_only_our_own_code_is_built(name, capsys, folder):
    target = {"evil": "os.system", "far": "gentool.space.torch.load"}[name]
    (folder / "model").mkdir()
    (folder / "model" / f"{name}.yaml").write_text(f"_target_: {target}\n_partial_: true\n")
    assert target in refused(capsys, "train", f"--config-dir={folder}", f"model={name}")
