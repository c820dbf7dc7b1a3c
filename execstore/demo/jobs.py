"""Job files: Bacalhau's own JSON form, as ``bacalhau job run`` takes it, read and checked before anything runs.

A file that Bacalhau would refuse, or that can't be understood, is an error that names the file and the member. A proper
job that this node can't run (another engine, remote inputs) is no error here: it becomes a recorded failure, see
``command_of``. The rules are those of ``pkg/models/job.go``, ``task.go``, ``env_var.go`` and ``timeout.go``.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from execstore.codec import CodecError, decode_strict
from execstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "JOB_TYPES",
    "Command",
    "Job",
    "JobFileError",
    "Refusal",
    "command_of",
    "packaged_job_folder",
    "parse_job",
    "read_job_file",
    "read_job_folder",
]

JOB_TYPES = ("batch", "ops", "service", "daemon")
MAX_FILE_BYTES = 1 << 20
MAX_COUNT = 1000

# Bacalhau's models.EnvVarPrefix: names that the node itself sets.
RESERVED_PREFIX = "BACALHAU_"

# A job's ID follows from its content alone, so that a second run knows which jobs it has seen.
_JOB_ID_NAMESPACE = uuid.UUID("6d0a8a1e-3c1b-5f0e-9d57-2f1f0a9f7c31")

_JOB_MEMBERS = ("ID", "Name", "Namespace", "Type", "Priority", "Count", "Constraints", "Meta", "Labels", "Tasks")
_TASK_MEMBERS = (
    "Name",
    "Engine",
    "Publisher",
    "Env",
    "Meta",
    "InputSources",
    "ResultPaths",
    "Resources",
    "Network",
    "Timeouts",
)
_SPEC_MEMBERS = ("Type", "Params")
_PARAMS_MEMBERS = ("Command", "Entrypoint", "Parameters", "EnvironmentVariables", "WorkingDirectory")
_TIMEOUT_MEMBERS = ("ExecutionTimeout", "QueueTimeout", "TotalTimeout")


class JobFileError(InvalidArgumentError):
    """A job file can't be used. ``place`` is where: a member (``Tasks[0].Name``), a line, or ``""`` for the whole."""

    def __init__(self, path: str, place: str, reason: str) -> None:
        super().__init__(f"{path}: {place}" if place else path, reason)
        self.path = path
        self.place = place


@dataclass(frozen=True, slots=True)
class Job:
    """A checked job. ``document`` is its JSON object as it is recorded: with its ID, a Namespace and a Count."""

    source: str
    job_id: str
    name: str
    job_type: str
    namespace: str
    count: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Command:
    """What a task runs. ``environment`` holds the task's own variables; a value ``env:NAME`` is not yet resolved."""

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: str | None
    timeout_seconds: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why this node can't run a task; ``error_code`` is one of Bacalhau's (``pkg/bacerrors/codes.go``)."""

    reason: str
    error_code: str = "NotImplemented"
    hint: str = ""


def packaged_job_folder() -> str:
    """Return the folder of the jobs that come with the package (in a wheel) or stand in the checkout."""
    here = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(here, "jobs")
    if os.path.isdir(installed):
        return installed
    return os.path.join(os.path.dirname(os.path.dirname(here)), "examples", "jobs")


def read_job_folder(folder: str) -> list[Job]:
    """Read every ``*.json`` of a folder, in the order of their names.

    Raises:
        JobFileError: if the folder can't be read or has none, if any file is no proper job, or if two are the same job.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except OSError as error:
        raise JobFileError(folder, "", f"the folder of job files can't be read: {error.strerror}") from error
    if not names:
        raise JobFileError(folder, "", "there is no job file (*.json) in it")
    jobs: list[Job] = []
    seen: dict[str, str] = {}
    for name in names:
        job = read_job_file(os.path.join(folder, name))
        if job.job_id in seen:
            raise JobFileError(
                job.source, "", f"it is the same job as {seen[job.job_id]}; remove one of them, or give it another Name"
            )
        seen[job.job_id] = name
        jobs.append(job)
    return jobs


