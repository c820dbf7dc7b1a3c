"""Copies that share nothing which can be changed. What is kept for many callers is handed to each as one of these.

Models are immutable, but the objects of JSON in them (a job, a state's details) are plain ones, which a caller may
change; what others get mustn't change with them.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from execstore.models import Execution
from execstore.parts import RunCommandResult, SpecConfig, State
from execstore.states import DesiredState, ExecutionState
from execstore.timestamps import Timestamp

__all__ = ["unshared"]

_T = TypeVar("_T")
_UNCHANGEABLE: Final = frozenset(
    (str, int, float, bool, bytes, type(None), ExecutionState, DesiredState, Timestamp),
)
# The fields that can hold something changeable, of the models that were read; of any other model all are looked at.
_CHANGEABLE: Final[dict[type[Any], tuple[str, ...]]] = {
    Execution: (
        "job",
        "allocated_resources",
        "desired_state",
        "compute_state",
        "published_result",
        "run_output",
        "extra",
    ),
    State: ("details", "extra"),
    SpecConfig: ("params", "extra"),
    RunCommandResult: ("extra",),
}


def unshared(model: _T) -> _T:
    """An equal model, a frozen dataclass, that shares nothing changeable with this one."""
    copy = object.__new__(model.__class__)
    own = copy.__dict__
    own.update(model.__dict__)
    for name in _CHANGEABLE.get(model.__class__) or tuple(own):
        value = own.get(name)  # the job may be there as a text, under another name
        if value.__class__ not in _UNCHANGEABLE:
            own[name] = _copy(value)
    return copy


def _copy(value: Any) -> Any:
    if value.__class__ is not dict and value.__class__ is not list:
        return _copy_of_other(value)
    copy = value.copy()
    # Not recursive, since a job may be nested deeper than Python's stack.
    pending = [copy] if copy else []
    while pending:
        target = pending.pop()
        for key, each in target.items() if target.__class__ is dict else enumerate(target):
            kind = each.__class__
            if kind is dict or kind is list:
                target[key] = inner = each.copy()
                if inner:
                    pending.append(inner)
            elif kind not in _UNCHANGEABLE:
                target[key] = _copy_of_other(each)
    return copy


def _copy_of_other(value: Any) -> Any:
    if value.__class__ in _UNCHANGEABLE or isinstance(value, str | tuple):  # a tuple of models or texts
        return value
    return unshared(value)
