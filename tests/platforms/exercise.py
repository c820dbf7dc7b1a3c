"""What a store must be able to do in any folder, on any system: ``python tests/platforms/exercise.py FOLDER``.

It needs nothing but execstore, so that it can run where pytest can't. Each check prints its name; the first that fails
ends in its traceback. On a file system that a store refuses, it prints ``refused: …`` and ends with status 3.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from execstore import (  # noqa: E402
    Event,
    Execution,
    ExecutionState,
    State,
    Store,
    UpdateExecutionCondition,
    UpdateExecutionRequest,
)
from execstore.errors import (  # noqa: E402
    ExecutionNotFoundError,
    InvalidExecutionRevisionError,
    UnsupportedFilesystemError,
)
from execstore.integrity.closed import repair_closed  # noqa: E402
from execstore.schema import LAYOUT  # noqa: E402
from execstore.tree.tree import Tree  # noqa: E402
from execstore.watcher import EventIterator, GetEventsRequest  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED = 3
CHILDREN = 3
EACH = 12

# Alike but for case; what Windows reserves, or changes silently; what no file name can hold.
ODD_IDS = [
    *("Exec-A", "exec-a", "EXEC-A", "eXec-a", "Running", "running"),
    *("con", "CON", "aux", "nul.txt", "com1", "LPT9", "prn."),
    *("a.", "a", ".a", "..", "a..b", "%41", "+a", "~1", "execut~1", 'a/b\\c:d*e?f"g<h>i|j'),
    *("über", "Über", "ü" * 300, "x" * 1000, "X" * 1000),
]


def execution(execution_id: str, job_id: str = "job-1", padding: int = 0) -> Execution:
    new = State(ExecutionState.NEW)
    return Execution(id=execution_id, job_id=job_id, compute_state=new, job={"Name": "x", "Padding": "." * padding})


def move(store: Store, execution_id: str, state: ExecutionState) -> None:
    store.update_execution_state(
        UpdateExecutionRequest(execution_id, Execution(compute_state=State(state)), events=[Event("Move", state.value)])
    )


def sound(store: Store) -> None:
    report = store.verify()
    if not report.ok:
        raise AssertionError(report.problems)


def same(found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"{found!r} instead of {expected!r}")


def small(path: Path) -> Path:
    """A store whose journal and log segments are soon full."""
    Tree(str(path), LAYOUT, journal_bytes=16384, segment_bytes=4096).close()
    return path


# --- checks ---------------------------------------------------------------------------------------------------------


def ids_of_every_kind(folder: Path) -> None:
    path = small(folder / "ids")
    with Store(path) as store:
        for number, each in enumerate(ODD_IDS):
            store.create_execution(execution(each, job_id=ODD_IDS[-1 - number]), Event("Execution", f"{number}"))
        for each in ODD_IDS[::2]:
            move(store, each, ExecutionState.RUNNING)
        sound(store)
    with Store(path, read_only=True) as store:
        for number, each in enumerate(ODD_IDS):
            same(store.get_execution(each).id, each)
            same(store.get_execution_events(each)[0].message, f"{number}")
            same([found.id for found in store.get_executions(ODD_IDS[-1 - number])], [each])
        same(sorted(found.id for found in store.get_live_executions()), sorted(ODD_IDS[::2]))
        for absent in ("EXec-a", "CoN", "RUNNING", "Com1", "X" * 999, "A" * 239):
            try:
                store.get_execution(absent)
            except ExecutionNotFoundError:
                continue
            raise AssertionError(f"{absent[:20]} is there")
    with Store(path) as store:
        for each in ODD_IDS[::2]:
            store.delete_execution(each)
        for each in ODD_IDS[1::2]:
            same(store.get_execution(each).id, each)
        sound(store)


def capitals_up_to_the_limit(folder: Path) -> None:
    """Names that are as long as can be: stored, or refused with a sentence, and then not there at all."""
    path = folder / "capitals"
    with Store(path) as store:
        for length in range(100, 241, 20):
            key = "A" * length
            try:
                store.create_execution(execution(key, job_id=key))
            except UnsupportedFilesystemError as error:
                if "capital" not in str(error):
                    raise
                try:
                    store.get_execution(key)
                except ExecutionNotFoundError:
                    continue
                raise AssertionError(f"{length} capitals are refused, and there") from error
            same(store.get_execution(key).job_id, key)
            store.create_execution(execution(key.lower(), job_id=key))
        sound(store)


def a_life_of_many(folder: Path) -> None:
    """The journal goes round many times; each record is replaced, each index entry moved."""
    path = small(folder / "life")
    with Store(path) as store:
        for number in range(40):
            key = f"e-{number}"
            store.create_execution(execution(key, f"job-{number % 3}", padding=number * 40), Event("Execution", "made"))
            move(store, key, ExecutionState.RUNNING)
            if number % 3 == 0:
                move(store, key, ExecutionState.COMPLETED)
            if number % 5 == 0:
                store.delete_execution(key)
        with store.begin_tx() as transaction:
            transaction.create_execution(execution("t-1"))
            transaction.delete_execution("e-1")
        sound(store)
        counted = {state.value: number for state, number in store.counts().items() if number}
        latest = store.event_store.get_latest_event_num()
    with Store(path) as store:
        same({state.value: number for state, number in store.counts().items() if number}, counted)
        same(store.event_store.get_latest_event_num(), latest)
        request = GetEventsRequest(EventIterator.after_sequence_number(latest - 3))
        same([event.seq_num for event in store.event_store.get_events(request, timeout=0).events][-1], latest)
        same(len(list(store.history("e-2"))) > 0, True)
        sound(store)


def a_file_that_is_read_is_replaced(folder: Path) -> None:
    """Readers hold the very files open that the writer replaces and removes."""
    path = folder / "replaced"
    problems: list[BaseException] = []
    done = threading.Event()

    def look() -> None:
        try:
            with Store(path, read_only=True) as reader:
                while not done.is_set():
                    found = reader.get_execution("e-1")
                    same(found.node_id, "." * (len(found.name) * 700))
        except BaseException as error:  # noqa: BLE001 - told below
            problems.append(error)

    with Store(path) as store:
        store.create_execution(execution("e-1").replace(name="n", node_id="." * 700))
        readers = [threading.Thread(target=look) for _ in range(2)]
        for thread in readers:
            thread.start()
        try:
            for number in range(60):
                name = "n" * (number % 9 + 1)
                values = Execution(name=name, node_id="." * (len(name) * 700))
                store.update_execution_state(UpdateExecutionRequest("e-1", values))
        finally:
            done.set()
            for thread in readers:
                thread.join()
        if problems:
            raise problems[0]
        sound(store)


def several_processes(folder: Path) -> None:
    path = small(folder / "several")
    with Store(path) as store:
        store.create_execution(execution("count"))
        children = [child("work", path, str(number)) for number in range(CHILDREN)]
        for each in children:
            output, _ = each.communicate()
            same((each.returncode, output.split()[-1]), (0, "done"))
        same(len(list(store.list_executions())), CHILDREN * EACH + 1)
        same(store.get_execution("count").revision, CHILDREN * EACH + 1)
        sound(store)


def a_process_is_killed(folder: Path) -> None:
    path = small(folder / "killed")
    Store(path).close()
    for round_ in range(3):
        process = child("create", path, str(round_))
        assert process.stdout is not None
        answered = [process.stdout.readline().strip() for _ in range(5 + round_ * 3)]
        process.kill()
        rest = [line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        process.wait()
        with Store(path) as store:
            for each in answered + rest:
                same(store.get_execution(each).id, each)
            sound(store)


def a_copy_and_back(folder: Path) -> None:
    path = folder / "ids"
    archive = folder / "copy.tar"
    with Store(path) as store:
        store.backup(archive)
        expected = sorted(found.id for found in store.list_executions())
    Store.restore(archive, folder / "restored")
    with Store(folder / "restored") as store:
        same(sorted(found.id for found in store.list_executions()), expected)
        sound(store)


def a_repair(folder: Path) -> None:
    path = folder / "life"
    for name in ("lock.flush", "FORMAT"):
        (path / name).unlink()
    entry = next(each for each in (path / "idx_executions_by_state" / "Running").iterdir())
    entry.unlink()
    repair_closed(path)
    with Store(path) as store:
        found = {problem.path for problem in store.verify().problems}
        same(f"idx_executions_by_state/Running/{entry.name}" in found, True)
        store.repair()
        sound(store)


def nothing_but_its_names(folder: Path) -> None:
    """Every name at the top is one of FORMAT.md's table, in its very letters."""
    expected = {*LAYOUT.folders(), *LAYOUT.aliases(), "FORMAT", "head", "journal.0", "journal.1", "lock", "lock.flush"}
    for each in ("ids", "capitals", "replaced"):
        same(expected - set(os.listdir(folder / each)), set())


