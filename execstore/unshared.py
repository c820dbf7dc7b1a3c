"""Copies that share nothing which can be changed. What is kept for many callers is handed to each as one of these.

Models are immutable, but the objects of JSON in them (a job, a state's details) are plain ones, which a caller may
change; what others get mustn't change with them.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from execstore.states import DesiredState, ExecutionState
from execstore.timestamps import Timestamp

__all__ = ["unshared"]

_T = TypeVar("_T")
_UNCHANGEABLE: Final = frozenset(
    (str, int, float, bool, bytes, type(None), ExecutionState, DesiredState, Timestamp),
)


def unshared(model: _T) -> _T:
    """An equal model, a frozen dataclass, that shares nothing changeable with this one."""
    copy = object.__new__(model.__class__)
    own = copy.__dict__
    for name, value in model.__dict__.items():
        own[name] = value if value.__class__ in _UNCHANGEABLE else _copy(value)
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
