"""What following costs: the log is read once for all watchers of a process, and asked by one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from execstore.event_log import StoreEventLog
from execstore.watcher import EventFilter, EventIterator, EventStore, WatcherManager
from tests.support import make_event, make_execution
from tests.watcher.support import Recorder

if TYPE_CHECKING:
    from tests.conftest import StoreFactory

WATCHERS = 10
COMMITS = 20


class CountedLog(StoreEventLog):
    """Counts what it is asked, but for the lookout's own looks."""

    reads = 0
    asked_for_oldest = 0

    def read(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        self.reads += 1
        return super().read(first, maximum)

    def oldest(self) -> int:
        self.asked_for_oldest += 1
        return super().oldest()


def test_watchers_that_keep_up_read_each_event_once_together(open_store: StoreFactory) -> None:
    store, writer = open_store(), open_store()
    store.create_execution(make_execution("e0"))
    log = CountedLog(store)
    recorders = [Recorder() for _ in range(WATCHERS)]
    with WatcherManager(EventStore(log)) as manager:
        for number, recorder in enumerate(recorders):
            manager.create(
                f"w{number}",
                handler=recorder,
                initial_event_iterator=EventIterator.at_sequence_number(1),
                # Half of them pass over every second event.
                filter=EventFilter(object_types=("ExecutionUpsert",) if number % 2 else ()),
                ephemeral=True,
                auto_start=True,
            )
        for recorder in recorders:
            recorder.wait_for_number(1)
        log.reads = log.asked_for_oldest = 0
        for number in range(1, COMMITS + 1):
            writer.create_execution(make_execution(f"e{number}"), make_event())
            for recorder in recorders:
                recorder.wait_for_number(1 + 2 * number)
    assert (log.reads, log.asked_for_oldest) == (COMMITS, 0)
    for number, recorder in enumerate(recorders):
        assert recorder.numbers == list(range(1, 2 * COMMITS + 2, 2 if number % 2 else 1))
    first, *others = recorders
    for other in others[1::2]:
        # The very same objects, decoded once.
        assert all(one.object is another.object for one, another in zip(first.handled, other.handled, strict=True))
