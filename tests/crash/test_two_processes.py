"""Two processes on one store: one dies at every call while the other goes on, and their changes share a flush."""

from __future__ import annotations

import contextlib
import itertools
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from execstore.errors import ExecStoreError, StoreBusyError
from tests.crash.explore import Explorer, Reference, Thoroughness
from tests.crash.simulated import Killed
from tests.crash.workload import KINDS, LATER_NS, Content, Model, SimulatedStore, Step, content_of, plan_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.crash.conftest import Effort
    from tests.crash.simulated import Call, Image

# How much happened before: the journal is nearly empty, in the middle, and full with the next change.
USED = (0, 3, 5, 9)


class Pair(NamedTuple):
    """Two changes that don't depend on one another, and what each sequence of them makes of a store."""

    start: Image
    first: Step
    second: Step
    outcomes: dict[str, Content]

    def of(self, *names: str) -> tuple[Content, ...]:
        return tuple(self.outcomes[name] for name in names if name in self.outcomes)

    def open(self, explorer: Explorer, image: Image, names: Sequence[str]) -> tuple[Content, ...]:
        """What may come of this moment: what readers see now, and what may follow that."""
        shown = explorer.shown(image, self.of(*names))
        now = next((name for name, content in self.outcomes.items() if content == shown), "")
        return self.of(*(name for name in names if name.startswith(now)))


def make_pair(first_kind: str, second_kind: str, used: int, seed: object) -> Pair:
    chance = random.Random(f"{seed} {first_kind} {second_kind} {used}")
    kinds = [chance.choice(KINDS[2:]) for _ in range(used)]
    model = Model()
    reference = Reference(plan_steps([*kinds, "create", "create"], chance, model, first=100))
    start = reference.images[-1]
    first = plan_steps([first_kind], chance, _copy(model), first=200)[-1]
    second = plan_steps([second_kind], chance, _copy(model), first=300)[-1]
    outcomes = {"": reference.contents[-1]}
    for name, steps in {"a": [first], "b": [second], "ab": [first, second]}.items():
        image = start.fork()
        store = SimulatedStore(image)
        try:
            for step in steps:
                step.run(store)
        except ExecStoreError:
            continue  # the second isn't possible after the first
        outcomes[name] = content_of(image)
    return Pair(start, first, second, outcomes)


def _copy(model: Model) -> Model:
    copy = Model(log=list(model.log), sequences=dict(model.sequences), watchers=dict(model.watchers))
    for key, expected in model.executions.items():
        copy.create(key, expected.job_id, expected.state, [])
    copy.log = list(model.log)
    return copy


def stage(store: SimulatedStore, step: Step) -> Callable[[], None]:
    """Let a step write its record and nothing else; what is returned does the rest."""
    tree = store.tree("stage")
    staged: list[int] = []
    tree._finish = staged.append  # type: ignore[method-assign, assignment]
    try:
        step.run(store)
    finally:
        del tree._finish
    return lambda: tree._finish(staged[0])


def pairs(effort: Effort, usual: int, seed: int) -> Iterator[tuple[int, Pair]]:
    """Pairs of kinds on stores used for different times: some of them by chance, all in a long run."""
    everything = list(itertools.product(KINDS, KINDS, USED))
    for number in effort.seeds(seed):
        chosen = everything if effort.is_long else random.Random(number).sample(everything, usual)
        for first, second, used in chosen:
            yield number, make_pair(first, second, used, number)


class Death:
    """Kills a process at its ``at``-th call; ``half``: that call is a write of which a part is still done."""

    def __init__(self, at: int, *, half: bool = False) -> None:
        self.calls = 0
        self._at = at
        self._half = half
        self.store: SimulatedStore | None = None

    def __call__(self, call: Call) -> None:
        self.calls += 1
        if self.store is not None and self.calls > self._at:
            if self._half and call.operation in {"pwrite", "create", "overwrite"}:
                self.store.file_system.dies_halfway = True
                return
            self.store.kill()
            raise Killed


