"""What is said of an error: the library's words, but a command where the library's remedy is a call."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

import click

from execstore.addresses import folder_of
from execstore.errors import StoreNotFoundError, StoreReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execstore.errors import ExecStoreError

__all__ = ["sentence_of", "usage_sentence_of"]


def sentence_of(error: ExecStoreError | OSError) -> str:
    """The sentence for an error of the library."""
    if isinstance(error, StoreNotFoundError) and error.reason == "there is no store":
        folder = folder_of(error.path)
        if folder is not None and _is_hidden(folder):
            return f"{error.path} can't be read: {os.strerror(errno.EACCES)}; {_who_may(folder)}"
        shown = error.path if error.path.replace(" ", "") == error.path else f'"{error.path}"'
        return f"{error.path}: {error.reason}; make one with 'execstore --store {shown} init', or check the path"
    cause = error.__cause__
    if isinstance(error, StoreReadOnlyError) and isinstance(cause, OSError):
        reason = error.reason.partition("; ")[0].removeprefix(f"{error.path}: ")
        if not isinstance(cause, PermissionError):
            return f"{error.path} can't be changed: {reason}; commands that only read can be used"
        place = os.path.join(error.path, cause.filename) if isinstance(cause.filename, str) else error.path
        done = "read" if _is_unreadable(place) else "changed"
        return f"{error.path} can't be {done}: {reason}; {_who_may(place)}"
    return str(error)


def _is_hidden(path: str) -> bool:
    """Whether it can't even be seen if it is there."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _is_unreadable(path: str) -> bool:
    """Whether this user may not even read it; of what isn't there yet, that isn't the matter."""
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0))


def _who_may(path: str) -> str:
    """Whose it is, or the folder's above it that can be seen, and so who can help."""
    path = os.path.abspath(path)
    while _is_hidden(path) or not os.path.exists(path):
        path = os.path.dirname(path)
    if sys.platform == "win32":
        return f"give this user access to {path}"
    status = os.stat(path)
    owner = _user_name(status.st_uid)
    whose = f"{path} belongs to {owner}, with mode {stat.S_IMODE(status.st_mode):04o}"
    if status.st_uid == os.geteuid():
        return f"{whose}; change that (chmod, chattr)"
    return f"{whose}; run this as {owner}, or ask {owner} for access"


def _user_name(user_id: int) -> str:
    if sys.platform != "win32":
        import pwd  # noqa: PLC0415 - Windows has none

        with contextlib.suppress(KeyError):
            return pwd.getpwuid(user_id).pw_name
    return f"user {user_id}"


def usage_sentence_of(error: click.ClickException, arguments: Sequence[str]) -> str:
    """The sentence for a command line that is wrong, and where to read what is right."""
    message = " ".join(error.format_message().split()).rstrip(".")
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return f"execstore: {message}"
    ctx = error.ctx
    if isinstance(error, click.NoSuchOption) and isinstance(ctx.command, click.Group):
        owner = _owner_of(error.option_name, ctx, arguments)
        if owner:
            message = f"{error.option_name} goes behind the command's name, as in '{owner} {error.option_name}'"
    see = " See" if message.endswith("?") else "; see"
    return f"{ctx.command_path}: {message}{see} '{ctx.command_path} --help'"


def _owner_of(option: str, ctx: click.Context, arguments: Sequence[str]) -> str | None:
    """The command, with all its names, that a line means and that has this option; it stands before its name."""
    found: click.Command = ctx.find_root().command
    names = [ctx.find_root().command_path]
    for word in arguments:
        inner = found.get_command(ctx, word) if isinstance(found, click.Group) else None
        if inner is not None:
            found = inner
            names.append(word)
            if any(option in parameter.opts for parameter in found.params):
                return " ".join(names)
    # Every command has it, so it is clear what was meant even if none is named.
    return f"{names[0]} COMMAND" if option == "--json" and len(names) == 1 else None
