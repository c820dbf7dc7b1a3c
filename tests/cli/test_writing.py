"""``create``, ``update``, ``delete`` and ``add-event``."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Execution, ExecutionState, Store
from execstore.cli import delete
from execstore.cli.documents import read_documents

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import CommandLine


def document(execution_id: str, **members: Any) -> dict[str, Any]:
    return {"ID": execution_id, "JobID": "j", "Job": {}, "ComputeState": {"StateType": "New"}, **members}


def lines(*documents: Any) -> str:
    return "".join(json.dumps(each) + "\n" for each in documents)


class Stdin:
    """Gives the next command its standard input."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Stdin:
    return Stdin(monkeypatch)


def stored(path: Path, execution_id: str) -> Execution:
    with Store(path, read_only=True) as store:
        return store.get_execution(execution_id)


# --- create ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        lines(document("x"), document("y")),
        "\n\n" + lines(document("x")) + "\n" + json.dumps(document("y")),
        json.dumps([document("x"), document("y")]),
        json.dumps([document("x"), document("y")], indent=2) + "\n",
    ],
)
def test_create_takes_documents_in_any_form(execstore_cli: CommandLine, path: Path, stdin: Stdin, text: str) -> None:
    stdin(text)
    result = execstore_cli("create", "-", "--event", "Execution=by hand", "--event", "A=b=c")
    assert (result.status, result.stdout, result.stderr) == (0, "created x\ncreated y\n", "")
    with Store(path, read_only=True) as store:
        events = store.get_execution_events("y")
    assert [(event.topic, event.message) for event in events] == [("Execution", "by hand"), ("A", "b=c")]