class Stops:
    """Stops at each call of a process, once it is switched on."""

    def __init__(
        self,
        explorer: Explorer,
        image: Image,
        pair: Pair,
        names: Sequence[str] = ("", "a", "b", "ab"),
        after: Callable[[Image, Content], None] | None = None,
    ) -> None:
        self.is_on = False
        self._reader: SimulatedStore | None = None
        self._explorer = explorer
        self._image = image
        self._pair = pair
        self._names = names
        self._after = after

    def __call__(self, call: Call) -> None:
        if self.is_on:
            explorer, image = self._explorer, self._image
            if self._reader is None:
                self._reader = SimulatedStore(image, read_only=True)
            explorer.reader = self._reader
            with explorer.at(call):
                explorer.stop(image, self._pair.open(explorer, image, self._names), self._after)


FEW = Thoroughness(bound=4, limit=3, recovery_every=400, work_every=40)


@pytest.mark.parametrize("half", [False, True], ids=["between calls", "within a write"])
def test_one_dies_at_every_call_and_another_goes_on(half: bool, effort: Effort) -> None:
    for seed, pair in pairs(effort, 4, 11):
        with effort.explorer(seed, FEW) as explorer:
            for number in itertools.count():
                image = pair.start.fork()
                death = Death(number, half=half)
                dying = SimulatedStore(image, death)
                death.calls = 0
                stops = Stops(explorer, image, pair)
                other = SimulatedStore(image, stops)
                stops.is_on = True
                death.store = dying
                try:
                    pair.first.run(dying)
                except (Killed, ExecStoreError) as error:
                    if not dying.file_system.dead:
                        raise AssertionError(f"nobody else was there, but: {error!r}") from error
                    with explorer.at(f"{pair.first.kind} dies at {number}, {pair.second.kind} goes on"):
                        _go_on(explorer, image, other, pair)
                else:
                    assert number > 4
                    break


def _go_on(explorer: Explorer, image: Image, store: SimulatedStore, pair: Pair) -> None:
    allowed = pair.of("b", "ab")
    try:
        pair.second.run(store)
    except ExecStoreError:
        # The first was done after all, and doesn't leave room for this one.
        assert "ab" not in pair.outcomes
        allowed = pair.of("a")
    found = content_of(image)
    assert found in allowed, f"{pair.first.kind}, {pair.second.kind}"
    explorer.stop(image, (found,))


def test_one_dies_at_every_call_and_another_joins(effort: Effort) -> None:
    """The handle of a third process keeps the store open, so whoever comes doesn't recover it."""
    for seed, pair in pairs(effort, 4, 12):
        with effort.explorer(seed, FEW) as explorer:
            for number in itertools.count():
                image = pair.start.fork()
                death = Death(number)
                dying = SimulatedStore(image, death)
                idle = SimulatedStore(image)
                death.calls, death.store = 0, dying
                try:
                    pair.first.run(dying)
                except Killed:
                    with explorer.at(f"{pair.first.kind} dies at {number}, {pair.second.kind} joins"):
                        stops = Stops(explorer, image, pair)
                        stops.is_on = True
                        _go_on(explorer, image, SimulatedStore(image, stops), pair)
                        assert content_of(image) in pair.of("a", "b", "ab")
                        idle.close()
                        explorer.stop(image, (content_of(image),))
                else:
                    break


@pytest.mark.parametrize("survivor", ["both", "second", "nobody"])
def test_two_changes_share_a_flush(survivor: str, effort: Effort) -> None:
    """The second record is only worth anything behind the first one, whatever is left of the two."""
    thoroughness = Thoroughness(bound=8, limit=effort.amount(5, 24), recovery_every=400, work_every=2)
    for seed, pair in pairs(effort, 8, 13):
        if "ab" not in pair.outcomes:
            continue
        with effort.explorer(seed, thoroughness) as explorer, explorer.at((pair.first.kind, pair.second.kind)):
            image = pair.start.fork()
            again = _again(explorer, pair)
            stops = Stops(explorer, image, pair, ("", "a", "ab"), again)
            first, second = SimulatedStore(image, stops), SimulatedStore(image, stops)
            finish_first = stage(first, pair.first)
            stops.is_on = True
            finish_second = stage(second, pair.second)
            explorer.stop(image, pair.of("", "a", "ab"), again)
            if survivor == "both":
                finish_first()
                explorer.stop(image, pair.of("ab"))
                finish_second()
            elif survivor == "second":
                first.kill()
                finish_second()
            else:
                first.kill()
                second.kill()
                SimulatedStore(image, stops)
            assert content_of(image) == pair.outcomes["ab"]
            explorer.stop(image, pair.of("ab"))


