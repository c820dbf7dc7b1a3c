"""A store in etcd: an engine beside the directory tree. ``FORMAT.md`` says which key holds what, and why it is safe.

Nothing but Python is needed: the servers are talked to over their own JSON gateway (see ``gateway`` for why). The extra
``execstore[etcd]`` is there so that a program can say what it means, whatever this engine may need one day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from execstore.engine import EngineOptions
    from execstore.etcd.engine import EtcdEngine

__all__ = ["open_engine"]


def open_engine(address: str, options: EngineOptions) -> EtcdEngine:
    """Open the store at ``address``, ``etcd://[user[:password]@]host:2379[,host2…]/prefix?…`` (see ``address``).

    Raises:
        InvalidArgumentError: the address makes no sense, or a file that it names can't be used.
        StoreUnreachableError, StoreAccessError: the servers don't answer, or don't let this client in.
        StoreNotFoundError, NotAStoreError, UnsupportedFormatError, StoreCorruptedError: what is there isn't right.
    """
    from execstore.etcd.address import EtcdAddress  # noqa: PLC0415 - so that importing this costs nothing
    from execstore.etcd.engine import EtcdEngine  # noqa: PLC0415

    return EtcdEngine(EtcdAddress.parse(address), options)
