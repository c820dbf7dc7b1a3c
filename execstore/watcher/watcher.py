"""A watcher: a thread that reads the event log from where it left off and gives each event to a handler."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from execstore.errors import (
    CheckpointNotFoundError,
    DeserializationError,
    EventHandlingError,
    EventsCompactedError,
    ExecStoreError,
    HandlerExistsError,
    InvalidArgumentError,
    NoHandlerError,
    StoreClosedError,
    StoreReadOnlyError,
    WatcherStateError,
)
from execstore.watcher.event_store import first_number
from execstore.watcher.events import EventIterator, EventIteratorType, GetEventsRequest, check_sequence_number
from execstore.watcher.options import (
    CompactionStrategy,
    Handler,
    WatcherOptions,
    WatcherState,
    WatcherStats,
    handler_function,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from execstore.watcher.event_store import EventStore
    from execstore.watcher.events import Event, GetEventsResponse

__all__ = ["Watcher"]

_EXIT_TIMEOUT_SECONDS: Final = 2.0
_DEFAULT_OPTIONS: Final = WatcherOptions()

_logger = logging.getLogger("execstore.watcher")


class _Run:
    """One life of a watcher, from its start to its stop."""

    def __init__(self, watcher_id: str, target: Callable[[_Run], None]) -> None:
        self.stop_requested = threading.Event()
        self.finished = False
        self.thread = threading.Thread(target=target, args=(self,), name=f"execstore-watcher-{watcher_id}", daemon=True)

    @property
    def alive(self) -> bool:
        # In a forked child the thread isn't there, though it never finished.
        return not self.finished and self.thread.is_alive()


class Watcher:
    """Follows an event store for one handler. Made by ``WatcherManager.create``; usable from any thread.

    What a handler may rely on:

    - *In order.* It is given the events that pass the filter in the order of their numbers, one at a time, always on
      the watcher's own thread; the next one only after it has returned from the one before.
    - *None left out.* It is given every such event, whichever process wrote it, with three exceptions, all of them
      logged: one that it failed ``max_retries`` times under ``RetryStrategy.SKIP``; one that can't be read, under the
      same strategy; those collected before it came to them, under ``CompactionStrategy.CONTINUE``.
    - *At least once.* An event is given again if the handler raised, and after a restart of the watcher or of the
      program every event behind the last checkpoint is. Nothing but ``checkpoint`` moves the place of a restart.
    - *Once in effect, with checkpoints.* Store the number of the event together with the effect, in one transaction;
      pass over events whose number is not above it. Or make the effect the same if done twice, and call
      ``checkpoint(event.seq_num)`` after it. A checkpoint stored before the effect turns it into "at most once".

    The handler may call ``checkpoint``, ``seek_to_offset`` and ``stop`` of its own watcher. If it raises an
    ``Exception``, the event is tried again after a pause (see ``RetryStrategy``); any other ``BaseException``
    (``SystemExit``, ``KeyboardInterrupt``) ends the watcher, with the error in its stats. So does the closing of the
    store. That an object can't be made from its JSON shows when the handler looks at it, and counts as its failure.

    A second watcher of the same ID, in another manager or process, is allowed: each is given every event, and they
    share one checkpoint, the one stored last. Two that handle different events need different IDs.

    The thread is a daemon, and at the interpreter's exit a watcher that still runs is asked to stop and given two
    seconds, so that a forgotten one neither keeps the program alive nor is cut off in its handler for no reason. In a
    forked child a watcher doesn't run; start it there again if it is needed.
    """

    def __init__(
        self,
        watcher_id: str,
        event_store: EventStore,
        *,
        handler: Handler | None = None,
        options: WatcherOptions = _DEFAULT_OPTIONS,
    ) -> None:
        """Find out where to start: behind the stored checkpoint, else at ``options.initial_event_iterator``.

        ``latest`` means the newest event at this moment, not at the first start. A checkpoint that is ahead of the log
        (a backup was restored) is set back to the newest event, with a warning in the log. An ephemeral watcher knows
        nothing of stored checkpoints.

        Raises ``InvalidArgumentError`` for an ID that is blank or no string, or a handler that can't be called, and
        ``StoreClosedError``.
        """
        if not isinstance(watcher_id, str) or not watcher_id.strip():
            raise InvalidArgumentError("watcher_id", f"is a str that isn't blank, not {watcher_id!r}")
        self._id = watcher_id
        self._event_store = event_store
        self._options = options
        self._function: Callable[[Event], Any] | None = None if handler is None else handler_function(handler)
        # Serializes start, stop and seek called from outside. The watcher's own thread never takes it: stop holds it
        # while it waits for that thread.
        self._control = threading.RLock()
        # Keeps the stored checkpoint and the one in memory the same when two threads store one.
        self._checkpoint_lock = threading.Lock()
        # Guards all that follows; never held while anything waits or a handler runs.
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._state = WatcherState.IDLE
        self._checkpoint_iterator = self._find_start()
        self._next_event_iterator = self._checkpoint_iterator
        self._seeks = 0
        self._last_processed_seq_num = 0
        self._last_processed_event_time = 0
        self._last_listen_time = 0
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<Watcher {self._id!r} {self._state.value}>"

    @property
    def id(self) -> str:
        """The ID, under which its checkpoint is stored."""
        return self._id

    @property
    def options(self) -> WatcherOptions:
        """What it was created with."""
        return self._options

    def stats(self) -> WatcherStats:
        """All there is to know about it at this moment. Works after the store was closed, too."""
        with self._lock:
            iterator = self._next_event_iterator
            state, checkpoint_iterator, error = self._state, self._checkpoint_iterator, self._error
            if self._run is not None and not self._run.alive:
                state = WatcherState.STOPPED
            seq_num, event_time = self._last_processed_seq_num, self._last_processed_event_time
            listen_time = self._last_listen_time
        return WatcherStats(
            id=self._id,
            state=state,
            next_event_iterator=iterator,
            checkpoint_iterator=checkpoint_iterator,
            last_processed_seq_num=seq_num,
            last_processed_event_time=event_time,
            last_listen_time=listen_time,
            lag=self._lag(iterator),
            error=error,
        )

    def set_handler(self, handler: Handler) -> None:
        """Give it its handler, once: a callable that takes an ``Event``, or an object with ``handle_event``.

        Raises ``HandlerExistsError`` if it has one, ``InvalidArgumentError`` for anything that can't be called.
        """
        function = handler_function(handler)
        with self._lock:
            if self._function is not None:
                raise HandlerExistsError(self._id)
            self._function = function

    def start(self) -> None:
        """Begin, or begin again, behind the last checkpoint (where it was created, if there was none since).

        Raises ``NoHandlerError``, ``StoreClosedError``, and ``WatcherStateError`` if it runs already or hasn't quite
        stopped yet.
        """
        if self._is_own_thread():
            raise WatcherStateError(self._id, "start", self._state.value)
        with self._control:
            self._event_store.get_latest_event_num()  # raises if the store is closed
            with self._lock:
                if self._run is not None and self._run.alive:
                    raise WatcherStateError(self._id, "start", self._state.value)
                if self._function is None:
                    raise NoHandlerError(self._id)
                run = _Run(self._id, self._live)
                # Within the lock, so that no request to stop falls between the start and its being known.
                run.thread.start()
                self._run = run
                self._state = WatcherState.RUNNING
                self._next_event_iterator = self._checkpoint_iterator
                self._error = None
            with _running_lock:
                _running.add(self)
        _logger.debug("watcher %s starts at %s", self._id, self._checkpoint_iterator)

    def stop(self, timeout: float | None = None) -> bool:
        """Stop, and wait until its thread has ended; return whether it has.

        A pause or a wait for events ends at once; a handler that is at work is let finish, and its event counts as
        handled if it returns. With ``timeout`` (seconds) it waits no longer than that. Called by the handler itself,
        it returns ``False`` at once and the watcher ends after the event. Stopping twice is fine.
        """
        self.request_stop()
        if self._is_own_thread():
            return False
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._control.acquire(timeout=-1 if timeout is None else max(timeout, 0)):
            return False
        try:
            # Whoever held the control until now may have started it anew.
            self.request_stop()
            run = self._run
            if run is None:
                return True
            run.thread.join(None if deadline is None else max(deadline - time.monotonic(), 0))
            return not run.thread.is_alive()
        finally:
            self._control.release()

    def request_stop(self) -> None:
        """Ask it to stop, as ``stop`` does, without waiting."""
        with self._lock:
            if self._run is None or not self._run.alive:
                self._state = WatcherState.STOPPED
                return
            self._state = WatcherState.STOPPING
            self._run.stop_requested.set()
        self._event_store.wake()

    def checkpoint(self, seq: int) -> None:
        """Store that the events up to ``seq`` are handled: a restart, here or in another process, begins behind it.

        An ephemeral watcher remembers it only until it is gone. Raises ``InvalidArgumentError`` for what is no sequence
        number, ``StoreClosedError``, and whatever else the store raises when it can't be written; nothing has changed
        then.
        """
        check_sequence_number("seq", seq)
        with self._checkpoint_lock:
            if not self._options.ephemeral:
                self._event_store.store_checkpoint(self._id, seq)
            with self._lock:
                self._checkpoint_iterator = EventIterator.after_sequence_number(seq)

    def seek_to_offset(self, seq: int) -> None:
        """Store ``seq`` as its checkpoint and go on with the event that follows it, forwards or back.

        A running watcher is stopped for it and started again, so after the call no event from before the seek is given
        to the handler. One that isn't running only remembers it. Called by the handler, it takes effect when that
        returns or raises: whatever it was given counts as done. Raises as ``checkpoint`` does.
        """
        check_sequence_number("seq", seq)
        if self._is_own_thread():
            self.checkpoint(seq)
            self._move_to_checkpoint()
            return
        with self._control:
            with self._lock:
                was_running = self._state is WatcherState.RUNNING
            self.stop()
            try:
                self.checkpoint(seq)
                self._move_to_checkpoint()
            finally:
                if was_running and not self._event_store.closed:
                    self.start()

    # --- where it stands --------------------------------------------------------------------------------------------

    def _find_start(self) -> EventIterator:
        if not self._options.ephemeral:
            try:
                checkpoint = self._event_store.get_checkpoint(self._id)
            except CheckpointNotFoundError:
                pass
            else:
                return EventIterator.after_sequence_number(self._clamp(checkpoint))
        if self._options.initial_event_iterator.type is EventIteratorType.LATEST:
            return EventIterator.after_sequence_number(self._event_store.get_latest_event_num())
        return self._options.initial_event_iterator

    def _clamp(self, checkpoint: int) -> int:
        latest = self._event_store.get_latest_event_num()
        if checkpoint <= latest:
            return checkpoint
        _logger.warning(
            "the checkpoint of watcher %s, %d, is ahead of the log, which ends at %d; it goes on from there",
            self._id,
            checkpoint,
            latest,
        )
        # Left as it is, it would be believed again once the log has grown past it, and events would be lost.
        with contextlib.suppress(StoreReadOnlyError):
            self._event_store.store_checkpoint(self._id, latest)
        return latest

    def _lag(self, iterator: EventIterator) -> int | None:
        try:
            oldest = self._event_store.get_oldest_event_num()
            first = max(first_number(iterator), oldest) if iterator.has_sequence_number else oldest
            return max(self._event_store.get_latest_event_num() - first + 1, 0)
        except ExecStoreError:
            return None

    def _move_to_checkpoint(self) -> None:
        with self._lock:
            self._next_event_iterator = self._checkpoint_iterator
            self._seeks += 1

    def _is_own_thread(self) -> bool:
        run = self._run
        return run is not None and run.thread is threading.current_thread()

    # --- what its thread does ---------------------------------------------------------------------------------------

    def _live(self, run: _Run) -> None:
        error: BaseException | None = None
        try:
            while not run.stop_requested.is_set():
                response = self._fetch(run)
                if response is not None:
                    self._deliver(run, response)
        except StoreClosedError as closed:
            _logger.info("watcher %s ends: %s", self._id, closed)
            error = closed
        except BaseException as raised:  # noqa: BLE001 - recorded; there is no one above to raise it to
            _logger.error("watcher %s ends: %s", self._id, _describe(raised))  # noqa: TRY400 - one line, as the others
            error = raised
        finally:
            with self._lock:
                run.finished = True
                self._state = WatcherState.STOPPED
                # A failure that it was stopped in the middle of stays to be seen.
                self._error = self._error if error is None else error

    def _fetch(self, run: _Run) -> GetEventsResponse | None:
        """The next events, ``None`` if it is to stop. Failures are retried for ever, as in the reference."""
        limit = self._options.batch_size
        failures = 0
        while not run.stop_requested.is_set():
            with self._lock:
                position = self._next_event_iterator
            request = GetEventsRequest(position, limit, self._options.filter, self._id)
            try:
                # Without an end: an idle watcher that came back now and then would wake the machine for nothing.
                response = self._event_store.next_events(request, cancelled=run.stop_requested.is_set)
            except StoreClosedError:
                raise
            except EventsCompactedError as error:
                if self._options.on_compacted is CompactionStrategy.STOP:
                    raise
                _logger.warning(
                    "watcher %s missed the events %d to %d, which were collected before it came to them",
                    self._id,
                    error.requested,
                    error.oldest - 1,
                )
                self._pass(EventIterator.after_sequence_number(error.oldest - 1))
            except DeserializationError as error:
                if limit > 1:
                    # One event at a time, so that those before the unreadable one are handled first.
                    limit = 1
                    continue
                failures += 1
                if failures >= self._options.tries and error.seq_num:
                    _logger.error("watcher %s skips event %d: %s", self._id, error.seq_num, error)  # noqa: TRY400
                    self._pass(EventIterator.after_sequence_number(error.seq_num))
                    failures, limit = 0, self._options.batch_size
                else:
                    self._pause(run, failures, error, "can't read its next event")
            except Exception as error:  # noqa: BLE001 - a store that fails may be mended; the error is logged and shown
                failures += 1
                self._pause(run, failures, error, "can't read the log")
            else:
                with self._lock:
                    self._last_listen_time = time.time_ns()
                    self._error = None
                return response
        return None

    def _deliver(self, run: _Run, response: GetEventsResponse) -> None:
        for event in response.events:
            if run.stop_requested.is_set():
                return
            if not self._handle(run, event):
                return
            self._pass(EventIterator.after_sequence_number(event.seq_num))
        self._pass(response.next_event_iterator)

    def _handle(self, run: _Run, event: Event) -> bool:
        """Give the event to the handler until it is done with; ``False`` if it is not, or something else is next."""
        function = self._function
        if function is None:
            raise NoHandlerError(self._id)
        seeks = self._seeks
        failures = 0
        while True:
            try:
                function(event)
            except Exception as raised:
                if self._seeks != seeks:
                    return False
                failures += 1
                error = EventHandlingError(self._id, event.seq_num, _describe(raised))
                error.__cause__ = raised
                if run.stop_requested.is_set():
                    return False
                if failures >= self._options.tries:
                    _logger.exception("watcher %s skips event %d", self._id, event.seq_num)
                    return True
                self._pause(run, failures, error, f"tries event {event.seq_num} again")
                if run.stop_requested.is_set():
                    return False
            else:
                with self._lock:
                    self._last_processed_seq_num = event.seq_num
                    self._last_processed_event_time = event.timestamp
                    self._error = None
                return self._seeks == seeks

    def _pass(self, iterator: EventIterator) -> None:
        with self._lock:
            self._next_event_iterator = iterator

    def _pause(self, run: _Run, failures: int, error: Exception, what: str) -> None:
        seconds = self._options.backoff_seconds(failures)
        with self._lock:
            self._error = error
        _logger.warning("watcher %s %s in %g s: %s", self._id, what, seconds, _describe(error))
        run.stop_requested.wait(seconds)


def _describe(error: BaseException) -> str:
    return str(error) if isinstance(error, ExecStoreError) else f"{type(error).__name__}: {error}"


# --- the interpreter's exit, and fork ---------------------------------------------------------------------------------

_running: weakref.WeakSet[Watcher] = weakref.WeakSet()
_running_lock = threading.Lock()


def _stop_all() -> None:
    deadline = time.monotonic() + _EXIT_TIMEOUT_SECONDS
    with _running_lock:
        watchers = list(_running)
    for watcher in watchers:
        watcher.request_stop()
    for watcher in watchers:
        watcher.stop(max(deadline - time.monotonic(), 0))


def _forget_all() -> None:
    _running.clear()
    _running_lock.release()


atexit.register(_stop_all)
if sys.platform != "win32":
    os.register_at_fork(before=_running_lock.acquire, after_in_parent=_running_lock.release, after_in_child=_forget_all)
