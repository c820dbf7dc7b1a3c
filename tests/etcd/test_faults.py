"""What goes wrong between a client and its servers: nothing acknowledged is lost, nothing is done twice.

Requests and answers get lost in a proxy; members are killed and brought back, the leader too; clocks step. Counters
that are compared and set must add up, and a watcher must see every event once and in order.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, connect
from execstore.errors import (
    ExecutionAlreadyExistsError,
    InvalidExecutionRevisionError,
    StoreBusyError,
    StoreUnreachableError,
)
from execstore.watcher import EventIterator, GetEventsRequest
from tests.etcd.conftest import EtcdStores, engine_of
from tests.etcd.proxy import Fate, proxy
from tests.support import PATIENCE_SECONDS, FakeClock, log_entries, make_event, make_execution, make_request, python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore import Store
    from execstore.watcher import Event
    from tests.etcd.proxy import Proxy
    from tests.etcd.server import Cluster


def count_up(store: Store) -> int:
    """Add one to e1's number by compare and set, until it has been done; returns the number."""
    while True:
        stored = store.get_execution("e1")
        number = int(stored.name or "0") + 1
        try:
            store.update_execution_state(make_request("e1", name=str(number), revision=stored.revision))
        except InvalidExecutionRevisionError:
            continue
        return number


@pytest.fixture
def between(endpoint: str) -> Iterator[Proxy]:
    with proxy(endpoint) as made:
        yield made


def through(between: Proxy, address: str, options: str = "") -> str:
    """The address of the same store through the proxy."""
    return f"etcd://{between.endpoint}/{address.rpartition('/')[2]}{options}"


def only(path: str, fates: list[Fate]) -> Callable[[str], Fate]:
    """These fates for the next requests of this path; all others, and what comes then, goes through."""

    def decide(asked: str) -> Fate:
        return fates.pop(0) if asked == path and fates else Fate.PASS

    return decide


# --- a client cut off in mid-call ---


def test_a_commit_whose_answer_is_lost_was_made_once(open_store: EtcdStores, between: Proxy, address: str) -> None:
    open_store()
    store = open_store(through(between, address))
    store.create_execution(make_execution("e1"))
    between.decide = only("/v3/kv/txn", [Fate.LOSE_ANSWER])
    assert store.create_execution(make_execution("e2"), make_event()).revision == 1
    assert [fate for path, fate in between.fates if path == "/v3/kv/txn"][-2:] == [Fate.LOSE_ANSWER, Fate.PASS]
    between.decide = only("/v3/kv/txn", [Fate.LOSE_ANSWER, Fate.LOSE_ANSWER, Fate.LOSE_REQUEST])
    assert store.update_execution_state(make_request("e2", ExecutionState.RUNNING)).revision == 2
    store.update_execution_state(make_request("e2", name="after", revision=2))
    between.decide = only("/v3/kv/txn", [Fate.LOSE_REQUEST])
    store.delete_execution("e2")
    assert [event.seq_num for event in log_entries(store)] == [1, 2, 3, 4, 5, 6]


def test_a_commit_whose_answer_is_lost_while_others_go_on(open_store: EtcdStores, between: Proxy, address: str) -> None:
    """The head has moved on when it asks again: whether by itself or by others, its session's number tells."""
    other = open_store()
    store = open_store(through(between, address))
    store.create_execution(make_execution("e1"))
    for fate, name in ((Fate.LOSE_ANSWER, "answer"), (Fate.LOSE_REQUEST, "request")):
        done = False

        def decide(path: str, fate: Fate = fate, name: str = name) -> Fate:
            nonlocal done
            if path != "/v3/kv/txn":
                return Fate.PASS
            if not done:
                done = True
                return fate
            other.create_execution(make_execution(f"by-other-{name}"))
            between.decide = lambda _: Fate.PASS
            return Fate.PASS

        between.decide = decide
        assert store.create_execution(make_execution(f"lost-{name}")).revision == 1
    assert sum(store.counts().values()) == 5
    assert [event.seq_num for event in log_entries(store)] == [1, 2, 3, 4, 5]


