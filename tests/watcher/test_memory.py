"""The log in memory keeps what the seam promises. Another log's tests can take these as their model."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from execstore.errors import StoreClosedError
from execstore.watcher import EventLog, MemoryEventLog, Operation
from tests.watcher.support import PATIENCE_SECONDS, fill

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def memory() -> MemoryEventLog:
    return MemoryEventLog()


def test_it_is_an_event_log(memory: MemoryEventLog) -> None:
    seam: EventLog = memory
    assert (seam.latest(), seam.oldest(), seam.closed) == (0, 1, False)


@pytest.mark.parametrize(
    ("oldest", "first", "maximum", "expected"),
    [
        (1, 1, 10, [1, 2, 3, 4, 5]),
        (1, 2, 2, [2, 3]),
        (1, 6, 5, []),
        (3, 1, 2, [3, 4]),
        (3, 4, 9, [4, 5]),
        (6, 2, 5, []),
    ],
)
def test_read(memory: MemoryEventLog, oldest: int, first: int, maximum: int, expected: list[int]) -> None:
    fill(memory, ["CREATE"] * 5)
    memory.collect(oldest)
    assert [number for number, _ in memory.read(first, maximum)] == expected


def test_numbers_never_go_back(memory: MemoryEventLog) -> None:
    fill(memory, ["CREATE"] * 3)
    memory.collect(2)
    memory.collect(1)
    assert (memory.oldest(), memory.latest()) == (2, 3)
    memory.collect(99)
    assert (memory.oldest(), memory.latest()) == (4, 3)
    assert memory.append(Operation.CREATE, "Plain", b"{}") == 4
    assert (memory.oldest(), memory.latest()) == (4, 4)


@pytest.mark.parametrize(
    "call",
    [
        lambda log: log.latest(),
        lambda log: log.oldest(),
        lambda log: log.read(1, 1),
        lambda log: log.append(Operation.CREATE, "Plain", b"{}"),
        lambda log: log.append_line(b"{}"),
        lambda log: log.collect(1),
        lambda log: log.get_checkpoint("w"),
        lambda log: log.store_checkpoint("w", 1),
        lambda log: log.remove_checkpoint("w"),
        lambda log: log.list_checkpoints(),
    ],
)
def test_closed_is_closed(memory: MemoryEventLog, call: Callable[[MemoryEventLog], object]) -> None:
    memory.close()
    memory.close()
    with pytest.raises(StoreClosedError):
        call(memory)
    memory.wake()
    assert memory.wait(0, PATIENCE_SECONDS, lambda: False) == 0


def test_wait_is_over_when_there_is_something(memory: MemoryEventLog) -> None:
    fill(memory, ["CREATE"])
    assert memory.wait(0, PATIENCE_SECONDS, lambda: False) == 1


def test_wait_is_over_when_the_time_is(memory: MemoryEventLog) -> None:
    assert memory.wait(0, 0.001, lambda: False) == 0


def test_wait_is_over_when_it_is_interrupted_before(memory: MemoryEventLog) -> None:
    assert memory.wait(0, PATIENCE_SECONDS, lambda: True) == 0


@pytest.mark.parametrize("what", ["append", "wake", "close"])
def test_what_ends_a_wait(memory: MemoryEventLog, what: str) -> None:
    looked = threading.Event()
    interrupt = threading.Event()

    def interrupted() -> bool:
        looked.set()
        return interrupt.is_set()

    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(memory.wait(0, PATIENCE_SECONDS, interrupted)))
    thread.start()
    assert looked.wait(PATIENCE_SECONDS)
    if what == "append":
        fill(memory, ["CREATE"])
    elif what == "wake":
        interrupt.set()
        memory.wake()
    else:
        memory.close()
    thread.join(PATIENCE_SECONDS / 2)
    assert results == [what == "append"]
