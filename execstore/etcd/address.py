"""Addresses: ``etcd://[user[:password]@]host[:port][,host2[:port]…]/prefix?option=value&…``.

``etcds://``, or any of the options ``ca``, ``cert`` and ``key``, asks for TLS. Options:

- ``ca``: a file with the certificates to trust, instead of the system's; ``cert`` and ``key``: the client's own;
- ``password_file``: a file whose first line is the password. Without it, and without one in the address, the
  environment's ``EXECSTORE_ETCD_PASSWORD`` counts, so that it needs to stand in no command line;
- ``timeout_seconds``: the deadline of each call to a server, 5 by default;
- ``max_request_bytes``: what the servers take in one request, if they run with another ``--max-request-bytes``.

An address as text never shows the password: it is part of errors.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from execstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_PORT", "PASSWORD_VARIABLE", "SCHEMES", "Endpoint", "EtcdAddress", "is_etcd_address"]

SCHEMES: Final = ("etcd", "etcds")
DEFAULT_PORT: Final = 2379
DEFAULT_PREFIX: Final = "/execstore"
PASSWORD_VARIABLE: Final = "EXECSTORE_ETCD_PASSWORD"  # noqa: S105 - the variable's name

DEFAULT_TIMEOUT_SECONDS: Final = 5.0
DEFAULT_MAX_REQUEST_BYTES: Final = 1572864
"""etcd's own default of ``--max-request-bytes``."""

_EXAMPLE: Final = "etcd://host:2379,host2:2379/prefix"
_FILES: Final = ("ca", "cert", "key")
_OPTIONS: Final = (*_FILES, "password_file", "timeout_seconds", "max_request_bytes")


class Endpoint(NamedTuple):
    """One server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EtcdAddress:
    """Where a store is in etcd, and how to get there. ``prefix`` begins with a slash and doesn't end in one."""

    endpoints: tuple[Endpoint, ...]
    prefix: str = DEFAULT_PREFIX
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    max_request_bytes: int = DEFAULT_MAX_REQUEST_BYTES

    @staticmethod
    def parse(text: str, environment: Mapping[str, str] = os.environ) -> EtcdAddress:
        """Read an address.

        Raises:
            InvalidArgumentError: saying what is wrong with it, without its password.
        """
        try:
            parts = urlsplit(text)
        except ValueError:
            raise _wrong("it is no address") from None
        if parts.scheme not in SCHEMES:
            raise _wrong(f"it begins neither with etcd:// nor with etcds:// but with {parts.scheme!r}")
        if parts.fragment:
            raise _wrong("it has a '#'; write %23 where one belongs to a name or a password")
        login, _, hosts = parts.netloc.rpartition("@")
        options = _options(parts.query)
        user, password = _login(login, options, environment)
        if options.get("cert") is None and options.get("key") is not None:
            raise _wrong("key is given without cert")
        return EtcdAddress(
            _endpoints(hosts),
            _prefix(parts.path),
            user,
            password,
            parts.scheme == "etcds" or any(name in options for name in _FILES),
            options.get("ca"),
            options.get("cert"),
            options.get("key"),
            _timeout(options.get("timeout_seconds")),
            _max_bytes(options.get("max_request_bytes")),
        )

    def __str__(self) -> str:
        login = f"{quote(self.user, safe='')}@" if self.user else ""
        hosts = ",".join(str(endpoint) for endpoint in self.endpoints)
        return f"{'etcds' if self.tls else 'etcd'}://{login}{hosts}{quote(self.prefix)}"


def is_etcd_address(text: object) -> bool:
    """Whether this is meant as an address of etcd, not as the path of a folder."""
    return isinstance(text, str) and text.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def _wrong(reason: str) -> InvalidArgumentError:
    return InvalidArgumentError("address", f"{reason}; an address is like {_EXAMPLE}")


def _endpoints(hosts: str) -> tuple[Endpoint, ...]:
    found: list[Endpoint] = []
    for each in hosts.split(","):
        host, colon, port = each.rpartition(":")
        if not colon or each.endswith("]"):
            host, port = each, str(DEFAULT_PORT)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise _wrong(f"the IPv6 address {host!r} isn't in brackets")
        if not host:
            raise _wrong("a host is missing")
        if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
            raise _wrong(f"{port!r} is no port")
        endpoint = Endpoint(host, int(port))
        if endpoint not in found:
            found.append(endpoint)
    return tuple(found)


def _prefix(path: str) -> str:
    prefix = unquote(path, errors="surrogateescape").rstrip("/")
    if not prefix:
        return DEFAULT_PREFIX
    if not prefix.isprintable():
        raise _wrong("the prefix has characters that can't be printed, or is no UTF-8")
    if "//" in prefix:
        raise _wrong("the prefix has two slashes in a row")
    return prefix


def _options(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _wrong("what stands behind the '?' aren't options (name=value&name=value)") from None
    for name, value in pairs:
        if name not in _OPTIONS:
            raise _wrong(f"there is no option {name!r}; the options are {', '.join(_OPTIONS)}")
        if name in found:
            raise _wrong(f"the option {name} stands twice")
        if not value:
            raise _wrong(f"the option {name} is empty")
        found[name] = value
    return found


def _login(login: str, options: Mapping[str, str], environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    name, colon, text = login.partition(":")
    user = unquote(name) or None
    password: str | None = unquote(text) if colon else None
    path = options.get("password_file")
    if user is None:
        if password is not None or path is not None:
            raise _wrong("there is a password without a user")
        return None, None
    if path is not None:
        if password is not None:
            raise _wrong("there is a password, and a password_file as well")
        try:
            with open(path, encoding="utf-8") as file:
                password = file.readline().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise InvalidArgumentError("password_file", f"{path} can't be read: {reason}") from None
    elif password is None:
        password = environment.get(PASSWORD_VARIABLE)
    if not password:
        raise _wrong(f"there is a user, {user}, but no password; give one in password_file=… or in {PASSWORD_VARIABLE}")
    return user, password


def _timeout(text: str | None) -> float:
    if text is None:
        return DEFAULT_TIMEOUT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise _wrong(f"timeout_seconds is {text!r}, but must be a number of seconds, over 0, at most 3600")
    return seconds


def _max_bytes(text: str | None) -> int:
    if text is None:
        return DEFAULT_MAX_REQUEST_BYTES
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and 4096 <= int(text) <= 1 << 30):
        raise _wrong(f"max_request_bytes is {text!r}, but must be a number of bytes from 4096 to {1 << 30}")
    return int(text)
