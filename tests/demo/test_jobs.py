"""Job files: what is taken, what each malformed one is told, and what can't be run here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from execstore.demo.jobs import (
    Command,
    JobFileError,
    Refusal,
    command_of,
    packaged_job_folder,
    parse_job,
    read_job_file,
    read_job_folder,
)

if TYPE_CHECKING:
    from pathlib import Path

_EXEC = {"Type": "exec", "Params": {"Command": "echo", "Parameters": ["hello"]}}


def _job(**changes: Any) -> dict[str, Any]:
    job = {"Name": "hello", "Type": "batch", "Tasks": [{"Name": "main", "Engine": _EXEC}], **changes}
    return {name: value for name, value in job.items() if value is not None}


def _task(**changes: Any) -> dict[str, Any]:
    return _job(Tasks=[{"Name": "main", "Engine": _EXEC, **changes}])


def _params(**params: Any) -> dict[str, Any]:
    return _task(Engine={"Type": "exec", "Params": params})


def test_a_plain_job_gets_an_id_a_namespace_and_a_count() -> None:
    job = parse_job(_job(), "hello.json")
    assert (job.name, job.job_type, job.namespace, job.count) == ("hello", "batch", "default", 1)
    assert job.job_id.startswith("j-")
    assert job.document == {"ID": job.job_id, **_job(), "Namespace": "default", "Count": 1}


def test_the_id_follows_from_the_content_alone(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text(json.dumps(_job(Labels={"a": "1", "b": "2"})))
    other.write_text(json.dumps({"Labels": {"b": "2", "a": "1"}, **_job()}, indent=4))
    assert read_job_file(str(one)).job_id == read_job_file(str(other)).job_id
    assert parse_job(_job(Name="another"), "").job_id != parse_job(_job(), "").job_id


def test_an_id_in_the_file_is_replaced() -> None:
    assert parse_job(_job(ID="mine"), "").job_id == parse_job(_job(), "").job_id


def test_members_are_read_in_any_case_and_recorded_in_bacalhaus() -> None:
    given = {
        "name": "hello",
        "type": "batch",
        "tasks": [{"name": "main", "engine": {"type": "Exec", "params": {"command": "echo", "parameters": ["x"]}}}],
    }
    job = parse_job(given, "")
    assert command_of(job) == Command(("echo", "x"), (), None, None)
    assert job.document["Tasks"][0]["Engine"] == {"Type": "Exec", "Params": {"Command": "echo", "Parameters": ["x"]}}


def test_the_callers_document_is_left_as_it_was() -> None:
    given = _job(ID="mine")
    before = json.dumps(given)
    parse_job(given, "")
    assert json.dumps(given) == before


def test_ops_and_daemon_jobs_run_once_a_node_whatever_their_count() -> None:
    assert parse_job(_job(Type="ops", Count=7), "").count == 1
    assert parse_job(_job(Type="daemon", Count=0), "").count == 1
    assert parse_job(_job(Type="batch", Count=0), "").count == 0


@pytest.mark.parametrize(
    ("document", "command"),
    [
        (_params(Command="ls"), Command(("ls",), (), None, None)),
        (_params(Command=["ls", "-l"], Parameters=["/"]), Command(("ls", "-l", "/"), (), None, None)),
        (_params(Entrypoint=["sh", "-c"], Parameters=["true"]), Command(("sh", "-c", "true"), (), None, None)),
        (_params(Command="ls", WorkingDirectory="/usr"), Command(("ls",), (), "/usr", None)),
        (
            _params(Command="env", EnvironmentVariables=["A=1", "B=x=y", "C="]),
            Command(("env",), (("A", "1"), ("B", "x=y"), ("C", "")), None, None),
        ),
        (_task(Env={"A": "env:HOME"}), Command(("echo", "hello"), (("A", "env:HOME"),), None, None)),
        (_task(Timeouts={"ExecutionTimeout": 5}), Command(("echo", "hello"), (), None, 5)),
        (_task(Timeouts={"ExecutionTimeout": 5, "TotalTimeout": 3}), Command(("echo", "hello"), (), None, 3)),
        (_task(Timeouts={"ExecutionTimeout": 0}), Command(("echo", "hello"), (), None, None)),
        (_task(Timeouts=None, Env=None, InputSources=None, Publisher=None), Command(("echo", "hello"), (), None, None)),
        (_task(Publisher={"Type": ""}), Command(("echo", "hello"), (), None, None)),
    ],
)
def test_what_a_task_runs(document: dict[str, Any], command: Command) -> None:
    assert command_of(parse_job(document, "")) == command


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (_task(Engine={"Type": "docker", "Params": {"Image": "ubuntu", "Entrypoint": ["sh"]}}), "engine 'docker'"),
        (_task(Engine={"Type": "wasm"}), "engine 'wasm'"),
        (_task(InputSources=[{"Source": {"Type": "s3"}}]), "InputSources"),
        (_task(ResultPaths=[{"Name": "outputs", "Path": "/outputs"}]), "ResultPaths"),
        (_task(Publisher={"Type": "s3"}), "publisher 's3'"),
        (_job(Constraints=[{"Key": "region"}]), "Constraints"),
    ],
)
def test_what_this_node_cannot_run_is_refused_with_its_reason(document: dict[str, Any], reason: str) -> None:
    refusal = command_of(parse_job(document, ""))
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason
    assert refusal.hint


@pytest.mark.parametrize(
    ("document", "place", "reason"),
    [
        ([], "", "must be a JSON object"),
        (_job(Name=None), "Name", "missing"),
        (_job(Name=" "), "Name", "not blank"),
        (_job(Name=7), "Name", "string"),
        (_job(Name="a\0b"), "Name", "NUL"),
        (_job(Name="\ud800"), "Name", "surrogate"),
        (_job(name="twice"), "Name", "twice"),
        (_job(Type=None), "Type", "missing"),
        (_job(Type="cron"), "Type", "batch, ops, service, daemon"),
        (_job(Namespace=1), "Namespace", "string"),
        (_job(Count=-1), "Count", "-1"),
        (_job(Count=1.5), "Count", "integer"),
        (_job(Count=True), "Count", "integer"),
        (_job(Count="3"), "Count", "integer"),
        (_job(Count=1001), "Count", "at most 1000"),
        (_job(Tasks=None), "Tasks", "missing or empty"),
        (_job(Tasks=[]), "Tasks", "missing or empty"),
        (_job(Tasks={}), "Tasks", "list"),
        (_job(Tasks=[1]), "Tasks[0]", "JSON object"),
        (_job(Tasks=[{}, {}]), "Tasks", "one task"),
        (_job(Tasks=[{"Engine": _EXEC}]), "Tasks[0].Name", "missing"),
        (_job(Tasks=[{"Name": "main"}]), "Tasks[0].Engine", "missing"),
        (_task(Engine="exec"), "Tasks[0].Engine", "JSON object"),
        (_task(Engine={}), "Tasks[0].Engine.Type", "missing"),
        (_task(Engine={"Type": "exec", "Params": []}), "Tasks[0].Engine.Params", "JSON object"),
        (_params(), "Tasks[0].Engine.Params.Command", "missing"),
        (_params(Command=""), "Tasks[0].Engine.Params.Command", "missing"),
        (_params(Command=5), "Tasks[0].Engine.Params.Command", "list of strings"),
        (_params(Command=["ls", 5]), "Tasks[0].Engine.Params.Command[1]", "string"),
        (_params(Command="l\0s"), "Tasks[0].Engine.Params.Command", "NUL"),
        (_params(Command="ls", Entrypoint=["ls"]), "Tasks[0].Engine.Params.Entrypoint", "keep one"),
        (_params(Entrypoint="ls"), "Tasks[0].Engine.Params.Entrypoint", "list"),
        (_params(Command="ls", Parameters="-l"), "Tasks[0].Engine.Params.Parameters", "list"),
        (_params(Command="ls", Parameters=[None]), "Tasks[0].Engine.Params.Parameters[0]", "string"),
        (_params(Command="ls", Parameters=["a", "\0"]), "Tasks[0].Engine.Params.Parameters[1]", "NUL"),
        (
            _params(Command="ls", EnvironmentVariables=["A=1", "B"]),
            "Tasks[0].Engine.Params.EnvironmentVariables[1]",
            "NAME=value",
        ),
        (_params(Command="ls", WorkingDirectory=5), "Tasks[0].Engine.Params.WorkingDirectory", "string"),
        (_task(Env=["A=1"]), "Tasks[0].Env", "JSON object"),
        (_task(Env={"a": "1"}), "Tasks[0].Env", "'a'"),
        (_task(Env={"1A": "1"}), "Tasks[0].Env", "'1A'"),
        (_task(Env={"A=B": "1"}), "Tasks[0].Env", "'A=B'"),
        (_task(Env={"": "1"}), "Tasks[0].Env", "''"),
        (_task(Env={"BACALHAU_JOB_ID": "1"}), "Tasks[0].Env", "node's own"),
        (_task(Env={"A": ""}), "Tasks[0].Env.A", "not empty"),
        (_task(Env={"A": 1}), "Tasks[0].Env.A", "string"),
        (_task(Timeouts=5), "Tasks[0].Timeouts", "JSON object"),
        (_task(Timeouts={"ExecutionTimeout": -1}), "Tasks[0].Timeouts.ExecutionTimeout", "-1"),
        (_task(Timeouts={"TotalTimeout": "1"}), "Tasks[0].Timeouts.TotalTimeout", "integer"),
        (_task(InputSources={}), "Tasks[0].InputSources", "list"),
        (_task(Publisher="s3"), "Tasks[0].Publisher", "JSON object"),
        (_task(Publisher={"Type": 1}), "Tasks[0].Publisher.Type", "string"),
    ],
)
def test_a_malformed_job_is_told_where_and_what(document: Any, place: str, reason: str) -> None:
    with pytest.raises(JobFileError) as caught:
        parse_job(document, "bad.json")
    assert (caught.value.path, caught.value.place) == ("bad.json", place)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("data", "place", "reason"),
    [
        (b"", "line 1 column 1", "not proper JSON"),
        (b'{"Name": "a",\n "Type": }', "line 2 column 10", "not proper JSON"),
        (b"\xff{}", "line 1 column 1", "UTF-8"),
        (b'{"Name": "a", "Name": "b"}', "", "twice"),
        (b'{"Count": NaN}', "line 1 column 11", "NaN"),
        (b"[" * 100_000, "", "nested"),
        (b'{"Name": "' + b"a" * (1 << 20) + b'"}', "", "larger than"),
        (b"{} x", "line 1 column 4", "not proper JSON"),
    ],
)
def test_a_file_that_is_no_json_is_told_where(tmp_path: Path, data: bytes, place: str, reason: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    with pytest.raises(JobFileError) as caught:
        read_job_file(str(path))
    assert (caught.value.path, caught.value.place) == (str(path), place)
    assert reason in caught.value.reason


def test_a_byte_order_mark_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(_job()).encode())
    assert read_job_file(str(path)).name == "hello"


def test_a_folder_is_read_in_the_order_of_names_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.json").write_text(json.dumps(_job(Name=name)))
    (tmp_path / "README.md").write_text("not a job")
    assert [job.name for job in read_job_folder(str(tmp_path))] == ["a", "b", "c"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match="No such file"):
        read_job_folder(str(tmp_path / "nowhere"))


def test_a_folder_without_jobs_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match="no job file"):
        read_job_folder(str(tmp_path))


def test_the_same_job_in_two_files_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(_job()))
    with pytest.raises(JobFileError, match=r"b\.json: it is the same job as a\.json"):
        read_job_folder(str(tmp_path))


def test_the_packaged_jobs_are_all_proper() -> None:
    jobs = read_job_folder(packaged_job_folder())
    assert len(jobs) >= 6
    assert {job.job_type for job in jobs} >= {"batch", "ops", "service"}
    assert [job.name for job in jobs if job.count == 3]
    assert len([job for job in jobs if isinstance(command_of(job), Refusal)]) == 1
