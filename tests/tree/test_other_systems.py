"""What differs on macOS, on Windows and on file systems without links or case, as far as Linux can tell."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore import Execution, ExecutionState, State, Store
from execstore.errors import StoreCorruptedError, UnsupportedFilesystemError
from execstore.tree import durable, windows
from execstore.tree.format_file import CASE_SAFE, Format, encode_format, parse_format
from execstore.tree.linux import LinuxFileSystem
from execstore.tree.macos import F_FULLFSYNC, MacFileSystem, parse_remote_kind
from execstore.tree.names_apart import NamesApart, kept_name, wished_name
from execstore.tree.paths import encode_name
from execstore.tree.posix import PosixFileSystem
from execstore.tree.windows import WindowsFileSystem, extended_path
from tests.support import ROOT, make_execution

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StoreFactory


# --- macOS ----------------------------------------------------------------------------------------------------------


class Mac(MacFileSystem):
    """On Linux the structure that tells of a mount is another one."""

    def remote_kind(self) -> str | None:
        return None


@pytest.fixture
def full_flushes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each F_FULLFSYNC, which Linux doesn't have: whether it was of a folder."""
    done: list[bool] = []

    def call(descriptor: int, command: int) -> int:
        assert command == F_FULLFSYNC
        done.append(os.path.isdir(f"/proc/self/fd/{descriptor}"))
        return 0

    monkeypatch.setattr(fcntl, "fcntl", call)
    return done


def test_a_flush_on_macos_empties_the_drives_cache(
    open_store: StoreFactory, full_flushes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(file_system=Mac)
    full_flushes.clear()
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("a mere fsync"))
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: pytest.fail("a mere fdatasync"))
    store.create_execution(make_execution())
    assert full_flushes == [False]
    store.close()
    assert True in full_flushes  # folders are flushed in the same way


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY])
def test_where_macos_cannot_it_flushes_as_others_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(descriptor: int, command: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    fs = MacFileSystem(str(tmp_path))
    descriptor = fs.open("a", write=True, create=True)
    fs.flush(descriptor)
    assert flushed == [descriptor]


def test_a_failed_flush_on_macos_is_told_and_not_tried_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int, command: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "fcntl", fail)
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("tried again"))
    fs = MacFileSystem(str(tmp_path))
    with pytest.raises(OSError, match="Input/output"):
        fs.flush(fs.open("a", write=True, create=True))
    with pytest.raises(OSError, match="Input/output"):
        fs.sync_folder("")


def test_a_network_drive_on_macos_is_known_by_its_flags() -> None:
    status = bytearray(2168)
    status[72:88] = b"smbfs".ljust(16, b"\0")
    assert parse_remote_kind(bytes(status)) == "smbfs"
    status[64:68] = (0x1000).to_bytes(4, sys.byteorder)
    assert parse_remote_kind(bytes(status)) is None
    assert parse_remote_kind(b"") is None


# --- without links, without folder sync, with short names -----------------------------------------------------------


