"""The command line. A command is a file of its own here and one line in ``execstore.cli.app.COMMANDS``.

This module imports nothing that isn't in the standard library or the core, so that a missing extra can be told.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys

from execstore.cli.streams import finish, prepare
from execstore.errors import MissingExtraError

__all__ = ["main"]

_NEEDED = ("click", "rich")


def main() -> None:
    """Run the command line on ``sys.argv`` and exit with its status (0 done, 1 no, 2 wrong usage, 3 unusable store)."""
    prepare()
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        sys.stderr.write(f"execstore: {MissingExtraError('the command line', 'cli')}\n")
        sys.exit(2)
    from execstore.cli.app import INTERRUPTED, run  # noqa: PLC0415 (it imports click)

    if hasattr(signal, "SIGPIPE"):
        # The reader of a pipe went away (``| head``): end at once and without a word, as other programs do. The store
        # doesn't mind being ended at any moment.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    status = run(sys.argv[1:])
    finish()
    if status == INTERRUPTED:
        # The shell has to see that it was Ctrl-C, or a loop around this program couldn't be interrupted.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(status)
