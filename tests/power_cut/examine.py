"""Mount what a power cut left, open the store, and compare it with what had been acknowledged."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from execstore import Store
from execstore.errors import ExecStoreError
from execstore.watcher import EventIterator, GetEventsRequest
from tests.power_cut.cuts import Cut, choose_cuts
from tests.power_cut.history import LossError, content_of
from tests.power_cut.machine import FILE_SYSTEMS, MountError, mounted, workplace
from tests.power_cut.worker import Task
from tests.power_cut.workload import STORE, load_run
from tests.support import in_child

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.crash.workload import Content
    from tests.power_cut.workload import Run

__all__ = ["Outcome", "examine_cuts", "keep", "load", "try_cuts"]

_EVENTS_AT_ONCE = 1000


#: What a file system answers that finds itself damaged (btrfs: EIO).
_DAMAGED = frozenset({errno.EUCLEAN, errno.EIO})


@dataclass
class Outcome:
    """How cuts of one run went."""

    run: Run
    cuts: int = 0
    lost: list[tuple[Cut, str]] = field(default_factory=list)
    #: The file system itself was damaged, so that the store can't be blamed.
    damaged: list[tuple[Cut, str]] = field(default_factory=list)
    #: How many cuts within a block were made again with whole blocks, since the file system didn't stand the first.
    made_whole: int = 0


def try_cuts(run: Run, count: int, seed: str) -> Outcome:
    """Make so many cuts of a run, by chance from ``seed``."""
    return examine_cuts(run, choose_cuts(run.recording, run.history.moments(), seed, count))


def examine_cuts(run: Run, cuts: Sequence[Cut], *, until_lost: bool = False) -> Outcome:
    """Make these cuts; ``until_lost``: no more of them once one lost something."""
    outcome = Outcome(run)
    again: list[Cut] = []
    for cut, reason in _examine_each(run, cuts):
        outcome.cuts += 1
        if reason.startswith(_LOST):
            outcome.lost.append((cut, reason))
            if until_lost:
                return outcome
        elif reason:
            again.append(run.recording.with_whole_blocks(cut))
    outcome.made_whole = len(again)
    for cut, reason in _examine_each(run, again):
        if reason.startswith(_LOST):
            outcome.lost.append((cut, reason))
        elif reason:
            outcome.damaged.append((cut, reason))
    return outcome


_LOST, _SOUND, _BROKEN = "lost", "sound", "damaged"


def _examine_each(run: Run, cuts: Sequence[Cut]) -> Iterator[tuple[Cut, str]]:
    """Each cut, and nothing if all was well; else ``lost`` or ``damaged``, and why."""
    for cut, image in run.recording.images(cuts, run.folder):
        try:
            with mounted(run.kind, image, run.folder / "files") as files:
                # In a process of its own: it dies without closing the store, and leaves no descriptor on the mount.
                said = in_child(partial(_examine_or_tell, files / STORE, run, cut.moment))
        except MountError as error:
            said = f"{_BROKEN}: {error}"
        if said == _SOUND:
            yield cut, ""
        else:
            yield cut, said if said.startswith(_BROKEN) else f"{_LOST}: {said}"


def _examine_or_tell(path: Path, run: Run, moment: int) -> str:
    try:
        _examine(path, run, moment)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno in _DAMAGED:
                return f"{_BROKEN}: {error!r}"
            cause = cause.__cause__
        raise
    return _SOUND


def _examine(path: Path, run: Run, moment: int) -> None:
    """What must hold of a store after a cut at this moment of a run."""
    relaxed = run.task.relaxed
    if moment >= run.made and not (path / "FORMAT").exists():
        raise LossError("the store isn't there")
    shown = None if relaxed else _shown_to_reader(path, is_made=moment >= run.made)
    store = Store(path, lock_timeout=10)
    content = content_of(store)
    if shown is not None and shown != content:
        raise LossError("a handle that may only read saw something else than what the recovery brought")
    if not relaxed:
        run.history.check(content, run.recovered.cut if run.recovered else moment)
    if run.recovered is not None and moment >= run.recovered.moment and content != run.recovered.content:
        raise LossError("what a recovery had shown is no longer so after a second cut")
    _verify(store)
    store.engine().abandon()  # as if its process died
    for opening in ("second", "third"):
        with Store(path, lock_timeout=10) as store:
            if content_of(store) != content:
                raise LossError(f"the {opening} opening changed what the store holds")
            _verify(store)
            found = _events(store)
    seen_until = run.recovered.cut if run.recovered else moment
    for seen in () if relaxed else run.history.seen_by(seen_until):
        if found.get(seen.number) != seen.words:
            raise LossError(
                f"event {seen.number} is now {found.get(seen.number)}, and a watcher was shown {seen.words}"
            )


def _shown_to_reader(path: Path, *, is_made: bool) -> Content | None:
    try:
        with Store(path, read_only=True) as reader:
            return content_of(reader)
    except ExecStoreError:
        if is_made:
            raise
        return None


def _verify(store: Store) -> None:
    report = store.verify()
    if not report.ok:
        raise LossError(f"verify finds {report.problems}")


def _events(store: Store) -> dict[int, tuple[str, ...]]:
    """Every event as a watcher gets it, from the oldest to the latest."""
    events = store.event_store
    events.serializer.register_type("Plain", dict)
    found: dict[int, tuple[str, ...]] = {}
    oldest, latest = events.get_oldest_event_num(), events.get_latest_event_num()
    after = oldest - 1
    while after < latest:
        request = GetEventsRequest(EventIterator.after_sequence_number(after), limit=_EVENTS_AT_ONCE)
        answer = events.get_events(request, timeout=0).events
        if not answer:
            break
        for event in answer:
            found[event.seq_num] = (event.operation.value, event.object_type, str(event.timestamp))
            after = event.seq_num
    if list(found) != list(range(oldest, latest + 1)):
        raise LossError(f"a watcher gets the events {list(found)} of {oldest} to {latest}")
    return found


# --- failures that can be looked at again ---


def keep(run: Run, cut: Cut, reason: str, folder: Path) -> None:
    """Put all that is needed to make this cut again into a folder."""
    for name in ("base", "log", "made", "recovered"):
        if (run.folder / name).exists():
            shutil.copy(run.folder / name, folder / name)
    shutil.copytree(run.folder / "notes", folder / "notes")
    recipe = {
        "file_system": run.kind.name,
        "task": asdict(run.task),
        "cut": cut.to_dict(),
        "reason": reason,
    }
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1))


def load(kept: Path, folder: Path) -> tuple[Run, Cut]:
    """The run and the cut that `keep` kept, for work in ``folder``, which is made."""
    recipe = json.loads((kept / "recipe.json").read_text())
    kind = next(kind for kind in FILE_SYSTEMS if kind.name == recipe["file_system"])
    shutil.copytree(kept, folder)
    return load_run(kind, Task(**recipe["task"]), folder), Cut.from_dict(recipe["cut"])


def main(kept: str) -> None:
    """Make a cut that was kept once more, and say what comes of it."""
    with workplace() as folder:
        run, cut = load(Path(kept), folder / "run")
        outcome = examine_cuts(run, [cut])
    for _, reason in (*outcome.lost, *outcome.damaged):
        print(reason)
    if not outcome.lost and not outcome.damaged:
        print("sound")


if __name__ == "__main__":
    main(*sys.argv[1:])
