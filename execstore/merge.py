"""What an update makes of an execution: the reference's merge, without its accidents.

In the reference ``mergo.Merge`` fills whatever is zero in the new values from the stored execution, through structs and
maps. Seen from the stored side: a new value that isn't zero replaces, two objects are merged member by member, lists
are replaced whole, and a zero value (``None``, ``0``, ``False``, ``""``, ``[]``, ``{}``) never overwrites anything.
Unlike there, stored nulls stay, integers keep all their digits, and nothing that the caller gave is changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from execstore.errors import InvalidArgumentError, InvalidExecutionError
from execstore.job_text import unread_job
from execstore.parts import RunCommandResult, SpecConfig, State, StateT
from execstore.states import DesiredState

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.models import Execution

__all__ = ["CLEARABLE", "clear_fields", "merge_execution"]


def merge_execution(stored: Execution, new_values: Execution, clear: Iterable[str] = ()) -> Execution:
    """The stored execution after an update. It may share parts with both arguments, and changes neither.

    ID, revision and times are the stored ones; they are the store's to set.

    Args:
        clear: names of fields that lose their stored value before ``new_values`` are merged in: those in ``CLEARABLE``.
            Clearing a field and giving it a new value replaces it whole.

    Raises:
        InvalidExecutionError: for a name in ``clear`` that can't be cleared.
    """
    stored = clear_fields(stored, clear)
    if new_values.job or unread_job(stored) is None:
        stored = stored.replace(job=_merge_json(stored.job, new_values.job))
    return stored.replace(
        namespace=new_values.namespace if new_values.namespace_is_given and new_values.namespace else stored.namespace,
        eval_id=new_values.eval_id or stored.eval_id,
        name=new_values.name or stored.name,
        node_id=new_values.node_id or stored.node_id,
        job_id=new_values.job_id or stored.job_id,
        job_version=new_values.job_version or stored.job_version,
        allocated_resources=_merge_json(stored.allocated_resources, new_values.allocated_resources),
        desired_state=_merge_state(stored.desired_state, new_values.desired_state),
        compute_state=_merge_state(stored.compute_state, new_values.compute_state),
        published_result=_merge_spec(stored.published_result, new_values.published_result),
        run_output=_merge_run_output(stored.run_output, new_values.run_output),
        previous_execution=new_values.previous_execution or stored.previous_execution,
        next_execution=new_values.next_execution or stored.next_execution,
        followup_eval_id=new_values.followup_eval_id or stored.followup_eval_id,
        partition_index=new_values.partition_index or stored.partition_index,
        extra=_merge_json(stored.extra, new_values.extra),
    )


def _merge_json(stored: Any, new: Any) -> Any:
    # Everything that is zero in Go is false in Python, and the other way round.
    if not new:
        return new if stored is None else stored
    if not isinstance(stored, Mapping) or not isinstance(new, Mapping):
        return new
    merged = dict(stored)
    # Not recursive, since a job may be nested deeper than Python's stack.
    pending = [(merged, new)]
    while pending:
        target, source = pending.pop()
        for name, value in source.items():
            old = target.get(name)
            if isinstance(old, Mapping) and isinstance(value, Mapping):
                target[name] = dict(old)
                pending.append((target[name], value))
            elif value or name not in target:
                target[name] = value
    return merged


def _merge_state(stored: State[StateT], new: State[StateT]) -> State[StateT]:
    return State(
        new.state_type if new.state_type.number else stored.state_type,
        new.message or stored.message,
        _merge_json(stored.details, new.details),
        extra=_merge_json(stored.extra, new.extra),
    )


def _merge_spec(stored: SpecConfig | None, new: SpecConfig | None) -> SpecConfig | None:
    if stored is None or new is None:
        return stored if new is None else new
    return SpecConfig(
        new.type or stored.type,
        _merge_json(stored.params, new.params),
        extra=_merge_json(stored.extra, new.extra),
    )


def _merge_run_output(stored: RunCommandResult | None, new: RunCommandResult | None) -> RunCommandResult | None:
    if stored is None or new is None:
        return stored if new is None else new
    return RunCommandResult(
        new.stdout or stored.stdout,
        new.stdout_truncated or stored.stdout_truncated,
        new.stderr or stored.stderr,
        new.stderr_truncated or stored.stderr_truncated,
        new.exit_code or stored.exit_code,
        new.error_msg or stored.error_msg,
        extra=_merge_json(stored.extra, new.extra),
    )


# --- clear ----------------------------------------------------------------------------------------------------------

# The zero values are those of a new execution, so that a cleared field reads as if nothing had ever been there.
_FIELDS: Final[Mapping[str, Callable[[], Any]]] = {
    "eval_id": str,
    "name": str,
    "node_id": str,
    "job_version": int,
    "allocated_resources": lambda: {"Tasks": {}},
    "desired_state": lambda: State(DesiredState.PENDING),
    "published_result": SpecConfig,
    "run_output": RunCommandResult,
    "previous_execution": str,
    "next_execution": str,
    "followup_eval_id": str,
    "partition_index": int,
}
_INNER_FIELDS: Final[Mapping[str, Mapping[str, Callable[[], Any]]]] = {
    "compute_state": {"message": str, "details": dict},
    "desired_state": {"message": str, "details": dict},
    "published_result": {"type": str, "params": dict},
    "run_output": {
        "stdout": str,
        "stdout_truncated": bool,
        "stderr": str,
        "stderr_truncated": bool,
        "exit_code": int,
        "error_msg": str,
    },
}

CLEARABLE: Final = tuple(
    sorted([*_FIELDS, *(f"{field}.{name}" for field in _INNER_FIELDS for name in _INNER_FIELDS[field])])
)
"""The names that ``clear`` takes."""


def clear_fields(execution: Execution, names: Iterable[str]) -> Execution:
    """``execution`` with the fields ``names`` at their zero value.

    Raises:
        InvalidExecutionError: for a name that isn't in ``CLEARABLE``.
        InvalidArgumentError: if ``names`` is a single string, or no list at all.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidArgumentError("clear", f"must be a list of names, not {names!r:.100}")
    for name in names:
        if name not in CLEARABLE:
            reason = f"{name!r} can't be cleared; what can be: {', '.join(CLEARABLE)}"
            raise InvalidExecutionError(str(name), reason, message=reason)
        outer, _, inner = name.partition(".")
        if not inner:
            execution = execution.replace(**{outer: _FIELDS[outer]()})
        elif getattr(execution, outer) is not None:
            changed = dataclasses.replace(getattr(execution, outer), **{inner: _INNER_FIELDS[outer][inner]()})
            execution = execution.replace(**{outer: changed})
    return execution
