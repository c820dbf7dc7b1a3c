"""A read-only store never writes a byte, needs no right to, and shows all that is committed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store
from execstore.errors import StoreReadOnlyError
from execstore.tree.filesystem import RealFileSystem
from tests.store.file_systems import Recording
from tests.store.test_flushes import READS
from tests.support import in_child, listing, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import StoreFactory

NOBODY = 65534


@pytest.fixture
def filled(store: Store) -> Store:
    store.create_execution(make_execution(), make_event())
    store.checkpoint("cp", 3)
    return store


@pytest.fixture
def sealed(filled: Store, open_store: StoreFactory) -> Iterator[Path]:
    """A copy of a clean store that nobody may write to, in a place where every user may go."""
    assert filled.verify().ok, "what verify needs is imported: another user may not read where Python is"
    filled.close()
    folder = Path(tempfile.mkdtemp(prefix="execstore-test-"))
    folder.chmod(0o755)
    path = folder / "store"
    shutil.copytree(open_store.path(), path, symlinks=True)
    try:
        yield seal(path)
    finally:
        for parent, _, _ in os.walk(path):
            os.chmod(parent, 0o700)
        shutil.rmtree(folder)


def seal(path: Path) -> Path:
    for parent, _, files in os.walk(path, topdown=False):
        for name in files:
            if not os.path.islink(os.path.join(parent, name)):
                os.chmod(os.path.join(parent, name), 0o444)
        os.chmod(parent, 0o555)
    return path


def as_another_user(work: Callable[[], object]) -> str:
    """Do ``work`` in a child that isn't the superuser, who may write everywhere."""

    def give_up_rights() -> object:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        return work()

    return in_child(give_up_rights)


def read_all(store: Store) -> str:
    for call in READS.values():
        call(store)
    report = store.verify()
    return f"{store.get_execution('e1').id} {store.get_checkpoint('cp')} {report.problems}"


def test_one_who_may_only_read_can_read_all(sealed: Path) -> None:
    before = listing(sealed)

    def work() -> object:
        with Store(sealed, read_only=True) as store:
            return read_all(store)

    assert as_another_user(work) == "e1 3 ()"
    assert listing(sealed) == before


def test_one_who_may_only_read_can_not_open_it_for_writing(sealed: Path) -> None:
    before = listing(sealed)
    assert as_another_user(lambda: Store(sealed)).startswith(f"StoreReadOnlyError: {sealed} can't be changed: ")
    assert listing(sealed) == before


def test_one_who_may_only_read_sees_what_was_cut_off(filled: Store, open_store: StoreFactory, sealed: Path) -> None:
    # The copy is of a moment at which a writer had the store open and hadn't closed it cleanly.
    shutil.rmtree(open_store.path("live"), ignore_errors=True)
    with open_store("live") as live:
        live.create_execution(make_execution("cut"))
        live.checkpoint("cp", 3)
        copy = sealed.parent / "cut"
        shutil.copytree(open_store.path("live"), copy, symlinks=True)
    shutil.rmtree(copy / "executions")
    (copy / "executions").mkdir()
    seal(copy)
    try:

        def work() -> object:
            with Store(copy, read_only=True) as store:
                return f"{store.get_execution('cut').id} {store.counts()[ExecutionState.NEW]} {store.verify().problems}"

        assert as_another_user(work) == "cut 1 ()"
    finally:
        for parent, _, _ in os.walk(copy):
            os.chmod(parent, 0o700)


@pytest.mark.parametrize("call", READS.values(), ids=READS)
def test_no_call_writes(filled: Store, open_store: StoreFactory, call: Callable[[Store], object]) -> None:
    made: list[Recording] = []

    def record(root: str) -> Recording:
        made.append(Recording(root))
        return made[-1]

    before = listing(filled.path)
    with open_store(read_only=True, file_system=record) as reader:
        call(reader)
    assert (made[0].writes(), made[0].flushes()) == (0, 0)
    assert listing(filled.path) == before


def test_what_was_closed_in_peace_is_read_without_a_lock(filled: Store, open_store: StoreFactory) -> None:
    tried: list[int] = []

    class Locking(RealFileSystem):
        def try_lock(self, descriptor: int) -> bool:
            tried.append(descriptor)
            return super().try_lock(descriptor)

    with open_store(read_only=True, file_system=Locking) as reader:
        assert reader.get_execution("e1").id == "e1"
        assert tried, "a writer has it open, so it has to be found out whether it was cut off"
    filled.close()
    tried.clear()
    with open_store(read_only=True, file_system=Locking) as reader:
        assert reader.get_execution("e1").id == "e1"
    assert tried == []


def test_it_follows_a_living_writer(filled: Store, open_store: StoreFactory) -> None:
    reader = open_store(read_only=True)
    for state in (ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING, ExecutionState.COMPLETED):
        filled.update_execution_state(make_request("e1", state))
        assert reader.get_execution("e1").compute_state.state_type is state
        assert reader.get_execution_count(state) == 1
        assert reader.event_store.get_latest_event_num() == filled.event_store.get_latest_event_num()
    filled.close()
    assert reader.get_execution("e1").revision == 4
    with open_store() as again:
        again.delete_execution("e1")
        assert reader.counts()[ExecutionState.COMPLETED] == 0


def test_it_keeps_no_writer_from_opening_or_closing_cleanly(filled: Store, open_store: StoreFactory) -> None:
    reader = open_store(read_only=True)
    reader.get_execution("e1")
    filled.close()
    assert '"clean":true' in (open_store.path() / "head").read_text()
    with open_store(lock_timeout=0) as again:
        again.create_execution(make_execution("e2"))
    assert '"clean":true' in (open_store.path() / "head").read_text()
    assert reader.get_execution("e2").revision == 1


def test_its_errors_say_that_it_is_read_only(filled: Store, open_store: StoreFactory) -> None:
    with pytest.raises(StoreReadOnlyError) as caught:
        open_store(read_only=True).delete_execution("e1")
    assert caught.value.reason == "it was opened read-only"
