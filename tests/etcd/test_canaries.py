"""Mistakes that the engine could have, planted one by one: the checks of ``test_faults`` must notice each."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import ExecStoreError, ExecutionAlreadyExistsError
from execstore.etcd import commit as commit_module
from execstore.etcd.commit import Committer, Outcome
from execstore.etcd.lock import WriterLock
from execstore.etcd.session import Session
from execstore.etcd.snapshot import Snapshot
from execstore.etcd.wire import compare_absent, put
from tests.etcd.conftest import engine_of
from tests.etcd.proxy import Fate, proxy
from tests.etcd.test_faults import only, through
from tests.support import log_entries, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore import Store
    from tests.etcd.conftest import EtcdStores
    from tests.etcd.proxy import Proxy


@pytest.fixture
def between(endpoint: str) -> Iterator[Proxy]:
    with proxy(endpoint) as made:
        yield made


@pytest.fixture
def stores(open_store: EtcdStores, between: Proxy, address: str) -> Iterator[tuple[Store, Store]]:
    """One straight, one through the proxy. What a mistake left behind isn't verified."""
    yield open_store(), open_store(through(between, address, "?timeout_seconds=1"))
    open_store.forget()


def anything(*_: object) -> bytes:
    """A comparison that is always true."""
    return compare_absent(b"/there is/no such key")


# --- the checks: each gives whether all is as it should be ---


def lost_answer(stores: tuple[Store, Store], between: Proxy) -> bool:
    """An answer that gets lost doesn't make a change happen twice."""
    _, store = stores
    store.create_execution(make_execution("e1"))
    between.decide = only("/v3/kv/txn", [Fate.LOSE_ANSWER])
    store.update_execution_state(make_request("e1", name="n"))
    return store.get_execution("e1").revision == 2 and len(log_entries(store)) == 2


def late_request(stores: tuple[Store, Store], between: Proxy) -> bool:
    """One that arrives late does nothing, though others have gone on."""
    other, store = stores
    store.create_execution(make_execution("e1"))
    between.decide = only("/v3/kv/txn", [Fate.DELAY])
    store.update_execution_state(make_request("e1", name="n"))
    other.update_execution_state(make_request("e1", name="after"))
    between.release()
    return other.get_execution("e1").name == "after" and len(log_entries(other)) == 3


def transaction_alone(stores: tuple[Store, Store], _: Proxy) -> bool:
    """Who writes while another has a transaction open is kept out, and so the transaction gets through."""
    first, second = stores
    first.create_execution(make_execution("e1"))
    transaction = first.begin_tx()
    transaction.update_execution_state(make_request("e1", name="in the transaction"))
    engine_of(second)._writer._timeout_seconds = 0.0
    with contextlib.suppress(ExecStoreError):
        second.update_execution_state(make_request("e1", name="in between"))
    try:
        transaction.commit()
    except ExecStoreError:
        return False
    return first.get_execution("e1").revision == 2


def stale_refusal(stores: tuple[Store, Store], _: Proxy) -> bool:
    """What a handle believes of the past is no reason to say no."""
    first, second = stores
    first.create_execution(make_execution("e1"))
    second.delete_execution("e1")
    try:
        first.create_execution(make_execution("e1"))
    except ExecutionAlreadyExistsError:
        return False
    return True


def wrong_guess(stores: tuple[Store, Store], _: Proxy) -> bool:
    """What was guessed to be absent, and isn't, isn't written over."""
    first, second = stores
    second.create_execution(make_execution("e0"))
    first.create_execution(make_execution("e1", job_id="of the first"))
    second.get_execution("e1")
    second.counts()  # its head is the newest, of e1 it knows nothing
    try:
        second.create_execution(make_execution("e1", job_id="of the second"))
    except ExecutionAlreadyExistsError:
        return second.get_execution("e1").job_id == "of the first"
    return False


def one_moment(stores: tuple[Store, Store], _: Proxy) -> bool:
    """All answers of a look are of one moment, whatever happens meanwhile."""
    first, second = stores
    first.create_execution(make_execution("e1"))

    def look(reader: Any) -> tuple[bool, int]:
        is_there = reader.record("executions", "e1") is not None
        with contextlib.suppress(ExecStoreError):
            second.delete_execution("e1")
        return is_there, len(reader.members("idx_executions_by_job_id", "job1"))

    return first.look(look) == (True, 1)


CHECKS = [lost_answer, late_request, transaction_alone, stale_refusal, wrong_guess, one_moment]


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_mistake_all_is_well(
    check: Callable[[tuple[Store, Store], Proxy], bool], stores: tuple[Store, Store], between: Proxy
) -> None:
    assert check(stores, between)


def forget_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost answer is taken for a change that wasn't made."""

    def next_marker(self: Session, deadline: float) -> tuple[bytes, bytes]:
        self._number += 1
        return put(self.key, b"%d" % self._number, self.lease.ensure(deadline)), b"another"

    monkeypatch.setattr(Session, "next_marker", next_marker)


def compare_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change goes through whatever others have done."""
    monkeypatch.setattr(commit_module, "compare_modified", anything)


def compare_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writers' lock of others is no matter."""
    monkeypatch.setattr(WriterLock, "compare", anything)


def verify_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a refusal was based on isn't looked after."""
    monkeypatch.setattr(Committer, "verify", lambda *_: Outcome(1))


def compare_no_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess is taken for the truth."""
    monkeypatch.setattr(commit_module, "compare_absent", anything)


def name_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question of a look is answered as of its own moment."""
    fetch = Snapshot._fetch

    def fetch_newest(self: Snapshot, questions: list[Any]) -> Any:
        self.revision = 0
        return fetch(self, questions)

    monkeypatch.setattr(Snapshot, "_fetch", fetch_newest)


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (forget_the_number, lost_answer),
        (compare_no_head, late_request),
        (compare_no_lock, transaction_alone),
        (verify_nothing, stale_refusal),
        (compare_no_guess, wrong_guess),
        (name_no_revision, one_moment),
    ],
)
def test_a_planted_mistake_is_noticed(
    plant: Callable[[pytest.MonkeyPatch], None],
    check: Callable[[tuple[Store, Store], Proxy], bool],
    stores: tuple[Store, Store],
    between: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    assert not check(stores, between)
