"""What of a store is shown: the filter that a user types, as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from execstore.errors import InvalidArgumentError
from execstore.states import ExecutionState

if TYPE_CHECKING:
    from execstore.top.model import EventRow, ExecutionRow

__all__ = ["Filter", "parse_filter", "parse_state"]


class Filter(NamedTuple):
    """Executions and events that fit all that is given.

    ``state`` is a state's name; without one the live executions are meant. ``job`` is a job's ID, the beginning of it,
    or a part of its name. Each of ``words`` stands somewhere in the ID, the job, the node, or the message, in whatever
    case.
    """

    state: str = ""
    job: str = ""
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What to type for it."""
        parts = [f"state:{self.state}" if self.state else "", f"job:{self.job}" if self.job else "", *self.words]
        return " ".join(filter(None, parts))

    def takes_execution(self, row: ExecutionRow) -> bool:
        """Whether an execution fits."""
        if self.state and row.state != self.state:
            return False
        texts = (row.execution_id, row.job_id, row.job_name, row.node_id, row.namespace, row.state, row.message)
        return self._takes_job(row.job_id, row.job_name) and self._takes_words(texts)

    def takes_event(self, row: EventRow) -> bool:
        """Whether an event fits: by state, if it led out of it or into it."""
        if self.state and self.state not in row.states:
            return False
        texts = (row.execution_id, row.job_id, row.job_name, row.text, row.object_type, row.operation, *row.states)
        return self._takes_job(row.job_id, row.job_name) and self._takes_words(texts)

    def _takes_job(self, job_id: str, job_name: str) -> bool:
        return not self.job or job_id.startswith(self.job) or self.job.casefold() in job_name.casefold()

    def _takes_words(self, texts: tuple[str, ...]) -> bool:
        if not self.words:
            return True
        whole = "\n".join(texts).casefold()
        return all(word.casefold() in whole for word in self.words)


def parse_filter(text: str) -> Filter:
    """Read ``state:Failed job:hello some words``; a state may be shortened while it is clear which one is meant.

    Raises:
        InvalidArgumentError: there is no such key or no such state, or there are several states.
    """
    state = job = ""
    words = []
    for word in text.split():
        name, colon, value = word.partition(":")
        if colon and name.lower() == "state":
            state = parse_state(value)
        elif colon and name.lower() == "job":
            job = value
        elif colon and name.isalpha() and not value.startswith("//"):
            reason = (
                f"{word!r} begins with no key that there is, state: or job:; for the text leave out {name + colon!r}"
            )
            raise InvalidArgumentError("filter", reason)
        else:
            words.append(word)
    return Filter(state, job, tuple(words))


def parse_state(text: str) -> str:
    """The name of the state that a text is, or is the beginning of, in whatever case.

    Raises:
        InvalidArgumentError
    """
    names = [state.value for state in ExecutionState]
    found = [name for name in names if name.lower() == text.lower()]
    found = found or [name for name in names if text and name.lower().startswith(text.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidArgumentError("state", f"{text!r} can be any of {', '.join(found)}")
    raise InvalidArgumentError("state", f"{text!r} is none; it is one of {', '.join(names)}")
