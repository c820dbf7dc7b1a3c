"""Leaving the job of an execution as the text that it is until somebody looks into it.

A job is more than half of an execution, and most who read executions (a list, a count, an update of the state) never
look into it. So its text is cut out before the rest is parsed, with another one in its place. That must not hide
damage: it is done only with a text that was parsed before, here in this process, and is a JSON object just as this
program writes it. Then the whole is JSON if the rest is, with the same value in every other place, and the text may be
written as it was read; a text that isn't known is parsed at once.

An execution keeps its job over all its revisions, and a job's executions share it, so most texts are known.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Final, NamedTuple, TypeVar

from execstore import codec
from execstore.errors import InvalidExecutionError

__all__ = ["LateJob", "Parsed", "decode_with_jobs_aside", "give_job", "take_stand_in", "unread_job"]

_KEPT_TEXTS: Final = 512
_LARGEST_KEPT: Final = 16384

_JOB: Final = b'"Job":'
_JOB_BYTES: Final = len(_JOB)
_BEHIND_JOB: Final = b'"JobVersion":'
_NEWLINE: Final = ord("\n")
_COMMA: Final = ord(",")


# What stands for the first job, the second, and so on. Nobody can know it, so no text of a user's is taken for it.
_STAND_IN: Final = f"job {os.urandom(8).hex()} "


class Parsed(NamedTuple):
    """A JSON value with something else for every job, and the jobs in their order: a text, or what was made of it."""

    value: Any
    jobs: list[bytes | dict[str, Any]]


class _KnownTexts:
    """The texts of JSON objects that were parsed last: at most 512, of up to 16 KiB each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.texts: dict[bytes, None] = {}

    def add(self, text: bytes) -> None:
        if len(text) <= _LARGEST_KEPT:
            with self._lock:
                if len(self.texts) >= _KEPT_TEXTS:
                    del self.texts[next(iter(self.texts))]
                self.texts[text] = None


_known = _KnownTexts()


def decode_with_jobs_aside(data: bytes) -> Parsed | None:
    """The JSON value of ``data`` with its jobs taken out, ``None`` if that can't be done: then parse it as it is.

    A job is what stands between ``"Job":`` and ``"JobVersion":``, as this program writes an execution, and is a whole
    JSON object. The caller sees to it that it is where a job belongs.
    """
    kept: list[bytes] = []
    jobs: list[bytes | dict[str, Any]] = []
    position = 0
    start = data.find(_JOB)
    while start >= 0:
        start += _JOB_BYTES
        behind = data.find(_BEHIND_JOB, start)
        if behind < 0:
            return None
        end = behind - 2 if data[behind - 1] == _NEWLINE else behind - 1
        text = data[start:end]
        if data[end] != _COMMA:
            return None
        if text in _known.texts:
            jobs.append(text)
        else:
            try:
                job = codec.decode(text)
            except codec.CodecError:
                return None
            if type(job) is not dict:
                return None
            if _is_as_written(job, text):
                _known.add(text)
            jobs.append(job)
        kept += (data[position:start], b'"%b%d"' % (_STAND_IN.encode(), len(jobs) - 1))
        position = end
        start = data.find(_JOB, end)
    if not jobs:
        return None
    kept.append(data[position:])
    try:
        return Parsed(codec.decode(b"".join(kept)), jobs)
    except codec.CodecError:
        return None


def _is_as_written(job: dict[str, Any], text: bytes) -> bool:
    try:
        return codec.encode_trusted(job) == text
    except InvalidExecutionError:  # NaN, say, which is read all the same
        return False


def take_stand_in(data: dict[str, Any], number: int) -> bool:
    """Whether an execution's job, and no other member, is what stands for that of this number; it is ``None`` then."""
    is_there: bool = data.get("Job") == f"{_STAND_IN}{number}"
    if is_there:
        data["Job"] = None
    return is_there


# --- in an execution --------------------------------------------------------------------------------------------------

_ModelT = TypeVar("_ModelT")
_JOB_TEXT: Final = "_job_text"  # where an execution keeps the text of a job that wasn't looked at yet


def give_job(execution: _ModelT, job: bytes | dict[str, Any]) -> _ModelT:
    """An execution that nobody has seen yet, with its job or the text of it."""
    own = execution.__dict__
    if isinstance(job, bytes):
        del own["job"]
        own[_JOB_TEXT] = job
    else:
        own["job"] = job
    return execution


def unread_job(execution: object) -> bytes | None:
    """The text of an execution's job if nobody looked into it, so that it can be written as it was read."""
    own = execution.__dict__
    return None if "job" in own else own.get(_JOB_TEXT)


class LateJob:
    """Stands for an execution's ``job`` as long as it is a text, as ``functools.cached_property`` stands for its value.

    Python comes here only for an execution that has no ``job`` of its own yet, and then gives it one.
    """

    def __get__(self, execution: object | None, owner: type[object]) -> Any:
        if execution is None:
            return None  # the field's default, which dataclasses have on the class
        own = execution.__dict__
        # Whichever of several threads comes first, all are given the same.
        return own.setdefault("job", codec.decode(own[_JOB_TEXT]))
