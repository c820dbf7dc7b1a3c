"""What the help screen says: the keys, and what each number stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from execstore.top.wrapping import hanging

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KEYS", "help_lines"]

KEYS: Final = (
    ("q", "quit"),
    ("?", "help"),
    ("/", "filter"),
    ("s", "state"),
    ("j", "job"),
    ("Enter", "open"),
    ("Tab", "other list"),
    ("p", "pause"),
)
"""What the last line of the screen shows, the most important first."""

_NAME_WIDTH: Final = 15

_KEYS: Final = (
    ("q, Ctrl-C", "quit"),
    ("arrows, PgUp …", "move in the list under the thick line; Home and End go to its ends"),
    ("End", "in the events: follow the newest again"),
    ("Tab", "go to the other list"),
    ("Enter", "open the execution: what it is, its events, its history"),
    ("Esc", "go back; in the lists: drop the filter"),
    (
        "/",
        (
            "filter while you type: words that stand in the ID, the job, the node or the message, state:failed, "
            "job:thumbnails. The beginning of a state's name is enough."
        ),
    ),
    ("s, S", "filter by the next state, or by the one before"),
    ("j", "only the job of the current row; again: all jobs"),
    ("o", "turn the order of the executions round"),
    ("c", "copy the whole ID of the current row, where the terminal allows it"),
    ("p, Space", "pause: the screen stands still, the counting goes on"),
    ("?", "this page"),
    ("mouse", "click, click twice, wheel; to mark text, hold Shift"),
)

_SHOWN: Final = (
    (
        "Executions",
        (
            "by state: how many now, by how many they have grown or shrunk, and a bar for each part of the last "
            "minutes. No bar: none. A step of a bar is one execution, or more where the number changed by more "
            "than 7. What was before the start is worked out from the event log, as far as it is read at the "
            "start."
        ),
    ),
    (
        "commits/s",
        (
            "transactions of all processes over the last 10 seconds, by the store's own count; a watcher's "
            "checkpoint is one, too. Known from the second look on."
        ),
    ),
    ("events/s", "the same of the events in the event log, and how many there were in the last 5 minutes"),
    (
        "seen after",
        (
            "from the moment in which a process began to write a change (the event's time) to the moment in "
            "which this program was told: the commit's own work, its flush, and the notice. So a commit takes "
            "no longer than that; but the wait for the lock before it isn't in it. Median and most of the last "
            "changes (up to 60) that came while this program was waiting for one. '-' where the kernel doesn't "
            "tell of changes (without execstore[watch]), and of a store that isn't in a folder. How long flushes "
            "take only the process knows that commits: Store.metrics() there."
        ),
    ),
    ("newest event", "its number, and how old it is"),
    ("event log", "its size on the disk, and how many events are in it"),
    (
        "most behind",
        (
            "the watcher that has most events left to handle, and how many. 'holds log': old events are kept "
            "because of it. 'lost': how many it will never see."
        ),
    ),
    ("journal used", "of the file that each change is written to first"),
    (
        "live executions",
        (
            "those that are accepted, running or publishing, the oldest first. With a state in the filter: "
            "those in that state; of very many only the first that fit, by ID."
        ),
    ),
    (
        "events",
        (
            "those of the event log, the newest last. Of more than 2,000 between two looks only the newest are "
            "shown, and it is told how many were skipped."
        ),
    ),
)


def help_lines(width: int) -> Iterator[Text]:
    """The page, in lines of at most ``width`` columns."""
    for title, entries in (("Keys", _KEYS), ("What is shown", _SHOWN)):
        yield Text(title, "bold")
        for name, text in entries:
            yield from hanging(f"  {name:<{_NAME_WIDTH}}", text, width)
        yield Text()
