"""What the store adds to etcd: each operation beside the bare request with the same bytes, in turn, in one run.

The bare request goes over a kept connection of ``http.client``, its body made beforehand, its answer read and not
looked at. A bare transaction puts as many keys, of the same lengths and with the same values, as the store's did. So a
ratio of 1 is what no client can beat that speaks to the gateway.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
import uuid
from typing import TYPE_CHECKING, Final, cast

from execstore.addresses import connect
from execstore.bench.measure import Measurement, distribution, quantile
from execstore.bench.workloads import load_document
from execstore.errors import StoreUnreachableError
from execstore.etcd.address import EtcdAddress
from execstore.etcd.gateway import Gateway
from execstore.etcd.keys import Keys, end_of
from execstore.etcd.wire import compare_modified, key_values, put, range_request, transaction
from execstore.models import Event, Execution, UpdateExecutionRequest
from execstore.parts import State
from execstore.states import ExecutionState
from execstore.watcher import EventIterator, GetEventsRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore.etcd.engine import EtcdEngine
    from execstore.etcd.wire import KeyValue
    from execstore.store import Store

__all__ = ["measure_etcd", "own_server"]

_PATIENCE_SECONDS: Final = 60.0


@contextlib.contextmanager
def own_server(folder: str | None = None) -> Iterator[str]:
    """Start an etcd of one member on loopback, in a new folder that goes with it; gives its ``host:port``.

    Raises:
        FileNotFoundError: etcd isn't installed.
        StoreUnreachableError: it doesn't start.
    """
    program = shutil.which("etcd")
    if program is None:
        raise FileNotFoundError("etcd isn't installed; install etcd-server, or name a running one")
    with tempfile.TemporaryDirectory(prefix="execstore-etcd-", dir=folder, ignore_cleanup_errors=True) as place:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            client, peer = (f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
        process = subprocess.Popen(  # noqa: S603 - the program that the user has installed
            [
                program,
                *("--data-dir", os.path.join(place, "data")),
                *("--listen-client-urls", f"http://{client}", "--advertise-client-urls", f"http://{client}"),
                *("--listen-peer-urls", f"http://{peer}", "--initial-advertise-peer-urls", f"http://{peer}"),
                *("--initial-cluster", f"default=http://{peer}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(client, process)
            yield client
        finally:
            process.kill()
            process.wait()


def _wait_for(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    url = f"http://{endpoint}/health"
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=1) as answer:
            if json.load(answer).get("health") == "true":
                return
        time.sleep(0.02)
    raise StoreUnreachableError(f"etcd://{endpoint}", "the etcd that was started doesn't answer")


class _Bare:
    """Requests with nothing around them."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=_PATIENCE_SECONDS)

    def send(self, method: str, body: bytes) -> None:
        self._connection.request("POST", f"/v3/{method}", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise OSError(f"etcd answered a bare request with status {answer.status}")

    def close(self) -> None:
        self._connection.close()


def measure_etcd(endpoint: str, *, quick: bool = False) -> Iterator[Measurement]:
    """Measure one thing after the other, in a store of its own on the server at ``endpoint``, which then is removed."""
    calls = 10 if quick else 40
    prefix = f"/execstore-bench-{uuid.uuid4().hex}"
    address = f"etcd://{endpoint}{prefix}"
    gateway = Gateway(EtcdAddress.parse(address))
    bare = _Bare(endpoint)
    try:
        with connect(address) as store:
            bench = _Bench(store, gateway, bare, Keys(prefix))
            yield bench.create(calls)
            yield bench.update(calls)
            yield bench.get(calls * 2)
            yield from bench.list_of_ten(calls)
            yield bench.threads(calls * 4)
            yield _watch(address, store, 100 if quick else 1000)
    finally:
        bare.close()
        root = f"{prefix}".encode() + b"-"
        for start, end in ((prefix.encode() + b"/", end_of(prefix.encode() + b"/")), (root, end_of(root))):
            gateway.call("kv/deleterange", range_request(start, end), time.monotonic() + _PATIENCE_SECONDS)
        gateway.close()


def _new_execution(job_id: str) -> Execution:
    """A docker job's, 2.4 KB of JSON."""
    document = load_document()
    document |= {"ID": f"e-{uuid.uuid4()}", "JobID": job_id, "Revision": 0}
    document["ComputeState"] = {"StateType": ExecutionState.BID_ACCEPTED.value, "Message": "accepted"}
    return Execution.from_dict(document)


class _Bench:
    def __init__(self, store: Store, gateway: Gateway, bare: _Bare, keys: Keys) -> None:
        self._store = store
        self._engine = cast("EtcdEngine", store.engine())
        self._gateway = gateway
        self._bare = bare
        self._keys = keys
        self._number = 0

    def create(self, calls: int) -> Measurement:
        """A create with one event."""
        executions = [_new_execution(f"j-{uuid.uuid4()}") for _ in range(calls + 1)]

        def own() -> None:
            self._store.create_execution(executions.pop(), Event("Execution", "created"))

        own()
        return self._beside("create", own, self._like_the_last_change(calls), 1.5)

    def update(self, calls: int) -> Measurement:
        """An update of the state, with one event, of what this handle made."""
        ids = [self._store.create_execution(_new_execution(f"j-{uuid.uuid4()}")).id for _ in range(calls + 1)]
        running = Execution(compute_state=State(ExecutionState.RUNNING, "started"))

        def own() -> None:
            request = UpdateExecutionRequest(ids.pop(), running, events=[Event("Execution", "started")])
            self._store.update_execution_state(request)

        own()
        return self._beside("update", own, self._like_the_last_change(calls), 1.5)

    def get(self, calls: int) -> Measurement:
        """One record by its ID."""
        execution_id = self._store.create_execution(_new_execution("j-get")).id
        body = range_request(self._keys.record("executions", execution_id))

        def own() -> None:
            self._store.get_execution(execution_id)

        return self._beside("get", own, [("kv/range", body)] * calls, 1.3)

    def list_of_ten(self, calls: int) -> Iterator[Measurement]:
        """A job's ten executions: by the handle that made them, and by one that never saw them."""
        job_id = f"j-{uuid.uuid4()}"
        for _ in range(10):
            self._store.create_execution(_new_execution(job_id))
        own: list[float] = []
        trips = []
        for _ in range(calls):
            before = self._engine.calls
            own.append(_timed_us(lambda: self._store.get_executions(job_id)))
            trips.append(self._engine.calls - before)
        with connect(f"etcd://{self._gateway.address.endpoints[0]}{self._gateway.address.prefix}") as other:
            engine = cast("EtcdEngine", other.engine())
            before = engine.calls
            other.get_executions(job_id)
            first = engine.calls - before
        yield Measurement("list of 10", "µs", distribution(own))
        yield Measurement(
            "list of 10",
            "round trips",
            {"most": float(max(trips)), "the first time by another handle": float(first)},
            "1 (2 where nobody of this handle asked for the job before, or wrote to it)",
            max(trips) == 1 and first <= 2,
        )

    def threads(self, calls: int) -> Measurement:
        """Creates by one thread, and by eight, whose changes share transactions."""
        rates = {}
        for number in (1, 8):
            executions = [_new_execution(f"j-{uuid.uuid4()}") for _ in range(calls)]

            def work(executions: list[Execution] = executions) -> None:
                with contextlib.suppress(IndexError):
                    while True:
                        self._store.create_execution(executions.pop())

            workers = [threading.Thread(target=work) for _ in range(number)]
            seconds = _timed_us(lambda workers=workers: _run_all(workers)) / 1e6  # type: ignore[misc]
            rates[f"{number} thread{'s' if number > 1 else ''}"] = calls / seconds
        return Measurement("creates", "a second", rates)

    def _like_the_last_change(self, count: int) -> list[tuple[str, bytes]]:
        """Bare transactions with keys of the same lengths, and the same values, as the store's newest change put."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        everything = range_request(self._keys.root, end_of(self._keys.root))
        found = key_values(self._gateway.call("kv/range", everything, deadline).body)
        newest = max(each.mod_revision for each in found)
        written = [each for each in found if each.mod_revision == newest]
        return [("kv/txn", self._bare_transaction(written)) for _ in range(count)]

    def _bare_transaction(self, written: list[KeyValue]) -> bytes:
        self._number += 1
        other = self._keys.root.rstrip(b"/")
        puts = []
        for number, each in enumerate(written):
            start = b"%b-bare/%d/%d/" % (other, self._number, number)
            puts.append(put(start + b"x" * max(len(each.key) - len(start), 0), each.value))
        return transaction([compare_modified(other + b"-none", 0)] * 2, puts, [])

    @staticmethod
    def _ratio(own: list[float], bare: list[float]) -> float:
        return quantile(own, 0.5) / quantile(bare, 0.5)

    def _beside(self, name: str, own: Callable[[], None], bare: list[tuple[str, bytes]], most: float) -> Measurement:
        """Both in turn, call by call."""
        own_us, bare_us = [], []
        for method, body in bare:
            own_us.append(_timed_us(own))
            bare_us.append(_timed_us(lambda method=method, body=body: self._bare.send(method, body)))  # type: ignore[misc]
        value = self._ratio(own_us, bare_us)
        values = {"ours": quantile(own_us, 0.5), "bare": quantile(bare_us, 0.5), "times the bare": value}
        return Measurement(name, "µs", values, f"at most {most:g} times the bare request", value <= most)


def _timed_us(call: Callable[[], object]) -> float:
    started_ns = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - started_ns) / 1e3


def _run_all(workers: list[threading.Thread]) -> None:
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _watch(address: str, writer: Store, count: int) -> Measurement:
    """From before a commit begins until another handle, which waits for events, has got the event."""
    arrived: list[int] = []
    with connect(address) as store:
        events = store.event_store
        ready = threading.Event()

        def follow() -> None:
            iterator = EventIterator.latest()
            while len(arrived) < count:
                ready.set()
                response = events.get_events(GetEventsRequest(iterator, limit=10), timeout=_PATIENCE_SECONDS)
                arrived.extend(time.perf_counter_ns() for _ in response.events)
                iterator = response.next_event_iterator

        follower = threading.Thread(target=follow, daemon=True)
        begun: list[int] = []
        returned: list[int] = []
        latest = events.get_latest_event_num()
        follower.start()
        ready.wait(_PATIENCE_SECONDS)
        while not arrived:  # until it follows for certain
            writer.create_execution(_new_execution(f"j-{uuid.uuid4()}"))
            time.sleep(0.01)
        seen = len(arrived)
        latest = events.get_latest_event_num()
        for _ in range(count - seen):
            begun.append(time.perf_counter_ns())
            writer.create_execution(_new_execution(f"j-{uuid.uuid4()}"))
            returned.append(time.perf_counter_ns())
            time.sleep(0.005)
        follower.join(_PATIENCE_SECONDS)
        if events.get_latest_event_num() - latest != len(begun) or len(arrived) < count:
            raise TimeoutError("not every event came to the watcher")
    since_begun = [(came - began) / 1e6 for came, began in zip(arrived[-len(begun) :], begun, strict=True)]
    since_return = [(came - back) / 1e6 for came, back in zip(arrived[-len(begun) :], returned, strict=True)]
    values = distribution(since_begun) | {"median since the commit returned": quantile(since_return, 0.5)}
    return Measurement("watch", "ms", values, "a median below 5 ms", values["median"] < 5)
