"""Disks that say no: at each call of each operation, once or from then on, and at each flush."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
from typing import TYPE_CHECKING

import pytest

from execstore.errors import ExecStoreError, StoreFailedError, StoreFullError, StoreReadOnlyError
from tests.crash.explore import Reference
from tests.crash.simulated import Image, Plan
from tests.crash.workload import KINDS, Content, Model, SimulatedStore, Step, content_of, plan_steps, view_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.crash.simulated import Call

CODES = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE)
SHORT = 0  # in place of a code: the write comes to half
FLUSHES = {"flush", "sync", "sync_folder"}


class Fault:
    """Lets the ``at``-th call fail, and with ``for_good`` each one after it."""

    def __init__(self, code: int, at: int, *, for_good: bool = False) -> None:
        self._code = code
        self._at = at
        self._for_good = for_good
        self._calls = 0
        self._store: SimulatedStore | None = None
        self.met: Call | None = None

    def begin(self, store: SimulatedStore) -> None:
        self._store = store
        store.file_system.watch = self
        store.file_system.watch_reads = self

    def end(self) -> None:
        if self._store is not None:
            self._store.file_system.watch = None
            self._store.file_system.watch_reads = None

    def __call__(self, call: Call) -> None:
        self._calls += 1
        if self._store is None or self._calls < self._at or (self.met is not None and not self._for_good):
            return
        self.met = self.met or call
        if self._code == SHORT:
            self._store.file_system.writes_short = call.operation in {"pwrite", "create", "overwrite"}
            return
        self._store.file_system.fail_flush(call)
        raise OSError(self._code, os.strerror(self._code), call.path)


class Scene:
    """A used store, one step on it, and what it must leave."""

    def __init__(self, kind: str, seed: int) -> None:
        chance = random.Random(f"{seed} {kind}")
        model = Model()
        kinds = [chance.choice(KINDS[2:]) for _ in range(seed % 7)]
        before = Reference(plan_steps([*kinds, "create", "create"], chance, model))
        self.start = before.images[-1]
        self.before = before.contents[-1]
        self.steps = plan_steps([kind, "own_event"], chance, model, first=50)
        self.step, self.next = self.steps[-2:]

    def outcome(self, steps: Sequence[Step]) -> Content:
        image = self.start.fork()
        store = SimulatedStore(image)
        for step in steps:
            step.run(store)
        return content_of(image)


@pytest.mark.parametrize("code", [*CODES, SHORT], ids=[*(errno.errorcode[code] for code in CODES), "short write"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_fails(kind: str, code: int) -> None:
    """Whatever fails: all of the operation or nothing, and the error doesn't say the opposite of what happened."""
    scene = Scene(kind, 3)
    after, later, only_later = (scene.outcome(steps) for steps in ([scene.step], scene.steps[-2:], [scene.next]))
    for number in itertools.count(1):
        image = scene.start.fork()
        store = SimulatedStore(image)
        fault = Fault(code, number)
        fault.begin(store)
        error = _attempt(store, scene.step)
        fault.end()
        if fault.met is None:
            assert error is None
            break
        place = f"{fault.met}: {error}"
        allowed = _allowed(error, scene.before, after)
        shown = store.look(view_of)
        # What is committed on a full disk is shown once there is room, and the next change made.
        visible = [scene.before, *allowed] if isinstance(error, StoreFullError) else allowed
        assert shown in [(content.seen(), content.values) for content in visible], place
        next_error = _attempt(store, scene.next)
        if isinstance(error, StoreFailedError) and fault.met.operation == "flush":
            assert isinstance(next_error, StoreFailedError), place
        if next_error is None:
            allowed = [later if content is after else only_later for content in allowed]
        elif isinstance(next_error, StoreFailedError):
            allowed = [*allowed, later, only_later]
        else:
            raise AssertionError(f"{place}; and then, with a good disk: {next_error}")
        for left, wanted in ((Plan(image).nothing(), allowed), (image, allowed)):
            store.kill()
            reopened = SimulatedStore(left)
            assert content_of(left) in wanted, place
            assert reopened.verify().ok, place
            reopened.close()


def _attempt(store: SimulatedStore, step: Step) -> ExecStoreError | None:
    """The error of a step, ``None`` if it succeeded. No other error than the store's own is let through."""
    try:
        step.run(store)
    except LookupError:
        raise
    except ExecStoreError as error:
        failure = error
    else:
        return None
    assert "; " in str(failure), f"it doesn't say what to do: {failure}"
    return failure


def _allowed(error: ExecStoreError | None, before: Content, after: Content) -> list[Content]:
    if error is None or (isinstance(error, StoreFullError) and error.committed):
        return [after]
    if isinstance(error, StoreFullError | StoreReadOnlyError):
        return [before]
    return [before, after]  # the outcome is open


