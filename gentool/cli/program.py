"""`gentool <command> [key=value …]`: from what was typed to one call, from a mistake to one line and an exit code.

No torch and no Hydra before a command runs: `gentool --help` answers at once.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentool.cli import catalogue, completion, manual
from gentool.cli.arguments import Arguments, read
from gentool.config import config_dir
from gentool.errors import GentoolError, Interrupted, UsageError, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gentool.cli.resume import Resumption

FULL = "HYDRA_FULL_ERROR"
"""Set by the user: show tracebacks. Set by us while Hydra composes: it then raises errors instead of printing them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        argv: what was typed after `gentool`; None for the arguments of this process.

    Returns:
        0 where all went well, else the code of the kind of error, as docs/cli.md lists them.
    """
    verbose = os.environ.get(FULL) == "1"
    try:
        _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BrokenPipeError:
        # Whoever read us has gone. Python flushes once more at exit; nobody should hear of that either.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        if verbose:
            import traceback

            traceback.print_exc()
        return _fail(*_verdict(error))
    return 0


def _verdict(error: Exception) -> tuple[str, int]:
    """Return the line and the exit code for an error."""
    if isinstance(error, GentoolError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'input or output'}: {error.strerror}", 1
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]} (set {FULL}=1 to see where)", 1


def _fail(message: str, code: int) -> int:
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        print(f"gentool: {' '.join(message.split())}", file=sys.stderr)
    return code


def _dispatch(words: list[str]) -> None:
    first = words[0] if words else "--help"
    commands = catalogue.commands()
    if first in ("--help", "-h", "help"):
        print(manual.overview(commands))
    elif first == "--version":
        from gentool import __version__

        print(f"gentool {__version__}")
    elif first in ("-sc", "--shell-completion"):
        completion.run(words[1:], _hydra)
    elif first not in commands:
        raise UsageError(f"{first}: no such command; {_hint(first, commands)}")
    else:
        _command(first, words[1:])


def _hint(word: str, commands: Sequence[str] | dict[str, str]) -> str:
    if word.startswith("-") or "=" in word:
        return "the command comes first: gentool <command> [key=value …]"
    return nearest(word, commands)


def _command(verb: str, words: list[str]) -> None:
    arguments = read(verb, words)
    if "--help" in arguments.flags:
        print(manual.page(verb, arguments.overrides, arguments.folders))
        return
    if "--version" in arguments.flags:
        _dispatch(["--version"])
        return
    if arguments.is_multirun:
        _check_multirun(arguments)
    from gentool.cli import mistakes

    with mistakes.explained(verb, arguments):
        _run(verb, arguments)


def _check_multirun(arguments: Arguments) -> None:
    for flag in ("--cfg", "--info", "--run"):
        if flag in arguments.flags:
            raise UsageError(f"{flag} and -m cannot go together: {flag} shows one run; leave one of them out")
    if "RANK" in os.environ or "LOCAL_RANK" in os.environ:
        raise UsageError("-m under torchrun would start the sweep in every process; use device.processes=N with -m")


def _run(verb: str, arguments: Arguments) -> None:
    """Compose and run one command, or one sweep of it, and raise what its first failure was."""
    resumption = None
    told: list[str] = []
    if arguments.is_multirun:
        from gentool.cli import sweep

        told = sweep.prepare(verb, arguments)
    elif verb == "train":
        from gentool.cli import resume

        arguments, resumption = resume.requested(arguments) or (arguments, None)
    if arguments.flags.get("--cfg") == "job":
        from gentool.cli.job import show_job

        show_job(verb, arguments)
        return
    failures: list[Exception] = []
    try:
        _hydra(verb, [*arguments.for_hydra(), *told], _task(verb, arguments.folders, resumption, failures))
    except KeyboardInterrupt:
        if not failures:
            raise
    if failures and arguments.is_multirun and not isinstance(failures[-1], Interrupted):
        raise SystemExit(_fail(f"jobs of the sweep that failed: {len(failures)}", _verdict(failures[0])[1]))
    if failures:
        raise failures[-1]


def _task(
    verb: str, folders: Sequence[Path], resumption: "Resumption | None", failures: list[Exception]
) -> Callable[["DictConfig"], Any]:
    """Return what Hydra calls with the composed config.

    Hydra prints lines of its own for a job that raises, so a job notes its failure instead; in a process of its own
    (a launcher's) it must raise, or the failure would be lost.
    """
    home = os.getpid()
    is_verbose = os.environ.get(FULL)

    def gentool(config: "DictConfig") -> Any:
        from hydra.core.hydra_config import HydraConfig

        from gentool.cli.job import run_job

        try:
            with _environment(FULL, is_verbose):
                whole: Any = HydraConfig.instance().cfg
                return run_job(verb, whole, folders, resumption)
        except Exception as error:
            from gentool.cli.mistakes import unwrapped

            root = unwrapped(error)
            if os.getpid() != home:
                raise root from None
            failures.append(root)
            if isinstance(root, Interrupted):  # a signal stops the whole sweep
                raise KeyboardInterrupt from root
            if str(HydraConfig.get().mode).endswith("MULTIRUN"):
                task = " ".join(HydraConfig.get().overrides.task)
                _fail(f"{task}: {_verdict(root)[0]}", 0)
            return float("nan")

    return gentool


def _hydra(verb: str, words: Sequence[str], task: Callable[["DictConfig"], Any]) -> None:
    """Let Hydra compose the config of a command and call `task` with it, as `words` say."""
    import hydra

    from gentool.cli.compose import version_base

    if sys.version_info >= (3, 14):  # Hydra 1.3 hands argparse a help that is no string, which Python 3.14 refuses
        import argparse

        argparse.ArgumentParser._check_help = lambda self, action: None  # type: ignore[attr-defined]
    run = hydra.main(config_path=str(config_dir()), config_name=verb, **version_base(hydra.main))(task)
    with _environment(FULL, "1"), _argv(words):
        run()


@contextmanager
def _argv(words: Sequence[str]) -> Iterator[None]:
    typed = sys.argv
    sys.argv = ["gentool", *words]
    try:
        yield
    finally:
        sys.argv = typed


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.get(name)
    _set(name, value)
    try:
        yield
    finally:
        _set(name, before)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
