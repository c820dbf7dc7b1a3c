"""The manager: creating, finding, and stopping watchers together."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import (
    CheckpointNotFoundError,
    InvalidArgumentError,
    NoHandlerError,
    StoreClosedError,
    WatcherAlreadyExistsError,
    WatcherNotFoundError,
)
from execstore.watcher import (
    EventFilter,
    EventIterator,
    EventStore,
    RetryStrategy,
    WatcherManager,
    WatcherOptions,
    WatcherState,
)
from tests.watcher.support import PATIENCE_SECONDS, Gate, Recorder, fill

if TYPE_CHECKING:
    from tests.watcher.support import WatchedLog


def test_create_and_lookup(manager: WatcherManager) -> None:
    first, second = manager.create("a"), manager.create("b")
    assert manager.lookup("a") is first
    assert manager.lookup("b") is second
    assert manager.watchers() == [first, second]
    assert first.id == "a"


def test_lookup_of_an_unknown_watcher(manager: WatcherManager) -> None:
    with pytest.raises(WatcherNotFoundError, match=r"^watcher error for watcher nobody: watcher not found$"):
        manager.lookup("nobody")


@pytest.mark.parametrize("stopped", [False, True])
def test_an_id_is_taken_even_by_a_stopped_watcher(manager: WatcherManager, stopped: bool) -> None:
    watcher = manager.create("a", handler=Recorder(), auto_start=True)
    if stopped:
        watcher.stop()
    with pytest.raises(WatcherAlreadyExistsError, match=r"^watcher error for watcher a: watcher already exists$"):
        manager.create("a")
    assert manager.lookup("a") is watcher


def test_auto_start_needs_a_handler(manager: WatcherManager) -> None:
    with pytest.raises(NoHandlerError):
        manager.create("a", auto_start=True)
    with pytest.raises(WatcherNotFoundError):
        manager.lookup("a")


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [({"batch_size": 0}, "batch_size"), ({"handler": 5}, "handler"), ({"max_backoff": 0}, "max_backoff")],
)
def test_what_makes_no_sense_is_not_created(manager: WatcherManager, arguments: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        manager.create("a", **arguments)
    assert raised.value.argument == argument
    assert manager.watchers() == []


def test_a_closed_store_takes_no_watchers(event_store: EventStore, manager: WatcherManager) -> None:
    event_store.close()
    with pytest.raises(StoreClosedError):
        manager.create("a")


def test_options_reach_the_watcher(manager: WatcherManager) -> None:
    watcher = manager.create(
        "a",
        filter=EventFilter(object_types=("Plain",)),
        initial_event_iterator=EventIterator.at_sequence_number(3),
        batch_size=5,
        initial_backoff=1,
        max_backoff=2,
        max_retries=4,
        retry_strategy=RetryStrategy.SKIP,
        ephemeral=True,
        on_compacted="continue",  # type: ignore[arg-type]
    )
    assert watcher.options == WatcherOptions(
        filter=EventFilter(object_types=("Plain",)),
        initial_event_iterator=EventIterator.at_sequence_number(3),
        batch_size=5,
        initial_backoff=1,
        max_backoff=2,
        max_retries=4,
        retry_strategy=RetryStrategy.SKIP,
        ephemeral=True,
        on_compacted="continue",  # type: ignore[arg-type]
    )


def test_the_defaults_of_create_are_those_of_the_options(manager: WatcherManager) -> None:
    assert manager.create("a").options == WatcherOptions()
    parameters = inspect.signature(WatcherManager.create).parameters
    assert parameters["auto_start"].default is False
    assert parameters["handler"].default is None


def test_stop_has_one_deadline_for_all(
    log: WatchedLog, event_store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    fill(log, ["CREATE"])
    manager = WatcherManager(event_store)
    gates = [Gate() for _ in range(20)]
    for index, gate in enumerate(gates):
        manager.create(f"w{index}", handler=gate, auto_start=True)
    for gate in gates:
        gate.wait_until_entered()
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="execstore"):
        assert manager.stop(0.2) is False
    elapsed = time.monotonic() - started
    # With a deadline for each it would be four seconds.
    assert 0.2 <= elapsed < 3.5
    assert caplog.messages == [
        "after 0.2 s the handlers of these watchers are still at work: " + ", ".join(f"w{index}" for index in range(20))
    ]
    for gate in gates:
        gate.release.set()
    assert manager.stop(PATIENCE_SECONDS) is True
    assert [gate.numbers for gate in gates] == [[1]] * 20


def test_stop_asks_all_before_it_waits_for_one(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"])
    manager = WatcherManager(event_store)
    gates = [Gate(), Gate()]
    watchers = [manager.create(f"w{index}", handler=gate, auto_start=True) for index, gate in enumerate(gates)]
    for gate in gates:
        gate.wait_until_entered()
    stopping = threading.Thread(target=manager.stop)
    stopping.start()
    # The second is asked while the first is still waited for.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while watchers[1].stats().state is not WatcherState.STOPPING:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    for gate in gates:
        gate.release.set()
    stopping.join(PATIENCE_SECONDS)
    assert [watcher.stats().state for watcher in watchers] == [WatcherState.STOPPED] * 2


def test_stop_leaves_no_thread_behind(log: WatchedLog, event_store: EventStore) -> None:
    before = threading.active_count()
    manager = WatcherManager(event_store)
    for index in range(20):
        manager.create(f"w{index}", handler=Recorder(), auto_start=True)
    assert threading.active_count() == before + 20
    assert manager.stop()
    assert threading.active_count() == before
    assert manager.stop()


def test_stopped_watchers_can_be_found_and_started_again(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"])
    recorder = Recorder()
    manager.create("a", handler=recorder)
    manager.stop()
    manager.lookup("a").start()
    recorder.wait_for_number(1)


def test_a_context_manager_stops_at_its_end(event_store: EventStore) -> None:
    with WatcherManager(event_store) as manager:
        watcher = manager.create("a", handler=Recorder(), auto_start=True)
        assert watcher.stats().state is WatcherState.RUNNING
    assert watcher.stats().state is WatcherState.STOPPED


def test_remove_frees_the_id_and_keeps_the_checkpoint(event_store: EventStore, manager: WatcherManager) -> None:
    watcher = manager.create("a", handler=Recorder(), auto_start=True)
    watcher.checkpoint(0)
    assert manager.remove("a") is True
    assert watcher.stats().state is WatcherState.STOPPED
    assert event_store.get_checkpoint("a") == 0
    assert manager.create("a") is not watcher
    with pytest.raises(WatcherNotFoundError):
        manager.remove("b")


def test_remove_keeps_a_watcher_whose_handler_does_not_return(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"])
    gate = Gate()
    watcher = manager.create("a", handler=gate, auto_start=True)
    gate.wait_until_entered()
    assert manager.remove("a", timeout=0.01) is False
    assert manager.lookup("a") is watcher
    gate.release.set()
    assert manager.remove("a") is True


def test_checkpoints_are_listed_and_removed(event_store: EventStore, manager: WatcherManager) -> None:
    event_store.store_checkpoint("dead", 3)
    manager.create("a").checkpoint(5)
    assert manager.list_checkpoints() == {"a": 5, "dead": 3}
    manager.remove_checkpoint("dead")
    assert manager.list_checkpoints() == {"a": 5}
    with pytest.raises(CheckpointNotFoundError):
        manager.remove_checkpoint("dead")
