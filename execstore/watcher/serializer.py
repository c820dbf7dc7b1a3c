"""From an event's object to JSON and back, by the object types that are registered."""

from __future__ import annotations

import inspect
import threading
from dataclasses import is_dataclass
from typing import Any, Protocol, Self, runtime_checkable

from execstore import codec
from execstore.errors import DeserializationError, InvalidArgumentError, InvalidExecutionError, SerializationError

__all__ = ["JSONSerializer", "PlainSerializer", "SerializableType"]

_PLAIN_TYPES = (dict, list, str, object)
_UPSERT = "ExecutionUpsert"
_MODELS = ("ExecutionEvent", _UPSERT)


@runtime_checkable
class SerializableType(Protocol):
    """What a class of one's own needs to be an event's object."""

    @classmethod
    def from_dict(cls, value: Any, /) -> Self:
        """Make an object from the JSON value that ``to_dict`` gave. Whatever it raises, the event can't be read."""

    def to_dict(self) -> Any:
        """The object as JSON's own types."""


class JSONSerializer:
    """Writes objects as JSON and reads them back as the type that is registered for their name.

    The registry is one for the whole process, as that of ``sqlite3.register_converter``: a name means the same in
    every store, so register types where they are defined. ``ExecutionUpsert`` and ``ExecutionEvent`` are known from
    the start. All methods may be called from any thread.
    """

    _lock = threading.Lock()
    _types: dict[str, type[Any]] = {}  # noqa: RUF012 - one registry for the process is what the class is for

    @classmethod
    def register_type(cls, name: str, type: type[Any]) -> None:  # noqa: A002 - the public name of the argument
        """Read objects of type ``name`` as ``type``.

        ``type`` is a class with ``from_dict`` and ``to_dict``; or one of ``dict``, ``list`` and ``str`` for JSON as it
        is, of that kind; or ``object`` for any JSON. A class that is a frozen dataclass is decoded once for all
        readers, every other object anew for each of them.

        Registering the same again does nothing. Raises ``InvalidArgumentError`` for a name that is taken by another
        type (the reference refuses every second registration), a blank name, and a type that can't be read or written.
        """
        if not isinstance(name, str) or not name:
            raise InvalidArgumentError("name", f"the name of an object type is a str that isn't empty, not {name!r}")
        if type not in _PLAIN_TYPES and not (inspect.isclass(type) and issubclass(type, SerializableType)):
            reason = f"{type!r} has no from_dict and to_dict; give it both, or register dict for plain JSON"
            raise InvalidArgumentError("type", reason)
        known = cls._find(name)
        if known is None:
            with cls._lock:
                known = cls._types.setdefault(name, type)
        if known is not type:
            raise InvalidArgumentError("name", f"type {name} is already registered, as {known.__qualname__}")

    @classmethod
    def is_type_registered(cls, name: str) -> bool:
        """Whether events of this object type can be read."""
        return cls._find(name) is not None

    @classmethod
    def is_shared(cls, name: str) -> bool:
        """Whether one decoded object may be given to several readers, since it can't be changed."""
        found = cls._find(name)
        return found is not None and is_dataclass(found) and found.__dataclass_params__.frozen  # type: ignore[attr-defined]

    def encode(self, value: Any) -> bytes:
        """The JSON of an event's object, on a single line; ``None`` becomes ``null``.

        An object with ``to_dict`` is written as what that returns, anything else as plain JSON. Its type needn't be
        registered, as in the reference: only reading needs that. Raises ``SerializationError``.
        """
        plain = value.to_dict() if isinstance(value, SerializableType) else value
        try:
            return codec.encode(plain)
        except InvalidExecutionError as error:
            where = f"{error.member}: " if error.member else ""
            raise SerializationError(f"{where}{error.reason}") from None

    def decode(self, object_type: str, value: Any, seq_num: int) -> Any:
        """The object of event ``seq_num`` from its JSON ``value``; ``null`` becomes ``None``.

        Raises ``DeserializationError`` if the type isn't registered, or doesn't take the value.
        """
        found = self._find(object_type)
        if found is None:
            raise DeserializationError(f"unknown object type: {object_type}", seq_num)
        if value is None:
            return None
        if found in _PLAIN_TYPES:
            if not isinstance(value, found):
                raise _refusal(object_type, f"{value.__class__.__name__} is no {found.__name__}", seq_num)
            return value
        try:
            return found.from_dict(value)
        except Exception as error:
            raise _refusal(object_type, error, seq_num) from error

    def decode_json(self, object_type: str, object_json: bytes, seq_num: int) -> Any:
        """As ``decode``, of the JSON itself. Raises ``CodecError`` if it is none."""
        # Whoever writes a decode of their own means all types by it.
        if object_type == _UPSERT and type(self).decode is JSONSerializer.decode:
            found: Any = self._find(object_type)
            try:
                return found.from_json(object_json) if object_json.strip() != b"null" else None
            except InvalidExecutionError as error:
                raise _refusal(object_type, error, seq_num) from error
        return self.decode(object_type, codec.decode(object_json), seq_num)

    @classmethod
    def _find(cls, name: str) -> type[Any] | None:
        found = cls._types.get(name)
        if found is None and name in _MODELS:
            # Imported only when the first execution is read: programs with objects of their own never need it.
            from execstore import models  # noqa: PLC0415

            found = cls._types.setdefault(name, getattr(models, name))
        return found


def _refusal(object_type: str, reason: object, seq_num: int) -> DeserializationError:
    return DeserializationError(f"failed to unmarshal object type: {object_type} {reason}", seq_num)


class PlainSerializer(JSONSerializer):
    """Reads every object as the JSON that it is, whatever its type and whether that is registered or not.

    For programs that show or copy events of stores whose types they don't know.
    """

    @classmethod
    def is_shared(cls, name: str) -> bool:  # noqa: ARG003
        """No: JSON's objects and lists can be changed."""
        return False

    def decode(self, object_type: str, value: Any, seq_num: int) -> Any:  # noqa: ARG002
        """The value as it is."""
        return value
