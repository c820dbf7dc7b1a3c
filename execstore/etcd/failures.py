"""What an error of etcd's means: from its text and gRPC code to what the client does, and what its caller is told."""

from __future__ import annotations

import contextlib
import enum
import ssl
from typing import TYPE_CHECKING, Final

from execstore.errors import ChangeTooLargeError, ExecStoreError, StoreAccessError, StoreCorruptedError, StoreFullError
from execstore.etcd.wire import MAX_OPERATIONS, WireError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.etcd.address import EtcdAddress

__all__ = [
    "EtcdError",
    "Meaning",
    "meaning_of",
    "no_certificate",
    "no_tls",
    "not_etcd",
    "telling",
    "tls_error",
    "to_store_error",
    "too_many_bytes",
    "too_many_operations",
]


class Meaning(enum.Enum):
    """What follows from an error."""

    AGAIN = "another server, or the same in a moment, may do it; this one may have done it, too"
    LOG_IN = "the token is not, or no longer, good"
    COMPACTED = "the revision that was asked for is gone"
    NO_LEASE = "the lease ran out"
    FULL = "there is no room"
    TOO_LARGE = "the request has too many bytes"
    TOO_MANY = "the request has too many operations"
    DENIED = "this user may not"
    NO_LOGIN = "the servers know no users"
    CORRUPT = "the servers found their data damaged"
    OTHER = "anything else"


_BY_TEXT: Final = (
    ("revision has been compacted", Meaning.COMPACTED),
    ("requested lease not found", Meaning.NO_LEASE),
    ("database space exceeded", Meaning.FULL),
    ("no space", Meaning.FULL),
    ("request is too large", Meaning.TOO_LARGE),
    ("larger than max", Meaning.TOO_LARGE),
    ("too many operations", Meaning.TOO_MANY),
    ("invalid auth token", Meaning.LOG_IN),
    ("revision in header is old", Meaning.LOG_IN),
    ("revision of the auth store", Meaning.LOG_IN),
    ("permission denied", Meaning.DENIED),
    ("authentication failed", Meaning.DENIED),
    ("user name is empty", Meaning.LOG_IN),
    ("authentication is not enabled", Meaning.NO_LOGIN),
    ("corrupt", Meaning.CORRUPT),
    ("too many requests", Meaning.AGAIN),
    ("timed out", Meaning.AGAIN),
    ("leader", Meaning.AGAIN),
    ("server stopped", Meaning.AGAIN),
    ("transport", Meaning.AGAIN),
    ("connection", Meaning.AGAIN),
)
# CANCELLED, DEADLINE_EXCEEDED, ABORTED, UNAVAILABLE
_AGAIN_CODES: Final = frozenset((1, 4, 10, 14))
_UNAUTHENTICATED: Final = 16


class EtcdError(Exception):
    """An error that a server answered with. Internal: it never leaves ``execstore.etcd``."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.message = message.removeprefix("etcdserver: ")
        self.meaning = meaning_of(message, code)
        self.lost = False  # whether an earlier try of the same call may have been done


def meaning_of(message: str, code: int) -> Meaning:
    """What follows from this error. The text is looked at first: several have the same code."""
    for part, meaning in _BY_TEXT:
        if part in message:
            return meaning
    if code in _AGAIN_CODES:
        return Meaning.AGAIN
    return Meaning.LOG_IN if code == _UNAUTHENTICATED else Meaning.OTHER


def to_store_error(error: EtcdError, address: EtcdAddress, size_bytes: int = 0) -> ExecStoreError:
    """What the caller of the store is told. ``size_bytes`` is the request's."""
    path, meaning, message = str(address), error.meaning, error.message
    if meaning is Meaning.FULL:
        return StoreFullError(
            path,
            f"etcd's space is used up ({message})",
            remedy="let an administrator compact and defragment etcd, or raise its --quota-backend-bytes, and end the "
            "alarm with 'etcdctl alarm disarm'; then prune executions, or keep events for less long",
        )
    if meaning is Meaning.TOO_LARGE:
        return too_many_bytes(path, size_bytes, address.max_request_bytes)
    if meaning is Meaning.TOO_MANY:
        return too_many_operations(path, 0)
    if meaning in {Meaning.DENIED, Meaning.LOG_IN}:
        if "user name is empty" in message:
            return StoreAccessError(path, "its servers ask for a user", "put user and password into the address")
        if "permission" in message:
            remedy = f"let an administrator grant the user's role readwrite on the prefix {address.prefix}/"
            who = address.user or "a client without a user"
            return StoreAccessError(path, f"{who} has no permission for this prefix", remedy)
        if "authentication failed" in message:
            reason = f"user {address.user} or its password is wrong"
            return StoreAccessError(path, reason, "check both; the password may come from a file or the environment")
        return StoreAccessError(path, message, "check user and password")
    if meaning is Meaning.CORRUPT:
        return StoreCorruptedError(path, f"etcd says: {message}", "let an administrator look at the cluster's alarms")
    return StoreAccessError(
        path, f"etcd refused the request ({message})", "check that these are etcd servers, 3.4 or newer"
    )