@pytest.mark.parametrize(
    ("code", "syncs_all"),
    [(errno.EIO, True), (errno.ENOSPC, True), (errno.EDQUOT, False)],
    ids=["EIO", "ENOSPC", "EDQUOT, each file"],
)
def test_a_flush_that_fails_is_not_tried_again(code: int, syncs_all: bool) -> None:
    """The kernel forgets what it could not write: flushing once more would succeed and prove nothing."""
    chance = random.Random(8)
    steps = plan_steps(["create", "create", "update_state", "transaction", "add_events", "own_event"] * 4, chance)
    for number in itertools.count(1):
        image = Image()
        store = SimulatedStore(image, syncs_all=syncs_all)
        fault = FlushFault(code, number, store)
        store.file_system.watch = fault
        allowed = [content_of(image)]
        for step in steps:
            refused = _attempt(store, step) is not None
            if refused or fault.met is not None:
                break
            allowed = [content_of(image)]
        store.file_system.watch = None
        if fault.met is None:
            break
        if not refused:  # it was what is done beside a commit that failed, and this one is acknowledged
            allowed = []
        store.look(view_of)
        assert isinstance(_attempt(store, steps[0]), StoreFailedError)
        allowed.append(_outcome(steps[: steps.index(step) + 1]))
        # Another process joins while the failed one is there, and shows what then must stay.
        joined = SimulatedStore(image, syncs_all=syncs_all)
        joined.checkpoint("more", number)
        kept = {path: data for path, data in content_of(image).files.items() if "/more.json" not in path}
        assert kept in [content.files for content in allowed], f"{fault.met} of {number}"
        cut = Plan(image).nothing()
        SimulatedStore(cut, syncs_all=syncs_all).kill()
        assert content_of(cut) == content_of(image), f"{fault.met} of {number}"
        # It goes on until nothing is left in the journals of what was done before.
        for step in plan_steps(["create_huge"] * 3, chance, first=900):
            step.run(joined)
        found = content_of(image)
        for each in (joined, store):
            each.kill()
        for left in (Plan(image).nothing(), Plan(image).everything(), image):
            reopened = SimulatedStore(left, syncs_all=syncs_all)
            assert content_of(left) == found, f"{fault.met} of {number}"
            assert reopened.verify().ok
    assert number > 20


class FlushFault(Fault):
    """Only flushes count, and only those of changes: not those of an opening."""

    def __init__(self, code: int, at: int, store: SimulatedStore) -> None:
        super().__init__(code, at)
        self._store = store

    def __call__(self, call: Call) -> None:
        if call.operation in FLUSHES:
            super().__call__(call)


def _outcome(steps: Sequence[Step]) -> Content:
    image = Image()
    store = SimulatedStore(image)
    for step in steps:
        step.run(store)
    return content_of(image)


@pytest.mark.parametrize("inodes", [False, True], ids=["bytes", "inodes"])
@pytest.mark.parametrize("room", [0, 1, 2, 3, 5, 8, 13, 30])
def test_a_full_disk_heals(room: int, inodes: bool) -> None:
    """Until there is room nothing is lost, everything can be read, and no change is refused in part."""
    scene = Scene("create", 5)
    image = scene.start.fork()
    image.room_bytes, image.room_inodes = (1 << 30, room) if inodes else (room * 4096, 1 << 20)
    store = SimulatedStore(image)
    kinds = ["create", "add_events", "create_huge", "transaction", "own_event"] * 6
    refused = 0
    content = scene.before
    for step in plan_steps(kinds, random.Random(9), first=400):
        with contextlib.suppress(LookupError):  # it may speak of an execution that couldn't be created
            error = _attempt(store, step)
            if isinstance(error, StoreFullError):
                refused += 1
                assert not error.committed, "the reserve should have been enough"
                assert content_of(image) == content
            else:
                assert error is None
        content = content_of(image)
        assert store.look(view_of) == (content.seen(), content.values)
    assert refused
    assert store.verify().ok
    for left in (Plan(image).nothing(), image.fork()):
        SimulatedStore(left).kill()
        assert content_of(left) == content
    image.room_bytes = image.room_inodes = 1 << 30
    scene.step.run(store)
    assert store.verify().ok
    store.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=["EIO", "ENOSPC", "EROFS"])
@pytest.mark.parametrize("kind", ["create", "update_state", "transaction", "create_huge"])
def test_reads_go_on_where_nothing_can_be_written_any_more(kind: str, code: int) -> None:
    """From any call on, every write and flush fails. Who may write can read all the same, and one moment at that."""
    scene = Scene(kind, 4)
    after = scene.outcome([scene.step])
    for number in itertools.count(1):
        image = scene.start.fork()
        store = SimulatedStore(image)
        other = SimulatedStore(image)
        fault = Fault(code, number, for_good=True)
        fault.begin(store)
        store.file_system.watch_reads = None
        other.file_system.watch = fault
        if _attempt(store, scene.step) is None and fault.met is None:
            break
        seen = [(content.seen(), content.values) for content in (scene.before, after)]
        for reader in (store, other, SimulatedStore(image, read_only=True)):
            assert reader.look(view_of) in seen, fault.met
        store.kill()
        other.kill()
        SimulatedStore(image).close()
        assert content_of(image) in (scene.before, after), fault.met
