"""The forwarder: brings what one node's store holds into a central store, and goes on with it.

What is brought, and how far that is, change in one transaction of the central store (see ``stream``), so nothing comes
twice and nothing is left out, whatever is cut off. On the node a watcher's checkpoint keeps what is still to be brought
from being collected, and shows how far behind the central store is.

A node's log that reaches back to its first event is brought from there, and then every execution is compared, since
not all must have come by the log. The first forwarder of any other node, one that finds its events collected or
damaged, and one after ``resync`` bring every execution whole. What changed meanwhile follows by the log, again whole;
once a look at what the log names is of the very moment at which the log ends, it goes on event by event.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from execstore.errors import (
    ChangeTooLargeError,
    DeserializationError,
    EventsCompactedError,
    InvalidArgumentError,
    InvalidExecutionError,
    SourceChangedError,
)
from execstore.forwarding.ahead import Ahead
from execstore.forwarding.applying import Applied, apply_batch, apply_whole, store_stream
from execstore.forwarding.batch import Rules, named_executions
from execstore.forwarding.central import Central, OfflineError
from execstore.forwarding.keeper import Keeper
from execstore.forwarding.report import ForwardReport
from execstore.forwarding.source import Source, fingerprint
from execstore.forwarding.stream import Phase, Stream, check_node
from execstore.records import parse_execution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from execstore.engine import Change
    from execstore.forwarding.applying import Whole
    from execstore.forwarding.batch import Batch
    from execstore.forwarding.central import Operation
    from execstore.store import Store

__all__ = ["DEFAULT_BATCH_SIZE", "Forwarder"]

DEFAULT_BATCH_SIZE: Final = 256
"""Events a transaction."""

_LOG = logging.getLogger("execstore")
_BATCH_BYTES: Final = 1 << 20
_WAIT_SECONDS: Final = 60.0
_LISTED: Final = 100
_IDS_A_SWEEP: Final = 256
_SAFETY: Final = 0.9  # operations aren't all of one size


class Forwarder:
    """Brings one node's executions and their events into a central store, exactly once.

    Any number of them may forward the same node at once, and any number of nodes into the same store. The central
    store's event log gets a line for each that the node's has, with numbers and times of its own. Events of other types
    than the store's own stay on the node.

    An execution belongs to the node that has brought it first: another node's execution of the same ID is left alone,
    and told (`ForwardReport.conflicts`, and `Stream.conflicts` in the central store). The node is the truth for its
    own: its records replace those that are there, deletions are followed.

    Args:
        source: the node's store. If it may be written to, a watcher's checkpoint is kept in it.
        open_destination: opens the central store; called again after it couldn't be used.
        node: the node's name, which becomes the ``NodeID`` of what is brought. Otherwise it is the only ``NodeID`` that
            the source's executions have.
        keep_nodes: let executions that have a ``NodeID`` keep it: for a source that is a central store itself.
        keep_ended: keep executions that had ended when the node deletes them (as ``prune`` does).
        resync: bring everything whole, even if the source isn't the store that was forwarded under this name before.
        batch_size: events a transaction, at most (but for one operation's own, which stay together).
        max_bytes_per_second: of records and log lines; 0 for any number.
        linger: seconds to wait for more once something new is there, so that it comes in fewer transactions.
        initial_backoff, max_backoff: seconds to wait when the central store can't be used, doubled each time.
        on_progress: told of the report after each batch.

    Raises:
        InvalidArgumentError: an argument makes no sense, or the node's name isn't known.
    """

    def __init__(
        self,
        source: Store,
        open_destination: Callable[[], Store],
        *,
        node: str | None = None,
        keep_nodes: bool = False,
        keep_ended: bool = False,
        resync: bool = False,
        batch_size: int = DEFAULT_BATCH_SIZE,
        max_bytes_per_second: int = 0,
        linger: float = 0.0,
        initial_backoff: float = 0.5,
        max_backoff: float = 60.0,
        on_progress: Callable[[ForwardReport], None] | None = None,
    ) -> None:
        for name, number, least in (("batch_size", batch_size, 1), ("max_bytes_per_second", max_bytes_per_second, 0)):
            if type(number) is not int or number < least:
                raise InvalidArgumentError(name, f"must be an integer of at least {least}, but is {number!r}")
        for name, seconds in (("linger", linger), ("initial_backoff", initial_backoff), ("max_backoff", max_backoff)):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
                raise InvalidArgumentError(name, f"must be a number of seconds, not negative, but is {seconds!r}")
        self._source = Source(source)
        self._rules = Rules(check_node(node or self._source.node()), keep_nodes, keep_ended)
        self._resync = resync
        self._batch_size = batch_size
        self._bytes_per_second = max_bytes_per_second
        self._batch_bytes = min(_BATCH_BYTES, max_bytes_per_second) if max_bytes_per_second else _BATCH_BYTES
        self._linger_seconds = float(linger)
        self._smallest_backoff, self._largest_backoff = float(initial_backoff), float(max_backoff)
        self._on_progress = on_progress
        self._report = ForwardReport(self._rules.node, source.path)
        self._stopped = threading.Event()
        self._central = Central(open_destination, self._rules.node)
        self._keeper = Keeper(source, self._rules.node)
        self._ahead: Ahead | None = None
        self._maximum = batch_size  # of the next batch: smaller after one that was too large for the central store

    @property
    def report(self) -> ForwardReport:
        """What was done so far."""
        return self._report

    @property
    def watcher_id(self) -> str:
        """The name of its checkpoint in the source; "" until the central store was reached for the first time."""
        return self._keeper.watcher_id

    def stop(self) -> None:
        """Let `run` end after the batch in hand. May be called from any thread, and from a signal's handler."""
        self._stopped.set()
        self._source.wake()

    def run(self, *, once: bool = False) -> ForwardReport:
        """Bring what there is and, unless ``once``, what comes, until `stop`.

        While the central store can't be used (out of reach, busy, full), it is tried again and again; with ``once`` the
        error is raised.

        Raises:
            SourceChangedError: under the node's name another store was forwarded, or this one when it had more events.
            StoreCorruptedError: the source's log, or a record in the central store, can't be read.
            StoreAccessError, UnsupportedFormatError, NotAStoreError, … : the central store can't be used, and waiting
                won't help.
        """
        started = time.monotonic()
        backoff = self._smallest_backoff
        try:
            while not self._stopped.is_set():
                try:
                    is_behind = self._step()
                except OfflineError as offline:
                    self._central.close()
                    error = offline.__cause__
                    if once and error is not None:
                        raise error from None
                    self._report.retries += 1
                    seconds = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - a fleet shouldn't come back as one
                    _LOG.warning("node %s: %s; trying again in %.1f s", self._rules.node, error, seconds)
                    self._stopped.wait(seconds)
                    backoff = min(max(backoff, 0.001) * 2, self._largest_backoff)
                    continue
                backoff = self._smallest_backoff
                self._tell()
                if is_behind:
                    continue
                self._keeper.keep(self._number(), at_once=True)
                if once:
                    break
                self._source.wait(self._number(), _WAIT_SECONDS, self._stopped.is_set)
                self._stopped.wait(self._linger_seconds)
            self._keeper.keep(self._number(), at_once=True)
        finally:
            self._central.close()
            if self._ahead is not None:
                self._ahead.close()
                self._ahead = None
            self._report.seconds += time.monotonic() - started
        return self._report

    # --- one step ---

    def _step(self) -> bool:
        """Do one batch; whether there is more to do at once."""
        if not self._central.is_connected:
            self._connect()
        stream = self._central.stream
        if stream is None or self._resync:
            self._begin(stream)
            return True
        self._keeper.keep(self._number())
        try:
            match stream.phase:
                case Phase.REPLAY | Phase.FOLLOW:
                    return self._follow(stream)
                case Phase.COPY:
                    return self._copy(stream)
                case Phase.SWEEP:
                    return self._sweep(stream)
                case Phase.CATCH_UP:
                    return self._catch_up(stream)
        except EventsCompactedError as error:
            self._copy_again(stream, f"the events {error.requested} to {error.oldest - 1} were collected unread")
        except (DeserializationError, InvalidExecutionError) as error:
            self._copy_again(stream, str(error))
        return True

    def _connect(self) -> None:
        self._central.connect()
        if self._central.store_id == self._source.store_id:
            raise InvalidArgumentError("destination", f"{self._central.path} is the store that is to be forwarded")
        self._report.destination = self._central.path
        # Two central stores are at two places of the node's log.
        self._keeper.watcher_id = f"forward-{self._rules.node}-{self._central.store_id[:8]}"
        if self._central.stream is not None and not self._resync:
            self._check_source(self._central.stream)

    def _check_source(self, stream: Stream) -> None:
        """Raises ``SourceChangedError`` if this isn't the store, or not the state of it, that was forwarded before."""
        source, path = self._source, self._central.path
        if stream.source_id != source.store_id:
            reason = f"has it from another store ({stream.source_id}) than {source.store.path} ({source.store_id})"
            raise SourceChangedError(stream.node, path, reason)
        latest = source.ends().latest
        if stream.sequence_number > latest:
            reason = f"has its events up to {stream.sequence_number}, but {source.store.path} ends at {latest}"
            raise SourceChangedError(stream.node, path, reason)
        line = source.line(stream.sequence_number) if stream.sequence_number else None
        if line is not None and stream.fingerprint and fingerprint(line) != stream.fingerprint:
            reason = f"has another event {stream.sequence_number} of it than {source.store.path}"
            raise SourceChangedError(stream.node, path, reason)

    def _begin(self, stream: Stream | None) -> None:
        """Note the beginning in the central store."""
        ends = self._source.ends()
        begun = Stream(self._rules.node, self._source.store_id)
        if stream is not None:
            begun = self._copying(replace(stream, source_id=begun.source_id), sweeps=True)
        elif self._source.is_untouched():
            begun = replace(begun, phase=Phase.FOLLOW)
        elif ends.oldest == 1 and ends.latest:
            begun = replace(begun, phase=Phase.REPLAY, until=ends.latest)
        else:
            begun = self._copying(begun, sweeps=False)
        # Before anything is brought, so that the log from here on stays.
        self._keeper.keep(begun.sequence_number, at_once=True)
        self._set_stream(stream, begun)
        self._resync = False

    def _copying(self, stream: Stream, *, sweeps: bool) -> Stream:
        latest = self._source.ends().latest
        line = self._source.line(latest) if latest else None
        return stream.begin_copy(latest, fingerprint(line) if line else "", sweeps=sweeps)

    def _copy_again(self, stream: Stream, reason: str) -> None:
        _LOG.warning("node %s: %s; bringing all executions whole", stream.node, reason)
        self._set_stream(stream, self._copying(stream, sweeps=True))

    def _follow(self, stream: Stream) -> bool:
        if stream.phase is Phase.REPLAY and stream.sequence_number >= stream.until:
            # What an import or a repair brought has left no trace in the log.
            copying = stream.begin_copy(stream.sequence_number, stream.fingerprint, sweeps=False)
            self._set_stream(stream, copying)
            return True
        if self._ahead is None:
            self._ahead = Ahead(self._source, self._rules)
        piece, batch = self._ahead.take(stream.sequence_number + 1, self._maximum, self._batch_bytes)
        if not piece.lines:
            return False
        if batch.unclear:
            raise DeserializationError(batch.unclear, stream.sequence_number + 1)
        owners = self._owners(batch)
        after = _moved(stream, piece.lines)
        self._apply(
            stream,
            after,
            lambda change, clock: apply_batch(change, stream, after, batch, owners, self._rules, clock),
            batch.bytes,
            batch.outcomes,
        )
        return True

    def _owners(self, batch: Batch) -> dict[str, str]:
        """The nodes of executions of which a batch has only events, where they aren't all the same."""
        if not self._rules.keep_nodes:
            return {}
        unknown = {execution_id: "" for execution_id, outcome in batch.outcomes.items() if not outcome.owner}
        wholes, _ = self._source.wholes(unknown, _warn)
        return {
            whole.execution_id: self._rules.owner(parse_execution(whole.record).node_id)
            for whole in wholes
            if whole.record is not None
        }

    def _copy(self, stream: Stream) -> bool:
        if not stream.after:
            self._report.full_copies += 1
        page = self._source.page(stream.after, self._maximum, self._batch_bytes, _warn)
        if page.wholes:
            after = replace(stream, after=page.wholes[-1].execution_id)
        else:
            after = replace(stream, phase=Phase.SWEEP if stream.sweeps else Phase.CATCH_UP, after="")
        self._bring(stream, after, page.wholes)
        return True

    def _sweep(self, stream: Stream) -> bool:
        """Look whether the node still has what is here under its name."""
        ids = self._central.ids(stream.after, min(_IDS_A_SWEEP, self._maximum))
        wholes, _ = self._source.wholes(dict.fromkeys(ids, ""), _warn)
        after = replace(stream, after=ids[-1]) if ids else replace(stream, phase=Phase.CATCH_UP, after="")
        self._bring(stream, after, [whole for whole in wholes if whole.record is None])
        return True

    def _catch_up(self, stream: Stream) -> bool:
        piece = self._source.read(stream.sequence_number + 1, self._maximum, self._batch_bytes)
        wholes, latest = self._source.wholes(named_executions(piece.lines), _warn)
        after = _moved(stream, piece.lines)
        if latest == after.sequence_number:
            # What was brought is of the very moment at which the log ends here: from now on the log alone tells.
            after = replace(after, phase=Phase.FOLLOW)
        self._bring(stream, after, wholes)
        return True

    def _bring(self, stream: Stream, after: Stream, wholes: Sequence[Whole]) -> None:
        self._apply(
            stream,
            after,
            lambda change, clock: apply_whole(change, stream, after, wholes, self._rules, clock),
            sum(len(whole.record or b"") + len(whole.lines) for whole in wholes),
            [whole.execution_id for whole in wholes],
        )

    # --- the central store ---

    def _set_stream(self, expected: Stream | None, after: Stream) -> None:
        def operation(change: Change, clock: Callable[[], int]) -> Applied | None:
            stored = store_stream(change, expected, after, clock)
            return None if stored is None else Applied(stored)

        self._commit(operation)

    def _apply(
        self,
        stream: Stream,
        after: Stream,
        operation: Operation,
        size: int,
        what: Iterable[str],
    ) -> None:
        """Commit a batch; ``what`` names its executions. One that is too large for the central store is tried again
        with less; what is too large by itself is left out."""
        try:
            applied = self._commit(operation, size)
        except ChangeTooLargeError as error:
            if self._maximum > 1:
                self._maximum = max(int(self._maximum * min(error.limit / max(error.size, 1), 1) * _SAFETY), 1)
                return
            sentence = f"execution {', '.join(what)} of node {stream.node} was left out: {error}"
            without = replace(after, conflicts=after.conflicts + 1, last_conflict=sentence)
            self._set_stream(stream, without)
            self._note_conflicts([sentence])
            return
        if self._maximum < self._batch_size:
            self._maximum += 1
        if applied is None:
            return
        report = self._report
        report.batches += 1
        report.bytes += size
        report.events += applied.events
        report.executions += applied.executions
        report.deleted += applied.deleted
        report.left_out += applied.left_out
        self._note_conflicts(applied.conflicts)
        if self._bytes_per_second:
            self._stopped.wait(size / self._bytes_per_second)

    def _note_conflicts(self, sentences: Sequence[str]) -> None:
        self._report.conflict_count += len(sentences)
        for sentence in sentences[: max(_LISTED - len(self._report.conflicts), 0)]:
            _LOG.warning("%s", sentence)
            self._report.conflicts.append(sentence)

    def _commit(self, operation: Operation, size: int = 0) -> Applied | None:
        applied = self._central.commit(operation, size)
        if applied is None and self._central.stream is not None:
            self._check_source(self._central.stream)
        return applied

    # --- the node ---

    def _number(self) -> int:
        return self._keeper.kept if self._central.stream is None else self._central.stream.sequence_number

    def _tell(self) -> None:
        report, stream = self._report, self._central.stream
        if stream is not None:
            report.phase, report.sequence_number = stream.phase.value, stream.sequence_number
            report.lag = max(self._source.ends().latest - stream.sequence_number, 0)
        if self._on_progress is not None:
            self._on_progress(report)


def _moved(stream: Stream, lines: Sequence[tuple[int, bytes]]) -> Stream:
    """The stream once these lines are done."""
    if not lines:
        return stream
    return replace(stream, sequence_number=lines[-1][0], fingerprint=fingerprint(lines[-1][1]))


def _warn(sentence: str) -> None:
    _LOG.warning("%s", sentence)
