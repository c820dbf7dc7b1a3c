"""A watcher's life: start, stop, retries, seek, stats, and what ends it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import (
    DeserializationError,
    EventHandlingError,
    EventsCompactedError,
    HandlerExistsError,
    InvalidArgumentError,
    NoHandlerError,
    StoreClosedError,
    StoreReadOnlyError,
    WatcherStateError,
)
from execstore.watcher import (
    CompactionStrategy,
    Event,
    EventFilter,
    EventIterator,
    EventStore,
    GetEventsRequest,
    GetEventsResponse,
    RetryStrategy,
    Watcher,
    WatcherManager,
    WatcherState,
)
from tests.watcher.support import PATIENCE_SECONDS, Gate, Recorder, WatchedLog, fill

if TYPE_CHECKING:
    from collections.abc import Callable

AT, AFTER = EventIterator.at_sequence_number, EventIterator.after_sequence_number
FOREVER = 3600.0
SKIP_AT_ONCE: dict[str, Any] = {
    "retry_strategy": RetryStrategy.SKIP,
    "max_retries": 3,
    "initial_backoff": 0,
    "max_backoff": 0,
}


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """For states that nobody announces. It never decides the outcome of a test that passes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.001)


def wait_until_stopped(watcher: Watcher) -> None:
    wait_for(lambda: watcher.stats().state is WatcherState.STOPPED, "stopped")


# --- start and stop -------------------------------------------------------------------------------------------------


def test_states(log: WatchedLog, manager: WatcherManager) -> None:
    gate = Gate()
    fill(log, ["CREATE"])
    watcher = manager.create("w", handler=gate)
    assert watcher.stats().state is WatcherState.IDLE
    watcher.start()
    gate.wait_until_entered()
    assert watcher.stats().state is WatcherState.RUNNING
    watcher.request_stop()
    assert watcher.stats().state is WatcherState.STOPPING
    gate.release.set()
    assert watcher.stop()
    assert watcher.stats().state is WatcherState.STOPPED
    assert repr(watcher) == "<Watcher 'w' stopped>"


def test_stop_ends_a_long_poll(log: WatchedLog, manager: WatcherManager) -> None:
    watcher = manager.create("w", handler=Recorder(), initial_event_iterator=AFTER(0), auto_start=True)
    assert log.waiting.wait(PATIENCE_SECONDS)
    # The store's long poll is as long as the patience of this test; a stop that waits for it comes too late.
    assert watcher.stop(PATIENCE_SECONDS / 2)


