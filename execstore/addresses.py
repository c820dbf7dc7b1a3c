"""Addresses: what stores are opened by where they needn't be in a folder.

=========================================  ==============================================================
``my-store``, ``/srv/store``, a ``Path``   a folder
``file:my-store``, ``file:///srv/store``   the same as a URL: percent-encoded where it has to be
``memory:``                                in memory, gone when it is closed
``memory:name``                            in memory, shared by all of this process that open it by this name
``etcd://host:2379,host2:2379/prefix?…``   in etcd, below a prefix (the extra ``etcd``); ``etcds://`` by TLS
=========================================  ==============================================================

Any other scheme is looked for among the entry points of the group ``execstore.engines``; see ``execstore.engine``.
"""

from __future__ import annotations

import importlib
import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from execstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from execstore.engine import Engine, EngineOptions
    from execstore.store import Store, StoreOptions

__all__ = ["connect", "folder_of", "scheme_of", "without_password"]

_GROUP: Final = "execstore.engines"
_MODULES: Final = {"etcd": "execstore.etcd", "etcds": "execstore.etcd", "memory": "execstore.memory"}

# A scheme of one letter is a drive. What has a colon elsewhere is a path.
_SCHEME: Final = re.compile(r"(?:(memory|file):|([a-z][a-z0-9+.-]+)://)", re.ASCII | re.IGNORECASE)

_PASSWORD: Final = re.compile(r"^([^/]*://)([^/:@]*):[^/]*@")


def scheme_of(address: str | os.PathLike[str]) -> str:
    """The scheme of an address, in lower case; ``"file"`` for a path."""
    found = _SCHEME.match(address) if isinstance(address, str) else None
    return "file" if found is None else (found[1] or found[2]).lower()


def folder_of(address: str | os.PathLike[str]) -> str | None:
    """The folder that an address leads to, ``None`` if it leads to something else.

    Raises:
        InvalidArgumentError: a ``file:`` URL that is none of a folder of this machine.
    """
    if scheme_of(address) != "file":
        return None
    path = os.fspath(address)
    if not isinstance(address, str) or _SCHEME.match(address) is None:
        return path
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - hardly anybody writes a path so

    parts = urlsplit(path)
    if parts.netloc not in {"", "localhost"}:
        raise InvalidArgumentError("address", f"{path} is on another machine; write file:///… or a path")
    if parts.query or parts.fragment:
        raise InvalidArgumentError("address", f"{path}: a folder takes no parameters; write %3F for ? and %23 for #")
    return unquote(parts.path)


def without_password(address: str) -> str:
    """An address as it may be shown."""
    return _PASSWORD.sub(r"\1\2@", address) if scheme_of(address) != "file" else address


def connect(address: str | os.PathLike[str], **options: Unpack[StoreOptions]) -> Store:
    """Open the store at an address, or create it; see the module for addresses, and `Store` for the options.

    Raises:
        InvalidArgumentError: the address or an option makes no sense, or nothing here knows the scheme.
        MissingExtraError: the scheme needs a library that isn't installed.
        StoreNotFoundError, StoreFailedError, UnsupportedFormatError, … : what `Store` raises.
    """
    from execstore.store import Store  # noqa: PLC0415 - who only takes an address apart doesn't need it

    if not isinstance(address, str | os.PathLike):
        raise InvalidArgumentError("address", f"must be text or a path, not {type(address).__name__}")
    folder = folder_of(address)
    if folder is not None:
        # Not as text: a folder's name may look like an address.
        return Store(_Folder(folder) if folder else folder, **options)
    return Store.on(partial(_opener_of(str(address)), str(address)), **options)


class _Folder:
    def __init__(self, path: str) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return self._path


def _opener_of(address: str) -> Callable[[str, EngineOptions], Engine]:
    scheme = scheme_of(address)
    module = _MODULES.get(scheme)
    found: Any = _entry_point(scheme) if module is None else importlib.import_module(module).open_engine
    if not callable(found):
        raise InvalidArgumentError("address", f"the engine for {scheme}:// is no function, but {found!r}")
    return found  # type: ignore[no-any-return]


def _entry_point(scheme: str) -> Any:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and hardly ever needed

    for each in entry_points(group=_GROUP, name=scheme):
        return each.load()
    known = ", ".join(sorted({*(f"{name}:" for name in ("file", "memory")), "etcd://"}))
    raise InvalidArgumentError("address", f"nothing here opens {scheme}://; it can be a path or begin with {known}")
