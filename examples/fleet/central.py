"""The central store: an etcd of one member on loopback, if there is etcd; otherwise a folder; or any address."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from execstore import connect
from execstore.errors import ExecStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["central_store", "etcd_process_id", "has_etcd", "size_of"]


def has_etcd() -> bool:
    """Whether there is an etcd to start."""
    return shutil.which("etcd") is not None


@contextlib.contextmanager
def central_store(kind: str, folder: Path) -> Iterator[str]:
    """The address of an empty central store. ``kind``: "etcd", "folder", or an address."""
    if kind == "folder":
        yield str(folder / "central")
    elif kind == "etcd":
        with _etcd(folder / "etcd") as endpoint:
            yield f"etcd://{endpoint}/fleet"
    else:
        yield kind


@contextlib.contextmanager
def _etcd(folder: Path) -> Iterator[str]:
    client, peer = _free_ports(2)
    urls = [f"http://127.0.0.1:{port}" for port in (client, peer)]
    with (folder.with_suffix(".log")).open("wb") as log:
        process = subprocess.Popen(
            [
                "etcd",
                f"--data-dir={folder}",
                f"--listen-client-urls={urls[0]}",
                f"--advertise-client-urls={urls[0]}",
                f"--listen-peer-urls={urls[1]}",
                f"--initial-advertise-peer-urls={urls[1]}",
                f"--initial-cluster=default={urls[1]}",
                "--quota-backend-bytes=8589934592",
            ],
            stdout=log,
            stderr=log,
        )
    folder.with_suffix(".pid").write_text(str(process.pid))
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                connect(f"etcd://127.0.0.1:{client}/ready", lock_timeout=1).close()
                break
            except (ExecStoreError, OSError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield f"127.0.0.1:{client}"
    finally:
        process.terminate()
        process.wait(30)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def etcd_process_id(folder: Path) -> int:
    """The process of the etcd that `central_store` started in this folder."""
    return int((folder / "etcd.pid").read_text())


def size_of(kind: str, folder: Path) -> int:
    """How many bytes the central store takes on the disk; for etcd that of its database, without the log."""
    place = folder / "etcd" / "member" / "snap" / "db" if kind == "etcd" else folder / "central"
    if place.is_file():
        return place.stat().st_blocks * 512
    return sum(each.lstat().st_blocks * 512 for each in place.rglob("*"))