def test_stop_ends_a_backoff(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"])
    recorder = Recorder({1: 10})
    watcher = manager.create("w", handler=recorder, initial_backoff=FOREVER, max_backoff=FOREVER, auto_start=True)
    wait_for(lambda: watcher.stats().error is not None, "in its backoff")
    assert watcher.stop(PATIENCE_SECONDS)
    assert recorder.calls == [1]


def test_stop_lets_the_handler_finish_and_waits_no_longer_than_told(log: WatchedLog, manager: WatcherManager) -> None:
    gate = Gate()
    fill(log, ["CREATE"] * 3)
    watcher = manager.create("w", handler=gate, auto_start=True)
    gate.wait_until_entered()
    assert watcher.stop(0.01) is False
    gate.release.set()
    assert watcher.stop() is True
    assert gate.numbers == [1]
    assert watcher.stats().last_processed_seq_num == 1


def test_stopping_twice_or_before_the_start_is_fine(manager: WatcherManager) -> None:
    watcher = manager.create("w", handler=Recorder())
    assert watcher.stop()
    assert watcher.stop()
    assert watcher.stats().state is WatcherState.STOPPED
    watcher.start()
    assert watcher.stop()


def test_a_running_watcher_is_not_started_again(log: WatchedLog, manager: WatcherManager) -> None:
    watcher = manager.create("w", handler=Recorder(), auto_start=True)
    with pytest.raises(
        WatcherStateError, match=r"^watcher error for watcher w: cannot start watcher in state running$"
    ) as raised:
        watcher.start()
    assert (raised.value.watcher_id, raised.value.state) == ("w", "running")


def test_a_stopping_watcher_is_not_started_again(log: WatchedLog, manager: WatcherManager) -> None:
    gate = Gate()
    fill(log, ["CREATE"])
    watcher = manager.create("w", handler=gate, auto_start=True)
    gate.wait_until_entered()
    watcher.request_stop()
    with pytest.raises(WatcherStateError, match="in state stopping"):
        watcher.start()
    gate.release.set()


def test_a_watcher_without_a_handler_is_not_started(manager: WatcherManager) -> None:
    watcher = manager.create("w")
    with pytest.raises(NoHandlerError, match=r"^watcher error for watcher w: no handler configured$"):
        watcher.start()
    assert watcher.stats().state is WatcherState.IDLE


def test_the_handler_can_be_set_later_but_once(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"])
    recorder = Recorder()
    watcher = manager.create("w")
    watcher.set_handler(recorder)
    with pytest.raises(HandlerExistsError, match=r"^handler already exists$"):
        watcher.set_handler(recorder)
    watcher.start()
    recorder.wait_for_number(1)


@pytest.mark.parametrize("handler", [None, 5, object()])
def test_what_can_not_be_called_is_no_handler(manager: WatcherManager, handler: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^handler: "):
        manager.create("w").set_handler(handler)


def test_handlers_are_callables_or_objects(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"])
    recorder = Recorder()
    manager.create("object", handler=recorder, auto_start=True)
    manager.create("callable", handler=lambda event: recorder.handle_event(event), auto_start=True)
    recorder.wait_for_count(2)
    assert recorder.numbers == [1, 1]


@pytest.mark.parametrize("watcher_id", ["", "  ", None, 5])
def test_an_id_is_a_string_that_is_not_blank(event_store: EventStore, watcher_id: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^watcher_id: "):
        Watcher(watcher_id, event_store)


def test_a_watcher_of_a_closed_store_is_not_started(event_store: EventStore, manager: WatcherManager) -> None:
    watcher = manager.create("w", handler=Recorder())
    event_store.close()
    with pytest.raises(StoreClosedError):
        watcher.start()


# --- where it starts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checkpoint", "initial", "expected"),
    [
        (None, EventIterator.trim_horizon(), [1, 2, 3, 4, 5]),
        (None, AFTER(3), [4, 5]),
        (None, AT(3), [3, 4, 5]),
        (2, EventIterator.trim_horizon(), [3, 4, 5]),
        (2, AFTER(4), [3, 4, 5]),
        (4, AFTER(2), [5]),
        (4, EventIterator.latest(), [5]),
        (0, EventIterator.latest(), [1, 2, 3, 4, 5]),
    ],
)
def test_a_checkpoint_comes_before_the_initial_iterator(
    log: WatchedLog,
    event_store: EventStore,
    manager: WatcherManager,
    checkpoint: int | None,
    initial: EventIterator,
    expected: list[int],
) -> None:
    fill(log, ["CREATE"] * 5)
    if checkpoint is not None:
        event_store.store_checkpoint("w", checkpoint)
    recorder = Recorder()
    manager.create("w", handler=recorder, initial_event_iterator=initial, auto_start=True)
    recorder.wait_for_number(5)
    assert recorder.numbers == expected


def test_latest_is_the_newest_event_at_the_creation(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 2)
    recorder = Recorder()
    watcher = manager.create("w", handler=recorder, initial_event_iterator=EventIterator.latest())
    assert watcher.stats().next_event_iterator == AFTER(2)
    fill(log, ["CREATE"])
    watcher.start()
    recorder.wait_for_number(3)
    assert recorder.numbers == [3]


def test_a_checkpoint_ahead_of_the_log_is_set_back_with_a_warning(
    log: WatchedLog, event_store: EventStore, manager: WatcherManager, caplog: pytest.LogCaptureFixture
) -> None:
    fill(log, ["CREATE"] * 2)
    event_store.store_checkpoint("w", 9)
    recorder = Recorder()
    with caplog.at_level(logging.WARNING, logger="execstore"):
        manager.create("w", handler=recorder, auto_start=True)
    assert caplog.messages == [
        "the checkpoint of watcher w, 9, is ahead of the log, which ends at 2; it goes on from there"
    ]
    assert event_store.get_checkpoint("w") == 2
    fill(log, ["CREATE"])
    recorder.wait_for_number(3)
    assert recorder.numbers == [3]


def test_a_checkpoint_at_the_end_of_the_log_is_kept_in_silence(
    log: WatchedLog, event_store: EventStore, manager: WatcherManager, caplog: pytest.LogCaptureFixture
) -> None:
    fill(log, ["CREATE"] * 2)
    event_store.store_checkpoint("w", 2)
    with caplog.at_level(logging.WARNING, logger="execstore"):
        assert manager.create("w").stats().next_event_iterator == AFTER(2)
    assert caplog.messages == []


class ReadOnlyLog(WatchedLog):
    def store_checkpoint(self, watcher_id: str, sequence_number: int) -> None:
        raise StoreReadOnlyError("memory")


def test_a_checkpoint_ahead_of_a_log_that_can_only_be_read() -> None:
    log = ReadOnlyLog()
    fill(log, ["CREATE"])
    WatchedLog.store_checkpoint(log, "w", 5)
    assert Watcher("w", EventStore(log)).stats().next_event_iterator == AFTER(1)


# --- checkpoint, restart, seek --------------------------------------------------------------------------------------


def test_a_restart_begins_behind_the_last_checkpoint(
    log: WatchedLog, event_store: EventStore, manager: WatcherManager
) -> None:
    fill(log, ["CREATE"] * 3)
    recorder = Recorder()
    watcher = manager.create("w", handler=recorder, auto_start=True)
    recorder.wait_for_number(3)
    watcher.checkpoint(2)
    assert event_store.get_checkpoint("w") == 2
    assert watcher.stats().checkpoint_iterator == AFTER(2)
    watcher.stop()
    watcher.start()
    recorder.wait_for_count(4)
    assert recorder.numbers == [1, 2, 3, 3]


def test_a_restart_without_a_checkpoint_begins_where_it_was_created(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 3)
    recorder = Recorder()
    watcher = manager.create("w", handler=recorder, initial_event_iterator=AT(2), auto_start=True)
    recorder.wait_for_number(3)
    watcher.stop()
    watcher.start()
    recorder.wait_for_count(4)
    assert recorder.numbers == [2, 3, 2, 3]


@pytest.mark.parametrize("seq", [-1, None, 1.0])
def test_a_checkpoint_is_a_sequence_number(manager: WatcherManager, seq: Any) -> None:
    watcher = manager.create("w")
    with pytest.raises(InvalidArgumentError, match=r"^seq: "):
        watcher.checkpoint(seq)
    with pytest.raises(InvalidArgumentError, match=r"^seq: "):
        watcher.seek_to_offset(seq)


def test_a_checkpoint_that_can_not_be_stored_changes_nothing() -> None:
    watcher = Watcher("w", EventStore(ReadOnlyLog()))
    with pytest.raises(StoreReadOnlyError):
        watcher.checkpoint(5)
    with pytest.raises(StoreReadOnlyError):
        watcher.seek_to_offset(5)
    assert watcher.stats().checkpoint_iterator == EventIterator.trim_horizon()


def test_a_seek_that_can_not_be_stored_leaves_the_watcher_running() -> None:
    log = ReadOnlyLog()
    fill(log, ["CREATE"])
    recorder = Recorder()
    with WatcherManager(EventStore(log)) as manager:
        watcher = manager.create("w", handler=recorder, auto_start=True)
        recorder.wait_for_number(1)
        with pytest.raises(StoreReadOnlyError):
            watcher.seek_to_offset(1)
        recorder.wait_for_count(2)
    assert recorder.numbers == [1, 1]


def test_an_ephemeral_watcher_has_nothing_to_do_with_stored_checkpoints(
    log: WatchedLog, event_store: EventStore, manager: WatcherManager
) -> None:
    fill(log, ["CREATE"] * 3)
    event_store.store_checkpoint("w", 2)
    recorder = Recorder()
    watcher = manager.create("w", handler=recorder, ephemeral=True, auto_start=True)
    recorder.wait_for_number(3)
    watcher.checkpoint(3)
    assert event_store.get_checkpoint("w") == 2
    assert watcher.stats().checkpoint_iterator == AFTER(3)
    watcher.stop()
    watcher.start()
    fill(log, ["CREATE"])
    recorder.wait_for_number(4)
    assert recorder.numbers == [1, 2, 3, 4]


def test_seek_goes_back_and_forwards(log: WatchedLog, event_store: EventStore, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 3)
    recorder = Recorder()
    watcher = manager.create("w", handler=recorder, auto_start=True)
    recorder.wait_for_number(3)
    watcher.seek_to_offset(1)
    assert event_store.get_checkpoint("w") == 1
    recorder.wait_for_count(5)
    watcher.seek_to_offset(4)
    fill(log, ["CREATE"] * 2)
    recorder.wait_for_number(5)
    assert recorder.numbers == [1, 2, 3, 2, 3, 5]


def test_no_event_from_before_a_seek_is_given_after_it(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 100)
    gate = Gate()
    watcher = manager.create("w", handler=gate, auto_start=True)
    gate.wait_until_entered()
    seeking = threading.Thread(target=lambda: watcher.seek_to_offset(99))
    seeking.start()
    wait_for(lambda: watcher.stats().state is WatcherState.STOPPING, "the seek waits for the handler")
    gate.release.set()
    seeking.join(PATIENCE_SECONDS)
    wait_for(lambda: 100 in gate.numbers, "event 100")
    assert gate.numbers == [1, 100]


def test_a_seek_of_a_watcher_that_is_not_running_is_remembered(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 3)
    recorder = Recorder()
    watcher = manager.create("w", handler=recorder)
    watcher.seek_to_offset(2)
    assert watcher.stats().state is not WatcherState.RUNNING
    assert watcher.stats().next_event_iterator == AFTER(2)
    watcher.start()
    recorder.wait_for_number(3)
    assert recorder.numbers == [3]


def test_a_seek_ends_a_backoff(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 2)
    recorder = Recorder({1: 10})
    watcher = manager.create("w", handler=recorder, initial_backoff=FOREVER, max_backoff=FOREVER, auto_start=True)
    wait_for(lambda: watcher.stats().error is not None, "in its backoff")
    watcher.seek_to_offset(1)
    recorder.wait_for_number(2)
    assert recorder.calls == [1, 2]


# --- from inside the handler ----------------------------------------------------------------------------------------


def test_a_handler_may_checkpoint(log: WatchedLog, event_store: EventStore, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 3)
    recorder = Recorder()

    def handle(event: Event) -> None:
        watcher.checkpoint(event.seq_num)
        recorder.handle_event(event)

    watcher = manager.create("w", handler=handle)
    watcher.start()
    recorder.wait_for_number(3)
    assert event_store.get_checkpoint("w") == 3


def test_a_handler_may_stop_its_watcher(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 3)
    answers: list[bool] = []

    def handle(event: Event) -> None:
        answers.append(watcher.stop())

    watcher = manager.create("w", handler=handle)
    watcher.start()
    wait_until_stopped(watcher)
    assert answers == [False]
    assert watcher.stats().last_processed_seq_num == 1
    assert watcher.stats().error is None


def test_a_handler_may_not_start_its_watcher(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"])
    raised: list[BaseException] = []

    def handle(event: Event) -> None:
        try:
            watcher.start()
        except WatcherStateError as error:
            raised.append(error)
        watcher.stop()

    watcher = manager.create("w", handler=handle)
    watcher.start()
    wait_until_stopped(watcher)
    assert [str(error) for error in raised] == ["watcher error for watcher w: cannot start watcher in state running"]


@pytest.mark.parametrize("raises", [False, True])
def test_a_handler_may_seek(log: WatchedLog, event_store: EventStore, manager: WatcherManager, raises: bool) -> None:
    fill(log, ["CREATE"] * 5)
    recorder = Recorder()

    def handle(event: Event) -> None:
        recorder.handle_event(event)
        if event.seq_num == 2:
            watcher.seek_to_offset(4)
            if raises:
                raise ValueError("after the seek")

    watcher = manager.create("w", handler=handle)
    watcher.start()
    recorder.wait_for_number(5)
    assert recorder.numbers == [1, 2, 5]
    assert event_store.get_checkpoint("w") == 4
    assert watcher.stop()


def test_a_handler_may_seek_back(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 2)
    recorder = Recorder()

    def handle(event: Event) -> None:
        recorder.handle_event(event)
        if recorder.numbers == [1, 2]:
            watcher.seek_to_offset(0)

    watcher = manager.create("w", handler=handle)
    watcher.start()
    recorder.wait_for_count(4)
    assert recorder.numbers == [1, 2, 1, 2]


# --- failures -------------------------------------------------------------------------------------------------------


def test_block_tries_for_ever_and_in_order(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 2)
    recorder = Recorder({1: 100})
    watcher = manager.create(
        "w", handler=recorder, initial_backoff=0, max_backoff=0, max_retries=3, retry_strategy=RetryStrategy.BLOCK
    )
    watcher.start()
    recorder.wait_for_number(2)
    assert recorder.calls == [1] * 101 + [2]
    assert watcher.stats().error is None


def test_skip_passes_over_an_event_after_so_many_tries(
    log: WatchedLog, manager: WatcherManager, caplog: pytest.LogCaptureFixture
) -> None:
    fill(log, ["CREATE"] * 3)
    recorder = Recorder({2: 100})
    with caplog.at_level(logging.ERROR, logger="execstore"):
        watcher = manager.create("w", handler=recorder, **SKIP_AT_ONCE)
        watcher.start()
        recorder.wait_for_number(3)
        watcher.stop()
    assert recorder.calls == [1, 2, 2, 2, 3]
    assert caplog.messages == ["watcher w skips event 2"]
    assert caplog.records[0].exc_info is not None
    assert watcher.stats().next_event_iterator == AFTER(3)


def test_a_skipped_event_is_not_the_last_processed_one(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 2)
    recorder = Recorder({2: 100})
    watcher = manager.create("w", handler=recorder, **SKIP_AT_ONCE)
    watcher.start()
    wait_for(lambda: watcher.stats().next_event_iterator == AFTER(2), "passed event 2")
    assert watcher.stats().last_processed_seq_num == 1


def test_backoffs_double(log: WatchedLog, manager: WatcherManager, caplog: pytest.LogCaptureFixture) -> None:
    fill(log, ["CREATE"])
    recorder = Recorder({1: 4})
    with caplog.at_level(logging.WARNING, logger="execstore"):
        manager.create("w", handler=recorder, initial_backoff=0.001, max_backoff=0.004, auto_start=True)
        recorder.wait_for_number(1)
    assert [message.split(":")[0] for message in caplog.messages] == [
        f"watcher w tries event 1 again in {seconds} s" for seconds in ("0.001", "0.002", "0.004", "0.004")
    ]


def test_the_error_that_blocks_is_in_the_stats(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"])
    watcher = manager.create(
        "w", handler=Recorder({1: 1}), initial_backoff=FOREVER, max_backoff=FOREVER, auto_start=True
    )
    wait_for(lambda: watcher.stats().error is not None, "an error")
    watcher.stop()
    error = watcher.stats().error
    assert isinstance(error, EventHandlingError)
    assert str(error) == "error processing event 1 for watcher w: ValueError: no 1"
    assert isinstance(error.__cause__, ValueError)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_base_exception_ends_the_watcher(
    log: WatchedLog, manager: WatcherManager, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    fill(log, ["CREATE"] * 2)
    error = kind("enough")
    calls: list[int] = []

    def handle(event: Event) -> None:
        calls.append(event.seq_num)
        raise error

    with caplog.at_level(logging.ERROR, logger="execstore"):
        watcher = manager.create("w", handler=handle, auto_start=True)
        wait_until_stopped(watcher)
    assert watcher.stats().error is error
    assert watcher.stats().last_processed_seq_num == 0
    assert calls == [1]
    assert caplog.messages == [f"watcher w ends: {kind.__name__}: enough"]
    assert watcher.stop()


def test_a_watcher_that_ended_can_be_started_again(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"])
    recorder = Recorder()

    def handle(event: Event) -> None:
        if not recorder.calls:
            recorder.calls.append(0)
            raise SystemExit
        recorder.handle_event(event)

    watcher = manager.create("w", handler=handle, auto_start=True)
    wait_until_stopped(watcher)
    watcher.start()
    recorder.wait_for_number(1)
    assert watcher.stats().error is None


def test_a_watcher_ends_with_its_store(log: WatchedLog, event_store: EventStore, manager: WatcherManager) -> None:
    watcher = manager.create("w", handler=Recorder(), initial_event_iterator=AFTER(0), auto_start=True)
    assert log.waiting.wait(PATIENCE_SECONDS)
    event_store.close()
    wait_until_stopped(watcher)
    assert isinstance(watcher.stats().error, StoreClosedError)
    assert watcher.stats().lag is None


class FailingStore(EventStore):
    """Fails to read so many times."""

    failures = 3

    def get_events(
        self, request: GetEventsRequest, timeout: float | None = None, *, cancelled: Callable[[], bool] | None = None
    ) -> GetEventsResponse:
        if self.failures:
            self.failures -= 1
            raise OSError(5, "Input/output error")
        return super().get_events(request, timeout, cancelled=cancelled)


def test_a_log_that_can_not_be_read_is_tried_again(log: WatchedLog, caplog: pytest.LogCaptureFixture) -> None:
    fill(log, ["CREATE"])
    recorder = Recorder()
    with (
        caplog.at_level(logging.WARNING, logger="execstore"),
        WatcherManager(FailingStore(log)) as manager,
    ):
        manager.create("w", handler=recorder, initial_backoff=0, max_backoff=0, auto_start=True)
        recorder.wait_for_number(1)
    assert caplog.messages == ["watcher w can't read the log in 0 s: OSError: [Errno 5] Input/output error"] * 3


# --- events that can't be read --------------------------------------------------------------------------------------


def log_with_unreadable_event_3() -> WatchedLog:
    log = WatchedLog()
    fill(log, ["CREATE"] * 2)
    log.append_line(b"garbage")
    fill(log, ["CREATE"] * 2)
    return log


def test_block_stays_before_an_unreadable_event() -> None:
    recorder = Recorder()
    with WatcherManager(EventStore(log_with_unreadable_event_3())) as manager:
        watcher = manager.create("w", handler=recorder, initial_backoff=FOREVER, max_backoff=FOREVER, auto_start=True)
        wait_for(lambda: watcher.stats().error is not None, "an error")
        assert recorder.numbers == [1, 2]
        assert watcher.stats().next_event_iterator == AFTER(2)
        error = watcher.stats().error
    assert isinstance(error, DeserializationError)
    assert error.seq_num == 3


def test_skip_passes_over_an_unreadable_event_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    with (
        caplog.at_level(logging.ERROR, logger="execstore"),
        WatcherManager(EventStore(log_with_unreadable_event_3())) as manager,
    ):
        manager.create("w", handler=recorder, auto_start=True, **SKIP_AT_ONCE)
        recorder.wait_for_number(5)
    assert recorder.numbers == [1, 2, 4, 5]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("watcher w skips event 3: failed to unmarshal event: ")


# --- the horizon ----------------------------------------------------------------------------------------------------


def test_collected_events_stop_a_watcher(log: WatchedLog, event_store: EventStore, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 5)
    event_store.store_checkpoint("w", 1)
    log.collect(4)
    recorder = Recorder()
    watcher = manager.create("w", handler=recorder, auto_start=True)
    wait_until_stopped(watcher)
    error = watcher.stats().error
    assert isinstance(error, EventsCompactedError)
    assert (error.requested, error.oldest) == (2, 4)
    assert recorder.calls == []


def test_a_watcher_can_go_on_from_the_oldest(
    log: WatchedLog, event_store: EventStore, manager: WatcherManager, caplog: pytest.LogCaptureFixture
) -> None:
    fill(log, ["CREATE"] * 5)
    event_store.store_checkpoint("w", 1)
    log.collect(4)
    recorder = Recorder()
    with caplog.at_level(logging.WARNING, logger="execstore"):
        manager.create("w", handler=recorder, on_compacted=CompactionStrategy.CONTINUE, auto_start=True)
        recorder.wait_for_number(5)
    assert recorder.numbers == [4, 5]
    assert caplog.messages == ["watcher w missed the events 2 to 3, which were collected before it came to them"]


# --- stats ----------------------------------------------------------------------------------------------------------


def test_stats_of_an_idle_watcher(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 3)
    stats = manager.create("w", initial_event_iterator=AT(2)).stats()
    assert (stats.id, stats.state) == ("w", WatcherState.IDLE)
    assert (stats.next_event_iterator, stats.checkpoint_iterator) == (AT(2), AT(2))
    assert (stats.last_processed_seq_num, stats.last_processed_event_time, stats.last_listen_time) == (0, 0, 0)
    assert (stats.lag, stats.error) == (2, None)


def test_stats_of_a_watcher_at_work(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 3)
    before = time.time_ns()
    recorder = Recorder()
    watcher = manager.create("w", handler=recorder, auto_start=True)
    recorder.wait_for_number(3)
    wait_for(lambda: watcher.stats().next_event_iterator == AFTER(3), "all passed")
    watcher.checkpoint(2)
    stats = watcher.stats()
    assert stats.checkpoint_iterator == AFTER(2)
    assert (stats.last_processed_seq_num, stats.last_processed_event_time) == (3, 1_000)
    assert before <= stats.last_listen_time <= time.time_ns()
    assert stats.lag == 0


@pytest.mark.parametrize(
    ("initial", "oldest", "lag"),
    [
        (EventIterator.trim_horizon(), 1, 5),
        (EventIterator.trim_horizon(), 3, 3),
        (EventIterator.latest(), 1, 0),
        (AFTER(0), 3, 3),
        (AFTER(4), 1, 1),
        (AFTER(99), 1, 0),
        (AT(5), 1, 1),
        (AFTER(5), 6, 0),
    ],
)
def test_lag(log: WatchedLog, manager: WatcherManager, initial: EventIterator, oldest: int, lag: int) -> None:
    fill(log, ["CREATE"] * 5)
    log.collect(oldest)
    assert manager.create("w", initial_event_iterator=initial).stats().lag == lag


def test_lag_counts_what_the_filter_will_drop(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 5)
    watcher = manager.create("w", filter=EventFilter(object_types=("Other",)), handler=Recorder())
    assert watcher.stats().lag == 5
    watcher.start()
    wait_for(lambda: watcher.stats().lag == 0, "all passed")
    assert watcher.stats().last_processed_seq_num == 0
