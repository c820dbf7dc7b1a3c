"""Getting in: TLS, users, and everything that is wrong, each with a sentence that says what to do."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, connect
from execstore.errors import (
    ExecStoreError,
    InvalidArgumentError,
    NotAStoreError,
    StoreAccessError,
    StoreCorruptedError,
    StoreNotFoundError,
    StoreUnreachableError,
    UnsupportedFormatError,
)
from execstore.etcd.address import PASSWORD_VARIABLE
from execstore.etcd.keys import Keys
from execstore.etcd.wire import put, range_request, transaction
from execstore.watcher import EventIterator, GetEventsRequest
from tests.etcd.certificates import Certificates, make_certificates
from tests.etcd.conftest import engine_of
from tests.etcd.server import cluster, etcdctl, free_ports
from tests.support import PATIENCE_SECONDS, ROOT, in_child, log_entries, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from execstore import Store
    from execstore.etcd.gateway import Gateway

FAR = float("inf")


def run_cli(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status of the command line, and what it says on stderr."""
    process = subprocess.run(
        [sys.executable, "-m", "execstore", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    return process.returncode, process.stderr


def refused(address: str, expected: type[ExecStoreError], *words: str) -> None:
    """Opening ends in this error, and the command line in status 3 with the same sentence and no traceback."""
    with pytest.raises(expected) as caught:
        connect(address)
    for word in words:
        assert word in str(caught.value)
    assert "hush" not in str(caught.value)
    status, said = run_cli("--store", address, "ls")
    assert status == 3, said
    assert "Traceback" not in said
    assert "hush" not in said
    for word in words:
        assert word in " ".join(said.split())


def put_by_hand(gateway: Gateway, key: bytes, value: bytes) -> None:
    gateway.call("kv/txn", transaction([], [put(key, value)]), FAR)


# --- no etcd there ---


def test_no_server() -> None:
    ports = free_ports(2)
    address = f"etcd://127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}/p"
    refused(
        address, StoreUnreachableError, f"127.0.0.1:{ports[0]}: Connection refused", str(ports[1]), "check the address"
    )


def test_no_such_host() -> None:
    with pytest.raises(StoreUnreachableError, match=r"there-is-none\.invalid:2379"):
        connect("etcd://there-is-none.invalid/p")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "isn't HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "isn't etcd, or has no v3 gateway"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nNot Found\n", "--enable-grpc-gateway=false"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "an answer isn't etcd's"),
        (
            b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
            "speaks TLS only; write etcds:// instead",
        ),
        (b"", "hangs up"),
    ],
)
def test_something_else_than_etcd(answer: bytes, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(65536)
                        client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        address = f"etcd://127.0.0.1:{listener.getsockname()[1]}/p?timeout_seconds=2"
        expected = StoreAccessError if answer else StoreUnreachableError
        refused(address, expected, words)
        listener.shutdown(socket.SHUT_RDWR)


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"etcd://127.0.0.1:{listener.getsockname()[1]}/p?timeout_seconds=0.2"
        with pytest.raises(StoreUnreachableError, match="no answer in time"):
            connect(address)


def test_one_of_several_is_enough(endpoint: str, prefix: str) -> None:
    (port,) = free_ports(1)
    with connect(f"etcd://127.0.0.1:{port},{endpoint}{prefix}") as store:
        store.create_execution(make_execution())
        assert store.get_execution("e1").revision == 1


# --- something else there ---


def test_a_prefix_that_holds_something_else(gateway: Gateway, address: str, prefix: str) -> None:
    gateway.call(
        "kv/put", json.dumps(json.loads(put(prefix.encode() + b"/registry/pods/x", b"1"))["request_put"]).encode(), FAR
    )
    refused(address, NotAStoreError, f"{prefix}/registry/pods/x, say", "nothing was changed, choose another prefix")
    # A prefix that only begins alike is another.
    with connect(f"{address}-2") as store:
        store.create_execution(make_execution())


def test_no_store_there(address: str) -> None:
    with pytest.raises(StoreNotFoundError, match="there is no store"):
        connect(address, read_only=True)
    status, said = run_cli("--store", address, "ls")
    assert status == 3
    assert "there is no store" in said


@pytest.mark.parametrize(("version", "words"), [(0, "is older (format 0)"), (2, "is newer (format 2)")])
def test_a_store_of_another_version(gateway: Gateway, address: str, prefix: str, version: int, words: str) -> None:
    connect(address).close()
    form = json.dumps({"format": "execstore-etcd", "version": version}).encode()
    put_by_hand(gateway, Keys(prefix).format, form)
    refused(address, UnsupportedFormatError, words, "nothing was changed")


def test_a_store_without_its_head(gateway: Gateway, address: str, prefix: str) -> None:
    connect(address).close()
    gateway.call("kv/deleterange", range_request(Keys(prefix).head), FAR)
    refused(address, StoreCorruptedError, "/head is damaged: the key is missing")


# --- users ---


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A server that asks for a user: alice, whose password is ``hu:sh``, may use ``/lab/``."""
    with cluster(1) as servers:
        for arguments in (
            ("user", "add", "root:hush-root"),
            ("user", "grant-role", "root", "root"),
            ("role", "add", "lab"),
            ("role", "grant-permission", "lab", "--prefix=true", "readwrite", "/lab/"),
            ("user", "add", "alice:hu:sh"),
            ("user", "grant-role", "alice", "lab"),
            ("auth", "enable"),
        ):
            etcdctl(servers.endpoints, *arguments)
        yield servers.endpoints


def test_a_user_with_a_password(guarded: str, tmp_path: Path) -> None:
    with connect(f"etcd://alice:hu%3Ash@{guarded}/lab/one") as store:
        store.create_execution(make_execution("e1"))
        with store.begin_tx() as transaction:
            transaction.create_execution(make_execution("e2"))
        assert len(log_entries(store)) == 2
        # The token runs out, or its server was started anew: another is asked for.
        engine_of(store)._gateway._token = "expired.1"
        assert store.update_execution_state(make_request("e1", ExecutionState.RUNNING)).revision == 2
        assert store.verify().ok
    file = tmp_path / "password"
    file.write_text("hu:sh\n")
    with connect(f"etcd://alice@{guarded}/lab/one?password_file={file}") as store:
        assert len(store.get_executions("job1")) == 2
    assert run_cli("--store", f"etcd://alice@{guarded}/lab/one", "ls", **{PASSWORD_VARIABLE: "hu:sh"})[0] == 0


def test_a_watcher_behind_a_password(guarded: str) -> None:
    address = f"etcd://alice:hu%3Ash@{guarded}/lab/watched"
    with connect(address) as store, connect(address) as other:
        seen: list[int] = []

        def follow() -> None:
            iterator = EventIterator.after_sequence_number(other.event_store.get_latest_event_num())
            response = other.event_store.get_events(GetEventsRequest(iterator), timeout=PATIENCE_SECONDS)
            seen.extend(event.seq_num for event in response.events)

        thread = threading.Thread(target=follow)
        thread.start()
        wait_until_watched(other)
        store.create_execution(make_execution("e1"))
        thread.join()
        assert seen == [1]


def wait_until_watched(store: Store) -> None:
    """Until a thread waits for events of this store."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not engine_of(store)._notifiers or engine_of(store)._notifiers[0]._stream is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_wrong_password(guarded: str) -> None:
    refused(
        f"etcd://alice:hush-not@{guarded}/lab/one",
        StoreAccessError,
        "user alice or its password is wrong",
        "check both",
    )
    refused(f"etcd://nobody:hush@{guarded}/lab/one", StoreAccessError, "user nobody or its password is wrong")


def test_no_user_where_one_is_asked_for(guarded: str) -> None:
    refused(f"etcd://{guarded}/lab/one", StoreAccessError, "ask for a user", "put user and password into the address")


def test_a_prefix_that_the_user_may_not_use(guarded: str) -> None:
    words = ("alice has no permission for this prefix", "readwrite on the prefix /other/")
    refused(f"etcd://alice:hu%3Ash@{guarded}/other", StoreAccessError, *words)


def test_a_password_that_nobody_asks_for(address: str) -> None:
    with connect(address.replace("etcd://", "etcd://alice:hush@")) as store:
        store.create_execution(make_execution())
        assert "hush" not in repr(store)


# --- TLS ---


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[str]:
    """A server that speaks TLS only, to clients that have a certificate."""
    arguments = (
        *("--cert-file", certificates.server_cert, "--key-file", certificates.server_key),
        *("--trusted-ca-file", certificates.ca, "--client-cert-auth"),
    )
    with cluster(1, arguments=arguments, scheme="https") as servers:
        yield servers.endpoints


def test_a_store_behind_tls(tls_server: str, certificates: Certificates) -> None:
    files = f"ca={certificates.ca}&cert={certificates.client_cert}&key={certificates.client_key}"
    address = f"etcds://{tls_server}/p?{files}"
    with connect(address) as store, connect(address) as other:
        store.create_execution(make_execution("e1"))
        seen: list[int] = []

        def follow() -> None:
            iterator = EventIterator.after_sequence_number(other.event_store.get_latest_event_num())
            response = other.event_store.get_events(GetEventsRequest(iterator), timeout=PATIENCE_SECONDS)
            seen.extend(event.seq_num for event in response.events)

        thread = threading.Thread(target=follow)
        thread.start()
        wait_until_watched(other)
        store.update_execution_state(make_request("e1", ExecutionState.RUNNING))
        thread.join()
        assert seen == [2]
        assert in_child(lambda: store.get_execution("e1").revision) == "2"
        assert store.get_execution("e1").revision == 2, "the child left the connection alone"
        assert store.verify().ok
    assert run_cli("--store", address, "ls")[0] == 0


def test_a_certificate_that_is_not_trusted(tls_server: str, certificates: Certificates, tmp_path: Path) -> None:
    others = make_certificates(tmp_path / "others")
    client = f"cert={certificates.client_cert}&key={certificates.client_key}"
    refused(f"etcds://{tls_server}/p?{client}", StoreAccessError, "isn't trusted", "ca=…")
    refused(f"etcds://{tls_server}/p?{client}&ca={others.ca}", StoreAccessError, "isn't trusted", "ca=…")


def test_a_certificate_of_another_name(tls_server: str, certificates: Certificates) -> None:
    port = tls_server.rpartition(":")[2]
    files = f"ca={certificates.ca}&cert={certificates.client_cert}&key={certificates.client_key}"
    refused(f"etcds://localhost:{port}/p?{files}", StoreAccessError, "isn't trusted: Hostname mismatch", "the name")


def test_a_client_without_a_certificate_or_with_a_wrong_one(
    tls_server: str, certificates: Certificates, tmp_path: Path
) -> None:
    others = make_certificates(tmp_path / "others")
    refused(
        f"etcds://{tls_server}/p?ca={certificates.ca}", StoreAccessError, "a client without a certificate", "cert=…"
    )
    wrong = f"ca={certificates.ca}&cert={others.client_cert}&key={others.client_key}"
    refused(f"etcds://{tls_server}/p?{wrong}", StoreAccessError, "refuses the client's certificate", "cert=…")


def test_tls_where_there_is_none_and_none_where_there_is(endpoint: str, tls_server: str) -> None:
    for attempt in range(10):
        try:
            refused(f"etcds://{endpoint}/p", StoreAccessError, "doesn't speak TLS", "write etcd:// instead")
            break
        except (AssertionError, StoreUnreachableError) as error:
            # The server hangs up on what it can't read; on a busy machine that may come before its answer.
            if attempt == 9 or "Connection reset by peer" not in str(error):
                raise
    refused(f"etcd://{tls_server}/p", StoreUnreachableError, "hangs up; does it speak TLS (etcds://)?")


def test_files_that_are_no_certificates(endpoint: str, certificates: Certificates, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for options, word in (
        (f"ca={tmp_path}/none.pem", "none.pem can't be used: No such file"),
        (f"ca={junk}", "no certificate in PEM form"),
        (f"cert={tmp_path}/none.pem&key={junk}", "can't be used: No such file"),
        (f"cert={certificates.client_cert}&key={certificates.server_key}", "no pair in PEM form"),
        (f"cert={junk}", "no pair in PEM form"),
    ):
        with pytest.raises(InvalidArgumentError, match=word):
            connect(f"etcds://{endpoint}/p?{options}")
