"""What the docstring of Watcher promises a handler, sentence by sentence."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execstore.errors import DeserializationError, EventHandlingError, WatcherStateError
from execstore.watcher import (
    Event,
    EventFilter,
    EventStore,
    JSONSerializer,
    Operation,
    StoreEventRequest,
    WatcherManager,
    WatcherState,
)
from tests.watcher.support import PATIENCE_SECONDS, Recorder, WatchedLog, fill

if TYPE_CHECKING:
    from collections.abc import Callable

FOREVER = 3600.0


def write(store: EventStore, count: int, seed: int) -> list[tuple[int, Operation, str]]:
    """Store events of random operations and types; return what was stored."""
    random_source = random.Random(seed)
    written = []
    for _ in range(count):
        operation = random_source.choice(list(Operation))
        object_type = random_source.choice(["Plain", "Other"])
        number = store.store_event(StoreEventRequest(operation, object_type, {}))
        written.append((number, operation, object_type))
    return written


FILTERS = [
    EventFilter(),
    EventFilter(object_types=("Plain",)),
    EventFilter(object_types=("Other",), operations=(Operation.UPDATE, Operation.DELETE)),
    EventFilter(operations=(Operation.CREATE,)),
]


def test_every_watcher_is_given_its_events_in_order_while_several_write(
    event_store: EventStore, manager: WatcherManager
) -> None:
    JSONSerializer.register_type("Other", dict)
    recorders = [Recorder() for _ in FILTERS]
    for index, (event_filter, recorder) in enumerate(zip(FILTERS, recorders, strict=True)):
        manager.create(f"w{index}", handler=recorder, filter=event_filter, batch_size=7, auto_start=True)
    written: list[tuple[int, Operation, str]] = []
    writers = [
        threading.Thread(target=lambda seed=seed: written.extend(write(event_store, 150, seed))) for seed in (1, 2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(PATIENCE_SECONDS)
    assert len(written) == 300
    for event_filter, recorder in zip(FILTERS, recorders, strict=True):
        expected = [number for number, operation, kind in sorted(written) if event_filter.matches(operation, kind)]
        recorder.wait_for_count(len(expected))
        assert recorder.numbers == expected


def test_one_event_at_a_time_on_the_watchers_own_thread(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 50)
    inside = threading.Lock()
    recorder = Recorder()

    def handle(event: Event) -> None:
        assert inside.acquire(blocking=False)
        recorder.handle_event(event)
        inside.release()

    manager.create("w", handler=handle, auto_start=True)
    fill(log, ["CREATE"] * 50)
    recorder.wait_for_count(100)
    assert recorder.numbers == list(range(1, 101))
    assert len(recorder.threads) == 1
    assert threading.current_thread() not in recorder.threads


def test_an_event_is_given_again_if_the_handler_raised(log: WatchedLog, manager: WatcherManager) -> None:
    fill(log, ["CREATE"] * 3)
    recorder = Recorder({2: 2})
    manager.create("w", handler=recorder, initial_backoff=0, max_backoff=0, auto_start=True)
    recorder.wait_for_number(3)
    assert recorder.calls == [1, 2, 2, 2, 3]


def test_after_a_restart_of_the_program_everything_behind_the_checkpoint_is_given(
    log: WatchedLog, event_store: EventStore
) -> None:
    fill(log, ["CREATE"] * 5)
    first, second = Recorder(), Recorder()
    with WatcherManager(event_store) as manager:
        watcher = manager.create("w", handler=first, auto_start=True)
        first.wait_for_number(5)
        watcher.checkpoint(3)
    with WatcherManager(EventStore(log)) as manager:
        manager.create("w", handler=second, auto_start=True)
        second.wait_for_number(5)
    assert second.numbers == [4, 5]


def test_nothing_but_a_checkpoint_moves_the_place_of_a_restart(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 5)
    for _ in range(2):
        recorder = Recorder()
        with WatcherManager(event_store) as manager:
            manager.create("w", handler=recorder, auto_start=True)
            recorder.wait_for_number(5)
        assert recorder.numbers == [1, 2, 3, 4, 5]
    assert event_store.list_checkpoints() == {}


def run_until_all_handled(
    log: WatchedLog, make_handler: Callable[[EventStore], Callable[[Event], None]], done: Callable[[], bool]
) -> int:
    """Run one program after the other, each with a watcher that may die of its handler; return how many it took."""
    for programs in range(1, 1000):
        store = EventStore(log)
        with WatcherManager(store) as manager:
            watcher = manager.create("w", handler=make_handler(store), auto_start=True)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while watcher.stats().state is WatcherState.RUNNING and not done():
                assert time.monotonic() < deadline
                time.sleep(0.0005)
        if done():
            return programs
    raise AssertionError("never done")


@pytest.mark.parametrize("seed", range(5))
def test_once_in_effect_if_the_number_is_stored_with_the_effect(seed: int) -> None:
    log = WatchedLog()
    fill(log, ["CREATE"] * 40)
    chance = random.Random(seed)
    # The handler's own store: what it did and how far it is, changed in one assignment, which stands for a transaction.
    committed: tuple[int, tuple[int, ...]] = (0, ())

    def make_handler(store: EventStore) -> Callable[[Event], None]:
        def handle(event: Event) -> None:
            nonlocal committed
            number, effects = committed
            if event.seq_num <= number:
                return
            if chance.random() < 0.2:
                raise SystemExit("before the effect")
            committed = (event.seq_num, (*effects, event.seq_num))
            if chance.random() < 0.2:
                raise SystemExit("after the effect")

        return handle

    programs = run_until_all_handled(log, make_handler, lambda: committed[0] == 40)
    assert programs > 1
    assert committed[1] == tuple(range(1, 41))


@pytest.mark.parametrize("seed", range(5))
def test_at_least_once_with_the_checkpoint_after_the_effect(seed: int) -> None:
    log = WatchedLog()
    fill(log, ["CREATE"] * 40)
    chance = random.Random(seed)
    effects: Counter[int] = Counter()

    def make_handler(store: EventStore) -> Callable[[Event], None]:
        def handle(event: Event) -> None:
            effects[event.seq_num] += 1
            if chance.random() < 0.2:
                raise SystemExit("after the effect")
            store.store_checkpoint("w", event.seq_num)

        return handle

    programs = run_until_all_handled(log, make_handler, lambda: log.get_checkpoint("w") == 40)
    assert programs > 1
    assert sorted(effects) == list(range(1, 41))
    assert effects.total() == 40 + programs - 1


@pytest.mark.parametrize("seed", range(5))
def test_at_most_once_with_the_checkpoint_before_the_effect(seed: int) -> None:
    log = WatchedLog()
    fill(log, ["CREATE"] * 40)
    chance = random.Random(seed)
    effects: Counter[int] = Counter()

    def make_handler(store: EventStore) -> Callable[[Event], None]:
        def handle(event: Event) -> None:
            store.store_checkpoint("w", event.seq_num)
            if chance.random() < 0.2:
                raise SystemExit("before the effect")
            effects[event.seq_num] += 1

        return handle

    programs = run_until_all_handled(log, make_handler, lambda: log.get_checkpoint("w") == 40)
    assert programs > 1
    assert set(effects.values()) == {1}
    assert len(effects) < 40


def test_a_second_watcher_of_one_id_is_given_everything_too_and_shares_the_checkpoint(log: WatchedLog) -> None:
    fill(log, ["CREATE"] * 3)
    recorders = [Recorder(), Recorder()]
    stores = [EventStore(log), EventStore(log)]
    managers = [WatcherManager(store) for store in stores]
    watchers = [
        manager.create("w", handler=recorder, auto_start=True)
        for manager, recorder in zip(managers, recorders, strict=True)
    ]
    for recorder in recorders:
        recorder.wait_for_number(3)
        assert recorder.numbers == [1, 2, 3]
    watchers[0].checkpoint(3)
    watchers[1].checkpoint(1)
    assert [store.get_checkpoint("w") for store in stores] == [1, 1]
    assert all(manager.stop() for manager in managers)


def test_an_object_that_can_not_be_made_is_a_failure_of_the_handler_that_looks(
    log: WatchedLog, manager: WatcherManager
) -> None:
    log.append(Operation.CREATE, "ExecutionUpsert", b"[]")
    failed = threading.Event()
    looks: list[int] = []

    def look(event: Event) -> None:
        looks.append(event.seq_num)
        failed.set()
        event.object  # noqa: B018 - to look is the test

    numbers = Recorder()
    manager.create("numbers", handler=numbers, auto_start=True)
    watcher = manager.create("objects", handler=look, initial_backoff=FOREVER, max_backoff=FOREVER, auto_start=True)
    numbers.wait_for_number(1)
    assert failed.wait(PATIENCE_SECONDS)
    watcher.request_stop()
    assert watcher.stop(PATIENCE_SECONDS)
    error = watcher.stats().error
    assert isinstance(error, EventHandlingError)
    assert isinstance(error.__cause__, DeserializationError)
    assert looks == [1]


# --- a model of restarts, checkpoints and seeks ---------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.integers(1, 5)),
        st.tuples(st.just("checkpoint"), st.integers(0, 8)),
        st.tuples(st.just("seek"), st.integers(0, 8)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("new program"), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 4))
def test_what_is_given_follows_from_checkpoints_and_seeks_alone(steps: list[tuple[str, int]], batch_size: int) -> None:
    log = WatchedLog()
    recorder = Recorder()
    expected: list[int] = []
    checkpoint = 0
    manager = WatcherManager(EventStore(log, long_poll_timeout=PATIENCE_SECONDS))
    watcher = manager.create("w", handler=recorder, batch_size=batch_size, auto_start=True)
    try:
        for step, argument in steps:
            if step == "store":
                expected += range(log.latest() + 1, log.latest() + argument + 1)
                fill(log, ["CREATE"] * argument)
            else:
                if step in ("checkpoint", "seek"):
                    # Only up to the newest event: what lies ahead is the clamp's business, tested apart.
                    checkpoint = min(argument, log.latest())
                if step == "checkpoint":
                    watcher.checkpoint(checkpoint)
                    continue
                if step == "seek":
                    watcher.seek_to_offset(checkpoint)
                elif step == "restart":
                    watcher.stop()
                    watcher.start()
                else:
                    manager.stop()
                    manager = WatcherManager(EventStore(log, long_poll_timeout=PATIENCE_SECONDS))
                    watcher = manager.create("w", handler=recorder, batch_size=batch_size, auto_start=True)
                expected += range(checkpoint + 1, log.latest() + 1)
            recorder.wait_for_count(len(expected))
            assert recorder.numbers == expected
    finally:
        assert manager.stop()
    assert recorder.numbers == expected


def test_starts_stops_and_seeks_from_many_threads_leave_one_watcher_in_order(
    log: WatchedLog, manager: WatcherManager
) -> None:
    fill(log, ["CREATE"] * 30)
    running: set[int] = set()
    overlaps: list[int] = []

    def handle(event: Event) -> None:
        if running:
            overlaps.append(event.seq_num)
        running.add(event.seq_num)
        running.discard(event.seq_num)

    watcher = manager.create("w", handler=handle, batch_size=3, auto_start=True)

    def disturb(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            action = chance.choice(["stop", "seek", "checkpoint", "stats"])
            if action == "stop":
                watcher.stop()
            elif action == "seek":
                watcher.seek_to_offset(chance.randrange(30))
            elif action == "checkpoint":
                watcher.checkpoint(chance.randrange(30))
            else:
                watcher.stats()
            if seed == 0 and watcher.stats().state is WatcherState.STOPPED:
                with contextlib.suppress(WatcherStateError):  # a seek, which stops and starts it, came first
                    watcher.start()

    threads = [threading.Thread(target=disturb, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    assert watcher.stop(PATIENCE_SECONDS)
    assert overlaps == []
    recorder = Recorder()
    watcher.checkpoint(0)
    manager.create("after", handler=recorder, auto_start=True)
    recorder.wait_for_count(30)


# --- the interpreter's exit, and fork -------------------------------------------------------------------------------

PROGRAM = """
    import os, sys, threading, time
    from execstore.watcher import *
    from execstore.watcher import watcher as watcher_module

    JSONSerializer.register_type("Plain", dict)
    log = MemoryEventLog()
    store = EventStore(log, long_poll_timeout=3600)
    entered = threading.Event()