def test_a_request_that_arrives_too_late_does_nothing(open_store: EtcdStores, between: Proxy, address: str) -> None:
    """The client gave up waiting and sent it again; then the first one arrives after all."""
    open_store()
    store = open_store(through(between, address, "?timeout_seconds=1"))
    store.create_execution(make_execution("e1"))
    between.decide = only("/v3/kv/txn", [Fate.DELAY])
    assert store.update_execution_state(make_request("e1", name="n", revision=1)).revision == 2
    before = [(each.seq_num, each.timestamp) for each in log_entries(store)]
    between.release()
    assert [(each.seq_num, each.timestamp) for each in log_entries(store)] == before
    assert store.get_execution("e1").revision == 2


def test_a_client_that_never_hears_again_says_that_it_does_not_know(
    open_store: EtcdStores, between: Proxy, address: str
) -> None:
    other = open_store()
    store = open_store(through(between, address, "?timeout_seconds=1"), lock_timeout=1.0)
    store.create_execution(make_execution("e1"))
    between.decide = lambda path: Fate.LOSE_ANSWER if path == "/v3/kv/txn" else Fate.PASS
    with pytest.raises(StoreUnreachableError, match="whether the last change was made isn't known") as caught:
        store.create_execution(make_execution("e2"))
    assert caught.value.outcome_open
    between.decide = lambda path: Fate.LOSE_REQUEST
    with pytest.raises(StoreUnreachableError):
        store.get_execution("e2")
    between.decide = lambda path: Fate.PASS
    assert other.get_execution("e2").revision == 1, "in truth it was made"
    with pytest.raises(ExecutionAlreadyExistsError):
        store.create_execution(make_execution("e2"))
    store.create_execution(make_execution("e3"))
    assert [event.seq_num for event in log_entries(other)] == [1, 2, 3]