def test_create_takes_one_document_from_a_file(execstore_cli: CommandLine, path: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(json.dumps(document("x", Name="n"), indent=2))
    result = execstore_cli("create", str(file), "--json")
    assert (result.status, result.json()) == (0, stored(path, "x").to_dict())


def test_create_prints_a_line_of_json_for_each(execstore_cli: CommandLine, stdin: Stdin) -> None:
    stdin(lines(document("x"), document("y")))
    printed = [json.loads(line) for line in execstore_cli("create", "-", "--json").stdout.splitlines()]
    assert [(each["ID"], each["Revision"]) for each in printed] == [("x", 1), ("y", 1)]


@pytest.mark.parametrize(
    ("text", "status", "created", "message"),
    [
        (lines(document("x")) + "\n" + lines(document("x")), 1, ["x"], "stdin, line 3: execution already exists: x"),
        (lines(document("x")) + '{"ID":\n', 2, ["x"], "stdin, line 2: not JSON: column "),
        (json.dumps([document("x"), 5]), 2, ["x"], "stdin, item 2: invalid execution: must be an object, not int"),
        (lines(document("x", Job=5)), 2, [], "stdin: invalid execution: Job: "),
        (lines(document("x", ComputeState={"StateType": "Running"})), 1, [], "stdin: execution x is in state Running"),
        ('{"ID": "x",\n"JobID": }', 2, [], "stdin: not JSON: line 2, column 10: "),
        ("\n{]", 2, [], "stdin: not JSON: line 2, column 2: "),
        ("5", 2, [], "stdin: invalid execution: must be an object, not int"),
        (
            '{"id": "x", "job_id": "j"}',
            2,
            [],
            "stdin: invalid execution: it has no ID; members are written ID, ",
        ),
        (lines(document("x"), {"id": "y"}), 2, ["x"], "stdin, line 2: invalid execution: it has no ID; members are "),
        ('{"ID": "x", "JobID": "j"}', 2, [], "stdin: invalid execution: it has no ComputeState; members are written "),
    ],
)
def test_what_can_t_be_created_is_named_by_its_place(
    execstore_cli: CommandLine, stdin: Stdin, path: Path, text: str, status: int, created: list[str], message: str
) -> None:
    stdin(text)
    result = execstore_cli("create", "-")
    assert (result.status, result.stdout) == (status, "".join(f"created {name}\n" for name in created))
    assert result.stderr.startswith(f"execstore: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["", "\n \n", "[]"])
def test_nothing_is_created_of_nothing(execstore_cli: CommandLine, stdin: Stdin, text: str) -> None:
    stdin(text)
    result = execstore_cli("create", "-")
    assert (result.status, result.stdout, result.stderr) == (0, "", "nothing to create\n")


def test_lines_are_stored_as_they_come() -> None:
    """A pipe that stays open must not hold back what came through it."""

    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise AssertionError("it waits for the end")

    documents = read_documents(Pipe(lines(document("x"), document("y")).encode()), "pipe")
    assert [place for place, _ in documents] == ["pipe, line 1", "pipe, line 2"]


def test_a_path_without_a_store_does_not_become_one(execstore_cli: CommandLine, stdin: Stdin, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    for arguments in (
        ["create", "-"],
        ["update", "x", "--state", "Running"],
        ["delete", "x"],
        ["add-event", "x", "--topic", "t", "--message", "m"],
        ["prune", "--older-than", "0"],
    ):
        stdin(lines(document("x")))
        result = execstore_cli("--store", nowhere, *arguments)
        assert (result.status, result.stdout, result.stderr.count("\n")) == (3, "", 1)
        assert not (tmp_path / "nowhere").exists()


# --- update ---------------------------------------------------------------------------------------------------------


def test_update_does_all_in_one_change(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    options = ["--state", "failed", "--message", "disk full", "--detail", "code=28", "--detail", "x=y=z"]
    conditions = ["--expect-state", "New", "--expect-state", "running", "--expect-revision", "2"]
    result = execstore_cli("update", "e-1", *options, *conditions, "--event", "Execution=failed")
    assert (result.status, result.stdout, result.stderr) == (0, f"{ids[1]} is Failed, revision 3\n", "")
    state = stored(path, ids[1]).compute_state
    assert (state.state_type, state.message) == (ExecutionState.FAILED, "disk full")
    assert state.details == {"code": "28", "x": "y=z"}
    with Store(path, read_only=True) as store:
        assert store.get_execution_events(ids[1])[-1].message == "failed"


def test_update_takes_other_values(execstore_cli: CommandLine, path: Path, ids: list[str], stdin: Stdin) -> None:
    stdin(json.dumps({"RunOutput": {"ExitCode": 3}, "ComputeState": {"StateType": "Running", "Details": {"a": "1"}}}))
    result = execstore_cli("update", ids[0], "--new-values", "-", "--detail", "b=2", "--json")
    assert result.status == 0
    execution = stored(path, ids[0])
    assert result.json() == execution.to_dict()
    assert execution.run_output is not None
    assert execution.run_output.exit_code == 3
    assert execution.compute_state.state_type is ExecutionState.RUNNING
    assert execution.compute_state.details == {"a": "1", "b": "2"}


def test_update_clears(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    assert execstore_cli("update", ids[1], "--clear", "compute_state.message", "--clear", "node_id").status == 0
    execution = stored(path, ids[1])
    assert (execution.compute_state.message, execution.node_id) == ("", "")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["e-1", "--state", "Completed", "--expect-revision", "1"], 1, "has revision 2 but expected 1"),
        (["e-1", "--state", "Completed", "--expect-state", "New"], 1, "is in state Running but expected one of [New]"),
        (["e-2", "--state", "Failed"], 1, "is in terminal state Completed"),
        (["nope", "--state", "Failed"], 1, "execution not found: nope"),
        (["e-", "--state", "Failed"], 2, "can be any of"),
        (["e-1"], 2, "nothing to change"),
        (["e-1", "--state", "Bogus"], 2, "'Bogus' is no state; it is one of Undefined, New,"),
        (["e-1", "--state", "Failed", "--expect-state", "Bogus"], 2, "'Bogus' is no state"),
        (["e-1", "--expect-revision", "0", "--state", "Failed"], 2, "--expect-revision"),
        (["e-1", "--event", "topic"], 2, "'topic' is not of the form TOPIC=MESSAGE"),
        (["e-1", "--detail", "=v"], 2, "'=v' is not of the form K=V"),
        (["e-1", "--clear", "id"], 2, "'id' can't be cleared"),
        (["e-1", "--new-values", "/no/such/file"], 2, "does not exist"),
    ],
)
def test_an_update_that_is_refused_changes_nothing(
    execstore_cli: CommandLine, path: Path, arguments: list[str], status: int, text: str
) -> None:
    with Store(path, read_only=True) as store:
        latest = store.event_store.get_latest_event_num()
    result = execstore_cli("update", *arguments)
    assert (result.status, result.stdout, result.stderr.count("\n")) == (status, "", 1)
    assert text in result.stderr
    with Store(path, read_only=True) as store:
        assert store.event_store.get_latest_event_num() == latest


def test_new_values_that_are_no_json(execstore_cli: CommandLine, stdin: Stdin) -> None:
    stdin("{")
    result = execstore_cli("update", "e-1", "--new-values", "-")
    assert (result.status, result.stderr.startswith("execstore: stdin: not JSON: line 1, column 2: ")) == (2, True)


# --- delete ---------------------------------------------------------------------------------------------------------


def test_delete_removes_all_that_are_named(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    before = [stored(path, each).to_dict() for each in (ids[3], ids[0])]
    result = execstore_cli("delete", ids[3], ids[0], ids[3], "--json")
    assert result.status == 0
    assert [json.loads(line) for line in result.stdout.splitlines()] == before
    assert [e["ID"] for e in execstore_cli("ls", "--json").json()] == ids[1:3]
    assert execstore_cli("delete", ids[1]).stdout == f"deleted {ids[1]}\n"


def test_delete_removes_none_if_one_is_not_there(execstore_cli: CommandLine, ids: list[str]) -> None:
    result = execstore_cli("delete", ids[0], "nope", "--yes")
    assert (result.status, result.stdout, result.stderr) == (1, "", "execstore: execution not found: nope\n")
    assert len(execstore_cli("ls", "--json").json()) == 4


def test_delete_wants_the_whole_id_or_a_yes(execstore_cli: CommandLine, ids: list[str]) -> None:
    result = execstore_cli("delete", "e-2")
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr == (
        f"execstore: ID: 'e-2' is the beginning of {ids[2]} (Completed); give the whole ID, or --yes\n"
    )
    assert execstore_cli("delete", "e-", "--yes").status == 2
    assert execstore_cli("delete", "e-2", "--yes").stdout == f"deleted {ids[2]}\n"


@pytest.mark.parametrize(("answer", "status", "left"), [("y", 0, 3), ("n", 1, 4)])
def test_delete_asks_on_a_terminal(
    execstore_cli: CommandLine, ids: list[str], monkeypatch: pytest.MonkeyPatch, answer: str, status: int, left: int
) -> None:
    asked: list[str] = []

    def prompt(text: str) -> str:
        asked.append(text)
        return answer

    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(delete, "sys", SimpleNamespace(stdin=terminal, stderr=terminal))
    monkeypatch.setattr("click.termui.visible_prompt_func", prompt)
    result = execstore_cli("delete", "e-2")
    assert (result.status, len(execstore_cli("ls", "--json").json())) == (status, left)
    assert f"delete {ids[2]} (Completed)?" in result.stderr + "".join(asked)


# --- add-event ------------------------------------------------------------------------------------------------------


def test_add_event(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    options = ["--topic", "Operator", "--message", "restarted", "--detail", "who=me"]
    printed = execstore_cli("add-event", "e-2", *options, "--json").json()
    with Store(path, read_only=True) as store:
        event = store.get_execution_events(ids[2])[-1]
    assert printed == {**event.to_dict(), "ExecutionID": ids[2]}
    assert (event.topic, event.message, event.details) == ("Operator", "restarted", {"who": "me"})
    assert execstore_cli("add-event", "e-2", *options).stdout == f"added an event to {ids[2]}\n"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["nope", "--topic", "t", "--message", "m"], 1),
        (["e-1", "--topic", "t"], 2),
        (["e-1", "--topic", "t", "--message", "m", "--detail", "x"], 2),
    ],
)
def test_an_event_that_is_refused(execstore_cli: CommandLine, arguments: list[str], status: int) -> None:
    result = execstore_cli("add-event", *arguments)
    assert (result.status, result.stdout, result.stderr.count("\n")) == (status, "", 1)
