"""``execstore explain layout``: a small store, and what each file and folder in it is."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from execstore import Event, Execution, ExecutionState, State, Store, UpdateExecutionRequest
from execstore.explain.kinds import kind_of
from execstore.explain.parts import Entry, Heading
from execstore.explain.scratch import make_store, new_execution, walk
from execstore.tree.names import RESERVE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.explain.parts import Part
    from execstore.explain.place import Place

__all__ = ["explain"]


def explain(place: Place, *, lies: bool = False) -> Iterator[Part]:  # noqa: ARG001 - nothing is cut off here
    """The parts of the explanation."""
    make_store(place.store)
    with Store(place.store) as store:
        for number in (1, 2):
            store.create_execution(new_execution(f"e-{number}"), Event("Execution", "created"))
        store.update_execution_state(
            UpdateExecutionRequest("e-2", Execution(compute_state=State(ExecutionState.RUNNING)))
        )
        store.event_store.store_checkpoint("mailer", 1)
        store.checkpoint("invoices", 17)
    yield Heading(
        "A small store, file by file",
        ("Two executions of one job: e-1 is New, e-2 is Running. A watcher has handled the first event.",),
    )
    reserve = sorted(os.listdir(os.path.join(place.store, RESERVE_FOLDER)))
    for path, status in walk(place.store):
        kind = kind_of(path)
        what = _what(os.path.join(place.store, path), status)
        folder, _, name = path.rpartition("/")
        if folder == RESERVE_FOLDER:  # all alike
            if name != reserve[0]:
                continue
            what = f"{what}, and {len(reserve) - 1} more"
        yield Entry(path, what, kind.sentence, kind.section)


def _what(path: str, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return f"→ {os.readlink(path)}"
    if stat.S_ISDIR(status.st_mode):
        return ""
    return f"{status.st_size:,} bytes" if status.st_size else "empty"
