"""One etcd for the tests of this folder. Each test has a prefix of its own; in the end all its stores are verified."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, cast

import pytest

from execstore import Store, connect
from execstore.engine import EngineOptions
from execstore.etcd.address import EtcdAddress
from execstore.etcd.engine import EtcdEngine
from execstore.etcd.gateway import Gateway
from execstore.schema import LAYOUT
from tests.etcd.server import cluster, etcd_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.etcd.server import Cluster

SMALL_SEGMENT_BYTES = 4096


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """``host:port`` of a server of one member."""
    with etcd_server() as found:
        yield found


@pytest.fixture
def prefix() -> str:
    return f"/test-{uuid.uuid4().hex}"


@pytest.fixture
def address(endpoint: str, prefix: str) -> str:
    """Where this test's store is, or can be made."""
    return f"etcd://{endpoint}{prefix}"


class EtcdStores:
    """Opens handles, any number on each store, and looks after them in the end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._handles: list[Store] = []
        self._addresses: dict[str, None] = {}

    def __call__(self, address: str | None = None, *, small: bool = False, **options: Any) -> Store:
        """A handle on the store at this address; a ``small`` one is made with log segments that soon are full."""
        address = self.address if address is None else address
        if address.startswith(self.address.rpartition("/")[0]):  # else it is the same by way of a proxy, or its own
            self._addresses.setdefault(address)
        if small:
            EtcdEngine(EtcdAddress.parse(address), EngineOptions(LAYOUT), SMALL_SEGMENT_BYTES).close()
        store = connect(address, **options)
        self._handles.append(store)
        return store

    def forget(self) -> None:
        """Don't look after what there was so far any more: its servers, or its keys, are gone."""
        for handle in self._handles:
            handle.close()
        self._handles.clear()
        self._addresses.clear()

    def finish(self) -> None:
        for handle in self._handles:
            handle.close()
        for address in self._addresses:
            with connect(address, read_only=True) as store:
                report = store.verify()
                assert report.ok, report.problems


@pytest.fixture
def open_store(address: str) -> Iterator[EtcdStores]:
    """Opens handles: ``open_store()``, ``open_store(other_address, lock_timeout=0.1)``."""
    stores = EtcdStores(address)
    yield stores
    stores.finish()


@pytest.fixture
def store(open_store: EtcdStores) -> Store:
    return open_store()


@pytest.fixture
def gateway(address: str) -> Iterator[Gateway]:
    """The servers, past any store."""
    made = Gateway(EtcdAddress.parse(address))
    yield made
    made.close()


@pytest.fixture(scope="session")
def three_members() -> Iterator[Cluster]:
    """A cluster whose members may be killed, as long as a test brings them back."""
    with cluster(3) as made:
        yield made


def engine_of(store: Store) -> EtcdEngine:
    """The engine behind a store."""
    return cast("EtcdEngine", store.engine())
