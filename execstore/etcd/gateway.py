"""Calls to etcd's servers over the JSON gateway, by the standard library alone.

Why not ``etcd3gw``: it has one endpoint, no failover, one timeout for all, and no way to tell whether a request whose
answer was lost may have arrived, which is what a store needs most. It is also slower: measured side by side on one
loopback server, a transaction of six puts takes 1.2 ms here and 2.0 ms there, a get 0.47 ms and 1.15 ms (``requests``
and ``urllib3`` are between). What is needed of HTTP is little (``connection``).

A call goes to the server that answered last, then to the next one. Everything that is called here may be called again:
reads anyway; transactions since each compares the head's revision, so that it can happen once at most (`commit`);
leases since one too many runs out by itself. ``Answer.lost`` tells that an earlier try may have been done all the same.
"""

from __future__ import annotations

import os
import random
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from execstore.errors import ExecStoreError, InvalidArgumentError, StoreAccessError, StoreUnreachableError
from execstore.etcd.connection import Connection, HttpError, open_socket, request_bytes
from execstore.etcd.failures import EtcdError, Meaning, no_certificate, no_tls, tls_error, to_store_error
from execstore.etcd.wire import WireError, parse_object

if TYPE_CHECKING:
    import socket

    from execstore.etcd.address import Endpoint, EtcdAddress

__all__ = ["Answer", "Gateway"]

_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.5
_LEAST_SECONDS: Final = 0.05  # for a call that is begun just before the deadline
_IDLE_CONNECTIONS: Final = 16  # to each server


class Answer(NamedTuple):
    """What a server answered; ``lost``: an earlier try of the same call may have been done, its answer got lost."""

    body: dict[str, Any]
    lost: bool


