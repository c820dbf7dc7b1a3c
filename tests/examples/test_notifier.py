"""``examples/notifier.py``: to a command and to a webhook, at least once, over failures and kills."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState, Store
from tests.examples.conftest import poll_until
from tests.support import PATIENCE_SECONDS, make_execution, make_request

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.examples.conftest import Examples

S = ExecutionState


class Webhook:
    """Takes notices on loopback, after it has refused as many as it is told to."""

    def __init__(self, refusals: int) -> None:
        self.received: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.refused = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notice = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if outer.refused < refusals:
                    outer.refused += 1
                    self.send_error(503)
                    return
                outer.received.put((self.headers["Idempotency-Key"], notice))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/notices"

    @contextlib.contextmanager
    def serving(self) -> Iterator[Webhook]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def next(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """The next notice that it takes, as long as the process is there that sends it."""
        poll_until(lambda: not self.received.empty(), process)
        number, notice = self.received.get()
        assert number == str(notice["event"])
        return notice


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", durability="relaxed") as store:
        yield store


def fail(store: Store, execution_id: str, state: ExecutionState = S.FAILED) -> None:
    store.create_execution(make_execution(execution_id))
    store.update_execution_state(make_request(execution_id, state))


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == (0 if number == signal.SIGTERM else -number), stderr
    return stdout


def test_a_webhook_is_told_again_until_it_has_taken_it(store: Store, examples: Examples) -> None:
    fail(store, "e1")
    with Webhook(refusals=2).serving() as webhook:
        process = examples.start("notifier.py", "--store", "store", "--url", webhook.url)
        notice = webhook.next(process)
        assert (notice["event"], notice["execution"], notice["job"], notice["state"]) == (2, "e1", "job1", "Failed")
        assert (notice["message"], notice["exit_code"]) == ("", None)
        fail(store, "e2", S.COMPLETED)
        fail(store, "e3")
        assert webhook.next(process)["execution"] == "e3"
        assert webhook.refused == 2
        assert end(process).count("will be tried again") == 2


def test_killed_it_goes_on_where_it_was(store: Store, examples: Examples) -> None:
    """Whatever happens between two starts is told by the second; at most the last one comes twice."""
    with Webhook(refusals=0).serving() as webhook:
        states = ("--state", "Failed", "--state", "Cancelled")
        arguments = ("notifier.py", "--store", "store", "--url", webhook.url, *states)
        process = examples.start(*arguments)
        for number in range(3):
            fail(store, f"e{number}")
        assert [webhook.next(process)["execution"] for _ in range(3)] == ["e0", "e1", "e2"]
        end(process, signal.SIGKILL)
        fail(store, "e3", S.CANCELLED)
        process = examples.start(*arguments)
        seen = [webhook.next(process)["execution"]]
        if seen == ["e2"]:
            seen = [webhook.next(process)["execution"]]
        assert seen == ["e3"]
        end(process)
    (watcher,) = store.event_log_status().watchers
    assert (watcher.watcher_id, watcher.lag) == ("notifier", 0)


def test_a_command_is_given_the_notice(store: Store, examples: Examples, tmp_path: Path) -> None:
    fail(store, "e1")
    fail(store, "e2")
    command = "cat >> notices && echo $EXECSTORE_EVENT >> numbers"
    process = examples.start("notifier.py", "--store", "store", "--command", command)
    numbers = tmp_path / "numbers"
    poll_until(lambda: numbers.exists() and numbers.read_text().count("\n") == 2, process)
    end(process)
    notices = [json.loads(line) for line in (tmp_path / "notices").read_text().splitlines()]
    assert [notice["execution"] for notice in notices] == ["e1", "e2"]
    assert numbers.read_text() == "2\n4\n"


def test_a_command_that_fails_is_tried_again(store: Store, examples: Examples, tmp_path: Path) -> None:
    fail(store, "e1")
    command = "echo x >> tries; test $(wc -l < tries) -ge 3"
    process = examples.start("notifier.py", "--store", "store", "--command", command, "--max-pause", "0.2")
    assert process.stdout is not None
    assert process.stdout.readline() == "notifier is ready\n"
    lines = [process.stdout.readline() for _ in range(3)]
    assert ["tried again" in line for line in lines] == [True, True, False]
    assert lines[2] == "event 2: told that e1 is Failed\n"
    end(process)
    assert (tmp_path / "tries").read_text() == "x\n" * 3


def test_from_now_on_leaves_out_what_was(store: Store, examples: Examples) -> None:
    fail(store, "old")
    with Webhook(refusals=0).serving() as webhook:
        process = examples.start("notifier.py", "--store", "store", "--url", webhook.url, "--from-now")
        assert process.stdout is not None
        assert process.stdout.readline() == "notifier is ready\n"
        end(process)
        fail(store, "new")  # what comes while it is away is told at the next start
        process = examples.start("notifier.py", "--store", "store", "--url", webhook.url, "--from-now")
        assert webhook.next(process)["execution"] == "new"
        end(process)


def test_a_folder_that_is_no_store_is_a_sentence(examples: Examples, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    process = examples.start("notifier.py", "--store", "other", "--command", "cat")
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, stdout, stderr.count("\n")) == (1, "", 1)
    assert "other" in stderr
    assert os.listdir(tmp_path / "other") == ["file"]