def refusing(code: int) -> Callable[..., None]:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_store_without_links(open_store: StoreFactory, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(os, "symlink", refusing(code))
    store = open_store()
    store.create_execution(make_execution("e-1"))
    entry = open_store.path() / "idx_executions_by_state" / "New" / "e-1"
    assert entry.is_file()
    assert not entry.is_symlink()
    assert entry.read_bytes() == b""
    with store.begin_tx() as transaction:
        transaction.delete_execution("e-1")
        transaction.create_execution(make_execution("e-1"))
    assert [found.id for found in store.get_executions("job1")] == ["e-1"]
    assert store.verify().ok
    assert (open_store.path() / ".e").is_file()


def test_a_making_that_was_cut_off_is_done_again_without_links(
    open_store: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "symlink", refusing(errno.EPERM))
    path = open_store.path()
    (path / "executions").mkdir(parents=True)
    (path / ".e").touch()
    store = open_store(small=False)
    store.create_execution(make_execution("e-1"))
    assert store.verify().ok


def test_another_error_of_a_link_is_no_excuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = PosixFileSystem(str(tmp_path))
    monkeypatch.setattr(os, "symlink", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="space"):
        fs.link("a", "b")
    assert fs.kind("a") is None


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_where_folders_cannot_be_flushed_everything_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fs = LinuxFileSystem(str(tmp_path))
    done: list[str] = []
    monkeypatch.setattr(fs, "_sync_all", lambda: done.append("all"))
    monkeypatch.setattr(os, "fsync", refusing(code))
    fs.sync_folder("")
    assert done == ["all"]
    durable.sync_folder(str(tmp_path))
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        fs.sync_folder("")
    with pytest.raises(OSError, match="Input/output"):
        durable.sync_folder(str(tmp_path))


def test_a_file_system_of_short_names_is_refused(open_store: StoreFactory) -> None:
    class Short(LinuxFileSystem):
        def longest_name_bytes(self) -> int:
            return 143  # eCryptfs

    with pytest.raises(UnsupportedFilesystemError, match="143 bytes at most"):
        open_store(small=False, file_system=Short)
    assert not (open_store.path() / "FORMAT").exists()


# --- names that differ in case only ---------------------------------------------------------------------------------

KEYS = st.text(alphabet=st.sampled_from("aAbBcCzZ09._-+%/ éÉ"), max_size=12) | st.text(max_size=40)


@given(KEYS, KEYS)
def test_kept_names_differ_in_more_than_case(first: str, second: str) -> None:
    names = [encode_name(key) + suffix for key in (first, second) for suffix in (".json", "")]
    for name in names:
        assert wished_name(kept_name(name)) == name
    kept = {kept_name(name).lower() for name in names}
    assert len(kept) == len(set(names))


@given(st.text(alphabet=st.sampled_from("aAbB+.%2Fj"), min_size=1, max_size=12))
def test_a_name_put_there_by_hand_is_told_and_found_again(kept: str) -> None:
    assert kept_name(wished_name(kept)) == kept


def test_a_strangers_name_is_never_taken_for_an_executions() -> None:
    assert wished_name("Exec-A.json") == "+Exec-A.json"
    assert wished_name("+Exec-+A.json") == "Exec-A.json"
    assert kept_name("idx!%2F-A") == "idx!%2F-+A"


def test_only_what_has_capitals_is_kept_under_another_name(tmp_path: Path) -> None:
    real = LinuxFileSystem(str(tmp_path))
    fs = NamesApart(real, ["states"])
    fs.make_folder("states")
    fs.make_folder("states/Running")
    fs.link("states/Running/Exec-A", "../../.e/Exec-A.json")
    fs.create("FORMAT", b"")
    assert sorted(os.listdir(tmp_path)) == ["FORMAT", "states"]
    assert os.listdir(tmp_path / "states") == ["Running"]
    assert os.listdir(tmp_path / "states" / "Running") == ["+Exec-+A"]
    assert os.readlink(tmp_path / "states" / "Running" / "+Exec-+A") == "../../.e/+Exec-+A.json"
    assert fs.names("states") == ["Running"]
    assert fs.names("states/Running") == ["Exec-A"]
    assert fs.link_target("states/Running/Exec-A") == "../../.e/Exec-A.json"
    assert fs.kind("states/Running/exec-a") is None
    too_long = "executions/" + "A" * 200
    assert fs.kind(too_long) is None
    assert fs.names(too_long) == []
    with pytest.raises(OSError, match="too long"):
        fs.create(too_long, b"")


def test_format_says_how_names_are_kept() -> None:
    form = Format("5eed", 1, 2, names=CASE_SAFE)
    assert parse_format(encode_format(form), "") == form
    assert b"names" not in encode_format(Format("5eed", 1, 2))
    with pytest.raises(StoreCorruptedError, match="'upside-down'"):
        parse_format(encode_format(form).replace(b"case-safe", b"upside-down"), "")
    with pytest.raises(StoreCorruptedError, match="names"):
        parse_format(encode_format(form).replace(b'"case-safe"', b'["a"]'), "")


def test_a_case_safe_store_is_read_where_case_counts(open_store: StoreFactory) -> None:
    """As when a stick's folder was copied to a disk."""
    path = open_store.path()
    store = open_store()
    store.close()
    form = (path / "FORMAT").read_bytes()
    (path / "FORMAT").write_bytes(form.replace(b"\n}", b',\n"names":"case-safe"\n}'))
    with Store(path) as again:
        for key in ("Exec-A", "exec-a"):
            again.create_execution(Execution(id=key, job_id="J", compute_state=State(ExecutionState.NEW), job={}))
        assert again.get_execution("Exec-A").id == "Exec-A"
    assert sorted(os.listdir(path / "executions")) == ["+Exec-+A.json", "exec-a.json"]
    (path / "FORMAT").unlink()
    from execstore.integrity.closed import repair_closed

    repair_closed(path)
    assert b"case-safe" in (path / "FORMAT").read_bytes()


# --- Windows --------------------------------------------------------------------------------------------------------


class InUseError(PermissionError):
    """Python's ``OSError`` has a ``winerror`` on Windows only."""

    def __init__(self, winerror: int) -> None:
        super().__init__(errno.EACCES, "in use")
        self.winerror = winerror


class FakeSystem:
    """`execstore.tree.windows.System`, by the means of POSIX."""

    def open(self, path: str, *, write: bool, create: bool = False, new: bool = False) -> int:
        if os.path.isdir(path):
            raise InUseError(5)  # as Windows says of a folder
        flags = (os.O_RDWR if write else os.O_RDONLY) | (os.O_CREAT if create else 0)
        return os.open(path, flags | (os.O_CREAT | os.O_EXCL if new else 0) | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def read_at(self, descriptor: int, length: int, offset: int) -> bytes:
        return os.pread(descriptor, length, offset)

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)

    def lock_shared(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def flush_folder(self, path: str) -> None:
        raise InUseError(5)  # as on a drive whose folders can't be flushed

    def is_remote(self, path: str) -> bool:
        return False


class Windows(WindowsFileSystem):
    def __init__(self, root: str) -> None:
        super().__init__(root, FakeSystem())


def test_a_store_on_windows_files(open_store: StoreFactory) -> None:
    store = open_store(file_system=Windows)
    for number in range(30):
        store.create_execution(make_execution(f"e-{number}"))
        if number % 2:
            store.delete_execution(f"e-{number}")
    second = open_store(file_system=Windows)
    assert [found.id for found in second.get_executions("job1")] == [found.id for found in store.get_executions("job1")]
    entry = open_store.path() / "idx_executions_by_state" / "New" / "e-0"
    assert entry.is_file()
    assert not entry.is_symlink()
    assert store.verify().ok
    reader = open_store(file_system=Windows, read_only=True)
    assert reader.get_execution("e-0").id == "e-0"


@pytest.fixture
def fs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WindowsFileSystem:
    monkeypatch.setattr(windows, "PATIENCE_SECONDS", 0.02)
    fs = Windows(str(tmp_path))
    fs.make_folder("a")
    fs.create("a/file", b"12345")
    return fs


def test_failures_on_windows_have_the_codes_of_other_systems(fs: WindowsFileSystem, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    fs.make_folder("b")
    for code, call in (
        (errno.EISDIR, lambda: fs.read("a", 10)),
        (errno.EISDIR, lambda: fs.rename("a/file", "b")),
        (errno.ENOTDIR, lambda: fs.create("a/file/x", b"")),
        (errno.ENOTDIR, lambda: fs.names("a/file")),
        (errno.ENOTDIR, lambda: fs.kind("a/file/x")),
        (errno.ELOOP, lambda: fs.read("linked/file", 10)),
        (errno.ELOOP, lambda: fs.names("linked")),
        (errno.EEXIST, lambda: fs.create("a/file", b"")),
        (errno.ENOENT, lambda: fs.remove("a/none")),
        (errno.ENOENT, lambda: fs.create("none/x", b"")),
        (errno.EFBIG, lambda: fs.read("a/file", 4)),
        (errno.ENOTEMPTY, lambda: fs.remove_folder("a")),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == code
    assert fs.read("a/none", 10) is None
    assert fs.read("none/none", 10) is None
    assert fs.names("none") == []
    assert fs.kind("linked") == "link"
    fs.sync_folder("a")  # what can't be flushed isn't


@pytest.mark.parametrize("code", [5, 32, 303])
def test_a_file_in_use_is_replaced_once_it_is_free(
    fs: WindowsFileSystem, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(windows, "PATIENCE_SECONDS", 30.0)
    replace, failures = os.replace, [code] * 3

    def busy(source: str, target: str) -> None:
        if failures:
            raise InUseError(failures.pop())
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    fs.create("a/new", b"new")
    fs.rename("a/new", "a/file")
    assert fs.read("a/file", 10) == b"new"
    assert failures == []


def test_a_file_that_stays_in_use_is_named(fs: WindowsFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(path: str) -> None:
        raise InUseError(32)

    monkeypatch.setattr(os, "unlink", busy)
    with pytest.raises(OSError, match="another program has kept it open") as caught:
        fs.remove("a/file")
    assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, "a/file")


def test_locks_of_one_kind_are_let_go_before_another_is_taken(fs: WindowsFileSystem) -> None:
    fs.create("lock", b"")
    first, second = fs.open("lock", write=True), fs.open("lock", write=True)
    assert fs.try_lock_shared(first)
    assert fs.try_lock_shared(second)
    assert not fs.try_lock(first)
    assert fs.try_lock_shared(first)
    fs.unlock(second)
    assert fs.try_lock(first)
    assert not fs.try_lock_shared(second)
    fs.close(first)
    assert fs.try_lock(second)


def test_long_paths_are_taken_as_they_stand() -> None:
    assert extended_path("C:\\a\\b") == "\\\\?\\C:\\a\\b"
    assert extended_path("\\\\server\\share\\a") == "\\\\?\\UNC\\server\\share\\a"
    assert extended_path("\\\\?\\C:\\a") == "\\\\?\\C:\\a"


_WITHOUT = """
import os, select, signal, socket, subprocess, sys, threading, tempfile, asyncio, logging.handlers, shutil, ctypes
import filelock, ujson
if "cli" in sys.argv:
    import click, rich.console, rich.table, rich.live
for module in ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty"):
    sys.modules[module] = None
for name in ("O_NOFOLLOW O_CLOEXEC O_DIRECTORY O_NONBLOCK pread pwrite fdatasync posix_fallocate fork register_at_fork "
             "getuid geteuid getgid statvfs fstatvfs major minor sync eventfd mkfifo killpg getpgid setsid").split():
    if hasattr(os, name):
        delattr(os, name)
os.O_BINARY, os.O_NOINHERIT = 0, 0
for module, names in ((select, ["poll", "epoll"]), (signal, ["SIGKILL", "SIGHUP", "SIGPIPE", "SIGWINCH"])):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
sys.platform = "win32"
import importlib
for module in sys.argv[2:]:
    importlib.import_module(module)
from execstore.tree.filesystem import RealFileSystem
print(RealFileSystem.__name__)
"""
_MODULES = [
    *("execstore", "execstore.store", "execstore.watcher", "execstore.metrics", "execstore.notify"),
    *(f"execstore.integrity.{name}" for name in ("verify", "repair", "backup", "restore", "closed")),
    *(f"execstore.interop.{name}" for name in ("bolt", "jsonl", "sqlite")),
]


@pytest.mark.parametrize(("kind", "modules"), [("api", _MODULES), ("cli", ["execstore.cli.app"])])
def test_everything_can_be_imported_without_what_windows_lacks(kind: str, modules: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, kind, *modules],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "WindowsFileSystem\n"), done.stderr
