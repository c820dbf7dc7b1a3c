"""Pruning: which executions may go because they ended long ago, and letting them go.

An execution may go if its state is among the chosen ones (the terminal states, if nothing else is said), its
``modify_time`` is at least ``older_than`` ago, and it is not one of the newest ``keep_per_job`` of its job in those
states. A live one (BidAccepted, Running, Publishing) never goes. The reference has nothing of this kind.

Who goes leaves as after ``delete_execution``: its events, its index entries and, with the last of a job, the job's
folder go too, and the event log has a DELETE of it. Deletions share changes, a few at a time, so that other writers
wait for some milliseconds at most.

By hand (`prune`), candidates are read page by page and the rule is applied to all of them once; each is looked at again
when its turn comes, and stays if it changed meanwhile. In writers (`Pruner`), a sweep over all candidates is spread
over many commits. It reads each record once, and remembers when those that stay will be old enough (some 200 bytes
each); the next sweep begins when the first of them is, but there are no more than eight in the time that they are kept.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from execstore.codec import CodecError
from execstore.engine import LogState
from execstore.errors import (
    ExecStoreError,
    ExecutionNotFoundError,
    InvalidExecutionError,
    StoreClosedError,
    TransactionConflictError,
)
from execstore.operations import delete_execution
from execstore.queries import find_execution
from execstore.records import parse_execution
from execstore.schema import EXECUTION_EVENTS, EXECUTIONS, STATE_INDEX, TIME
from execstore.states import ExecutionState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from execstore.engine import Change, Engine, Reader
    from execstore.operations import Rules

__all__ = ["TERMINAL_STATES", "Candidate", "PruneReport", "PruneRule", "Pruner", "decide", "prune"]

TERMINAL_STATES: Final = frozenset(state for state in ExecutionState if state.is_terminal)

_LOG = logging.getLogger("execstore")

_SECOND_NS = 10**9

# By hand: how many records one look reads, and how much one change removes at most.
_RECORDS_A_LOOK = 8  # so short that writers hardly ever outrun it
_DELETES_A_CHANGE = 8  # four files each, and on some disks it takes a millisecond to remove one
_BYTES_A_CHANGE = 1 << 20

# After a commit: how many records a run looks at, and how long until the next run.
_RECORDS_A_RUN = 32
_SWEEPS_A_RETENTION = 8
_NEXT_IF_MORE_NS = _SECOND_NS // 500
_NEXT_IF_BUSY_NS = _SECOND_NS // 10
_NEXT_AFTER_ERROR_NS = 60 * _SECOND_NS


class Candidate(NamedTuple):
    """What the rule needs to know of an execution. ``size_bytes`` is the length of its record and of its events."""

    execution_id: str
    job_id: str
    state: ExecutionState
    modify_time: int
    size_bytes: int = 0


class PruneRule(NamedTuple):
    """What may go. ``states`` holds no live one; ``keep_per_job`` ``None`` keeps none for its job's sake."""

    older_than_ns: int
    states: frozenset[ExecutionState] = TERMINAL_STATES
    keep_per_job: int | None = None


def decide(candidates: Iterable[Candidate], rule: PruneRule, now_ns: int) -> list[Candidate]:
    """Apply the rule to all executions of a store, or to those in ``rule.states``: a pure function.

    Returns those that go, the oldest first; of two equally old ones that with the smaller ID.
    """
    chosen = [each for each in candidates if each.state in rule.states and not each.state.is_executing]
    if rule.keep_per_job:
        kept: dict[str, int] = {}
        others: list[Candidate] = []
        for each in sorted(chosen, key=_by_age, reverse=True):
            number = kept.get(each.job_id, 0)
            if number < rule.keep_per_job:
                kept[each.job_id] = number + 1
            else:
                others.append(each)
        chosen = others
    return sorted((each for each in chosen if now_ns - each.modify_time >= rule.older_than_ns), key=_by_age)


