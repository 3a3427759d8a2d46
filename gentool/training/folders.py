"""Folders that commands write to: each belongs to one command, and what it holds is never written over unasked."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from gentool import config
from gentool.errors import RunError, UsageError

OUTPUTS = Path("outputs")

MARK = ".gentool"
"""A file in every folder that a command makes: its first word is the command, and a run that trains holds a lock on it.

Behind it: the process that trains, or the files that were written, one a line.
"""


def output_folder(verb: str, name: str, out: str | None, files: Iterable[str] = ()) -> Path:
    """Make and return a fresh folder `outputs/<verb>/<name>/<date>_<time>`, or the folder `out`.

    Args:
        verb: the command.
        name: "<model>-<dataset>".
        out: a folder of the user's choice, new or empty, or one that `check_out` lets be; None: a fresh one that no
            other run shares.
        files: what is going to be written, by path below the folder; other files that the same command left there
            before are deleted.

    Returns:
        The folder, made.

    Raises:
        UsageError: if `out` holds something that is not this command's to write over.
        RunError: if the folder cannot be made.
    """
    if out is not None:
        check_out(verb, out)
    try:
        if out is None:
            parent = OUTPUTS / verb / name
            parent.mkdir(parents=True, exist_ok=True)
            folder = _fresh(parent)
        else:
            folder = Path(out)
            folder.mkdir(parents=True, exist_ok=True)
        _claim(folder, verb, list(files))
    except OSError as error:
        raise RunError(f"cannot make the folder {out or OUTPUTS / verb / name}: {error.strerror}") from error
    return folder


def check_out(verb: str, out: str) -> None:
    """Refuse a folder that holds something, unless the same command wrote it and may write it anew.

    `overwrite=true` lets a reader do so, a tour goes on, and a run that never saved begins anew.

    Args:
        verb: the command.
        out: the folder.

    Raises:
        UsageError: naming the way on.
    """
    folder = Path(out)
    try:
        if not set(os.listdir(folder)) - ({MARK} if verb == "train" else set()):
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"out={out}: {error.strerror}") from error
    owner, overwrite = next(iter(_marks(folder)), ""), verb == "tour" or config.current().get("overwrite") is True
    if verb == "train" and (folder / "checkpoints" / "last.pt").is_file():
        raise UsageError(f"out={out} holds a run; resume={out} goes on with it, another out begins a new one")
    if owner == verb and (overwrite or (verb == "train" and not any(folder.glob("checkpoints/*.pt")))):
        return
    if owner == verb:
        raise UsageError(f"out={out} holds what gentool {verb} wrote before; overwrite=true writes it anew")
    raise UsageError(f"out={out} is not empty, and not of gentool {verb}; expected a new or an empty folder")


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold a run's folder while this process trains there; the system lets go of it when the process ends.

    Args:
        run: the folder, which exists.

    Raises:
        UsageError: if another process trains there.
        RunError: if the folder cannot be written.
    """
    try:
        file = os.open(run / MARK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise RunError(f"{run} cannot be written: {error.strerror}") from error
    try:
        if not _locked(file):
            other = " ".join(_marks(run)[1:2]) or "another process"
            raise UsageError(f"{run}: {other} trains there now; stop it, or wait for its end")
        os.ftruncate(file, 0)
        os.pwrite(file, f"train\nprocess {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    """Lock an open file for this process, and return whether no other has it; where there are no locks, none has."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows; a file system without locks
        pass
    return True


def _claim(folder: Path, verb: str, files: list[str]) -> None:
    """Write down whose the folder is, and delete what the same command wrote there before and will not write now."""
    text = "\n".join([verb, *files, ""])
    try:
        with (folder / MARK).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        check_out(verb, str(folder))  # somebody else may just have begun
        if verb == "train":
            return  # and `held` finds out who
        for name in set(_marks(folder)[1:]) - set(files):
            if not Path(name).is_absolute() and ".." not in Path(name).parts:
                (folder / name).unlink(missing_ok=True)
        (folder / MARK).write_text(text, encoding="utf-8")


def _marks(folder: Path) -> list[str]:
    try:
        return (folder / MARK).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _fresh(parent: Path) -> Path:
    moment = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for number in range(1, 1000):
        folder = parent / (moment if number == 1 else f"{moment}_{number}")
        try:
            folder.mkdir(exist_ok=False)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(17, "a thousand runs started in this second", str(parent))