def read_job_file(path: str) -> Job:
    """Read and check one job file.

    Raises:
        JobFileError: if it can't be read or is no proper job.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise JobFileError(path, "", f"it can't be read: {error.strerror}") from error
    return parse_job(_decode(data, path), path)


def _decode(data: bytes, path: str) -> Any:
    if len(data) > MAX_FILE_BYTES:
        raise JobFileError(path, "", f"it is larger than {MAX_FILE_BYTES} bytes; a job file is a few kilobytes")
    try:
        return decode_strict(data)
    except CodecError as error:
        place = f"line {error.line} column {error.column}" if error.line else ""
        raise JobFileError(path, place, f"it is not proper JSON: {error.reason}") from error


def parse_job(document: Any, source: str) -> Job:
    """Check a job's JSON object; its known members get Bacalhau's spelling, since Go reads ``name`` as ``Name``, too.

    Args:
        document: the decoded JSON value. It isn't changed.
        source: the file it came from, for the errors.

    Raises:
        JobFileError: whose ``place`` is the member, ``Tasks[0].Engine.Type``.
    """
    checker = _Checker(source)
    job = checker.members(document, "", _JOB_MEMBERS)
    name = checker.text(job, "", "Name")
    job_type = checker.text(job, "", "Type")
    if job_type not in JOB_TYPES:
        checker.fail("Type", f"{job_type!r} is no job type; it must be one of {', '.join(JOB_TYPES)}")
    namespace = checker.text(job, "", "Namespace") if job.get("Namespace") not in (None, "") else "default"
    count = checker.integer(job, "", "Count", default=1, maximum=MAX_COUNT)
    if job_type in {"ops", "daemon"}:
        count = 1  # These run once on every node, and here there is one.
    tasks = checker.items(job, "", "Tasks")
    if not tasks:
        checker.fail("Tasks", "it is missing or empty; a job needs one task")
    if len(tasks) > 1:
        checker.fail("Tasks", f"there are {len(tasks)}; a job has one task, so make each a job of its own")
    job["Tasks"] = [_check_task(checker, tasks[0], "Tasks[0]")]
    job.pop("ID", None)
    # As Bacalhau: the ID is given by the server, never by the file.
    try:
        content = json.dumps(job, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        checker.fail("", "its JSON is nested too deeply")
    job_id = f"j-{uuid.uuid5(_JOB_ID_NAMESPACE, content)}"
    recorded = {"ID": job_id, **job, "Namespace": namespace, "Count": count}
    return Job(source, job_id, name, job_type, namespace, count, recorded)


def _check_task(checker: _Checker, value: Any, where: str) -> dict[str, Any]:
    task = checker.members(value, where, _TASK_MEMBERS)
    checker.text(task, where, "Name")
    engine = checker.members(task.get("Engine"), f"{where}.Engine", _SPEC_MEMBERS)
    engine_type = checker.text(engine, f"{where}.Engine", "Type")
    params_where = f"{where}.Engine.Params"
    known = _PARAMS_MEMBERS if _is_exec(engine_type) else ()
    params = checker.members(_or(engine.get("Params"), {}), params_where, known)
    if _is_exec(engine_type):
        _check_params(checker, params, params_where)
    task["Engine"] = {**engine, "Params": params}
    for name, variable in checker.mapping(task, where, "Env").items():
        _check_variable(checker, name, variable, f"{where}.Env")
    if task.get("Timeouts") is not None:
        timeouts = checker.members(task["Timeouts"], f"{where}.Timeouts", _TIMEOUT_MEMBERS)
        for name in _TIMEOUT_MEMBERS:
            checker.integer(timeouts, f"{where}.Timeouts", name, default=0)
        task["Timeouts"] = timeouts
    if task.get("Publisher") is not None:
        publisher = checker.members(task["Publisher"], f"{where}.Publisher", _SPEC_MEMBERS)
        if not isinstance(publisher.get("Type", ""), str):
            checker.fail(f"{where}.Publisher.Type", "it must be a string")
        task["Publisher"] = publisher
    for name in ("InputSources", "ResultPaths"):
        checker.items(task, where, name)
    return task


def _check_params(checker: _Checker, params: Mapping[str, Any], where: str) -> None:
    command = params.get("Command")
    entrypoint = checker.strings(params, where, "Entrypoint")
    if isinstance(command, list):
        command = checker.strings(params, where, "Command")
    elif command is not None and not isinstance(command, str):
        checker.fail(f"{where}.Command", "it must be a string or a list of strings")
    if command and entrypoint:
        checker.fail(f"{where}.Entrypoint", "Command is given too; keep one of them")
    if not command and not entrypoint:
        checker.fail(f"{where}.Command", "it is missing; name the program to run (its arguments go in Parameters)")
    checker.no_nul(command if isinstance(command, str) else "", f"{where}.Command")
    checker.strings(params, where, "Parameters")
    for index, entry in enumerate(checker.strings(params, where, "EnvironmentVariables")):
        name, equals, _ = entry.partition("=")
        if not equals or not name:
            checker.fail(f"{where}.EnvironmentVariables[{index}]", f"{entry!r} must have the form NAME=value")
    if params.get("WorkingDirectory") not in (None, ""):
        checker.text(params, where, "WorkingDirectory")


def _check_variable(checker: _Checker, name: str, value: Any, where: str) -> None:
    if not name or name != name.upper() or not name[0].isalpha() or not all(c.isalnum() or c == "_" for c in name):
        checker.fail(
            where, f"{name!r} is no name for an environment variable: upper-case letters, digits and _, a letter first"
        )
    if name.startswith(RESERVED_PREFIX):
        checker.fail(where, f"{name!r} can't be set: names that begin with {RESERVED_PREFIX} are the node's own")
    if not isinstance(value, str) or not value:
        checker.fail(f"{where}.{name}", "it must be a string that is not empty")
    checker.no_nul(value, f"{where}.{name}")


class _Checker:
    """Fetches members of one file's objects; every complaint names the file and the member."""

    def __init__(self, source: str) -> None:
        self._source = source

    def fail(self, where: str, reason: str) -> NoReturn:
        raise JobFileError(self._source, where, reason)

    def members(self, value: Any, where: str, known: Iterable[str]) -> dict[str, Any]:
        """Return a copy of the object whose known members are spelled as Bacalhau spells them."""
        if value is None and where:
            self.fail(where, "it is missing")
        if not isinstance(value, dict):
            self.fail(where, "it must be a JSON object")
        spelling = {name.lower(): name for name in known}
        result: dict[str, Any] = {}
        for name, member in value.items():
            proper: str = spelling.get(name.lower()) or name
            if proper in result:
                self.fail(_join(where, proper), "it is given twice, in different spellings")
            result[proper] = member
        return result

    def text(self, value: Mapping[str, Any], where: str, name: str) -> str:
        member = value.get(name)
        if member is None:
            self.fail(_join(where, name), "it is missing")
        if not isinstance(member, str) or not member.strip():
            self.fail(_join(where, name), "it must be a string that is not blank")
        self.no_nul(member, _join(where, name))
        return member

    def no_nul(self, value: str, where: str) -> None:
        if "\0" in value:
            self.fail(where, "it has a NUL character in it")
        if any("\ud800" <= character <= "\udfff" for character in value):
            self.fail(where, "it has half of a surrogate pair in it, which is no character")

    def integer(
        self, value: Mapping[str, Any], where: str, name: str, *, default: int, maximum: int | None = None
    ) -> int:
        member = _or(value.get(name), default)
        if isinstance(member, bool) or not isinstance(member, int):
            self.fail(_join(where, name), "it must be an integer")
        if member < 0 or (maximum is not None and member > maximum):
            self.fail(
                _join(where, name),
                f"{member} must be 0 or more" + (f" and at most {maximum}" if maximum is not None else ""),
            )
        return member

    def items(self, value: Mapping[str, Any], where: str, name: str) -> list[Any]:
        member = _or(value.get(name), [])
        if not isinstance(member, list):
            self.fail(_join(where, name), "it must be a list")
        return member

    def mapping(self, value: Mapping[str, Any], where: str, name: str) -> dict[str, Any]:
        member = _or(value.get(name), {})
        if not isinstance(member, dict):
            self.fail(_join(where, name), "it must be a JSON object")
        return member

    def strings(self, value: Mapping[str, Any], where: str, name: str) -> list[str]:
        member = self.items(value, where, name)
        for index, item in enumerate(member):
            if not isinstance(item, str):
                self.fail(f"{_join(where, name)}[{index}]", "it must be a string")
            self.no_nul(item, f"{_join(where, name)}[{index}]")
        return member


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _is_exec(engine_type: str) -> bool:
    return engine_type.strip().lower() == "exec"


