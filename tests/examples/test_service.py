"""``examples/service.py``: requests, refusals, the live feed, and its end."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState, Store
from tests.support import PATIENCE_SECONDS, make_execution, make_request

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.examples.conftest import Examples

pytest.importorskip("anyio", reason="needs execstore[async]")

NEW = {"ID": "e-1", "JobID": "j-1", "Job": {"Name": "hello"}}


class Client:
    """Asks the service, a connection a request."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port = port
        self.process = process

    def __call__(self, method: str, path: str, document: Any = None, body: bytes | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, json.dumps(document).encode() if body is None else body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


@pytest.fixture
def ask(examples: Examples) -> Iterator[Client]:
    process = examples.start("service.py", "--store", "store", "--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on http://127.0.0.1:"), process.communicate()[1]
    yield Client(int(line.rpartition(":")[2]), process)
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate(timeout=PATIENCE_SECONDS)[1]
    assert (process.returncode, stderr) == (0, "")


def test_an_execution_is_made_changed_and_removed(ask: Client) -> None:
    status, made = ask("POST", "/executions", NEW)
    assert (status, made["Revision"], made["ComputeState"]["StateType"]) == (201, 1, "New")
    status, changed = ask("PATCH", "/executions/e-1", {"state": "Running", "message": "m", "expect_revision": 1})
    assert (status, changed["Revision"], changed["ComputeState"]["Message"]) == (200, 2, "m")
    assert ask("GET", "/executions/e-1") == (200, changed)
    assert ask("GET", "/counts") == (200, {"Running": 1})
    assert ask("DELETE", "/executions/e-1") == (200, {"deleted": "e-1"})
    assert ask("GET", "/executions/e-1")[0] == 404


def test_many_are_listed_page_by_page(ask: Client, tmp_path: Path) -> None:
    with Store(tmp_path / "store", durability="relaxed") as store:  # another process writes, and the service shows it
        for number in range(5):
            store.create_execution(make_execution(f"e{number}"))
        store.update_execution_state(make_request("e3", ExecutionState.FAILED))
    found: list[str] = []
    after = ""
    while True:
        _, page = ask("GET", f"/executions?limit=2{after}")
        found += [execution["ID"] for execution in page["executions"]]
        if page["after"] is None:
            break
        after = f"&after={page['after']}"
    assert found == ["e0", "e1", "e2", "e3", "e4"]
    _, page = ask("GET", "/executions?state=Failed")
    assert ([execution["ID"] for execution in page["executions"]], page["after"]) == (["e3"], None)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/executions", b"{", 400),
        ("POST", "/executions", b"[]", 400),
        ("POST", "/executions", b'{"ID": 7}', 422),
        ("POST", "/executions", b'{"ID": "e-2"}', 422),
        ("POST", "/executions", json.dumps(NEW).encode(), 409),
        ("PATCH", "/executions/e-1", b'{"state": "Running", "expect_revision": 7}', 409),
        ("PATCH", "/executions/e-1", b'{"state": "odd"}', 400),
        ("PATCH", "/executions/e-1", b'{"odd": 1}', 400),
        ("PATCH", "/executions/nobody", b'{"state": "Running"}', 404),
        ("GET", "/executions?limit=x", b"", 400),
        ("GET", "/executions?state=odd", b"", 400),
        ("GET", "/nothing", b"", 404),
        ("PUT", "/executions", b"", 405),
        ("GET", "/executions/%2e%2e%2fFORMAT", b"", 404),
    ],
)
def test_what_can_not_be_done_is_told_why(ask: Client, method: str, path: str, body: bytes, status: int) -> None:
    ask("POST", "/executions", NEW)
    found, document = ask(method, path, body=body)
    assert (found, list(document)) == (status, ["error"])
    assert len(document["error"]) > 10


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"", b""),
    ],
)
def test_what_is_no_request_is_refused(ask: Client, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", ask.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while more := connection.recv(4096):
                answer += more
        except ConnectionResetError:  # it didn't read all that was sent
            pass
        assert answer[9:12] == status
    assert ask("GET", "/counts")[0] == 200


def test_listeners_are_told_of_each_event(ask: Client, tmp_path: Path) -> None:
    connections = [http.client.HTTPConnection("127.0.0.1", ask.port, timeout=PATIENCE_SECONDS) for _ in range(3)]
    responses = []
    for connection in connections:
        connection.request("GET", "/events?after=0")
        responses.append(connection.getresponse())
    with Store(tmp_path / "store") as store:
        store.create_execution(make_execution("e1"))
        store.update_execution_state(make_request("e1", ExecutionState.RUNNING))
    for response in responses:
        lines = [json.loads(response.readline()) for _ in range(2)]
        assert [(line["event"], line["operation"]) for line in lines] == [(1, "CREATE"), (2, "UPDATE")]
        assert lines[1]["object"]["Current"]["ComputeState"]["StateType"] == "Running"
    connections[0].close()  # one goes, the others stay, until the service ends with them
    with Store(tmp_path / "store") as store:
        store.delete_execution("e1")
    for response in responses[1:]:
        assert json.loads(response.readline())["operation"] == "DELETE"
    ask.process.send_signal(signal.SIGTERM)
    assert [response.readline() for response in responses[1:]] == [b"", b""]
    for connection in connections:
        connection.close()


def test_of_many_at_once_each_is_answered(ask: Client) -> None:
    ask("POST", "/executions", NEW)

    def change(number: int) -> int:
        return ask("PATCH", "/executions/e-1", {"state": "Running", "message": str(number), "expect_revision": 1})[0]

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(change, range(16)))
    assert statuses == [200, *([409] * 15)]
