"""Being told of every new head at once: etcd's watch, as a stream of JSON lines over one connection.

The head as it comes with the watch is what waiters go by; the events themselves they then read. So nothing is missed
when the stream breaks, and etcd may compact what it likes: after a new connection the head is read once (`take_gap`),
and what its numbers tell is complete. No thread is needed: whoever waits sleeps on the socket.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

from execstore.etcd.connection import ChunkDecoder, HttpError, parse_head
from execstore.etcd.wire import WireError, key_values, parse_object, range_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.etcd.gateway import Gateway
    from execstore.etcd.wire import KeyValue

__all__ = ["HeadNotifier", "StreamLines"]

_CONNECT_SECONDS: Final = 2.0
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0
_LONGEST_SLEEP_SECONDS: Final = 30.0
"""After so long without a word the head is read all the same: a server that is cut off from the others says nothing."""
_MOST_BYTES: Final = 64 << 20
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class StreamLines:
    """The lines in a stream's answer, as its bytes come in."""

    def __init__(self) -> None:
        self._head = b""
        self._decoder: ChunkDecoder | None = None
        self._text = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole by now.

        Raises:
            HttpError: it is no such answer, or it is over.
        """
        if self._decoder is None:
            self._head += data
            text, end, data = self._head.partition(b"\r\n\r\n")
            if len(text) > _MOST_BYTES:
                raise HttpError("its head has no end")
            if not end:
                return []
            head = parse_head(text)
            if head.status != 200 or not head.is_chunked:
                raise HttpError(f"the stream was refused (status {head.status})")
            self._decoder = ChunkDecoder()
        self._text += self._decoder.feed(data)
        if self._decoder.is_over:
            raise HttpError("the stream is over")
        if len(self._text) > _MOST_BYTES:
            raise HttpError("a line of the stream has no end")
        *whole, self._text = self._text.split(b"\n")
        return [line for line in whole if line]


class HeadNotifier:
    """A ``Notifier`` (see ``execstore.notify``) that etcd tells of every change. One thread at a time sleeps in it."""

    tells_own_changes = False  # it is, but a moment later than those who commit can tell themselves

    def __init__(self, gateway: Gateway, key: bytes, on_head: Callable[[KeyValue], None]) -> None:
        self.wakeups = 0
        self._gateway = gateway
        self._key = key
        self._on_head = on_head
        self._stream: socket.socket | None = None
        self._lines = StreamLines()
        self._is_created = False
        self._has_gap = True
        self._pause_seconds = 0.0
        self._closed = False
        self._hearing, self._rousing = socket.socketpair()
        self._hearing.setblocking(False)
        self._rousing.setblocking(False)

    @property
    def longest_sleep_seconds(self) -> float:
        return _LONGEST_SLEEP_SECONDS

    def take_gap(self) -> bool:
        """Whether something may have been missed since this was last asked."""
        gap, self._has_gap = self._has_gap, False
        return gap

    def sleep(self, timeout_seconds: float) -> None:
        """See ``Notifier``."""
        until = time.monotonic() + timeout_seconds
        if self._stream is None:
            self._connect_again(until)  # in any case there is something to look at
            self.wakeups += 1
            return
        if not self._pending() and not self._poll(until):
            self._has_gap |= timeout_seconds >= _LONGEST_SLEEP_SECONDS  # nothing was heard for long: better look
        self._hear()
        self.wakeups += 1

    def rouse(self) -> None:
        """See ``Notifier``."""
        with contextlib.suppress(OSError):  # full: it was roused often enough; or closed
            self._rousing.send(b"\0")

    def connect(self) -> None:
        """Begin to watch, if that goes at once; else the next sleep does it."""
        with contextlib.suppress(OSError, HttpError, WireError):
            self._connect(time.monotonic() + _CONNECT_SECONDS)
            self._has_gap = False  # who opens it looks next

    def close(self) -> None:
        """See ``Notifier``."""
        self._closed = True
        self._drop()
        self._hearing.close()
        self._rousing.close()

    def abandon(self) -> None:
        """Close what a forked child has inherited: without a word, since the connection is the parent's."""
        self._closed = True
        for each in (self._stream, self._hearing, self._rousing):
            if each is not None:
                with contextlib.suppress(OSError):
                    os.close(each.detach())
        self._stream = None

    # --- the stream ---

    def _connect_again(self, until: float) -> None:
        """Connect after a pause that grows."""
        self._has_gap = True
        if self._pause_seconds:
            pause_seconds = random.uniform(self._pause_seconds / 2, self._pause_seconds)  # noqa: S311
            if self._poll(min(until, time.monotonic() + pause_seconds)):
                self._hear()
                return
        self._pause_seconds = min(max(self._pause_seconds * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        try:
            self._connect(time.monotonic() + max(min(_CONNECT_SECONDS, until - time.monotonic()), 0.1))
        except (OSError, HttpError, WireError):
            self._drop()
            self._gateway.turn_to_next()

    def _connect(self, deadline: float) -> None:
        """Watch from now on. Raises ``OSError``, ``HttpError``, ``WireError``."""
        if self._closed:
            raise OSError("closed")
        # A server without a leader refuses, instead of being silent.
        body = b'{"create_request":%b}' % range_request(self._key)
        stream = self._gateway.open_stream("watch", body, "Grpc-Metadata-Hasleader: true\r\n", deadline)
        try:
            for name, value in _KEEPALIVE:
                if hasattr(socket, name):
                    stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._lines, self._is_created = StreamLines(), False
            while not self._is_created:
                stream.settimeout(max(deadline - time.monotonic(), 0.001))
                self._take(self._lines.feed(_received(stream)))
            stream.setblocking(False)
        except BaseException:
            stream.close()
            raise
        self._stream = stream
        self._pause_seconds = 0.0

    def _pending(self) -> bool:
        """Whether TLS holds bytes that the kernel doesn't know of any more."""
        return isinstance(self._stream, ssl.SSLSocket) and self._stream.pending() > 0

    def _poll(self, until: float) -> bool:
        poll = select.poll()  # type: ignore[attr-defined, unused-ignore]
        for each in (self._stream, self._hearing):
            if each is not None and each.fileno() >= 0:
                poll.register(each, select.POLLIN)  # type: ignore[attr-defined, unused-ignore]
        # Rounded up, or the last part of a millisecond would be a busy loop.
        timeout_ms = int(min(max(until - time.monotonic(), 0), 86400) * 1000) + 1
        return bool(poll.poll(timeout_ms))

    def _hear(self) -> None:
        """Take all that has come."""
        with contextlib.suppress(OSError):
            while self._hearing.recv(4096):
                pass
        stream = self._stream
        if stream is None:
            return
        try:
            while True:
                self._take(self._lines.feed(_received(stream)))
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except (OSError, HttpError, WireError):
            self._drop()
            self._has_gap = True

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            message = parse_object(line)
            result: Any = message.get("result")
            if not isinstance(result, dict) or result.get("canceled"):
                raise WireError("the watch was ended")
            self._is_created |= bool(result.get("created"))
            for event in result.get("events", ()):
                for found in key_values({"kvs": [event.get("kv", {})]}) if event.get("type") != "DELETE" else ():
                    self._on_head(found)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def _received(stream: socket.socket) -> bytes:
    data = stream.recv(65536)
    if not data:
        raise ConnectionResetError("the stream was closed")
    return data
