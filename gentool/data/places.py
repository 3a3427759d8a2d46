"""Where data lies: the user's folder, or a cache folder of the user's own."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of this user's caches by the custom of the platform; it may not exist yet."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "gentool"


def data_root(root: str | None) -> Path:
    """Return the folder datasets lie in.

    Args:
        root: `dataset.root`; None: a folder in this user's cache.

    Returns:
        The folder; it may not exist yet.
    """
    return Path(root).expanduser() if root else cache_folder() / "data"


def root_here(root: str | None) -> str | None:
    """Return where a run's data lies on this machine: a checkpoint may come from another.

    Args:
        root: `dataset.root` of the run.

    Returns:
        The same, if there is such a folder, whatever lies in it; else what a run begun here would take:
        `$GENTOOL_DATA`, or None.
    """
    is_here = root and os.path.isdir(os.path.expanduser(root))  # pathlib's raise where one may not look
    return root if is_here else os.environ.get("GENTOOL_DATA")
