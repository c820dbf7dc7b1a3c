"""The seam to the real file system: nothing is ever reached through a link, and nothing odd blocks."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from execstore.tree.filesystem import RealFileSystem, parse_lock_holder, write_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the store that nothing may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "x.json").write_bytes(b"secret")
    return folder


@pytest.fixture
def fs(tmp_path: Path, outside: Path) -> RealFileSystem:
    root = tmp_path / "store"
    root.mkdir()
    (root / "linked").symlink_to(outside)
    (root / "real").mkdir()
    (root / "real" / "inner").symlink_to(outside)
    (root / "real" / "x.json").symlink_to(outside / "x.json")
    return RealFileSystem(str(root))


CALLS: list[Callable[[RealFileSystem, str], object]] = [
    lambda fs, path: fs.read(path, 100),
    lambda fs, path: fs.overwrite(path, 0, b"broken"),
    lambda fs, path: fs.open(path, write=True),
    lambda fs, path: fs.open(path, write=False),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("path", ["linked/x.json", "real/inner/x.json", "real/x.json"])
def test_no_link_is_followed(
    fs: RealFileSystem, outside: Path, call: Callable[[RealFileSystem, str], object], path: str
) -> None:
    with pytest.raises(OSError):
        call(fs, path)
    assert (outside / "x.json").read_bytes() == b"secret"


@pytest.mark.parametrize("folder", ["linked", "real/inner"])
def test_no_name_is_made_or_removed_through_a_link(fs: RealFileSystem, outside: Path, folder: str) -> None:
    for call in (
        lambda: fs.create(f"{folder}/new", b""),
        lambda: fs.link(f"{folder}/new", "x"),
        lambda: fs.make_folder(f"{folder}/new"),
        lambda: fs.remove(f"{folder}/x.json"),
        lambda: fs.rename(f"{folder}/x.json", "real/y"),
        lambda: fs.names(folder),
    ):
        with pytest.raises(OSError):
            call()
    assert sorted(path.name for path in outside.iterdir()) == ["x.json"]


def test_removing_a_link_removes_the_link(fs: RealFileSystem, outside: Path) -> None:
    fs.remove("real/x.json")
    assert fs.kind("real/x.json") is None
    assert (outside / "x.json").exists()


def test_replacing_a_link_replaces_the_link(fs: RealFileSystem, outside: Path) -> None:
    fs.create("real/.new", b"mine")
    fs.rename("real/.new", "real/x.json")
    assert fs.read("real/x.json", 100) == b"mine"
    assert (outside / "x.json").read_bytes() == b"secret"


def test_a_pipe_neither_blocks_nor_passes_for_a_file(fs: RealFileSystem) -> None:
    os.mkfifo(f"{fs.root}/real/pipe")
    with pytest.raises(OSError, match="regular"):
        fs.read("real/pipe", 100)
    with pytest.raises(OSError):
        fs.open("real/pipe", write=True)
    assert fs.kind("real/pipe") == "other"


def test_a_file_over_the_maximum_is_not_read(fs: RealFileSystem) -> None:
    with open(f"{fs.root}/real/huge", "wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(OSError, match="larger"):
        fs.read("real/huge", 1 << 20)
    assert fs.read("real/huge", 100, offset=(10 << 30) - 3) == b"\0\0\0"


def test_reading(fs: RealFileSystem) -> None:
    fs.create("real/a", b"12345")
    assert fs.read("real/a", 100) == b"12345"
    assert fs.read("real/a", 100, offset=3) == b"45"
    assert fs.read("real/a", 100, offset=9) == b""
    assert fs.read("real/none", 100) is None
    assert fs.read("none/none", 100) is None
    assert fs.size("real/a") == 5
    assert fs.size("real/none") is None
    assert fs.names("none") == []


def test_overwriting_may_end_the_file_behind_the_bytes(fs: RealFileSystem) -> None:
    fs.overwrite("real/a", 0, b"123456789")
    fs.overwrite("real/a", 3, b"ab")
    assert fs.read("real/a", 100) == b"123ab6789"
    fs.overwrite("real/a", 3, b"AB", truncate=True)
    assert fs.read("real/a", 100) == b"123AB"


def test_modes_are_for_the_owner_alone(fs: RealFileSystem) -> None:
    fs.create("real/a", b"")
    fs.make_folder("real/b")
    assert stat.S_IMODE(os.stat(f"{fs.root}/real/a").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(f"{fs.root}/real/b").st_mode) == 0o700


def test_a_top_folder_that_was_removed_and_made_again_is_found_again(fs: RealFileSystem) -> None:
    fs.make_folder("top")
    fs.create("top/a", b"")
    os.remove(f"{fs.root}/top/a")
    os.rmdir(f"{fs.root}/top")
    with pytest.raises(FileNotFoundError):
        fs.create("top/b", b"")
    fs.make_folder("top")
    fs.create("top/b", b"")
    assert fs.names("top") == ["b"]


CHANGES_OF_LINKS: list[Callable[[RealFileSystem], object]] = [
    lambda fs: fs.link("index/group/new", "target"),
    lambda fs: fs.remove("index/group/old"),
    lambda fs: fs.rename("index/group/old", "index/other/new"),
    lambda fs: fs.rename("index/other/old", "index/group/new"),
]


@pytest.mark.parametrize("change", CHANGES_OF_LINKS, ids=["link", "remove", "rename from", "rename to"])
def test_a_folder_of_links_that_another_process_made_anew_is_found_again(
    fs: RealFileSystem, change: Callable[[RealFileSystem], object]
) -> None:
    fs.make_folder("index")
    for folder in ("index/group", "index/other"):
        fs.make_folder(folder)
        fs.link(f"{folder}/used", "target")  # from now on it is kept open
    other = RealFileSystem(fs.root)
    for folder in ("index/group", "index/other"):
        other.remove(f"{folder}/used")
        other.remove_folder(folder)
        other.make_folder(folder)
        other.link(f"{folder}/old", "target")
    before = {folder: set(other.names(folder)) for folder in ("index/group", "index/other")}
    change(fs)
    assert {folder: set(other.names(folder)) for folder in ("index/group", "index/other")} != before
    with pytest.raises(FileNotFoundError):
        fs.remove("index/group/never")


def test_few_folders_of_links_are_kept_open(fs: RealFileSystem) -> None:
    fs.make_folder("index")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        fs.make_folder(f"index/{number}")
        fs.link(f"index/{number}/a", "target")
    assert len(os.listdir("/proc/self/fd")) <= before + 9, "eight, and the one above them"
    for number in range(50):
        fs.remove(f"index/{number}/a")
        fs.remove_folder(f"index/{number}")
    assert len(os.listdir("/proc/self/fd")) <= before + 1, "none that is gone"


def test_a_write_cut_short_is_finished(tmp_path: Path) -> None:
    class Stingy(RealFileSystem):
        def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:  # type: ignore[override]
            return os.pwrite(descriptor, data[:2], offset)

    fs = Stingy(str(tmp_path))
    descriptor = fs.open("a", write=True, create=True)
    write_all(fs, descriptor, b"1234567", 1)
    assert fs.read("a", 100) == b"\x001234567"


def test_every_descriptor_is_closed_with_the_object(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    fs = RealFileSystem(str(tmp_path))
    fs.make_folder("a")
    fs.create("a/b", b"")
    assert len(os.listdir("/proc/self/fd")) > before
    del fs
    assert len(os.listdir("/proc/self/fd")) == before


_LOCKS = """\
1: POSIX  ADVISORY  READ 100 fe:00:5309383 128 128
2: FLOCK  ADVISORY  WRITE 200 fe:00:42 0 EOF
2: -> FLOCK  ADVISORY  WRITE 300 fe:00:42 0 EOF
3: FLOCK  ADVISORY  READ 400 fe:00:43 0 EOF
4: FLOCK  ADVISORY  WRITE -1 fe:00:44 0 EOF
5: FLOCK  ADVISORY  WRITE 500 00:1f:45 0 EOF
"""


@pytest.mark.parametrize(
    ("major", "minor", "inode", "holder"),
    [(0xFE, 0, 42, 200), (0xFE, 0, 43, None), (0xFE, 0, 44, None), (0, 0x20, 45, 500), (0xFE, 0, 5309383, None)],
)
def test_the_holder_of_a_lock_is_found_in_the_systems_list(
    major: int, minor: int, inode: int, holder: int | None
) -> None:
    assert parse_lock_holder(_LOCKS, major, minor, inode) == holder


def test_a_holder_of_a_shared_lock_is_found_there_too() -> None:
    assert parse_lock_holder(_LOCKS, 0xFE, 0, 43, "READ") == 400
    assert parse_lock_holder(_LOCKS, 0xFE, 0, 42, "READ") is None


def test_this_process_is_found_as_holder(tmp_path: Path) -> None:
    fs = RealFileSystem(str(tmp_path))
    descriptor = fs.open("lock", write=True, create=True)
    assert fs.lock_holder(descriptor) is None
    assert fs.try_lock(descriptor)
    assert fs.lock_holder(descriptor) == os.getpid()
    assert not fs.try_lock(fs.open("lock", write=True))
    assert not fs.is_lock_shared(descriptor)
    fs.unlock(descriptor)
    assert fs.lock_holder(descriptor) is None
    assert fs.try_lock_shared(descriptor)
    assert fs.is_lock_shared(descriptor)


def test_a_listing_is_whole_while_another_thread_is_in_the_middle_of_one(fs: RealFileSystem, tmp_path: Path) -> None:
    names = [f"name-{number}" for number in range(5)]
    fs.make_folder("listed")
    for name in names:
        fs.create(f"listed/{name}", b"")
    assert sorted(fs.names("listed")) == names
    with os.scandir(fs._top_folder("listed")) as other:
        next(other)
        assert sorted(fs.names("listed")) == names
