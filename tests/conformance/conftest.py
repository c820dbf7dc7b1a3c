"""Stores for the suite, on each engine in turn. At the end of each test all of its stores are verified."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Store
from tests.conformance.engines import BUILT_IN, load_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conformance.engines import Place
    from tests.support import FakeClock


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        action="append",
        metavar="NAME",
        help=f"run the conformance suite on this engine only: {', '.join(BUILT_IN)}, or package.module:factory; "
        "may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "folder: for a store in a folder only, whose files it looks at")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--engine", None) or list(BUILT_IN)
        if metafunc.definition.get_closest_marker("folder") is not None:
            chosen = [name for name in chosen if name == "tree"]
        metafunc.parametrize("engine", chosen, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a store in a folder, what looks at its files is left out; it is no gap of another engine."""
    if "tree" in (config.getoption("--engine", None) or BUILT_IN):
        return
    left_out = [item for item in items if item.get_closest_marker("folder") is not None]
    items[:] = [item for item in items if item.get_closest_marker("folder") is None]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def etcd_endpoint() -> Iterator[Callable[[], str]]:
    """Gives the address of an etcd on loopback, which is started when it is first asked for."""
    with contextlib.ExitStack() as stack:
        found: list[str] = []

        def endpoint() -> str:
            if not found:
                from tests.etcd.server import etcd_server

                found.append(stack.enter_context(etcd_server()))
            return found[0]

        yield endpoint


class Stores:
    """Opens stores of one place, any number of handles each, and looks after them in the end."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self._handles: list[Store] = []
        self._names: dict[str, None] = {}

    def __call__(self, name: str = "store", *, small: bool = True, **options: Any) -> Store:
        """A handle on the store of this name, which is made if it isn't there."""
        self._names[name] = None
        store = Store.on(partial(self.place.open, name, small=small), **options)
        self._handles.append(store)
        return store

    def path(self, name: str = "store") -> Path:
        """The folder of a store, for tests marked with ``folder``."""
        self._names[name] = None
        return self.folder / name

    def address(self, name: str = "store") -> str:
        """What another process opens it by; skips the test where none can."""
        address = self.place.address(name)
        if address is None:
            pytest.skip("no other process can open such a store")
        return address

    def finish(self) -> None:
        for handle in self._handles:
            handle.close()
        for name in self._names:
            with Store.on(partial(self.place.open, name)) as store:
                report = store.verify()
                assert report.ok, report.problems


@pytest.fixture
def place(engine: str, tmp_path: Path, etcd_endpoint: Callable[[], str]) -> Place:
    """Where this test's stores are."""
    return load_factory(engine, etcd_endpoint)(tmp_path)


@pytest.fixture
def open_store(place: Place, tmp_path: Path) -> Iterator[Stores]:
    """Opens handles: ``open_store()``, ``open_store("other", read_only=True)``."""
    stores = Stores(place, tmp_path)
    yield stores
    stores.finish()


@pytest.fixture
def store(open_store: Stores, clock: FakeClock) -> Store:
    """An empty store with a clock that stands still."""
    return open_store(clock=clock, long_poll_timeout=0.05)