def _by_age(candidate: Candidate) -> tuple[int, str]:
    return candidate.modify_time, candidate.execution_id


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What went, or would have gone, the oldest first. ``bytes`` is what it took in records and events' files."""

    executions: tuple[Candidate, ...]
    dry_run: bool = False

    @property
    def ids(self) -> list[str]:
        """The IDs."""
        return [each.execution_id for each in self.executions]

    @property
    def bytes(self) -> int:
        """The length of all that went."""
        return sum(each.size_bytes for each in self.executions)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "count": len(self.executions),
            "bytes": self.bytes,
            "dry_run": self.dry_run,
            "executions": [
                {
                    "id": each.execution_id,
                    "job_id": each.job_id,
                    "state": each.state.value,
                    "modify_time": each.modify_time,
                    "bytes": each.size_bytes,
                }
                for each in self.executions
            ],
        }


# --- reading --------------------------------------------------------------------------------------------------------


def _names(reader: Reader, states: Iterable[ExecutionState]) -> list[str]:
    """The names of the records in these states, unsorted."""
    return [name for state in states for name in reader.members(STATE_INDEX, state.value)]


def _load(reader: Reader, names: Iterable[str]) -> list[Candidate]:
    """What the rule needs of these records. One that went meanwhile, or is damaged, is no candidate."""
    found: list[Candidate] = []
    for name in names:
        try:
            record = reader.record_named(EXECUTIONS, name)
            if record is None:
                continue
            execution = parse_execution(record)
            size_bytes = len(record) + reader.lines_bytes(EXECUTION_EVENTS, execution.id)
        except (CodecError, InvalidExecutionError) as error:
            _LOG.warning("execution %s is damaged: %s; it stays; run 'execstore verify'", name, error)
            continue
        except ExecStoreError as error:
            _LOG.warning("execution %s can't be read: %s; it stays", name, error)
            continue
        state = execution.compute_state.state_type
        found.append(Candidate(execution.id, execution.job_id, state, execution.modify_time, size_bytes))
    return found


def _candidates(engine: Engine, states: Iterable[ExecutionState]) -> Iterator[Candidate]:
    """All executions in these states, each page as of one moment: no look is so long that writers outrun it."""
    names = engine.read(lambda reader: _names(reader, states))
    for start in range(0, len(names), _RECORDS_A_LOOK):
        page = names[start : start + _RECORDS_A_LOOK]
        yield from engine.read(lambda reader, page=page: _load(reader, page))  # type: ignore[misc]


# --- removing -------------------------------------------------------------------------------------------------------


def _delete(change: Change, going: Sequence[Candidate], rules: Rules) -> list[Candidate]:
    """Remove those of ``going`` that didn't change meanwhile; returns which these are."""
    gone: list[Candidate] = []
    for each in going:
        try:
            _, stored = find_execution(change, each.execution_id)
        except ExecutionNotFoundError:
            continue
        except ExecStoreError as error:
            _LOG.warning("execution %s can't be pruned: %s", each.execution_id, error)
            continue
        # No two changes of a store have the same time, so one with this time is the one that was decided on.
        if (stored.compute_state.state_type, stored.modify_time) == (each.state, each.modify_time):
            delete_execution(change, each.execution_id, rules)
            gone.append(each)
    return gone