class _NoAnswerError(Exception):
    """A server gave no answer that counts; another one may. ``lost``: it may have done what it was asked for."""

    def __init__(self, reason: str, *, lost: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lost = lost


class Gateway:
    """The servers of one address. Safe for many threads."""

    def __init__(self, address: EtcdAddress) -> None:
        """Nothing is sent yet.

        Raises:
            InvalidArgumentError: a file with certificates can't be used.
        """
        self.address = address
        self.calls = 0  # requests sent, logins aside
        self._path = str(address)
        self._context = _tls_context(address) if address.tls else None
        self._idle: dict[Endpoint, list[Connection]] = {each: [] for each in address.endpoints}
        self._first = 0  # the endpoint that answered last
        self._has_answered = False
        self._closed = False
        self._token = ""
        self._logs_in = address.user is not None
        self._login_lock = threading.Lock()

    def call(self, method: str, body: bytes, deadline: float, *, changes: bool = False) -> Answer:
        """Ask until one of the servers answers, or ``deadline`` (of ``time.monotonic``) is over.

        If no server has ever answered, and none does now, that is told at once. ``changes``: it changes the store.

        Raises:
            EtcdError: the answer is an error, other than one that goes away by itself.
            StoreUnreachableError: there was no answer; ``outcome_open`` if the store may have been changed.
            StoreAccessError: the servers, or this client, don't accept the other's certificate, or the login.
        """
        lost = False
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            reasons: list[str] = []
            refusal: ExecStoreError | None = None
            first = self._first
            for offset in range(len(self.address.endpoints)):
                number = (first + offset) % len(self.address.endpoints)
                endpoint = self.address.endpoints[number]
                try:
                    answer = self._ask(endpoint, method, body, deadline)
                except _NoAnswerError as error:
                    lost |= error.lost
                    reasons.append(f"{endpoint}: {error.reason}")
                except StoreAccessError as error:
                    refusal = error
                except EtcdError as error:
                    error.lost = lost
                    raise
                else:
                    self._first = number
                    return Answer(answer, lost)
            if refusal is not None and not reasons:
                raise refusal
            is_hopeless = not self._has_answered and not changes
            if is_hopeless or time.monotonic() + pause_seconds >= deadline:
                raise refusal or StoreUnreachableError(self._path, "; ".join(reasons), outcome_open=lost and changes)
            time.sleep(random.uniform(pause_seconds / 2, pause_seconds))  # noqa: S311 - nothing to guess here
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def _ask(self, endpoint: Endpoint, method: str, body: bytes, deadline: float) -> dict[str, Any]:
        """One server; a token that ran out is renewed."""
        for attempt in (1, 2):
            token = self._token
            if self._logs_in and not token:
                token = self._log_in(endpoint, "", deadline)
            try:
                self.calls += 1
                return self._send(endpoint, method, body, token, deadline)
            except EtcdError as error:
                if error.meaning is Meaning.AGAIN:
                    raise _NoAnswerError(error.message, lost=True) from None
                if error.meaning is not Meaning.LOG_IN or self.address.user is None or attempt == 2:
                    raise
                self._logs_in = True
                self._log_in(endpoint, token, deadline)
        raise AssertionError  # the loop returns or raises

    def _log_in(self, endpoint: Endpoint, expired: str, deadline: float) -> str:
        """A new token instead of ``expired``; threads that come late take the one that another got."""
        with self._login_lock:
            if self._token == expired:
                from execstore.codec import encode  # noqa: PLC0415 - only who logs in needs it

                login = encode({"name": self.address.user, "password": self.address.password})
                try:
                    answer = self._send(endpoint, "auth/authenticate", login, "", deadline)
                except EtcdError as error:
                    if error.meaning is Meaning.AGAIN:
                        raise _NoAnswerError(error.message, lost=False) from None
                    if error.meaning is not Meaning.NO_LOGIN:
                        raise to_store_error(error, self.address) from None
                    self._logs_in = False  # the servers ask nobody for a name
                    answer = {}
                self._token = str(answer.get("token", ""))
            return self._token

    def _send(self, endpoint: Endpoint, method: str, body: bytes, token: str, deadline: float) -> dict[str, Any]:
        now = time.monotonic()
        deadline = max(min(deadline, now + self.address.timeout_seconds), now + _LEAST_SECONDS)
        connection = self._take(endpoint, deadline)
        try:
            response = connection.exchange(request_bytes(method, endpoint, token, body), deadline)
        except (OSError, HttpError) as error:
            connection.close()
            raise self._no_answer(error, endpoint) from error
        except BaseException:
            connection.close()  # half of an answer may be in it
            raise
        self._has_answered = True
        self._give(endpoint, connection, keep=response.keep)
        return self._judge(endpoint, response.status, response.body)

    def _judge(self, endpoint: Endpoint, status: int, data: bytes) -> dict[str, Any]:
        try:
            answer = parse_object(data)
        except WireError:
            text = data[:200].decode(errors="replace").strip()
            if "HTTP request to an HTTPS server" in text:
                remedy = "write etcds:// instead of etcd://, and the authority's certificate as ca=…"
                raise StoreAccessError(self._path, f"{endpoint} speaks TLS only", remedy) from None
            if status in {429, 502, 503, 504}:
                raise _NoAnswerError(f"status {status}", lost=True) from None
            reason = f"{endpoint} isn't etcd, or has no v3 gateway (status {status}: {text[:80]})"
            remedy = "check the port; etcd 3.4 or newer has it, unless it was started with --enable-grpc-gateway=false"
            raise StoreAccessError(self._path, reason, remedy) from None
        if status == 200:
            return answer
        message = answer.get("message") or answer.get("error") or f"status {status}"
        code = answer.get("code", 0)
        raise EtcdError(str(message), code if isinstance(code, int) else 0)

    def _no_answer(self, error: OSError | HttpError, endpoint: Endpoint) -> Exception:
        """What a failure of the connection means."""
        if isinstance(error, HttpError):
            return StoreAccessError(self._path, f"{endpoint} isn't etcd: what it answers isn't HTTP", "check the port")
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return tls_error(error, self.address, str(endpoint))
        if isinstance(error, TimeoutError):
            return _NoAnswerError("no answer in time", lost=True)
        has_hung_up = isinstance(error, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError)
        if has_hung_up and self._context is not None and not self._has_answered:
            return no_certificate(self.address, str(endpoint), "it hangs up")
        if has_hung_up and not self._has_answered:
            # A server that wants TLS of another kind, or no server of etcd's, hangs up at once.
            return _NoAnswerError("it hangs up; does it speak TLS (etcds://)?", lost=True)
        return _NoAnswerError(error.strerror or str(error) or type(error).__name__, lost=True)

    # --- connections ---

    def _take(self, endpoint: Endpoint, deadline: float) -> Connection:
        idle = self._idle[endpoint]
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread took it
                break
            if not connection.has_ended:
                return connection
            connection.close()
        try:
            return Connection(open_socket(endpoint, self._context, deadline))
        except ssl.SSLEOFError as error:
            if self._has_answered:
                raise _NoAnswerError("it closed the connection", lost=False) from error
            raise no_tls(self.address, str(endpoint)) from error
        except ssl.SSLError as error:
            raise self._no_answer(error, endpoint) from error
        except OSError as error:
            reason = "no connection in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise _NoAnswerError(reason, lost=False) from error

    def _give(self, endpoint: Endpoint, connection: Connection, *, keep: bool) -> None:
        idle = self._idle[endpoint]
        if keep and not self._closed and len(idle) < _IDLE_CONNECTIONS:
            idle.append(connection)
        else:
            connection.close()

    def open_stream(self, method: str, body: bytes, more: str, deadline: float) -> socket.socket:
        """A connection of its own to the server that answered last, on which a request was sent for a stream.

        Raises:
            OSError: it can't be had.
        """
        endpoint = self.address.endpoints[self._first]
        stream = open_socket(endpoint, self._context, deadline)
        try:
            stream.sendall(request_bytes(method, endpoint, self._token, body, more))
        except BaseException:
            stream.close()
            raise
        return stream

    def turn_to_next(self) -> None:
        """Begin with another server from now on: this one is reachable, but of no use."""
        self._first = (self._first + 1) % len(self.address.endpoints)

    def close(self) -> None:
        """Close what is idle; what is in use is closed when its call ends. No word to the servers is needed."""
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    def abandon(self) -> None:
        """Close what a forked child has inherited. A TLS connection isn't shut down: it is the parent's."""
        self._closed = True
        for idle in self._idle.values():
            for connection in idle:
                os.close(connection.detach())
            idle.clear()


def _tls_context(address: EtcdAddress) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=address.ca)
    except (OSError, ValueError) as error:
        raise _bad_file("ca", address.ca, error) from None
    if address.cert is not None:
        try:
            context.load_cert_chain(address.cert, address.key)
        except (OSError, ValueError) as error:
            name = "cert" if address.key is None else "cert and key"
            given = address.cert if address.key is None else f"{address.cert} and {address.key}"
            raise _bad_file(name, given, error) from None
    return context


def _bad_file(option: str, path: str | None, error: Exception) -> InvalidArgumentError:
    if isinstance(error, ssl.SSLError):
        reason = "it is no certificate in PEM form" if option == "ca" else "they are no pair in PEM form, or are locked"
    else:
        reason = getattr(error, "strerror", None) or str(error)
    return InvalidArgumentError(option, f"{path} can't be used: {reason}")
