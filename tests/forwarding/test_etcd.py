"""Forwarding to a central store in etcd: through the death of its server, by several at once, and what is too large."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING

from execstore import ExecutionState, Store, connect
from execstore.forwarding import Forwarder
from tests.etcd.server import cluster
from tests.forwarding.support import as_node, content, messages, stream_of
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from tests.conftest import StoreFactory

_PATIENCE_SECONDS = 90


def work(store: Store, first: int, last: int) -> None:
    for number in range(first, last):
        store.create_execution(make_execution(f"e{number:03}"), make_event(f"{number} a"), make_event(f"{number} b"))
        store.update_execution_state(make_request(f"e{number:03}", ExecutionState.RUNNING, make_event(f"{number} c")))


def wait_for(forwarder: Forwarder, number: int) -> None:
    """Until the central store is as far as that, and goes by the log."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while forwarder.report.sequence_number < number or forwarder.report.phase != "follow":
        assert time.monotonic() < deadline, forwarder.report
        time.sleep(0.01)


def test_a_central_etcd_dies_and_comes_back(open_store: StoreFactory) -> None:
    device = open_store("device", durability="relaxed", small=False)
    with cluster(1) as servers:
        address = f"etcd://{servers.endpoints}/{uuid.uuid4().hex}"
        forwarders = [
            Forwarder(
                device,
                lambda: connect(address, lock_timeout=2),
                node="n1",
                batch_size=size,
                initial_backoff=0.05,
                max_backoff=0.2,
            )
            for size in (3, 64)
        ]
        threads = [threading.Thread(target=forwarder.run) for forwarder in forwarders]
        for thread in threads:
            thread.start()
        try:
            wait_for(forwarders[0], 0)  # from an empty store on, all comes by the log
            work(device, 0, 5)
            wait_for(forwarders[0], device.event_store.get_latest_event_num())
            (server,) = servers.members
            server.kill()
            work(device, 5, 25)
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while not all(forwarder.report.retries for forwarder in forwarders):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            server.start()
            servers.wait_until_ready()
            work(device, 25, 30)
            latest = device.event_store.get_latest_event_num()
            wait_for(forwarders[0], latest)
        finally:
            for forwarder in forwarders:
                forwarder.stop()
            for thread in threads:
                thread.join(_PATIENCE_SECONDS)
        with connect(address) as central:
            assert content(central) == as_node(device, "n1")
            assert messages(central) == messages(device)
            assert stream_of(central).sequence_number == latest
            assert central.verify().ok
    # What was committed while its answer got lost is told by neither, so they may have counted less than there is.
    assert sum(forwarder.report.events for forwarder in forwarders) <= latest


def test_an_execution_that_etcd_does_not_take_is_left_out_and_the_rest_comes(open_store: StoreFactory) -> None:
    device = open_store("device", durability="relaxed", small=False)
    work(device, 0, 3)
    device.create_execution(make_execution("large", job={"Name": "x" * (2 << 20)}))
    work(device, 3, 6)
    with cluster(1) as servers:
        address = f"etcd://{servers.endpoints}/{uuid.uuid4().hex}"
        report = Forwarder(device, lambda: connect(address), node="n1").run(once=True)
        with connect(address) as central:
            expected = as_node(device, "n1")
            del expected["large"]
            assert content(central) == expected
    assert report.lag == 0
    assert any("execution large of node n1 was left out" in sentence for sentence in report.conflicts)
