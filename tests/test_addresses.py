"""Addresses: which store each opens, and what is said of one that makes no sense."""

from __future__ import annotations

import importlib.metadata
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Store, addresses, connect
from execstore.addresses import folder_of, scheme_of, without_password
from execstore.errors import InvalidArgumentError
from execstore.memory.content import Content
from execstore.memory.engine import MemoryEngine
from tests.support import make_execution

if TYPE_CHECKING:
    from execstore.engine import EngineOptions


@pytest.mark.parametrize(
    ("address", "scheme"),
    [
        ("store", "file"),
        ("/srv/store", "file"),
        ("./memory:x", "file"),
        ("12:30", "file"),
        ("memoryx", "file"),
        ("file:store", "file"),
        ("FILE:///srv/store", "file"),
        ("memory:", "memory"),
        ("Memory:x", "memory"),
        ("etcd://host/prefix", "etcd"),
        ("etcds://host", "etcds"),
        ("a+b.c-1://x", "a+b.c-1"),
        (Path("memory:"), "file"),
        ("c://x", "file"),
    ],
)
def test_the_scheme_of_an_address(address: str | Path, scheme: str) -> None:
    assert scheme_of(address) == scheme
    assert (folder_of(address) is None) == (scheme != "file")


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("my store", "my store"),
        ("100%25", "100%25"),
        ("file:my-store", "my-store"),
        ("file:/srv/my%20store", "/srv/my store"),
        ("file:///srv/store", "/srv/store"),
        ("file://localhost/srv/store", "/srv/store"),
        ("file:a%3Fb%23c", "a?b#c"),
        (Path("a") / "b", "a/b"),
    ],
)
def test_the_folder_of_an_address(address: str | Path, folder: str) -> None:
    assert folder_of(address) == folder


def test_a_path_and_a_url_open_the_same_store(tmp_path: Path) -> None:
    folder = tmp_path / "my store"
    with connect(folder) as store:
        store.create_execution(make_execution())
    for address in (str(folder), f"file:{tmp_path}/my%20store", f"file://{tmp_path}/my%20store"):
        with connect(address, read_only=True) as store:
            assert store.get_execution("e1").revision == 1
            assert store.path == str(folder)


def test_a_folder_may_be_called_like_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with connect(Path("memory:x")) as store:
        store.create_execution(make_execution())
    with connect("./memory:x") as store:
        assert store.get_execution("e1").revision == 1
    with connect("file:./memory:x") as store:
        assert store.get_execution("e1").revision == 1
    assert (tmp_path / "memory:x" / "FORMAT").exists()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("redis://host/0", "nothing here opens redis://"),
        ("postgres://me:secret@host/db", "nothing here opens postgres://"),
        ("file://elsewhere/store", "is on another machine"),
        ("file:store?mode=ro", "takes no parameters"),
        ("file:", "must be the path of a folder"),
        ("", "must be the path of a folder"),
        (7, "must be text or a path, not int"),
        (None, "must be text or a path, not NoneType"),
        (b"store", "must be text or a path, not bytes"),
    ],
)
def test_an_address_that_makes_no_sense(address: Any, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason) as caught:
        connect(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["etcd://host/prefix", "memory:", "memory:x", "file:store", "x-y://z"])
def test_a_store_takes_no_address_for_a_folder(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match=r"open it with execstore\.connect, or write \./"):
        Store(address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("etcd://me:secret@host:2379,other:2379/prefix?x=1", "etcd://me@host:2379,other:2379/prefix?x=1"),
        ("etcd://me@host/p", "etcd://me@host/p"),
        ("etcd://host:2379/p@q", "etcd://host:2379/p@q"),
        ("etcd://me:se:cr@et@host/p", "etcd://me@host/p"),
        ("a:b@c", "a:b@c"),
        ("memory:me:secret@x", "memory:me:secret@x"),
    ],
)
def test_a_password_is_never_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_another_engine_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_engine(address: str, options: EngineOptions) -> MemoryEngine:
        opened.append(address)
        return MemoryEngine(Content(address), options)

    class Found:
        def load(self) -> Any:
            return open_engine

    def entry_points(*, group: str, name: str) -> list[Found]:
        return [Found()] if (group, name) == ("execstore.engines", "mine") else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    with connect("mine://anything/at?all", lock_timeout=3) as store:
        store.create_execution(make_execution())
        assert store.path == "mine://anything/at?all"
    assert opened == ["mine://anything/at?all"]
    with pytest.raises(InvalidArgumentError, match="nothing here opens other://"):
        connect("other://x")
    monkeypatch.setattr(Found, "load", lambda _: "no function")
    with pytest.raises(InvalidArgumentError, match="is no function"):
        connect("mine://x")


def test_options_reach_the_store_wherever_it_is(tmp_path: Path) -> None:
    for address in (str(tmp_path / "store"), "memory:"):
        with pytest.raises(InvalidArgumentError) as caught:
            connect(address, lock_timeout=-1)
        assert caught.value.argument == "lock_timeout"
        with pytest.raises(TypeError):
            connect(address, colour="red")  # type: ignore[call-arg]
        assert not (tmp_path / "store").exists()
    content = Content("mine")
    with Store.on(partial(MemoryEngine, content), clock=lambda: 5) as store:
        assert store.create_execution(make_execution()).create_time == 5
    assert addresses.__all__
