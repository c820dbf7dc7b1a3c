"""A proxy between a client and etcd that loses what it is told to lose: a request, an answer, or the time."""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Fate", "Proxy", "proxy"]


class Fate(enum.Enum):
    """What happens to a request."""

    PASS = "it goes through, and its answer comes back"
    LOSE_ANSWER = "it goes through, then the connection breaks"
    LOSE_REQUEST = "the connection breaks before it goes through"
    DELAY = "the client hears nothing; the request goes through when `Proxy.release` is called"


class Proxy:
    """``decide`` is asked for the fate of each request, by its path (``/v3/kv/txn``)."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.decide: Callable[[str], Fate] = lambda _: Fate.PASS
        self.fates: list[tuple[str, Fate]] = []
        self._released = threading.Event()
        self._delayed: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def release(self) -> None:
        """Let what was delayed go through, and wait until etcd has answered it."""
        self._released.set()
        for thread in self._delayed:
            thread.join()
        self._delayed.clear()
        self._released.clear()

    def cut(self) -> None:
        """Break all connections there are."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._released.set()
        self._listener.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client, self._connect() as server:
            while True:
                path, request = _read_request(client)
                fate = self.decide(path)
                self.fates.append((path, fate))
                if fate is Fate.LOSE_REQUEST:
                    return
                if fate is Fate.DELAY:
                    thread = threading.Thread(target=self._later, args=(request,), daemon=True)
                    self._delayed.append(thread)
                    thread.start()
                    self._released.wait()
                    return
                server.sendall(request)
                if path == "/v3/watch":
                    while data := server.recv(65536):
                        client.sendall(data)
                    return
                answer = _read_answer(server)
                if fate is Fate.LOSE_ANSWER:
                    return
                client.sendall(answer)

    def _later(self, request: bytes) -> None:
        self._released.wait()
        with contextlib.suppress(OSError, ValueError), self._connect() as server:
            server.sendall(request)
            _read_answer(server)

    def _connect(self) -> socket.socket:
        made = socket.create_connection(self._target, 60)
        self._sockets.append(made)
        return made


def _read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise ValueError("closed")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _read_more(sock: socket.socket) -> bytes:
    more = sock.recv(65536)
    if not more:
        raise ValueError("closed")
    return more


def _read_request(sock: socket.socket) -> tuple[str, bytes]:
    head, body = _read_head(sock)
    lines = head.lower().split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    while len(body) < length:
        body += _read_more(sock)
    return head.split(b" ")[1].decode(), head + body


def _read_answer(sock: socket.socket) -> bytes:
    head, body = _read_head(sock)
    lines = head.lower().split(b"\r\n")
    lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
    while len(body) < lengths[0] if lengths else not body.endswith(b"0\r\n\r\n"):
        body += _read_more(sock)
    return head + body


@contextlib.contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
