"""The bytes of everything the store writes about executions, and back: pure functions, no files.

An execution's record is a JSON object with a line for each of its members, so that ``cat``, ``grep`` and ``diff`` are
of use. A raw newline never stands inside of a JSON string, so dropping all newlines (``compact``) leaves the same
object in one line: that is how a record gets into a line of the event log without being encoded again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from execstore import codec
from execstore.codec import CodecError, encode_text
from execstore.errors import InvalidExecutionError
from execstore.job_text import unread_job
from execstore.members import read_count, read_text
from execstore.models import Execution
from execstore.parts import Event
from execstore.unshared import unshared
from execstore.validation import check_event, check_execution

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from execstore.parts import RunCommandResult, SpecConfig, State

__all__ = [
    "ReadExecution",
    "compact",
    "copy_of_execution",
    "encode_checkpoint",
    "encode_event",
    "encode_execution",
    "encode_upsert",
    "parse_checkpoint",
    "parse_event",
    "parse_execution",
    "read_execution",
]

_Encode: TypeAlias = "Callable[..., bytes]"
_NEXT_LINE: Final = ",\n"


class ReadExecution(NamedTuple):
    """A record, and the execution that it says."""

    record: bytes
    execution: Execution


def encode_execution(execution: Execution, *, trusted: bool = False) -> bytes:
    """The record of an execution: ``{``, a line for each member, ``}``, each ended by a newline.

    Args:
        trusted: its free JSON (job, resources, parameters, unknown members) came out of a record, so the types in it
            needn't be looked at.

    Raises:
        InvalidExecutionError: naming the member that can't be written.
    """
    encode = codec.encode_trusted if trusted else codec.encode
    try:
        return _execution_text(execution, encode).encode()
    except InvalidExecutionError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        # Slow, but they find what is wrong and name the place.
        check_execution(execution)
        codec.encode(execution.to_dict())
        raise InvalidExecutionError("", f"can't be written: {error}") from error


def _execution_text(execution: Execution, encode: _Encode) -> str:
    partition_index = f'"PartitionIndex":{execution.partition_index:d},\n' if execution.partition_index else ""
    return (
        f'{{\n"ID":{encode_text(execution.id)},\n'
        f'"Namespace":{encode_text(execution.namespace)},\n'
        f'"EvalID":{encode_text(execution.eval_id)},\n'
        f'"Name":{encode_text(execution.name)},\n'
        f'"NodeID":{encode_text(execution.node_id)},\n'
        f'"JobID":{encode_text(execution.job_id)},\n'
        f'"Job":{_job_text(execution, encode)},\n'
        f'"JobVersion":{execution.job_version:d},\n'
        f'"AllocatedResources":{_json_text(execution.allocated_resources, "AllocatedResources", encode)},\n'
        f'"DesiredState":{_state_text(execution.desired_state, "DesiredState", encode)},\n'
        f'"ComputeState":{_state_text(execution.compute_state, "ComputeState", encode)},\n'
        f'"PublishedResult":{_spec_text(execution.published_result, encode)},\n'
        f'"RunOutput":{_run_output_text(execution.run_output, encode)},\n'
        f'"PreviousExecution":{encode_text(execution.previous_execution)},\n'
        f'"NextExecution":{encode_text(execution.next_execution)},\n'
        f'"FollowupEvalID":{encode_text(execution.followup_eval_id)},\n'
        f"{partition_index}"
        f'"Revision":{execution.revision:d},\n'
        f'"CreateTime":{execution.create_time:d},\n'
        f'"ModifyTime":{execution.modify_time:d}'
        f"{_extra_text(execution.extra, '', encode, separator=_NEXT_LINE)}\n}}\n"
    )


def _job_text(execution: Execution, encode: _Encode) -> str:
    text = unread_job(execution)
    return _json_text(execution.job, "Job", encode) if text is None else text.decode()


def _json_text(value: Any, member: str, encode: _Encode) -> str:
    return "null" if value is None else encode(value, member=member).decode()


def _extra_text(extra: Mapping[str, Any], member: str, encode: _Encode, separator: str = ",") -> str:
    if not extra:
        return ""
    return "".join(
        f"{separator}{encode_text(name)}:{_json_text(value, codec.inner_member(member, name), encode)}"
        for name, value in extra.items()
    )


def _state_text(state: State[Any], member: str, encode: _Encode) -> str:
    message = f',"Message":{encode_text(state.message)}' if state.message else ""
    details = f',"Details":{_json_text(state.details, f"{member}.Details", encode)}' if state.details else ""
    return f'{{"StateType":"{state.state_type.value}"{message}{details}{_extra_text(state.extra, member, encode)}}}'


def _spec_text(spec: SpecConfig | None, encode: _Encode) -> str:
    if spec is None:
        return "null"
    params = f',"Params":{_json_text(spec.params, "PublishedResult.Params", encode)}' if spec.params else ""
    return f'{{"Type":{encode_text(spec.type)}{params}{_extra_text(spec.extra, "PublishedResult", encode)}}}'


def _run_output_text(output: RunCommandResult | None, encode: _Encode) -> str:
    if output is None:
        return "null"
    return (
        f'{{"Stdout":{encode_text(output.stdout)},'
        f'"StdoutTruncated":{"true" if output.stdout_truncated else "false"},'
        f'"stderr":{encode_text(output.stderr)},'
        f'"StderrTruncated":{"true" if output.stderr_truncated else "false"},'
        f'"ExitCode":{output.exit_code:d},'
        f'"ErrorMsg":{encode_text(output.error_msg)}{_extra_text(output.extra, "RunOutput", encode)}}}'
    )


def parse_execution(data: bytes) -> Execution:
    """The execution of a record, in any layout of its JSON, with states by name or by number.

    Raises:
        CodecError: if it is no JSON.
        InvalidExecutionError: if it is JSON, but no execution.
    """
    return Execution.from_json(data)


def read_execution(record: bytes) -> ReadExecution:
    """A record with its execution. Raises what `parse_execution` raises."""
    return ReadExecution(record, parse_execution(record))


def copy_of_execution(read: ReadExecution) -> ReadExecution:
    """One that shares nothing changeable with it; see ``unshared``."""
    return ReadExecution(read.record, unshared(read.execution))


def compact(record: bytes) -> bytes:
    """A record's JSON in one line, without a newline at its end."""
    return record.replace(b"\n", b"")


