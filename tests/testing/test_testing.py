"""What is shipped for tests of others: the clock, the faults, the stores that are verified, and the fixtures."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from execstore import Event, ExecutionState, Store
from execstore.errors import ExecutionNotFoundError, StoreFailedError, StoreFullError
from execstore.testing import FakeClock, Faults, ProcessDied, TemporaryStores
from execstore.testing.faults import FLUSHING, WRITING
from execstore.tree.filesystem import FileSystem
from execstore.watcher import EventIterator, GetEventsRequest
from tests.support import ROOT, make_event, make_execution, make_request

if TYPE_CHECKING:
    from pathlib import Path

    from execstore.watcher import Event as LogEvent


# --- the clock ------------------------------------------------------------------------------------------------------


def test_the_clock_stands_still_until_it_is_told(execstore_store: Store, execstore_clock: FakeClock) -> None:
    first = execstore_store.create_execution(make_execution("e1"))
    assert first.create_time == execstore_clock.now_ns
    execstore_clock.advance(timedelta(days=1, microseconds=1))
    second = execstore_store.create_execution(make_execution("e2"))
    assert second.create_time - first.create_time == 86_400_000_001_000
    execstore_clock.advance(timedelta(hours=-1))
    assert execstore_clock() == second.create_time - 3_600_000_000_000
    assert execstore_store.prune(older_than=timedelta(0)) == []


# --- a full disk ----------------------------------------------------------------------------------------------------


def _create_until_refused(store: Store) -> int:
    for number in itertools.count():
        try:
            store.create_execution(make_execution(f"e{number:03}"), make_event())
        except StoreFullError:
            return number
    raise AssertionError


def test_a_full_disk_refuses_and_recovers(execstore_store: Store, execstore_faults: Faults) -> None:
    execstore_store.create_execution(make_execution("before"))
    execstore_faults.fill_disk()
    number = _create_until_refused(execstore_store)
    assert 1 <= number <= 20
    assert execstore_faults.met is not None
    assert sum(execstore_store.counts().values()) == number + 1
    assert execstore_store.get_execution("before").revision == 1
    with pytest.raises(StoreFullError) as raised:
        execstore_store.create_execution(make_execution("still full"))
    assert not raised.value.committed
    execstore_faults.clear()
    execstore_store.create_execution(make_execution("after"))


def test_a_disk_with_more_room_takes_more(execstore_stores: TemporaryStores, execstore_faults: Faults) -> None:
    taken = []
    for room_bytes in (0, 200_000):
        store = execstore_stores(str(room_bytes))
        execstore_faults.fill_disk(room_bytes=room_bytes)
        taken.append(_create_until_refused(store))
        execstore_faults.clear()
    assert taken[1] >= taken[0] + 10


def test_what_is_removed_gives_room(execstore_store: Store, execstore_faults: Faults) -> None:
    for number in range(150):
        execstore_store.create_execution(make_execution(f"old{number}"), make_event())
    execstore_faults.fill_disk(room_bytes=100_000)
    _create_until_refused(execstore_store)
    execstore_faults.fill_disk(room_bytes=500_000)
    for number in range(150):
        execstore_store.delete_execution(f"old{number}")
    # The reserve was made whole again out of that room, and there still is as much as the deleted have left.
    assert (execstore_faults.free_bytes() or 0) > 500_000


# --- a flush that fails ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 2])
def test_a_refused_flush_ends_the_handle(
    execstore_stores: TemporaryStores, execstore_faults: Faults, after: int
) -> None:
    store = execstore_stores()
    execstore_faults.refuse_flush(after=after)
    for number in range(after):
        store.create_execution(make_execution(f"e{number}"))
    with pytest.raises(StoreFailedError):
        store.create_execution(make_execution("open"))
    assert execstore_faults.met is not None
    assert execstore_faults.met.operation == "flush"
    with pytest.raises(StoreFailedError):  # once is enough, the disk is sound again
        store.create_execution(make_execution("later"))
    again = execstore_stores()
    # The kernel has it in memory here, so it came to be; on a real disk that is open.
    assert [execution.id for execution in again.list_executions()] == [*(f"e{n}" for n in range(after)), "open"]
    again.create_execution(make_execution("later"))


# --- the death of the process ---------------------------------------------------------------------------------------


def test_at_every_step_it_is_all_or_nothing(execstore_stores: TemporaryStores, execstore_faults: Faults) -> None:
    """Two executions change hands in one transaction; no death in it leaves one of them alone."""
    outcomes = []
    for at_step in itertools.count(1):
        name = str(at_step)
        with execstore_stores(name) as store:
            store.create_execution(make_execution("a"))
        store = execstore_stores(name)
        execstore_faults.die(at_step=at_step)
        with contextlib.suppress(ProcessDied):
            with store.begin_tx() as transaction:
                transaction.delete_execution("a")
                transaction.create_execution(make_execution("b"))
            execstore_faults.clear()
        with execstore_stores(name) as store:
            outcomes.append([execution.id for execution in store.list_executions()])
        if execstore_faults.met is None:
            break
    assert set(map(tuple, outcomes)) == {("a",), ("b",)}
    # Once it has happened it stays so, from the flush on; and the last one was not cut off at all.
    assert outcomes == sorted(outcomes)
    assert len(outcomes) > 5


def test_the_dead_hold_no_lock_and_do_nothing(execstore_stores: TemporaryStores, execstore_faults: Faults) -> None:
    first, second = execstore_stores(), execstore_stores(lock_timeout=0.0)
    transaction = first.begin_tx()
    transaction.create_execution(make_execution("lost"))
    execstore_faults.die()
    with pytest.raises(ProcessDied):
        transaction.commit()
    for dead in (first, second):
        with pytest.raises(ProcessDied):
            dead.get_execution("lost")
        with pytest.raises(ProcessDied):
            dead.create_execution(make_execution("ghost"))
    third = execstore_stores(lock_timeout=0.0)
    with pytest.raises(ExecutionNotFoundError):
        third.get_execution("lost")
    third.create_execution(make_execution("alive"))


def test_the_steps_are_told(execstore_store: Store, execstore_faults: Faults) -> None:
    execstore_faults.steps.clear()
    execstore_store.create_execution(make_execution("e1"), Event("Test", "m"))
    operations = [step.operation for step in execstore_faults.steps]
    assert operations.count("flush") == 1
    journal, *shown = operations[: operations.index("flush")], *operations[operations.index("flush") + 1 :]
    assert set(journal) == {"pwrite"}
    assert {"overwrite", "rename", "link"} & set(shown)
    assert any(step.path.startswith("executions/") for step in execstore_faults.steps)


@pytest.mark.parametrize(
    "plant",
    [
        lambda faults: faults.fill_disk(room_bytes=-1),
        lambda faults: faults.refuse_flush(after=-1),
        lambda faults: faults.die(at_step=0),
    ],
)
def test_faults_that_make_no_sense(plant: object) -> None:
    assert callable(plant)
    with pytest.raises(ValueError, match="but is"):
        plant(Faults())


def test_each_call_is_known_as_a_step_or_as_none() -> None:
    """Of what comes to the seam later, too, it has to be said whether it can fail and whether one can die before it."""
    looking = {"read", "size", "stamp", "names", "kind", "link_target", "pread", "length", "free", "remote_kind"}
    holding = {"open", "close", "try_lock", "try_lock_shared", "unlock", "lock_holder", "is_lock_shared"}
    beside = {"write_back"}  # whenever a thread comes to it, so counting it would make no two runs alike
    known = looking | holding | beside | {"longest_name_bytes"} | WRITING | FLUSHING
    assert {name for name in vars(FileSystem) if not name.startswith("_")} == known


# --- the stores -----------------------------------------------------------------------------------------------------


def test_where_no_store_was_made_there_is_none_to_verify(tmp_path: Path) -> None:
    with TemporaryStores(tmp_path) as stores:
        path = stores.path("never")
    assert not os.path.exists(path)


def test_other_processes_see_what_handles_wrote(execstore_stores: TemporaryStores) -> None:
    execstore_stores(durability="relaxed").create_execution(make_execution("e1"))
    with Store(execstore_stores.path(), read_only=True) as store:
        assert store.counts()[ExecutionState.NEW] == 1


def test_watchers_see_it(execstore_store: Store) -> None:
    execstore_store.create_execution(make_execution("e1"))
    execstore_store.update_execution_state(make_request("e1", ExecutionState.FAILED))
    events: list[LogEvent] = execstore_store.event_store.get_events(
        GetEventsRequest(EventIterator.trim_horizon()), timeout=0
    ).events
    assert [event.seq_num for event in events] == [1, 2]


@pytest.mark.parametrize("opened_by", ["the fixture", "another"])
def test_damage_fails_the_test(tmp_path: Path, opened_by: str) -> None:
    stores = TemporaryStores(tmp_path)
    with stores() if opened_by == "the fixture" else Store(stores.path()) as store:
        store.create_execution(make_execution("e1"))
    (tmp_path / "store" / "executions" / "e1.json").write_text("{")
    with pytest.raises(AssertionError, match=r"isn't whole: .*executions/e1\.json: "):
        stores.finish()


# --- the fixtures in another's tests --------------------------------------------------------------------------------


def _pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_fixtures_are_there_for_who_names_them(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["execstore.testing.fixtures"]\n')
    (tmp_path / "test_own.py").write_text(
        "from pathlib import Path\n"
        "from execstore import Execution, ExecutionState, State\n"
        "def create(store):\n"
        "    store.create_execution(Execution(id='e1', job_id='j', job={}, compute_state=State(ExecutionState.NEW)))\n"
        "def test_good(execstore_store, execstore_clock):\n"
        "    create(execstore_store)\n"
        "    assert execstore_store.get_execution('e1').create_time == execstore_clock.now_ns\n"
        "def test_bad(execstore_stores):\n"
        "    create(execstore_stores())\n"
        "    Path(execstore_stores.path(), 'executions', 'e1.json').write_text('{')\n"
    )
    done = _pytest(tmp_path)
    assert "2 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "isn't whole" in done.stdout
    (tmp_path / "conftest.py").write_text("")
    assert "fixture 'execstore_store' not found" in _pytest(tmp_path).stdout


def test_nothing_else_loads_pytest() -> None:
    script = "import sys, execstore, execstore.testing; execstore.Store; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_without_pytest_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pytest.py").write_text("raise ImportError('no pytest here')\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import execstore.testing.fixtures"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "pip install 'execstore[testing]'" in done.stderr.splitlines()[-1]
