"""A kept connection to a server, and as much of HTTP/1.1 as etcd's gateway speaks.

``http.client`` would do, and did: it sends head and body in two packets and reads headers with the parser for mail,
which together cost 0.1 ms of a get's 0.5. What is needed is one request after the other, answers of a known length or
in chunks (RFC 9112), and a deadline for the whole rather than for each packet.
"""

from __future__ import annotations

import re
import select
import socket
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import ssl

    from execstore.etcd.address import Endpoint

__all__ = ["ChunkDecoder", "Connection", "HttpError", "Response", "open_socket", "parse_head", "request_bytes"]

_MOST_HEAD_BYTES: Final = 64 << 10
_MOST_DIGITS: Final = 15
_HEXADECIMAL: Final = re.compile(rb"[0-9A-Fa-f]{1,12}")
_RECEIVED_BYTES: Final = 256 << 10


class HttpError(Exception):
    """What came isn't an answer in HTTP/1.1."""


class Response(NamedTuple):
    """An answer; ``keep``: the connection may be used again."""

    status: int
    body: bytes
    keep: bool


class Head(NamedTuple):
    """The head of an answer. ``length`` is ``None`` if it isn't told."""

    status: int
    length: int | None
    is_chunked: bool
    keep: bool


def request_bytes(method: str, endpoint: Endpoint, token: str, body: bytes, more: str = "") -> bytes:
    """A whole request: a POST of JSON to the gateway's ``method``. ``more`` are further lines of the head."""
    login = f"Authorization: {token}\r\n" if token else ""
    head = (
        f"POST /v3/{method} HTTP/1.1\r\nHost: {endpoint}\r\nContent-Type: application/json\r\n"
        f"{login}{more}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


def parse_head(data: bytes) -> Head:
    """The head of an answer, without the empty line at its end. Raises ``HttpError``."""
    first, *lines = data.split(b"\r\n")
    parts = first.split(b" ", 2)
    if not parts[0].startswith(b"HTTP/1.") or len(parts) < 2 or len(parts[1]) != 3 or not parts[1].isdigit():
        raise HttpError(f"it doesn't begin as HTTP does: {first[:40]!r}")
    length: int | None = None
    is_chunked = False
    keep = parts[0] == b"HTTP/1.1"
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise HttpError("a line of its head has no colon")
        name, value = name.lower(), value.strip().lower()
        if name == b"content-length":
            if not value.isdigit() or len(value) > _MOST_DIGITS:
                raise HttpError("its length is no number")
            length = int(value)
        elif name == b"transfer-encoding":
            if value != b"chunked":
                raise HttpError(f"it is encoded in a way that isn't known ({value[:40]!r})")
            is_chunked = True
        elif name == b"connection" and value == b"close":
            keep = False
    return Head(int(parts[1]), length, is_chunked, keep)


class ChunkDecoder:
    """What is in chunks, as its bytes come in."""

    def __init__(self) -> None:
        self.is_over = False
        self.rest = b""  # what came behind the end
        self._raw = b""
        self._left = 0  # of the present chunk, with the line's end behind it
        self._in_trailer = False

    def feed(self, data: bytes) -> bytes:
        """What these bytes add. Raises ``HttpError``."""
        raw = self._raw + data
        found = []
        position = 0
        while not self.is_over:
            if self._left:
                part = raw[position : position + self._left]
                if not part:
                    break
                position += len(part)
                self._left -= len(part)
                # The last two bytes of the chunk are the end of its line.
                found.append(part[: len(part) - max(2 - self._left, 0)] if self._left < 2 else part)
                continue
            end = raw.find(b"\r\n", position)
            if end < 0:
                if len(raw) - position > _MOST_HEAD_BYTES:
                    raise HttpError("a chunk's head has no end")
                break
            line = raw[position:end]
            position = end + 2
            if self._in_trailer:
                self.is_over = not line
                continue
            digits = line.partition(b";")[0].strip()
            if not _HEXADECIMAL.fullmatch(digits):
                raise HttpError("a chunk has no length")
            length = int(digits, 16)
            self._in_trailer = length == 0
            self._left = length + 2 if length else 0
        if self.is_over:
            self.rest = raw[position:]
        else:
            self._raw = raw[position:]
        return b"".join(found)


def open_socket(endpoint: Endpoint, context: ssl.SSLContext | None, deadline: float) -> socket.socket:
    """Connect. Raises ``OSError``, of which ``ssl.SSLError`` is one kind."""
    plain = socket.create_connection(endpoint, max(deadline - time.monotonic(), 0.001))
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is None:
            return plain
        plain.settimeout(max(deadline - time.monotonic(), 0.001))
        return context.wrap_socket(plain, server_hostname=endpoint.host)
    except BaseException:
        plain.close()
        raise


class Connection:
    """A connection to one server, used by one thread at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._poll = select.poll()  # type: ignore[attr-defined, unused-ignore]
        self._poll.register(sock, select.POLLIN)  # type: ignore[attr-defined, unused-ignore]

    @property
    def has_ended(self) -> bool:
        """Whether the other side closed it, or sent what nobody asked for."""
        return bool(self._poll.poll(0))

    def exchange(self, request: bytes, deadline: float) -> Response:
        """Send a request, and wait for its answer until ``deadline``.

        Raises:
            OSError: the connection failed; it may have been before or after the request arrived.
            TimeoutError: the deadline is over.
            HttpError: the answer makes no sense.
        """
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        self._send(request)
        data = self._receive(deadline)
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > _MOST_HEAD_BYTES:
                raise HttpError("its head has no end")
            data += self._receive(deadline)
        head = parse_head(data[:end])
        data = data[end + 4 :]
        if head.is_chunked:
            decoder = ChunkDecoder()
            parts = [decoder.feed(data)]
            while not decoder.is_over:
                parts.append(decoder.feed(self._receive(deadline)))
            return Response(head.status, b"".join(parts), head.keep and not decoder.rest)
        if head.length is None:
            if head.keep:
                raise HttpError("it has no length")
            return Response(head.status, data + self._receive_rest(deadline), keep=False)
        if len(data) < head.length:
            parts = [data]
            missing = head.length - len(data)
            while missing > 0:
                parts.append(self._receive(deadline))
                missing -= len(parts[-1])
            data = b"".join(parts)
        return Response(head.status, data[: head.length], head.keep and len(data) == head.length)

    def _send(self, request: bytes) -> None:
        try:
            self._socket.sendall(request)
        except TimeoutError:
            raise
        except OSError:
            # Who refuses a client's certificate says so in what it sent before it hung up.
            self._socket.recv(1)
            raise

    def _receive_rest(self, deadline: float) -> bytes:
        """All up to the end of the connection."""
        parts: list[bytes] = []
        while sum(map(len, parts)) < _MOST_HEAD_BYTES:  # no answer of use has this form
            try:
                parts.append(self._receive(deadline))
            except ConnectionResetError:
                break
        return b"".join(parts)

    def _receive(self, deadline: float) -> bytes:
        remaining_seconds = deadline - time.monotonic()
        if remaining_seconds <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(remaining_seconds)
        data = self._socket.recv(_RECEIVED_BYTES)
        if not data:
            raise ConnectionResetError("it closed the connection")
        return data

    def close(self) -> None:
        self._socket.close()

    def detach(self) -> int:
        """Give up the descriptor, without a word to the other side."""
        return self._socket.detach()