def command_of(job: Job) -> Command | Refusal:
    """Return what the job's task runs, or why this node can't run it.

    A docker job's entrypoint is not run: it is meant for what is in its image, not for this machine.
    """
    task = job.document["Tasks"][0]
    engine = task["Engine"]
    if not _is_exec(engine["Type"]):
        return Refusal(
            f"this node doesn't support engine {engine['Type']!r}",
            hint="It runs Engine Type 'exec': a program of this machine, named by Command, with its Parameters",
        )
    for member, what in (("InputSources", "fetches no inputs"), ("ResultPaths", "publishes no result paths")):
        if task.get(member):
            return Refusal(
                f"this node {what}, and the task has {member}", hint=f"Remove {member}; stdout and stderr are kept"
            )
    publisher = (task.get("Publisher") or {}).get("Type", "")
    if publisher.strip().lower() not in {"", "noop"}:
        return Refusal(
            f"this node doesn't support publisher {publisher!r}", hint="Remove Publisher; stdout and stderr are kept"
        )
    if job.document.get("Constraints"):
        return Refusal("this node has no labels, and the job has Constraints", hint="Remove Constraints")
    params = engine["Params"]
    program = params.get("Command") or params.get("Entrypoint")
    arguments = [program] if isinstance(program, str) else list(program)
    entries = (entry.partition("=") for entry in _or(params.get("EnvironmentVariables"), []))
    environment = {**_or(task.get("Env"), {}), **{name: value for name, _, value in entries}}
    return Command(
        arguments=(*arguments, *_or(params.get("Parameters"), [])),
        environment=tuple(environment.items()),
        working_directory=params.get("WorkingDirectory") or None,
        timeout_seconds=_timeout_seconds(task.get("Timeouts") or {}),
    )


def _timeout_seconds(timeouts: Mapping[str, Any]) -> int | None:
    # Zero means no limit (pkg/models/timeout.go). The total includes waiting, which here is nothing worth counting.
    limits: Sequence[int] = [timeouts[name] for name in ("ExecutionTimeout", "TotalTimeout") if timeouts.get(name)]
    return min(limits, default=None)