def test_a_transaction_is_cut_off_too(open_store: EtcdStores, between: Proxy, address: str) -> None:
    open_store()
    store = open_store(through(between, address))
    fates = ([Fate.LOSE_ANSWER], [Fate.LOSE_ANSWER, Fate.PASS, Fate.LOSE_ANSWER], [Fate.LOSE_REQUEST] * 2)
    for number, each in enumerate(fates):
        between.decide = only("/v3/kv/txn", list(each))
        with store.begin_tx() as transaction:
            transaction.create_execution(make_execution(f"e{number}"))
    assert sum(store.counts().values()) == 3
    between.decide = only("/v3/lease/grant", [Fate.LOSE_ANSWER])
    with open_store(through(between, address)) as another:
        another.create_execution(make_execution("another"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_counters_add_up_over_a_bad_line(open_store: EtcdStores, between: Proxy, address: str, seed: int) -> None:
    """A third of what three clients send or are sent gets lost."""
    chance = random.Random(seed)
    lock = threading.Lock()

    def decide(path: str) -> Fate:
        with lock:
            drawn = chance.random()
        if path == "/v3/watch" or drawn > 0.35:
            return Fate.PASS
        return Fate.LOSE_ANSWER if drawn < 0.25 else Fate.LOSE_REQUEST

    first = open_store()
    first.create_execution(make_execution("e1"))
    stores = [open_store(through(between, address)) for _ in range(3)]
    between.decide = decide
    numbers: list[int] = []
    run_all([lambda store=store: numbers.extend(count_up(store) for _ in range(10)) for store in stores])  # type: ignore[misc]
    assert sorted(numbers) == list(range(1, 31))
    assert first.get_execution("e1").name == "30"
    assert [event.seq_num for event in log_entries(first)] == list(range(1, 32))
    between.decide = lambda _: Fate.PASS


def run_all(works: list[Callable[[], object]]) -> None:
    """Each in a thread of its own; the first error is raised."""
    errors: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# --- processes ---

COUNTER = """
import sys
from execstore import connect
sys.path.insert(0, {root!r})
from tests.etcd.test_faults import count_up
with connect(sys.argv[1]) as store:
    for _ in range(int(sys.argv[2])):
        print(count_up(store), flush=True)
"""


def test_counters_of_several_processes_add_up(open_store: EtcdStores, address: str) -> None:
    store = open_store()
    store.create_execution(make_execution("e1"))
    workers = [python("-c", COUNTER.format(root="."), address, "15") for _ in range(3)]
    numbers = [int(line) for worker in workers for line in worker.communicate()[0].split()]
    assert all(worker.returncode == 0 for worker in workers)
    assert sorted(numbers) == list(range(1, 46))
    assert store.get_execution("e1").name == "45"


def test_what_a_killed_process_was_told_is_there(open_store: EtcdStores, address: str) -> None:
    store = open_store(lock_timeout=PATIENCE_SECONDS)
    store.create_execution(make_execution("e1"))
    worker = python("-c", COUNTER.format(root="."), address, "100000")
    assert worker.stdout is not None
    told = [int(worker.stdout.readline()) for _ in range(8)]
    worker.kill()
    told += [int(line) for line in worker.communicate()[0].split("\n")[:-1]]
    name = int(store.get_execution("e1").name)
    assert told == list(range(1, len(told) + 1))
    assert name in {len(told), len(told) + 1}, "the last one may have been made and not told"
    assert count_up(store) == name + 1


# --- members that fail ---


def cluster_address(servers: Cluster, address: str, options: str = "?timeout_seconds=2") -> str:
    return f"etcd://{servers.endpoints}/{address.rpartition('/')[2]}{options}"


@contextmanager
def watching(address: str, last: str) -> Iterator[list[tuple[int, str]]]:
    """Follow the log from its beginning in another thread until an execution is named ``last``."""
    seen: list[tuple[int, str]] = []
    failures: list[BaseException] = []

    def follow() -> None:
        try:
            with connect(address, read_only=True) as store:
                iterator = EventIterator.trim_horizon()
                deadline = time.monotonic() + PATIENCE_SECONDS
                while (not seen or seen[-1][1] != last) and time.monotonic() < deadline:
                    try:
                        response = store.event_store.get_events(GetEventsRequest(iterator, limit=7), timeout=5)
                    except StoreUnreachableError:
                        continue
                    iterator = response.next_event_iterator
                    seen.extend((event.seq_num, event.object.current.name or "") for event in response.events)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield seen
    finally:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_a_member_killed_during_commits_and_brought_back(three_members: Cluster, address: str, victim: str) -> None:
    """Two clients count, a watcher looks on, and one member dies in the middle and comes back."""
    at = cluster_address(three_members, address)
    with connect(at) as first, connect(at) as second:
        first.create_execution(make_execution("e1"))
        with watching(at, "40") as seen:
            numbers: list[int] = []
            half = threading.Event()

            def work(store: Store) -> None:
                for number in range(20):
                    numbers.append(count_up(store))
                    if number == 6:
                        half.set()

            def kill() -> None:
                half.wait(PATIENCE_SECONDS)
                leader = three_members.leader()
                chosen = leader if victim == "leader" else next(m for m in three_members.members if m is not leader)
                chosen.kill()
                numbers_then = len(numbers)
                deadline = time.monotonic() + PATIENCE_SECONDS
                while len(numbers) < min(numbers_then + 5, 40) and time.monotonic() < deadline:
                    time.sleep(0.01)  # the others go on without it
                chosen.start()
                chosen.wait_until_ready()

            run_all([lambda: work(first), lambda: work(second), kill])
        assert sorted(numbers) == list(range(1, 41))
        assert first.get_execution("e1").name == "40"
        assert seen == [(1, "")] + [(number + 1, str(number)) for number in range(1, 41)]
        assert first.verify().ok


def test_a_member_that_hangs_is_left(three_members: Cluster, address: str) -> None:
    """It takes connections, and never answers."""
    at = cluster_address(three_members, address, "?timeout_seconds=1")
    with connect(at) as store:
        store.create_execution(make_execution("e1"))
        first = three_members.members[engine_of(store)._gateway._first]
        first.signal(signal.SIGSTOP)
        try:
            assert store.update_execution_state(make_request("e1", name="n", revision=1)).revision == 2
            assert store.get_execution("e1").name == "n"
        finally:
            first.signal(signal.SIGCONT)
            three_members.wait_until_ready()
        assert store.verify().ok


def test_most_members_gone_is_an_error_and_no_harm(three_members: Cluster, address: str) -> None:
    at = cluster_address(three_members, address, "?timeout_seconds=1")
    with connect(at, lock_timeout=1.0) as store:
        store.create_execution(make_execution("e1"))
        gone = three_members.members[:2]
        for member in gone:
            member.kill()
        try:
            with pytest.raises((StoreUnreachableError, StoreBusyError)):
                store.update_execution_state(make_request("e1", name="n", revision=1))
            with pytest.raises(StoreUnreachableError, match="can't be reached"):
                store.get_execution("e1")
        finally:
            for member in gone:
                member.start()
            three_members.wait_until_ready()
        three_members.leader()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                stored = store.get_execution("e1")
                break
            except StoreUnreachableError:
                assert time.monotonic() < deadline
        # The one whose outcome was open may have been made when its member came back; or never.
        assert stored.revision in {1, 2}
        assert store.update_execution_state(make_request("e1", name="after", revision=stored.revision)).name == "after"
        assert [event.seq_num for event in log_entries(store)] == list(range(1, stored.revision + 2))


def test_a_server_started_anew_under_a_waiting_watcher(three_members: Cluster, address: str) -> None:
    """All connections break at once; the watcher connects again and misses nothing."""
    at = cluster_address(three_members, address)
    with connect(at) as store:
        with watching(at, "9") as seen:
            store.create_execution(make_execution("e1"))
            for number in range(1, 10):
                if number % 4 == 0:
                    member = three_members.members[number % 3]
                    member.kill()
                    member.start()
                    member.wait_until_ready()
                count_up(store)
        assert seen == [(number + 1, str(number or "")) for number in range(10)]


@pytest.mark.parametrize("seed", range(int(os.environ.get("EXECSTORE_ETCD_ROUNDS", "2"))))
def test_all_of_it_at_once(three_members: Cluster, address: str, seed: int) -> None:
    """Lost requests and answers, a member killed and brought back, six threads that count, and transactions."""
    chance = random.Random(seed)
    lock = threading.Lock()
    numbers: list[int] = []
    transactions: list[int] = []

    def decide(path: str) -> Fate:
        with lock:
            drawn = chance.random()
        if path == "/v3/watch" or drawn > 0.2:
            return Fate.PASS
        return Fate.LOSE_ANSWER if drawn < 0.12 else Fate.LOSE_REQUEST

    def work(store: Store, name: str) -> None:
        for turn in range(8):
            numbers.append(count_up(store))
            if turn % 4 == 0:
                with store.begin_tx() as transaction:
                    number = int(transaction.get_execution("e1").name or 0) + 1
                    transaction.create_execution(make_execution(f"{name}-{turn}"), make_event())
                    transaction.update_execution_state(make_request("e1", name=str(number)))
                transactions.append(number)

    def kill() -> None:
        member = three_members.members[seed % 3]
        time.sleep(chance.random() * 0.3)
        member.kill()
        time.sleep(chance.random())
        member.start()
        member.wait_until_ready()

    members = three_members.members
    with proxy(members[0].endpoint) as one, proxy(members[1].endpoint) as two:
        name = address.rpartition("/")[2]
        bad_line = f"etcd://{one.endpoint},{two.endpoint}/{name}?timeout_seconds=1"
        at = cluster_address(three_members, address, "?timeout_seconds=1")
        with connect(at) as first, connect(bad_line) as second, connect(bad_line) as third:
            first.create_execution(make_execution("e1"))
            one.decide = two.decide = decide
            works = [partial(work, store, f"x{n}") for n, store in enumerate((first, second, third) * 2)]
            run_all([*works, kill])
            one.decide = two.decide = lambda _: Fate.PASS
            total = len(numbers) + len(transactions)
            assert sorted(numbers + transactions) == list(range(1, total + 1))
            assert first.get_execution("e1").name == str(total)
            assert [event.seq_num for event in all_entries(first)] == list(range(1, 2 + total + 2 * len(transactions)))
            assert first.verify().ok


def all_entries(store: Store) -> list[Event]:
    found = log_entries(store)
    while more := log_entries(store, after=found[-1].seq_num):
        found += more
    return found


# --- clocks ---


def test_clocks_that_step_do_not_turn_back_the_store(open_store: EtcdStores) -> None:
    """Two clients whose clocks are years apart, and step: times and numbers only go up, in one order for all."""
    clocks = [FakeClock(), FakeClock()]
    stores = [open_store(clock=clock, event_retention=timedelta(days=100_000)) for clock in clocks]
    stores[0].create_execution(make_execution("e1"))
    steps = random.Random(7)
    times = []
    for number in range(1, 31):
        index = steps.randrange(2)
        clocks[index].now_ns += steps.choice([-(10**18), -(10**9), 0, 1, 10**9, 10**17])
        clocks[index].now_ns = max(clocks[index].now_ns, 1)
        stored = stores[index].update_execution_state(make_request("e1", name=str(number), revision=number))
        times.append(stored.modify_time)
    assert times == sorted(set(times))
    entries = log_entries(stores[0])
    assert [event.seq_num for event in entries] == list(range(1, 32))
    logged = [event.timestamp for event in entries]
    assert logged == sorted(logged)


def test_a_program_that_is_interrupted_says_so_to_all_of_its_threads(store: Store) -> None:
    """KeyboardInterrupt in one operation must not leave another thread waiting for ever."""

    def interrupt(_change: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.engine().change(interrupt)
    store.create_execution(make_execution("e1"))
    assert store.get_execution("e1").revision == 1


def test_a_script_ends_though_its_store_is_open(address: str) -> None:
    """No thread of the engine's keeps a process alive."""
    code = (
        "import sys; from execstore import connect; s = connect(sys.argv[1]); s.event_store.get_latest_event_num(); "
        "t = s.begin_tx(); print('done')"
    )
    done = python("-c", code, address)
    out, _ = done.communicate(timeout=PATIENCE_SECONDS)
    assert (done.returncode, out) == (0, "done\n")


def test_the_lock_outlives_no_process(open_store: EtcdStores, address: str) -> None:
    """A process dies in a transaction; others go on when its lease is over (in a test it is ended by hand)."""
    store = open_store(lock_timeout=0.0)
    store.create_execution(make_execution("e1"))
    code = (
        "import sys, time; from execstore import connect; s = connect(sys.argv[1]); t = s.begin_tx(); "
        "t.delete_execution('e1'); print(s.engine()._writer._lock._lease.id, flush=True); time.sleep(1000)"
    )
    worker = python("-c", code, address)
    assert worker.stdout is not None
    lease = int(worker.stdout.readline())
    worker.kill()
    worker.communicate()
    with pytest.raises(StoreBusyError) as caught:
        store.delete_execution("e1")
    assert caught.value.holder_pid == worker.pid
    engine_of(store)._gateway.call("lease/revoke", b'{"ID":"%d"}' % lease, float("inf"))
    store.delete_execution("e1")