def not_etcd(error: WireError, address: EtcdAddress) -> StoreAccessError:
    """An answer makes no sense."""
    reason = f"an answer isn't etcd's: {error}"
    return StoreAccessError(str(address), reason, "check that its servers are etcd 3.4 or newer")


@contextlib.contextmanager
def telling(address: EtcdAddress) -> Iterator[None]:
    """Turn what etcd says into what this package says."""
    try:
        yield
    except EtcdError as error:
        raise to_store_error(error, address) from None
    except WireError as error:
        raise not_etcd(error, address) from None


def too_many_bytes(path: str, size_bytes: int, limit_bytes: int) -> ChangeTooLargeError:
    """A change has more bytes than a request may have."""
    return ChangeTooLargeError(
        path,
        size_bytes,
        limit_bytes,
        "bytes",
        "keep large output in a file and store its path, make the transaction smaller, or raise --max-request-bytes of "
        "the servers and say so in the address (max_request_bytes=…)",
    )


def too_many_operations(path: str, operations: int) -> ChangeTooLargeError:
    """A change has more operations than a transaction may have."""
    return ChangeTooLargeError(
        path,
        operations or MAX_OPERATIONS,
        MAX_OPERATIONS if operations else 128,
        "operations",
        "make the transaction smaller" if operations else "raise --max-txn-ops of the servers to its default of 128",
    )


def no_tls(address: EtcdAddress, endpoint: str) -> StoreAccessError:
    """A server doesn't speak TLS."""
    remedy = "write etcd:// instead of etcds://, and no ca, cert or key"
    return StoreAccessError(str(address), f"{endpoint} doesn't speak TLS", remedy)


def no_certificate(address: EtcdAddress, endpoint: str, reason: str) -> StoreAccessError:
    """A server doesn't accept the client's certificate, or that it has none."""
    remedy = "give one that was signed by the authority which the servers trust, with cert=… and key=…"
    given = "the client's certificate" if address.cert else "a client without a certificate"
    return StoreAccessError(str(address), f"{endpoint} refuses {given} ({reason})", remedy)


def tls_error(error: ssl.SSLError, address: EtcdAddress, endpoint: str) -> StoreAccessError:
    """What is wrong with TLS, as far as it can be told."""
    path, text = str(address), str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "name the file of the authority that signed it with ca=…, or use the name that it was made for"
        return StoreAccessError(path, f"the certificate of {endpoint} isn't trusted: {error.verify_message}", remedy)
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text or "HTTP_REQUEST" in text:
        return no_tls(address, endpoint)
    if "CERTIFICATE" in text.upper() or "HANDSHAKE_FAILURE" in text or "UNKNOWN_CA" in text:
        return no_certificate(address, endpoint, error.reason or text)
    return StoreAccessError(path, f"TLS with {endpoint} failed ({error.reason or text})", "check ca, cert and key")
