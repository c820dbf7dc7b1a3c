"""Reading a node's store for its forwarder: pieces of its log, cut between operations, and executions as they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from execstore.codec import CodecError
from execstore.errors import EventsCompactedError, InvalidArgumentError, InvalidExecutionError
from execstore.event_log import StoreEventLog
from execstore.forwarding.applying import Whole, records_of
from execstore.records import parse_execution
from execstore.schema import EXECUTION_EVENTS, EXECUTIONS
from execstore.tree.segments import LogState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from execstore.engine import Reader
    from execstore.store import Store

__all__ = ["Page", "Piece", "Source", "fingerprint"]

_TIME: Final = re.compile(rb',"timestamp":(-?[0-9]{1,20})[,}]')
_CHECKSUM: Final = re.compile(rb'"crc32":"([0-9a-f]{8})"\}$')
_NODES_LOOKED_AT: Final = 1000
_PIECE: Final = 16  # executions a look: so few that writers hardly ever have to wait for it


def fingerprint(line: bytes) -> str:
    """What tells an event from another one of the same number, in a store that was set back: its time and checksum."""
    time_ns = _TIME.search(line, max(line.rfind(b',"timestamp":'), 0))
    checksum = _CHECKSUM.search(line)
    return f"{time_ns[1].decode() if time_ns else ''}-{checksum[1].decode() if checksum else ''}"


class Piece(NamedTuple):
    """Lines of the log with their numbers, of whole operations. ``latest`` is the log's at that time."""

    lines: list[tuple[int, bytes]]
    latest: int


class Page(NamedTuple):
    """Some executions in the order of their IDs; ``is_last``: there are none behind them."""

    wholes: list[Whole]
    is_last: bool


