"""The crash simulation once more, on files as macOS and Windows have them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from execstore import Execution, ExecutionState, State
from execstore.errors import UnsupportedFilesystemError
from execstore.schema import LAYOUT
from execstore.tree.format_file import CASE_SAFE, parse_format
from tests.crash import workload
from tests.crash.conftest import no_waiting, same_store_id  # noqa: F401 - fixtures for each test here
from tests.crash.explore import Explorer, Reference, Thoroughness
from tests.crash.simulated import Image, Plan, SimulatedFileSystem
from tests.crash.workload import KINDS, SimulatedStore, pairs_of_kinds, plan_steps
from tests.platforms.doubles import MacLike, WindowsLike

if TYPE_CHECKING:
    from tests.crash.workload import Content

_INDEXES = tuple(f"{index}/" for index in LAYOUT.indexes)
USUAL = Thoroughness(bound=4, limit=3, recovery_every=150)


def seen(content: Content) -> dict[str, bytes | bool]:
    """`Content.seen` where an empty file may stand for a link."""
    return {
        path: True if path.startswith(_INDEXES) or not isinstance(data, bytes) else data
        for path, data in content.files.items()
    }


@pytest.fixture(params=[MacLike, WindowsLike], autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[MacLike]:
    """Every simulated process is on this system."""
    monkeypatch.setattr(workload, "SimulatedFileSystem", request.param)
    monkeypatch.setattr(workload.Content, "seen", seen)
    return request.param  # type: ignore[no-any-return]


def explore(kinds: list[str], seed: int, *, with_making: bool = False) -> Explorer:
    explorer = Explorer(seed, USUAL, syncs_all=False)
    explorer.history(Reference(plan_steps(kinds, random.Random(seed))), with_making=with_making)
    return explorer


def test_operations_one_after_the_other() -> None:
    assert explore(pairs_of_kinds(random.Random(11))[:5], 11).states > 100


@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_on_a_fresh_store(kind: str) -> None:
    assert explore([kind], 12).states > 10


def test_making_a_store() -> None:
    assert explore(["create"], 13, with_making=True).states > 50


def test_keys_alike_but_for_case(system: type[MacLike]) -> None:
    """They stay apart: staged together, published, after a power cut, and for every way to ask."""
    image = Image()
    store = SimulatedStore(image)
    keys = ["Exec-A", "exec-a", "EXEC-A", "con", "CON", "a.", "A.", "Running", "running"]
    with store.begin_tx() as transaction:
        for number, key in enumerate(keys):
            transaction.create_execution(
                Execution(id=key, job_id=keys[-1 - number], compute_state=State(ExecutionState.NEW), job={"N": number})
            )
    form = image.files()["FORMAT"]
    assert isinstance(form, bytes)
    assert parse_format(form, "").names == CASE_SAFE
    cut = Plan(image).nothing()
    store.kill()
    for state in (image, cut):
        again = SimulatedStore(state)
        for number, key in enumerate(keys):
            assert again.get_execution(key).job == {"N": number}
            assert [found.id for found in again.get_executions(keys[-1 - number])] == [key]
        assert again.verify().ok
        for key in keys[::2]:
            again.delete_execution(key)
        assert sorted(found.id for found in again.list_executions()) == sorted(keys[1::2])
        assert again.verify().ok
        again.close()


def test_a_store_from_where_case_counts_is_not_opened(system: type[MacLike], monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(workload, "SimulatedFileSystem", SimulatedFileSystem)
        store = SimulatedStore(image)
        for step in plan_steps(["create"], random.Random(15)):
            step.run(store)
        store.close()
    before = image.files()
    for read_only in (False, True):
        with pytest.raises(UnsupportedFilesystemError, match="backup and restore"):
            SimulatedStore(image, read_only=read_only)
    assert image.files() == before


def test_index_entries_are_files_where_links_cannot_be_had(system: type[MacLike]) -> None:
    image = Image()
    store = SimulatedStore(image)
    for step in plan_steps(["create", "update_state"], random.Random(14)):
        step.run(store)
    entries = [data for path, data in image.files().items() if path.startswith(_INDEXES)]
    assert {type(data) for data in entries} == {bytes if system is WindowsLike else str}
    assert store.verify().ok
