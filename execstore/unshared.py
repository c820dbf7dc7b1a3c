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
    kind = value.__class__
    if kind is dict:
        # Most are empty.
        if not value:
            return {}
        return {name: each if each.__class__ in _UNCHANGEABLE else _copy(each) for name, each in value.items()}
    if kind is list:
        return [_copy(each) for each in value]
    if kind in _UNCHANGEABLE or isinstance(value, str | tuple):  # a tuple of models or texts
        return value
    return unshared(value)