class Source:
    """A node's store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._log = StoreEventLog(store)
        self._ids: list[str] = []

    @property
    def store_id(self) -> str:
        """What tells this store from every other."""
        return self.store.store_id

    def ends(self) -> LogState:
        """How far the log reaches."""
        return LogState.of(self.store.engine().values())

    def is_untouched(self) -> bool:
        """Whether nothing was ever stored: from now on the log tells everything."""
        return self.store.look(
            lambda reader: not LogState.of(reader.values).latest and not reader.record_names(EXECUTIONS)
        )

    def line(self, number: int) -> bytes | None:
        """An event's line, ``None`` if it is no longer, or not yet, in the log."""
        state = self.ends()
        if not state.oldest <= number <= state.latest:
            return None
        found = self._log.read(number, 1)
        return found[0][1] if found and found[0][0] == number else None

    def read(self, first: int, maximum: int, maximum_bytes: int) -> Piece:
        """Lines from number ``first`` on, some ``maximum`` of them and some ``maximum_bytes``: whole operations, so it
        may be more.

        Raises:
            EventsCompactedError: ``first`` isn't there any more.
            StoreCorruptedError: lines are missing.
        """
        state = self.ends()
        if first > state.latest:
            return Piece([], state.latest)
        lines: list[tuple[int, bytes]] = []
        size = 0
        while True:
            number = first + len(lines)
            more = self._log.read(number, min(maximum, state.latest - number + 1))
            if not more or more[0][0] != number:
                raise EventsCompactedError(number, self.ends().oldest)
            for entry in more:
                size += len(entry[1])
                lines.append(entry)
                if len(lines) >= maximum or size >= maximum_bytes:
                    end = _whole_operations(lines, is_end=lines[-1][0] == state.latest)
                    if end:
                        return Piece(lines[:end], state.latest)
            if lines[-1][0] == state.latest:
                return Piece(lines, state.latest)

    def wholes(self, owners: Mapping[str, str], damaged: Callable[[str], None]) -> tuple[list[Whole], int]:
        """Executions by ID as they are now, and the latest event of that same moment. ``owners``: ID to ``NodeID``.

        ``damaged`` is told of those that can't be read, which are left out.
        """

        def look(reader: Reader) -> tuple[list[Whole], int]:
            records = records_of(reader, list(owners))
            found = [
                _whole(reader, execution_id, records[execution_id], owner) for execution_id, owner in owners.items()
            ]
            return found, LogState.of(reader.values).latest

        found, latest = self.store.look(look)
        return [whole for whole in found if whole.record is None or _is_readable(whole, damaged)], latest

    def page(self, after: str, maximum: int, maximum_bytes: int, damaged: Callable[[str], None]) -> Page:
        """The executions behind an ID. ``damaged`` is told of those that can't be read, which are left out.

        The IDs are listed once, when ``after`` is "" or isn't where the page before ended: who comes later is told by
        the log. Memory holds the IDs of all, and the content of one page.
        """
        if not after or not self._ids or self._ids[-1] <= after:
            self._ids = self.store.look(_ids)
            self._ids.sort(reverse=True)
        while self._ids and self._ids[-1] <= after:
            self._ids.pop()
        wholes: list[Whole] = []
        size = 0
        while self._ids and len(wholes) < maximum and size < maximum_bytes:
            piece = self._ids[-min(maximum - len(wholes), _PIECE) :][::-1]
            found, _ = self.wholes(dict.fromkeys(piece, ""), damaged)
            del self._ids[-len(piece) :]
            wholes += [whole for whole in found if whole.record is not None]
            size += sum(len(whole.record or b"") + len(whole.lines) for whole in found)
        return Page(wholes, not self._ids)

    def node(self) -> str:
        """The only ``NodeID`` among the first executions. Raises ``InvalidArgumentError`` if there isn't just one."""
        found = {execution.node_id for execution in self.store.list_executions(limit=_NODES_LOOKED_AT)}
        if not found:
            reason = "the store has no execution yet that would tell"
        elif found == {""}:
            reason = "the executions have no NodeID"
        elif len(found) == 1:
            return found.pop()
        else:
            names = ", ".join(name or "(none)" for name in sorted(found)[:3])
            reason = f"the executions are of several nodes ({names}{' …' if len(found) > 3 else ''})"
        raise InvalidArgumentError("node", f"{reason}; give the node's name (--node NAME)")

    def wait(self, after: int, timeout_seconds: float, interrupted: Callable[[], bool]) -> None:
        """Wait for an event above ``after``."""
        self._log.wait(after, timeout_seconds, interrupted)

    def wake(self) -> None:
        """End the wait."""
        self._log.wake()


def _whole_operations(lines: Sequence[tuple[int, bytes]], *, is_end: bool) -> int:
    """How many of these lines are of whole operations, those of one having the same time. 0: not even the first is."""
    if is_end:
        return len(lines)
    last = _time_of(lines[-1][1])
    end = len(lines)
    while end and _time_of(lines[end - 1][1]) == last:
        end -= 1
    return end


def _time_of(line: bytes) -> bytes:
    found = _TIME.search(line, max(line.rfind(b',"timestamp":'), 0))
    return found[1] if found else b""


def _ids(reader: Reader) -> list[str]:
    found: list[str] = []
    for name in reader.record_names(EXECUTIONS):
        key = reader.key_of(name)
        if key is None:
            record = reader.record_named(EXECUTIONS, name)
            try:
                key = parse_execution(record or b"").id
            except (CodecError, InvalidExecutionError):
                continue
        found.append(key)
    return found


def _whole(reader: Reader, execution_id: str, record: bytes | None, owner: str) -> Whole:
    lines = None if record is None else reader.lines(EXECUTION_EVENTS, execution_id)
    return Whole(execution_id, record, lines or b"", owner)


def _is_readable(whole: Whole, damaged: Callable[[str], None]) -> bool:
    try:
        execution = parse_execution(whole.record or b"")
        if execution.id == whole.execution_id:
            return True
        reason = f"it holds execution {execution.id}"
    except (CodecError, InvalidExecutionError) as error:
        reason = str(error)
    damaged(f"execution {whole.execution_id} is damaged: {reason}; run 'execstore verify' on its node")
    return False
