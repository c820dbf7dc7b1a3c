"""From a folder to etcd and back."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, connect
from execstore.copying import copy_store
from execstore.errors import ChangeTooLargeError
from tests.etcd.server import etcd_server
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StoreFactory


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with etcd_server() as found:
        yield found


def test_there_and_back(open_store: StoreFactory, endpoint: str) -> None:
    source, back = open_store("source", small=False), open_store("back", small=False)
    for number in range(40):
        source.create_execution(make_execution(f"e/{number:02}-ü", f"job{number % 3}"), make_event(f"{number}"))
        source.update_execution_state(make_request(f"e/{number:02}-ü", ExecutionState.RUNNING, make_event("runs")))
    source.event_store.store_checkpoint("mailer", 7)
    source.checkpoint("mine", 3)
    with connect(f"etcd://{endpoint}/{uuid.uuid4().hex}") as between:
        assert copy_store(source, between).differences == []
        assert between.verify().ok
        report = copy_store(between, back)
    assert (report.differences, report.executions, report.checkpoints) == ([], 40, 2)
    for folder in ("executions", "execution_events", "events", "checkpoints", "sequence_tracking"):
        original, twin = (open_store.path(name) / folder for name in ("source", "back"))
        assert {path.name: path.read_bytes() for path in twin.iterdir()} == {
            path.name: path.read_bytes() for path in original.iterdir()
        }


def test_what_etcd_does_not_take_ends_in_its_error(open_store: StoreFactory, endpoint: str) -> None:
    source = open_store("source", small=False)
    source.create_execution(make_execution("large", job={"Name": "x" * (2 << 20)}))
    with connect(f"etcd://{endpoint}/{uuid.uuid4().hex}") as destination, pytest.raises(ChangeTooLargeError):
        copy_store(source, destination)
