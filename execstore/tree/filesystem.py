"""The real file system, as the seam wants it, of the system that this runs on."""

from __future__ import annotations

import sys

from execstore.tree.proc_locks import parse_lock_holder
from execstore.tree.seam import FileSystem, sync_each, write_all

if sys.platform == "win32":
    from execstore.tree.windows import WindowsFileSystem as RealFileSystem
elif sys.platform == "darwin":
    from execstore.tree.macos import MacFileSystem as RealFileSystem
elif sys.platform == "linux":
    from execstore.tree.linux import LinuxFileSystem as RealFileSystem
else:
    from execstore.tree.posix import PosixFileSystem as RealFileSystem

__all__ = ["FileSystem", "RealFileSystem", "parse_lock_holder", "sync_each", "write_all"]