def _batches(going: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    batch: list[Candidate] = []
    size_bytes = 0
    for each in going:
        if batch and (len(batch) == _DELETES_A_CHANGE or size_bytes + each.size_bytes > _BYTES_A_CHANGE):
            yield batch
            batch, size_bytes = [], 0
        batch.append(each)
        size_bytes += each.size_bytes
    if batch:
        yield batch


def prune(engine: Engine, rule: PruneRule, rules: Rules, *, dry_run: bool = False) -> PruneReport:
    """Remove all that may go now, in changes that other writers don't have to wait long for."""
    candidates = list(_candidates(engine, rule.states))
    # Times of a store only go up, so after its clock was set back they are ahead of it; none is in the future.
    newest_ns = engine.read(lambda reader: int(reader.values.get(TIME, 0)))
    going = decide(candidates, rule, max(rules.clock(), newest_ns))
    if dry_run:
        return PruneReport(tuple(going), dry_run=True)
    gone: list[Candidate] = []
    for batch in _batches(going):
        gone += engine.change(partial(_delete, going=batch, rules=rules))
    return PruneReport(tuple(gone))


class Pruner:
    """Prunes after commits, a little at a time. One for each handle that was given a retention; safe for many threads.

    Nothing that goes wrong here reaches the caller, whose change is committed by then: it is logged.
    """

    def __init__(self, rule: PruneRule, rules: Rules) -> None:
        self._rule = rule
        self._rules = rules
        self._running = threading.Lock()
        self._ran_ns = 0
        self._due_ns = 0
        self._is_sweeping = False
        self._sweep_ns = 0
        self._names: list[str] = []  # what the sweep has still to look at
        self._due_of: dict[str, int] = {}  # when those that stay are old enough, so that they are read no second time
        self._going: list[Candidate] = []  # what it found that goes
        self._first_due_ns = 0  # when the first of those that stay is old enough

    def after_commit(self, engine: Engine) -> None:
        """See whether something is due."""
        try:
            now_ns = self._rules.clock()
            # A clock that was set back must not put the next run off for years.
            if self._ran_ns <= now_ns < self._due_ns or not self._running.acquire(blocking=False):
                return
            try:
                self._ran_ns = now_ns
                self._due_ns = now_ns + _NEXT_AFTER_ERROR_NS
                self._due_ns = now_ns + self._run(engine, now_ns)
            finally:
                self._running.release()
        except StoreClosedError:
            return  # by another thread; the next handle goes on
        except Exception as error:  # noqa: BLE001 - the caller's change is committed; this is no failure of it
            _LOG.warning("%s: old executions can't be pruned now (%s)", engine.path, error)

    def _run(self, engine: Engine, now_ns: int) -> int:
        """Go on with the sweep; returns the nanoseconds until the next run."""
        # All of it under the lock, if it is free: without it, a look at many files would have to be taken again and
        # again while others write.
        change = engine.try_begin()
        if change is None:
            return _NEXT_IF_BUSY_NS
        try:
            if not self._is_sweeping:
                self._begin_sweep(change, now_ns)
            if not self._going:
                self._look(change, now_ns)
            batch = next(_batches(self._going), [])
            _delete(change, batch, self._rules)
        except BaseException:
            engine.rollback(change)
            raise
        try:
            engine.commit(change)
        except TransactionConflictError:
            return _NEXT_IF_BUSY_NS
        del self._going[: len(batch)]
        if self._going or self._names:
            return _NEXT_IF_MORE_NS
        self._is_sweeping = False
        shortest_ns = max(self._rule.older_than_ns // _SWEEPS_A_RETENTION, _SECOND_NS)
        return max(self._first_due_ns, self._sweep_ns + shortest_ns) - now_ns

    def _begin_sweep(self, reader: Reader, now_ns: int) -> None:
        due_of: dict[str, int] = {}
        names: list[str] = []
        for name in _names(reader, self._rule.states):
            due_ns = self._due_of.get(name, now_ns)
            if due_ns > now_ns:
                due_of[name] = due_ns
            else:
                names.append(name)
        names.sort()
        # Handles that see one commit each, as of a script under cron, mustn't all look at the same records.
        start = LogState.of(reader.values).latest * _RECORDS_A_RUN % len(names) if names else 0
        self._names = names[start:] + names[:start]
        self._names.reverse()  # they are taken from the end
        self._due_of = due_of
        self._sweep_ns = now_ns
        # What ends from now on needn't be seen by this sweep: it goes after the others.
        self._first_due_ns = min(due_of.values(), default=now_ns + self._rule.older_than_ns)
        self._is_sweeping = True

    def _look(self, reader: Reader, now_ns: int) -> None:
        found = _load(reader, self._names[-_RECORDS_A_RUN:])
        del self._names[-_RECORDS_A_RUN:]
        self._going = decide(found, self._rule, now_ns)
        going = {each.execution_id for each in self._going}
        for each in found:
            if each.execution_id not in going:
                due_ns = each.modify_time + self._rule.older_than_ns
                self._due_of[reader.name_of(each.execution_id)] = due_ns
                self._first_due_ns = min(self._first_due_ns, due_ns)
