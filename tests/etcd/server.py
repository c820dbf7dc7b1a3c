"""Real etcd servers on loopback: one, or a cluster, with TLS or users, that can be killed and brought back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Cluster", "Member", "cluster", "etcd_server", "etcdctl", "free_ports", "need_etcd"]

_PATIENCE_SECONDS = 60.0


def need_etcd() -> str:
    """The path of etcd; skips the test where it isn't installed."""
    found = shutil.which("etcd")
    if found is None:
        pytest.skip("etcd isn't installed (Debian: apt-get install etcd-server etcd-client)")
    return found


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass
class Member:
    """One server."""

    name: str
    folder: Path
    client_port: int
    peer_port: int
    arguments: list[str]
    metrics_port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.client_port}"

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [need_etcd(), *self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def signal(self, number: int) -> None:
        """``SIGSTOP`` makes it hang, ``SIGCONT`` go on."""
        if self.process is not None:
            self.process.send_signal(number)

    def wait_until_ready(self) -> None:
        """Until it answers over its metrics address, which needs neither user nor certificate."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._is_healthy():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"etcd doesn't start:\n{(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(0.02)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/health", timeout=2) as answer:
                return str(json.load(answer).get("health")) == "true"
        except (OSError, ValueError):
            return False


@dataclass
class Cluster:
    """Servers that belong together."""

    members: list[Member]

    @property
    def endpoints(self) -> str:
        return ",".join(member.endpoint for member in self.members)

    def wait_until_ready(self) -> None:
        for member in self.members:
            member.wait_until_ready()

    def leader(self) -> Member:
        """The member that the others follow, once they agree on one."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for member in self.members:
                if member.process is None:
                    continue
                request = urllib.request.Request(f"http://{member.endpoint}/v3/maintenance/status", data=b"{}")
                with contextlib.suppress(OSError, ValueError):
                    with urllib.request.urlopen(request, timeout=2) as answer:
                        status = json.load(answer)
                    if status.get("leader", "0") == status["header"]["member_id"]:
                        return member
            time.sleep(0.05)
        raise RuntimeError("the cluster has no leader")

    def stop(self) -> None:
        for member in self.members:
            member.kill()


@contextlib.contextmanager
def cluster(size: int, *, arguments: Sequence[str] = (), scheme: str = "http") -> Iterator[Cluster]:
    """A cluster of its own, on free ports, in a folder that goes with it; all its members answer."""
    need_etcd()
    ports = free_ports(3 * size)
    # In memory where that can be had: a process that is killed loses nothing there, and no test cuts the power.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="execstore-etcd-", dir=memory, ignore_cleanup_errors=True) as folder:
        peers = ",".join(f"m{n}=http://127.0.0.1:{ports[3 * n + 1]}" for n in range(size))
        members = []
        for number in range(size):
            client, peer, metrics = ports[3 * number : 3 * number + 3]
            place = Path(folder) / f"m{number}"
            members.append(
                Member(
                    f"m{number}",
                    place,
                    client,
                    peer,
                    [
                        *("--name", f"m{number}", "--data-dir", str(place / "data")),
                        *("--listen-client-urls", f"{scheme}://127.0.0.1:{client}"),
                        *("--advertise-client-urls", f"{scheme}://127.0.0.1:{client}"),
                        *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
                        *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
                        *("--listen-metrics-urls", f"http://127.0.0.1:{metrics}"),
                        *("--initial-cluster", peers, "--initial-cluster-token", Path(folder).name),
                        *("--heartbeat-interval", "50", "--election-timeout", "500"),
                        *arguments,
                    ],
                    metrics,
                )
            )
        made = Cluster(members)
        try:
            for member in members:
                member.start()
            made.wait_until_ready()
            yield made
        finally:
            made.stop()


@contextlib.contextmanager
def etcd_server() -> Iterator[str]:
    """One server; gives its endpoint, ``127.0.0.1:PORT``. Skips where etcd isn't installed."""
    with cluster(1) as made:
        yield made.endpoints


def etcdctl(endpoints: str, *arguments: str) -> str:
    """What ``etcdctl`` prints; skips where it isn't installed."""
    found = shutil.which("etcdctl")
    if found is None:
        pytest.skip("etcdctl isn't installed (Debian: apt-get install etcd-client)")
    done = subprocess.run(
        [found, "--endpoints", endpoints, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
    )
    return done.stdout
