"""Whatever a node does, and however its forwarders are cut off: the central store comes to have what the node has."""

from __future__ import annotations

import contextlib
import os
import random
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from execstore import Event, Execution, ExecutionState, Store
from execstore.errors import ExecStoreError
from execstore.forwarding import Forwarder, ForwardReport
from execstore.imports import add_execution
from execstore.records import encode_event, encode_execution
from tests.forwarding.support import as_node, content, forward, kept, stream_of
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StoreFactory

IDS = ("e1", "e2", "e3")
# What makes something to work on comes more than once.
OPERATIONS = [*["create", "add_events"] * 2, "take_in", "accept", "run", "complete"]
OPERATIONS += ["move_to_another_job", "delete", "live_again"]
ACTIONS = ("forward_a_little",) * 8 + ("forward_all",) * 3 + ("lose_the_log",) * 2 + ("forward_further", "forward_anew")
ROUNDS = 40
SEEDS = int(os.environ.get("EXECSTORE_FORWARDING_SEEDS", "6"))


class Simulation:
    """A node, a central store with another node's executions in it, and a third store that the central one goes to."""

    def __init__(self, open_store: StoreFactory, seed: int) -> None:
        self.random = random.Random(seed)
        self.device = open_store("device", durability="relaxed")
        self.central = open_store("central", durability="relaxed")
        self.top = open_store("top", durability="relaxed")
        self.central.create_execution(make_execution("other", node_id="n2"), make_event("other"))
        self.number = 0

    def message(self) -> str:
        self.number += 1
        return f"m{self.number}"

    def work(self) -> None:
        for _ in range(self.random.randint(1, 8)):
            events = [make_event(self.message()) for _ in range(self.random.randint(0, 2))]
            # Some of what is asked at random can't be done; that, too, must leave no trace.
            with contextlib.suppress(ExecStoreError):
                getattr(self, self.random.choice(OPERATIONS))(self.random.choice(IDS), events)

    def create(self, execution_id: str, events: list[Event]) -> None:
        self.device.create_execution(make_execution(execution_id), *events)

    def accept(self, execution_id: str, events: list[Event]) -> None:
        self.device.update_execution_state(make_request(execution_id, ExecutionState.BID_ACCEPTED, *events))

    def run(self, execution_id: str, events: list[Event]) -> None:
        self.device.update_execution_state(make_request(execution_id, ExecutionState.RUNNING, *events))

    def complete(self, execution_id: str, events: list[Event]) -> None:
        self.device.update_execution_state(make_request(execution_id, ExecutionState.COMPLETED, *events))

    def move_to_another_job(self, execution_id: str, events: list[Event]) -> None:
        self.device.update_execution_state(make_request(execution_id, None, *events, job_id="job2"))

    def add_events(self, execution_id: str, events: list[Event]) -> None:
        self.device.add_execution_event(execution_id, *events)

    def delete(self, execution_id: str, events: list[Event]) -> None:
        self.device.delete_execution(execution_id)

    def live_again(self, execution_id: str, events: list[Event]) -> None:
        with self.device.begin_tx() as transaction:
            transaction.delete_execution(execution_id)
            transaction.create_execution(make_execution(execution_id), *events)
            transaction.add_execution_event(execution_id, *events)

    def take_in(self, execution_id: str, events: list[Event]) -> None:
        """An import, which tells of its events only in one line."""
        execution = make_execution(execution_id, revision=7, create_time=5, modify_time=6)
        lines = b"".join(encode_event(event) + b"\n" for event in events)
        add_execution(self.device, execution, encode_execution(execution), lines)

    def lose_the_log(self) -> None:
        """Nobody holds it any more, and it is collected."""
        for watcher_id in self.device.event_store.list_checkpoints():
            self.device.event_store.remove_checkpoint(watcher_id)
        self.device.collect_events(retention=timedelta(0))

    def forward_a_little(self) -> None:
        """As if it were cut off after some batches; what the node does meanwhile comes between them."""
        left = self.random.randint(1, 4)

        def on_progress(_: ForwardReport) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                forwarder.stop()
            elif self.random.random() < 0.3:
                self.work()

        forwarder = Forwarder(
            self.device, self.open_central, node="n1", batch_size=self.batch_size(), on_progress=on_progress
        )
        forwarder.run(once=True)

    def forward_all(self) -> None:
        report = forward(self.device, self.central, batch_size=self.batch_size())
        assert (report.lag, report.conflicts, report.phase) == (0, [], "follow")
        self.check()

    def forward_anew(self) -> None:
        forward(self.device, self.central, resync=True, batch_size=3)
        self.check()

    def forward_further(self) -> None:
        report = forward(self.central, self.top, "region", keep_nodes=True, batch_size=self.batch_size())
        assert report.conflicts == []
        assert content(self.top) == content(self.central)

    def batch_size(self) -> int:
        return self.random.choice((1, 2, 3, 7, 256))

    def open_central(self) -> Store:
        return kept(self.central)

    def check(self) -> None:
        assert content(self.central, "n1") == as_node(self.device, "n1")
        assert set(content(self.central)) == {*content(self.device), "other"}
        assert self.central.get_execution("other").node_id == "n2"
        assert stream_of(self.central).sequence_number == self.device.event_store.get_latest_event_num()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_central_store_comes_to_have_what_the_node_has(open_store: StoreFactory, seed: int) -> None:
    simulation = Simulation(open_store, seed)
    for _ in range(ROUNDS):
        simulation.work()
        getattr(simulation, simulation.random.choice(ACTIONS))()
    simulation.forward_all()
    simulation.forward_further()


def test_an_execution_unlike_any(tmp_path: Path) -> None:
    """Members that nobody knows, and every field, come as they are."""
    from tests.support import full_execution

    with Store(tmp_path / "device") as device, Store(tmp_path / "central") as central:
        execution = full_execution().replace(extra={"Unknown": {"deep": [1, 2**70, None]}})
        assert isinstance(device.create_execution(execution, make_event("a")), Execution)
        forward(device, central)
        assert content(central) == as_node(device, "n1")
        assert central.get_execution("e1").extra == execution.extra
