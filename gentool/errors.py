"""What can go wrong, and the exit code each kind ends with; `cli` prints the message as one line."""

import difflib
from collections.abc import Iterable


class GentoolError(Exception):
    """An error whose message is written for the user; ends the program with `exit_code`."""

    exit_code = 1


class RunError(GentoolError):
    """The command ran and failed: a full disk, a law of `verify`. The message says what is safe."""


class UsageError(GentoolError):
    """The command could not start: a wrong key, value, file or device. Nothing was written."""

    exit_code = 2


class UnknownKey(UsageError):
    """A key that what is configured does not have.

    Args:
        key: dotted.
        message: the line to show.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Unavailable(UsageError):
    """The model, as it is configured, lacks the capability a command needs."""


class Diverged(GentoolError):
    """A loss or gradient was not finite. The last good checkpoint is kept."""

    exit_code = 3


class Interrupted(GentoolError):
    """A signal stopped the run after it saved itself; exit code 128 + the signal's number.

    Args:
        message: what was saved, and the command that goes on from it.
        signal_number: the signal received.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message, signal_number)
        self.exit_code = 128 + signal_number

    def __str__(self) -> str:
        return str(self.args[0])


SYNONYMS = {
    "fid": "frechet",
    "kid": "kernel_distance",
    "gpt": "transformer",
    "lstm": "char_rnn",
    "diffusion": "ddpm",
    "score": "ncsn",
    "rectified_flow": "flow_matching",
    "autoencoder": "ae",
    "em": "gmm",
    "csv": "array",
    "parquet": "array",
    "folder": "image_folder",
    "fit": "train",
    "generate": "sample",
}
"""What other tools call it."""


def nearest(value: object, choices: Iterable[str]) -> str:
    """Return a hint that names the choice nearest to a mistyped value, else all the choices.

    >>> nearest("mnits", ["digits", "mnist"])
    "did you mean 'mnist'?"
    >>> nearest("FID", ["frechet", "nll"])
    "did you mean 'frechet'?"
    >>> nearest("?", ["digits", "mnist"])
    'choose one of: digits, mnist'
    """
    names = sorted(set(choices))
    typed = str(value).lower()
    meant = [SYNONYMS[typed]] if SYNONYMS.get(typed) in names else []
    same = {name.lower(): name for name in names}
    close = meant or [same[word] for word in difflib.get_close_matches(typed, same, n=1, cutoff=0.5)]
    return f"did you mean '{close[0]}'?" if close else f"choose one of: {', '.join(names)}"
