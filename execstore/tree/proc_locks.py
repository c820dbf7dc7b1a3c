"""Linux's list of locks (``/proc/locks``)."""

from __future__ import annotations

__all__ = ["parse_lock_holder"]


def parse_lock_holder(text: str, major: int, minor: int, inode: int, kind: str = "WRITE") -> int | None:
    """A holder of a file's exclusive flock (or, ``"READ"``, its shared one) in ``/proc/locks`` (proc_locks(5)).

    Some file systems (btrfs, overlayfs) show another device there than stat(2) does, so the inode alone will do if
    nothing fits better.
    """
    found: int | None = None
    for line in text.splitlines():
        match line.split():
            case [_, "FLOCK", _, access, pid, place, *_] if access == kind and pid.isdigit() and int(pid) > 0:
                device, _, number = place.rpartition(":")
                if number == str(inode):
                    if device == f"{major:02x}:{minor:02x}":
                        return int(pid)
                    found = int(pid)
    return found
