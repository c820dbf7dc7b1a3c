"""Who else may write to a store's folder: whoever may can do anything to it, and to what a program makes of it."""

from __future__ import annotations

import logging
import os
import stat
import sys

__all__ = ["others_may_write", "warn_once"]

_LOG = logging.getLogger("execstore")
_warned: set[str] = set()


def others_may_write(path: str) -> str | None:
    """A sentence that says so, ``None`` if only the owner may, or if modes don't tell (Windows)."""
    if sys.platform == "win32":
        return None
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None  # whoever opens it will say why
    if not mode & (stat.S_IWGRP | stat.S_IWOTH):
        return None
    who = "everybody" if mode & stat.S_IWOTH else "its group"
    return f"{path}: {who} may write to the store's folder (mode {mode:04o}); if that isn't meant, chmod go-w it"


def warn_once(path: str) -> None:
    """Say so in the log, once for each folder in a process."""
    sentence = others_may_write(path)
    if sentence is not None and path not in _warned:
        _warned.add(path)
        _LOG.warning("%s", sentence)
