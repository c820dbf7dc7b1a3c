"""A collection of the event log, cut off at every call."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.crash.explore import Thoroughness
from tests.crash.simulated import Image
from tests.crash.workload import NOW_NS, SimulatedStore, content_of, plan_steps

if TYPE_CHECKING:
    from tests.crash.conftest import Effort
    from tests.crash.simulated import Call

MUCH_LATER_NS = NOW_NS + 48 * 3600 * 10**9


@pytest.mark.parametrize("checkpoint", [None, 5], ids=["all of it", "a part"])
def test_a_collection(checkpoint: int | None, effort: Effort) -> None:
    """The segments go and the head says so, or neither."""
    image = Image()
    store = SimulatedStore(image)
    for step in plan_steps(["create", "update_state"] * 4, random.Random(8)):
        step.run(store)
    if checkpoint is not None:
        store.event_store.store_checkpoint("w", checkpoint)
    before = content_of(image)
    expected = image.fork()
    report = SimulatedStore(expected, now_ns=MUCH_LATER_NS).collect_events()
    after = content_of(expected)
    assert report.segments >= 1
    assert (report.oldest == report.latest + 1) == (checkpoint is None)

    with effort.explorer(8, Thoroughness(bound=64, limit=effort.amount(10, 60), recovery_every=10)) as explorer:
        calls: list[Call] = []

        def watch(call: Call) -> None:
            calls.append(call)
            explorer.stop(image, (before, after))

        collector = SimulatedStore(image, watch, now_ns=MUCH_LATER_NS)
        assert collector.collect_events() == report
        explorer.stop(image, (after,))
    assert sum(call.operation == "remove" for call in calls) == report.segments


def test_numbers_go_on_behind_a_collection_that_was_cut_off(effort: Effort) -> None:
    image = Image()
    store = SimulatedStore(image)
    for step in plan_steps(["create", "update_state"] * 2, random.Random(9)):
        step.run(store)
    latest = store.event_store.get_latest_event_num()
    cuts: list[Image] = []
    collector = SimulatedStore(image, lambda call: cuts.append(image.fork()), now_ns=MUCH_LATER_NS)
    collector.collect_events()
    for cut in cuts:
        again = SimulatedStore(cut, now_ns=MUCH_LATER_NS)
        plan_steps(["own_event"], random.Random(9))[0].run(again)
        assert again.event_store.get_latest_event_num() > latest
        assert again.verify().ok
