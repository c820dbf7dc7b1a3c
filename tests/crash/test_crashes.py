"""One process: every operation, alone and after every other, cut off at every call."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.crash.explore import EMPTY, Explorer, Reference, Thoroughness
from tests.crash.simulated import Image, Plan
from tests.crash.workload import KINDS, SimulatedStore, content_of, pairs_of_kinds, plan_steps

if TYPE_CHECKING:
    from tests.crash.conftest import Effort

CHUNK = 36


@pytest.mark.parametrize("syncs_all", [True, False], ids=["syncfs", "each file"])
@pytest.mark.parametrize("part", range(4))
def test_every_pair_of_operations(part: int, syncs_all: bool, effort: Effort) -> None:
    """On a store that is used more and more: its journal is full every few steps, a log segment at nearly each."""
    for seed in effort.seeds(1 if syncs_all else 2):
        chance = random.Random(seed)
        kinds = pairs_of_kinds(chance)[part * CHUNK : (part + 1) * CHUNK + 1]
        if not syncs_all and not effort.is_long:
            kinds = kinds[: CHUNK // 3]
        reference = Reference(plan_steps(kinds, chance))
        with effort.explorer(seed, syncs_all=syncs_all) as explorer:
            explorer.history(reference)


@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_on_a_fresh_store(kind: str, effort: Effort) -> None:
    for seed in effort.seeds(3):
        chance = random.Random(f"{seed} {kind}")
        reference = Reference(plan_steps([kind], chance))
        with effort.explorer(seed, Thoroughness(bound=32, limit=effort.amount(6, 60), recovery_every=40)) as explorer:
            explorer.history(reference)


def test_making_a_store(effort: Effort) -> None:
    """Whatever is left of it: either there is a store, or making it starts over."""
    with effort.explorer(
        4, Thoroughness(bound=256, limit=effort.amount(5, 200), recovery_every=80, work_every=1)
    ) as explorer:
        explorer.history(Reference(plan_steps(["create", "own_event"], random.Random(4))), with_making=True)


def test_the_same_seed_makes_the_same_states(effort: Effort) -> None:
    reference = Reference(plan_steps(["create", "update_state"], random.Random(5)))
    explorers = [Explorer(5), Explorer(5)]
    for explorer in explorers:
        explorer.history(reference)
    assert str(explorers[0]) == str(explorers[1])
    assert explorers[0].chance.random() == explorers[1].chance.random()


def test_a_head_on_disk_that_says_clean_is_out_of_date_once_the_journal_goes_on() -> None:
    """It was believed after three changes of the journal file, where nothing else had ever flushed the head.

    The record that would have refuted it is torn: its first sector is there, the rest is of an older one.
    """
    image = Image()
    steps = plan_steps(["create", "update_output"] * 12, random.Random(6))
    contents = [EMPTY]
    cuts: list[Image] = []

    store = SimulatedStore(image, lambda call: cuts.append(Plan(image).first_sector()), syncs_all=False)
    for step in steps:
        cuts.clear()
        step.run(store)
        contents.append(content_of(image))
        for cut in cuts:
            SimulatedStore(cut, syncs_all=False).kill()
            assert content_of(cut) in contents[-2:]


def test_half_a_rename_is_mended() -> None:
    """Old and new name of an index entry, both of one file, as a file system without a journal may leave them."""
    image = Image()
    store = SimulatedStore(image)
    for step in plan_steps(["create", "update_state"], random.Random(7)):
        step.run(store)
    expected = content_of(image)
    entry = next(path for path in expected.files if path.startswith("idx_executions_by_state/"))
    _, state, name = entry.split("/")
    other = next(group for group in image.folder("idx_executions_by_state").live if group != state)
    image.folder(f"idx_executions_by_state/{other}").live[name] = image.folder(entry.rpartition("/")[0]).live[name]
    store.kill()
    SimulatedStore(image).kill()
    assert content_of(image) == expected