CHECKS: list[Callable[[Path], None]] = [
    ids_of_every_kind,
    capitals_up_to_the_limit,
    a_life_of_many,
    a_file_that_is_read_is_replaced,
    several_processes,
    a_process_is_killed,
    nothing_but_its_names,
    a_copy_and_back,
    a_repair,
]


# --- the other processes --------------------------------------------------------------------------------------------


def child(job: str, path: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, "--child", job, str(path), name], stdout=subprocess.PIPE, text=True
    )


def be_child(job: str, path: str, name: str) -> None:
    with Store(path) as store:
        for number in range(EACH if job == "work" else 10_000):
            key = f"{job}-{name}-{number}"
            store.create_execution(execution(key), Event("Execution", "made"))
            while job == "work":
                only_if = UpdateExecutionCondition(expected_revision=store.get_execution("count").revision)
                with contextlib.suppress(InvalidExecutionRevisionError):
                    store.update_execution_state(UpdateExecutionRequest("count", Execution(name=key), only_if))
                    break
            if job == "create":
                sys.stdout.write(f"{key}\n")
                sys.stdout.flush()
    sys.stdout.write("done\n")


def main(arguments: list[str]) -> int:
    if arguments[0] == "--child":
        be_child(*arguments[1:])
        return 0
    folder = Path(arguments[0])
    try:
        Store(folder / "first").close()
    except UnsupportedFilesystemError as error:
        sys.stdout.write(f"refused: {error}\n")
        return REFUSED
    is_case_blind = b"case-safe" in (folder / "first" / "FORMAT").read_bytes()
    sys.stdout.write(f"takes A and a for {'one name' if is_case_blind else 'two names'}\n")
    for check in CHECKS:
        check(folder)
        sys.stdout.write(f"{check.__name__}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