def encode_event(event: Event, *, member: str = "") -> bytes:
    """An event in one line, without a newline at its end. An ``ExecutionEvent`` also says which execution it is of.

    Args:
        member: where the event stands (``"Events[0]"``), for errors.

    Raises:
        InvalidExecutionError: naming the member that can't be written.
    """
    check_event(event, member)
    if type(event) is Event and not event.extra and not event.details:
        try:  # nearly every event is like this
            time = event.timestamp.to_text("Timestamp")
            message, topic = encode_text(event.message), encode_text(event.topic)
            return f'{{"Message":{message},"Topic":{topic},"Timestamp":"{time}"}}'.encode()
        except (InvalidExecutionError, UnicodeEncodeError):
            pass  # the way below names the place
    try:
        data = event.to_dict()
    except InvalidExecutionError as error:
        raise InvalidExecutionError(codec.inner_member(member, error.member), error.reason) from None
    return codec.encode(data, member=member)


def parse_event(data: bytes) -> Event:
    """The event of a line; one of ``null``, which the reference writes, is the zero event.

    Raises:
        CodecError: if it is no JSON.
        InvalidExecutionError: if it is JSON, but no event.
    """
    return Event.from_dict(codec.decode(data))


def encode_upsert(current: bytes | None, previous: bytes | None, events: Sequence[bytes] | None = None) -> bytes:
    """The JSON of an ``ExecutionUpsert`` out of its parts, each encoded and ``compact``; no events are ``null``."""
    return b'{"Current":%b,"Previous":%b,"Events":%b}' % (
        b"null" if current is None else current,
        b"null" if previous is None else previous,
        b"[%b]" % b",".join(events) if events else b"null",
    )


def encode_checkpoint(name: str, sequence_number: int) -> bytes:
    """The file of a checkpoint: an object with a line for each member.

    Raises:
        InvalidExecutionError: if the name can't be written.
    """
    return codec.encode_members({"Name": name, "SequenceNumber": sequence_number})


def parse_checkpoint(data: bytes) -> tuple[str, int]:
    """Name and sequence number.

    Raises:
        CodecError: if it is something else.
    """
    members = codec.decode(data)
    if not isinstance(members, dict) or not {"Name", "SequenceNumber"} <= members.keys():
        raise CodecError("no checkpoint: it must be an object with Name and SequenceNumber")
    try:
        return read_text(members, "Name", ""), read_count(members, "SequenceNumber", "")
    except InvalidExecutionError as error:
        raise CodecError(f"no checkpoint: {error.member}: {error.reason}") from None
