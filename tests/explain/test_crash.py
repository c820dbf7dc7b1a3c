"""The package's small model of what a power cut may leave, held to the simulator of the crash tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from execstore import Event, Execution, ExecutionState, State, Store, UpdateExecutionRequest
from execstore.explain.crash import SECTOR_BYTES, Disk, Fate
from execstore.explain.recording import Call, Item, Recorder, Recording, snapshot
from execstore.explain.scratch import new_execution
from execstore.tree_engine import TreeEngine
from tests.crash import simulated
from tests.crash.simulated import Image, Plan, SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from execstore.engine import EngineOptions

PATHS = ("a", "b", "f/a", "f/b")


def plain(files: Mapping[str, Item]) -> dict[str, bytes | str]:
    """Files and links, as `Image.files` gives them."""
    there = {path: item for path, item in files.items() if item.kind != "folder"}
    return {path: item.data if item.kind == "file" else item.target for path, item in there.items()}


def check(disk: Disk, image: Image) -> None:
    """Both say the same of what may be lost, and every cut of ours is one that the simulator allows."""
    plan = Plan(image)
    cuts = disk.cuts()
    assert plain(disk.left(lambda _: Fate.LOST)) == plan.nothing().files()
    assert plain(disk.left(lambda _: Fate.KEPT)) == image.files()
    for cut in cuts:
        check_allowed(plain(cut.files), plan)
    if not disk.pending():
        assert len(cuts) == 1
        assert plan.nothing().files() == image.files()


def check_allowed(files: dict[str, bytes | str], plan: Plan) -> None:
    """Each name leads to something that it led to since its folder was synced, with bytes that its file may hold."""
    contents = {id(unit.file): unit.file.versions for unit in plan._data}
    possible: dict[str, list[simulated.Node | None]] = {}

    def walk(folder: simulated.Folder, prefix: str) -> None:
        names = {name: [folder.durable.get(name)] for name in folder.durable}
        for effect in folder.history:
            names.setdefault(effect.name, [folder.durable.get(effect.name)]).append(effect.node)
        for name, nodes in names.items():
            possible.setdefault(prefix + name, []).extend(nodes)
            for each in nodes:  # a folder that was removed and made anew is there twice
                if isinstance(each, simulated.Folder):
                    walk(each, f"{prefix}{name}/")

    walk(plan._image.root, "")
    for path, nodes in possible.items():
        if path in files:
            assert any(fits(files[path], node, contents) for node in nodes), path
        elif not any(isinstance(node, simulated.Folder) for node in nodes):
            assert None in nodes or "/" in path, path


def fits(found: bytes | str, node: simulated.Node | None, contents: Mapping[int, list[bytes]]) -> bool:
    if isinstance(node, simulated.Link):
        return found == node.target
    if not isinstance(node, simulated.File) or isinstance(found, str):
        return False
    versions = contents.get(id(node), node.versions)
    # Torn: each sector is that of one version, or NULs. Writes may be kept without an earlier one, so a sector may also
    # be what those of the versions' differences make of it; in what is written here each write has sectors of its own.
    for start in range(0, len(found), SECTOR_BYTES):
        part = found[start : start + SECTOR_BYTES]
        if part.strip(b"\0") and not any(version[start : start + len(part)] == part for version in versions):
            return False
    return True


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("create"), st.sampled_from(PATHS), st.integers(0, 3)),
            st.tuples(st.just("overwrite"), st.sampled_from(PATHS), st.integers(0, 3)),
            st.tuples(st.just("append"), st.sampled_from(PATHS), st.integers(1, 3)),
            st.tuples(st.just("rename"), st.sampled_from(PATHS), st.integers(0, 3)),
            st.tuples(st.just("link"), st.sampled_from(PATHS), st.integers(0, 3)),
            st.tuples(st.just("remove"), st.sampled_from(PATHS), st.just(0)),
            st.tuples(st.just("make_folder"), st.just("f"), st.just(0)),
            st.tuples(st.just("remove_folder"), st.just("f"), st.just(0)),
            st.tuples(st.just("flush"), st.sampled_from(PATHS), st.just(0)),
            st.tuples(st.just("truncate"), st.sampled_from(PATHS), st.integers(0, 3)),
            st.tuples(st.just("sync_folder"), st.sampled_from(("", "f")), st.just(0)),
            st.tuples(st.just("sync"), st.just(""), st.just(0)),
        ),
        max_size=20,
    )
)
@example(
    [
        ("make_folder", "f", 0),
        ("create", "f/a", 0),
        ("rename", "f/a", 0),
        ("remove_folder", "f", 0),
        ("make_folder", "f", 0),
        ("create", "f/a", 1),
    ]
)
def test_it_says_what_the_simulator_says(operations: list[tuple[str, str, int]]) -> None:
    """Whatever is done to files and names, in whole sectors of which no two hold the same."""
    image = Image()
    recording = Recording()
    fs = Recorder(SimulatedFileSystem(image), recording)
    disk = Disk({})
    done = 0
    for count, (operation, path, number) in enumerate(operations, 1):
        data = bytes([count]) * (number * SECTOR_BYTES)
        with contextlib.suppress(OSError):
            do(fs, operation, path, number, data)
        for call in recording.calls[done:]:
            disk.apply(call)
        done = len(recording.calls)
        check(disk, image)


def do(fs: Recorder, operation: str, path: str, number: int, data: bytes) -> None:
    match operation:
        case "create":
            fs.create(path, data)
        case "overwrite":
            fs.overwrite(path, number * SECTOR_BYTES, data, truncate=number == 2)
        case "append":
            fs.overwrite(path, fs.size(path) or 0, data)
        case "rename":
            fs.rename(path, PATHS[number])
        case "link":
            fs.link(path, f"target-{number}")
        case "remove":
            fs.remove(path)
        case "make_folder":
            fs.make_folder(path)
        case "remove_folder":
            fs.remove_folder(path)
        case "sync":
            fs.sync(())
        case "sync_folder":
            fs.sync_folder(path)
        case _:
            descriptor = fs.open(path, write=True)
            try:
                if operation == "flush":
                    fs.flush(descriptor)
                else:
                    fs.truncate(descriptor, number * SECTOR_BYTES)
            finally:
                fs.close(descriptor)


def test_it_says_so_of_the_engine(tmp_path: Path) -> None:
    """The same at every call of a store that is made, worked on and closed."""
    image = Image()
    recording = Recording()
    disk = Disk({})
    stops = 0

    def follow(call: Call) -> None:
        nonlocal stops
        disk.apply(call)
        if call.changes or call.makes_durable:
            stops += 1
            assert plain(disk.left(lambda _: Fate.LOST)) == Plan(image).nothing().files()
            assert plain(disk.left(lambda _: Fate.KEPT)) == image.files()

    recording.after = follow
    fs = Recorder(SimulatedFileSystem(image), recording)

    def opener(options: EngineOptions) -> TreeEngine:
        return TreeEngine(
            str(tmp_path / "simulated"),
            options.layout,
            journal_bytes=12288,
            segment_bytes=4096,
            rotation=options.rotation,
            file_system=lambda _: fs,
        )

    with Store.on(opener) as store:
        for number in range(12):
            store.create_execution(new_execution(f"e-{number}"), Event("Execution", "made"))
        state = State(ExecutionState.RUNNING)
        store.update_execution_state(UpdateExecutionRequest("e-1", Execution(compute_state=state)))
        store.delete_execution("e-2")
    assert stops > 100
    assert plain(snapshot(fs)) == image.files()


def test_a_flush_covers_what_was_written_before_it_began() -> None:
    image = Image()
    recording = Recording()
    fs = Recorder(SimulatedFileSystem(image), recording)
    fs.create("journal", b"")
    fs.sync_folder("")
    descriptor = fs.open("journal", write=True)
    fs.pwrite(descriptor, b"first", 0)
    recording.while_flushing = lambda _: fs.overwrite("journal", 5, b" second")
    fs.flush(descriptor)
    disk = Disk({})
    for call in recording.calls:
        disk.apply(call)
    assert plain(disk.left(lambda _: Fate.LOST)) == {"journal": b"first"}
    assert plain(disk.left(lambda _: Fate.KEPT)) == {"journal": b"first second"}


def test_a_disk_that_lies_has_only_what_it_began_with() -> None:
    recording = Recording()
    fs = Recorder(SimulatedFileSystem(Image()), recording)
    fs.create("a", b"data")
    fs.sync(())
    honest, lying = Disk({}), Disk({}, lies=True)
    for call in recording.calls:
        honest.apply(call)
        lying.apply(call)
    assert plain(honest.left(lambda _: Fate.LOST)) == {"a": b"data"}
    assert plain(lying.left(lambda _: Fate.LOST)) == {}
