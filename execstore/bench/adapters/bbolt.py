"""bbolt, as Bacalhau's store uses it, by the Go program beside this package.

It is a process of its own, which speaks the protocol of ``execstore.bench.worker``; here is only how it is built.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from typing import Final

from execstore.bench.adapters.base import Unavailable

__all__ = ["build"]

_SOURCES: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "go")
_DEBIAN: Final = "/usr/share/gocode"
_ADVICE: Final = "on Debian: apt install golang-go golang-github-coreos-bbolt-dev"


def build() -> str:
    """The program's path; it is built once, without network, into the user's cache.

    Raises:
        Unavailable: Go or bbolt's source is missing.
    """
    go = shutil.which("go")
    if go is None:
        raise Unavailable(f"Go isn't installed; {_ADVICE}")
    if not os.path.isdir(os.path.join(_DEBIAN, "src", "go.etcd.io", "bbolt")):
        raise Unavailable(f"there is no bbolt below {_DEBIAN}; {_ADVICE}")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(cache, "execstore", "bench")
    target = os.path.join(folder, f"bbolt-{_digest(go)}")
    if os.path.exists(target):
        return target
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        made = os.path.join(temporary, "bbolt")
        # GOPATH mode, the only one that takes Debian's packages as they are and asks no proxy.
        environment = os.environ | {
            "GO111MODULE": "off",
            "GOPATH": f"{temporary}/gopath:{_DEBIAN}",
            "GOFLAGS": "",
            "GOCACHE": os.path.join(temporary, "cache"),
        }
        done = subprocess.run(  # noqa: S603 - go itself, on sources of this package
            [go, "build", "-o", made, "."], cwd=_SOURCES, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Unavailable(f"go build failed: {' '.join(done.stderr.split())[:300]}")
        os.replace(made, target)
    return target


def _digest(go: str) -> str:
    version = subprocess.run([go, "version"], capture_output=True, check=True).stdout  # noqa: S603
    digest = hashlib.sha256(version)
    for name in sorted(os.listdir(_SOURCES)):
        with open(os.path.join(_SOURCES, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()[:16]