"""


def run_program(code: str) -> str:
    """Run it in another interpreter, which must end by itself; return what it printed."""
    program = textwrap.dedent(PROGRAM) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_a_forgotten_watcher_does_not_keep_the_program_alive() -> None:
    out = run_program(
        """
        WatcherManager(store).create("w", handler=print, auto_start=True)
        print("end")
        """
    )
    assert out == "end\n"


def test_a_handler_at_work_is_not_cut_off_at_the_exit() -> None:
    out = run_program(
        """
        def handle(event):
            entered.set()
            while not finishing.is_set():
                time.sleep(0.001)
            print("handled", event.seq_num, flush=True)

        finishing = threading.Event()
        store.store_event(StoreEventRequest("CREATE", "Plain", {}))
        store.store_event(StoreEventRequest("CREATE", "Plain", {}))
        watcher = WatcherManager(store).create("w", handler=handle, auto_start=True)
        entered.wait()
        # Exit functions run last in, first out, so this comes just before the watchers are stopped. A thread can't be
        # begun any more by then (Python 3.12), so it waits.
        import atexit
        exiting = threading.Event()
        threading.Thread(target=lambda: (exiting.wait(), time.sleep(0.05), finishing.set()), daemon=True).start()
        atexit.register(lambda: exiting.set() or print("end", flush=True))
        """
    )
    assert out == "end\nhandled 1\n"


def test_a_handler_that_never_returns_does_not_keep_the_program_alive() -> None:
    out = run_program(
        """
        watcher_module._EXIT_TIMEOUT_SECONDS = 0.01
        store.store_event(StoreEventRequest("CREATE", "Plain", {}))
        def handle(event):
            entered.set()
            threading.Event().wait()
        WatcherManager(store).create("w", handler=handle, auto_start=True)
        entered.wait()
        print("end")
        """
    )
    assert out == "end\n"


def test_a_watcher_does_not_run_in_a_forked_child_but_can_be_started_there() -> None:
    out = run_program(
        """
        handled = threading.Event()
        def handle(event):
            (entered if event.seq_num == 1 else handled).set()

        manager = WatcherManager(store)
        watcher = manager.create("w", handler=handle, auto_start=True)
        store.store_event(StoreEventRequest("CREATE", "Plain", {}))
        entered.wait()
        while watcher.stats().lag or watcher.stats().last_processed_seq_num != 1:
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            states = [watcher.stats().state.value, watcher.stop()]
            watcher.start()
            store.store_event(StoreEventRequest("CREATE", "Plain", {}))
            states += [handled.wait(20), manager.stop(), watcher.stats().state.value]
            print(*states, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(watcher.stats().state.value, manager.stop())
        """
    )
    assert out == "stopped True True True stopped\nrunning True\n"
