"""JSON that a command is given to read: one document, or a line each."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import click

from execstore.codec import CodecError, decode_strict

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["read_document", "read_documents"]


def read_document(stream: IO[bytes], name: str) -> Any:
    """The one document that the stream holds. ``name`` is what to call it in errors.

    Raises:
        click.ClickException: it is no JSON.
    """
    return _decode(stream.read(), name)


def read_documents(stream: IO[bytes], name: str) -> Iterator[tuple[str, Any]]:
    """Each document with its place, for errors: the lines as they come, or the items of one list, or one document.

    It is lines if the first one is a whole document. Of an empty stream there is none.

    Raises:
        click.ClickException: something is no JSON; what came before it was given.
    """
    number = 1
    line = stream.readline()
    while line and not line.strip():
        number, line = number + 1, stream.readline()
    try:
        first = decode_strict(line)
    except CodecError:
        first = None
    if not line:
        return
    if not isinstance(first, dict):
        yield from _of_one(_decode(b"\n" * (number - 1) + line + stream.read(), name), name)
        return
    following = stream.readline()
    yield (f"{name}, line {number}" if following.strip() else name), first
    while following:
        number += 1
        if following.strip():
            place = f"{name}, line {number}"
            yield place, _decode(following, place, is_line=True)
        following = stream.readline()


def _of_one(document: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(document, list):
        yield name, document
        return
    for number, item in enumerate(document, start=1):
        yield f"{name}, item {number}", item


def _decode(data: bytes, place: str, *, is_line: bool = False) -> Any:
    try:
        return decode_strict(data)
    except CodecError as error:
        reason = f"column {error.column}: {error.reason}" if is_line and error.line else str(error)
        raise click.ClickException(f"{place}: not JSON: {reason}") from None