def _again(explorer: Explorer, pair: Pair) -> Callable[[Image, Content], None]:
    """Both try again, later, whatever wasn't done: what stands behind a torn record must never come back to life."""

    def try_again(image: Image, found: Content) -> None:
        done = next(name for name, content in pair.outcomes.items() if content == found)
        steps = {"": [pair.first, pair.second], "a": [pair.second], "ab": []}[done]
        expected_image = pair.start.fork()
        before = SimulatedStore(expected_image)
        for step in [pair.first, pair.second][: len(done)]:
            step.run(before)
        before.close()
        expected = SimulatedStore(expected_image, now_ns=LATER_NS)
        store = SimulatedStore(image, now_ns=LATER_NS)
        for step in steps:
            step.run(expected)
            step.run(store)
            content = content_of(expected_image)
            assert content_of(image) == content
            explorer.stop(image, (content,))

    return try_again


class Meeting:
    """Lets a second process write its record before the ``at``-th call of the first, or as soon as the locks let it."""

    def __init__(self, explorer: Explorer, image: Image, pair: Pair, at: int) -> None:
        self.second: SimulatedStore | None = None
        self.finish: Callable[[], None] | None = None
        self._pair = pair
        self._at = at
        self._calls = 0
        self._stops = Stops(explorer, image, pair)
        self._stops.is_on = True

    def __call__(self, call: Call) -> None:
        if self.second is None:
            return
        self._calls += 1
        if self._calls > self._at and self.finish is None:
            with contextlib.suppress(StoreBusyError):
                self.finish = stage(self.second, self._pair.second)
        if self.finish is not None:
            self._stops(call)


def test_one_change_begins_at_every_call_of_another(effort: Effort) -> None:
    """Two processes at once: where the locks let it, the second writes its record in the middle of the first's way."""
    # A huge change goes on in the other journal file, in any case.
    full = [
        (seed, make_pair("create_huge", kind, 2, seed)) for seed in effort.seeds(14) for kind in ("create", "delete")
    ]
    for seed, pair in itertools.chain(full, pairs(effort, 6, 14)):
        if "ab" not in pair.outcomes:
            continue
        with effort.explorer(seed, FEW) as explorer:
            for number in itertools.count():
                image = pair.start.fork()
                meeting = Meeting(explorer, image, pair, number)
                first = SimulatedStore(image, meeting)
                meeting.second = SimulatedStore(image)
                with explorer.at(f"{pair.second.kind} in {pair.first.kind} at {number}"):
                    pair.first.run(first)
                    if meeting.finish is None:
                        break
                    # What was answered stays, with or without the other one.
                    explorer.stop(image, _with("a", pair))
                    meeting.finish()
                    found = content_of(image)
                    explorer.stop(image, (found,))
                    assert found in _with("ab", pair)
                    first.file_system.watch = None
                    first.checkpoint("last", number)
                    explorer.stop(image, (content_of(image),))


def _with(names: str, pair: Pair) -> tuple[Content, ...]:
    """Outcomes in which these are done; the order is that of their records."""
    image = pair.start.fork()
    store = SimulatedStore(image)
    chosen = pair.of("a", "ab") if names == "a" else pair.of("ab")
    try:
        pair.second.run(store)
        pair.first.run(store)
    except ExecStoreError:
        return chosen
    return (*chosen, content_of(image))
