"""The seam: what the store layer asks of an engine, and what an engine may count on.

The rules (``operations``, ``queries``, ``collection``, ``pruning``) are written once against these protocols; nothing
in them knows which engine it is. The directory tree, ``execstore.memory`` and ``execstore.etcd`` are engines;
``tests/conformance`` tells whether another one is. To write one:

1. implement ``Reader``, ``Change`` and ``Engine``; no class needs to derive from these;
2. give an opener, a function from ``EngineOptions`` to an open engine, and open stores by ``Store.on(opener)``, or name
   ``open_engine(address, options)`` as an entry point of the group ``execstore.engines``, under the scheme of its
   addresses, for `execstore.connect` and the command line;
3. run ``pytest tests/conformance --engine package.module:factory``.

What an engine keeps
    By ``Layout``: in *record collections* a document (bytes) a key; in *line collections* lines (bytes, each with its
    newline) a key; in *indexes* marks, each the key of a record under a group; one numbered *log*; and *values*, a few
    small JSON values that every change may set and every reader sees. All of it changes together or not at all.

    Keys and groups are text, any that UTF-8 can write, up to 4096 bytes of it. A *name* is how the engine calls a key
    where it lists many (an escaped file name, say). Lists are of names, unsorted.

Atomicity
    A change is everything or nothing, for every reader in every process, and all changes of a store are in one order.
    ``read`` shows the outcome of one change, never of half of one. ``commit`` returns when the change is durable (as
    far as ``EngineOptions.flush_commits`` asks for it) and every later ``read``, by whomever, shows it.

Locks or optimism
    What a one-shot change (`Engine.change`) reads must be true when it commits: an engine may keep others out from its
    beginning on (the tree does), or compare at the commit what was read, forget the change, and run the operation
    again. So an operation may be run several times, and has no effect but on the ``Change`` it is given. An engine may
    even answer with what it only believes to be so, if it makes sure before `Engine.change` returns **or raises**: an
    operation that was told a stale or guessed answer and raised because of it is run again. What a caller is told of
    the store (that an execution exists already, say) is the truth, is durable, and is shown to whoever looks next.

    Every operation that logs an event reads and sets the values (the log's numbers have no gaps), so two such changes
    always conflict. An optimistic engine therefore does well to know the newest values without asking.

    A transaction (`Engine.begin` … `Engine.commit`) can't be run again. The engine keeps other writers out until it
    ends, or, if it can't (a lease that ran out), raises ``TransactionConflictError`` at its commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from execstore.tree.reader import Name, WrongMarker
from execstore.tree.segments import LOG_VALUE, LogState, Rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from execstore.errors import StoreCorruptedError
    from execstore.notify import Notifier
    from execstore.tree.layout import Layout

__all__ = [
    "LOG_VALUE",
    "BulkReader",
    "Change",
    "Engine",
    "EngineOptions",
    "EngineStatus",
    "KeepingReader",
    "LogState",
    "Name",
    "Reader",
    "Rotation",
    "WrongMarker",
]

_T = TypeVar("_T")


class Reader(Protocol):
    """One look at the content: all answers are of one moment. Used by one thread, and only while the look lasts.

    A record or a list that is there but can't be read raises ``StoreCorruptedError``; see `damage`.
    """

    @property
    def values(self) -> Mapping[str, Any]:
        """What the store layer keeps beside the collections, JSON values by name. Not to be changed.

        ``LogState.of(values)`` is the log's state, under ``LOG_VALUE``, which the engine's `Change.append_log` sets.
        """

    # --- records ---

    def record(self, collection: str, key: str) -> bytes | None:
        """The document under this key, ``None`` if there is none."""

    def has_record(self, collection: str, key: str) -> bool:
        """Whether there is a document under this key. May be a guess in a change, see the module's text."""

    def record_names(self, collection: str) -> list[str]:
        """The names of all records of a collection, unsorted."""

    def record_named(self, collection: str, name: str) -> bytes | None:
        """The document under a name that `record_names` or `members` gave."""

    def has_record_named(self, collection: str, name: str) -> bool:
        """Whether there is a document under this name."""

    def key_of(self, name: str) -> str | None:
        """The key behind a name, ``None`` where only the content tells it. No look at the store is needed for it."""

    def name_of(self, key: str) -> str:
        """The name of a key; the same key always has the same name, and no two keys share one."""

    # --- lines ---

    def lines(self, collection: str, key: str) -> bytes | None:
        """The lines under this key, each with its newline, ``None`` (or ``b""``) if there are none."""

    def lines_bytes(self, collection: str, key: str) -> int:
        """How many bytes the lines under this key take."""

    def lines_names(self, collection: str) -> list[str]:
        """The names of all lists of lines of a collection, unsorted."""

    def has_lines_named(self, collection: str, name: str) -> bool:
        """Whether there are lines under a name."""

    # --- indexes ---

    def members(self, index: str, group: str) -> list[str]:
        """The names of the records that an index has under a group, unsorted; ``[]`` for a group that isn't there."""

    def groups(self, index: str) -> list[Name]:
        """The groups of an index, unsorted: each its name, and its text if the name tells it. A group may be empty."""

    def members_named(self, index: str, group_name: str) -> list[str]:
        """As `members`, by the name that `groups` gave."""

    def wrong_marker(self, layout: Layout, index: str, group: str, key: str) -> WrongMarker | None:
        """What is wrong with the mark of ``key`` under ``group`` (that it isn't there, say), ``None`` if nothing is."""

    # --- the log ---
    #
    # The log is collected from its beginning by whole segments. A segment is a run of consecutive lines; where one ends
    # follows from ``LogState.after`` alone, so that an engine which keeps line by line needs only to remember where
    # each segment begins.

    def segment_numbers(self, log: str) -> list[int]:
        """The first line's number of each of the log's segments, in order. Empty if the log is."""

    def segment_bytes(self, log: str, first: int) -> int:
        """The size of the segment that begins with line ``first``, newlines included; 0 if there is none."""

    def segment_end(self, log: str, first: int) -> bytes | None:
        """The last line, without its newline, of that segment, at a cost that doesn't grow with it; ``None``: none."""

    def segment_file(self, log: str, first: int) -> str:
        """What to call that segment, for `segment`, and in messages."""

    def segment(self, path: str, offset: int) -> bytes | None:
        """The bytes, from ``offset`` on, of the segment of this `segment_file`; ``None`` if there is none.

        Behind what ``values`` tell there may be more: what is just being added.
        """

    # --- for a person ---

    def record_file(self, collection: str, name: str) -> str:
        """What to call a record in messages: its path within the store, its key in the database."""

    def lines_file(self, collection: str, name: str) -> str:
        """The same for a list of lines."""

    def damage(self, collection: str, key: str, reason: str) -> StoreCorruptedError:
        """The error for a record that is there but isn't what was written; it says where it stands."""


class BulkReader(Reader, Protocol):
    """A reader to which many questions at once are cheaper: for engines behind a network. Optional.

    Each of these is used where a reader has it: queries use `records_named` instead of `record_named`, and who goes
    through many calls `prepare` first.
    """

    def records_named(self, collection: str, names: Sequence[str]) -> list[bytes | None]:
        """What `record_named` gives for each of these names, in their order."""

    def prepare(
        self,
        *,
        records: Mapping[str, Sequence[str]] | None = None,
        lines: Mapping[str, Sequence[str]] | None = None,
        marks: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        """Say what will be asked for, so that it can be asked for together.

        ``records`` and ``lines`` give names by collection, ``marks`` are an index, a group and a key each, for
        `wrong_marker`.
        """


class KeepingReader(Reader, Protocol):
    """A reader that remembers what was made of a document as long as that is the same. Optional.

    Queries use these where a reader has them. For one collection it is always the same ``make``, whose errors are let
    through; of what it keeps it gives out a ``copy``. What isn't there is ``None``.
    """

    def record_made(
        self, collection: str, key: str, make: Callable[[bytes], _T], copy: Callable[[_T], _T]
    ) -> _T | None:
        """``make(record(collection, key))``, maybe made before."""

    def record_named_made(
        self, collection: str, name: str, make: Callable[[bytes], _T], copy: Callable[[_T], _T]
    ) -> _T | None:
        """``make(record_named(collection, name))``, maybe made before."""


class Change(Reader, Protocol):
    """A change in the making: it reads what is committed with its own writes on top. Nothing happens until it is
    committed. Used by one thread at a time."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written. Still to be asked after its commit."""

    def set_value(self, name: str, value: Any) -> None:
        """Set one of the values (a JSON value that isn't changed afterwards). Setting it to what it is is no write."""

    def put_record(self, collection: str, key: str, data: bytes, *, is_new: bool = False) -> None:
        """The document under this key is ``data``. ``is_new``: there was none, as this change has read."""

    def remove_record(self, collection: str, key: str) -> None:
        """There is no document under this key, which there was."""

    def append_lines(self, collection: str, key: str, lines: bytes, *, is_new: bool = False) -> None:
        """Add lines (each with its newline) behind those there are. ``is_new``: there are none."""

    def put_lines(self, collection: str, key: str, lines: bytes) -> None:
        """Replace all lines under this key."""

    def remove_lines(self, collection: str, key: str) -> None:
        """There are no lines under this key; there needn't have been."""

    def mark(self, index: str, group: str, key: str) -> None:
        """The index has ``key`` under ``group``."""

    def move_mark(self, index: str, old_group: str, new_group: str, key: str) -> None:
        """The index has ``key`` under ``new_group`` instead of ``old_group``."""

    def unmark(self, index: str, group: str, key: str, *, drop_empty: bool) -> None:
        """The index no longer has ``key`` under ``group``; with ``drop_empty`` an empty group goes too."""

    def drop_group(self, index: str, group: str) -> None:
        """Remove a group if nothing is in it. Nothing to do for an engine whose groups are only parts of keys."""

    def next_log_number(self) -> int:
        """The number that the next line of the log gets: ``LogState.of(self.values).latest + 1``."""

    def append_log(self, line: bytes, time_ns: int) -> int:
        """Add a line (without newline) to the log; returns its number.

        It sets the log's state among the values to what ``LogState.after`` says for the segments' size and age that
        ``EngineOptions.rotation`` gives for the values with which the change began.
        """

    def drop_log_before(self, number: int) -> LogState:
        """Remove every segment of the log all of whose lines are below ``number``, as ``LogState.without_segments``
        says; returns the log's new state. The numbers of what is removed are never given again."""


class EngineStatus(Protocol):
    """How far a store has come. An engine without a journal says 0 of it."""

    @property
    def transaction(self) -> int:
        """A number that every change raises."""

    @property
    def journal_bytes(self) -> int:
        """How large the journal is."""

    @property
    def journal_used_bytes(self) -> int:
        """How much of its present file is written."""


class Engine(Protocol):
    """An open handle. Safe for many threads. Every call but `close` raises ``StoreClosedError`` once it is closed.

    It raises ``StoreReadOnlyError`` for a change if it was opened read-only, ``StoreBusyError`` if others kept it from
    changing for longer than the options' timeout, ``StoreFullError`` for what there is no room for (nothing was
    changed), and ``StoreFailedError`` where it can't know, or can't do; its ``outcome_open`` tells which.
    """

    on_change: Callable[[], None] | None
    """Called, if set, after each change that this handle made visible, by whatever thread; it is quick."""
    on_close: Callable[[], None] | None
    """Called, if set, once the handle is closed."""
    on_flush: Callable[[int], None] | None
    """Told, if set, how many nanoseconds a commit took to become durable; engines without such a step never call it."""

    @property
    def path(self) -> str:
        """What to call the store in messages: its folder, or its address without any password."""

    @property
    def read_only(self) -> bool:
        """Whether it was opened without the right to change anything."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""

    @property
    def process_id(self) -> int:
        """The process that opened it. In a forked child, where this is another's, only `abandon` is called."""

    @property
    def segment_bytes(self) -> int:
        """How large a segment of the log may become in this store, at most."""

    @property
    def store_id(self) -> str:
        """What tells this store from every other: made up when the store was made; a restored copy has its own."""

    @property
    def instead(self) -> Mapping[str, str]:
        """What to do instead of what this engine can't: operation (``"backup"``, ``"repair"``) to half a sentence.

        ``UnsupportedOperationError`` tells it: ``"backup is only for a store in a folder, … ; {half a sentence}"``.
        """

    # --- reading ---

    def read(self, look: Callable[[Reader], _T]) -> _T:
        """Call ``look`` with a reader of one moment, and give what it returns.

        The moment is after every commit that returned, in any process, before this was called. ``look`` has no effects;
        it may be called several times.
        """

    def read_log(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        """Up to ``maximum`` lines of the log (without newline) with their numbers, in order, from ``first`` on.

        Never less than one if ``first`` is not above the latest; fewer than asked for is fine. Lines that were
        collected are left out: it then begins with the oldest there is. Following the log by it reads each line once.

        Raises:
            StoreCorruptedError: lines are missing.
        """

    def values(self) -> Mapping[str, Any]:
        """The values of the moment that `read` would look at, without looking at anything else. Not to be changed."""

    def peek(self) -> Mapping[str, Any] | None:
        """The newest values if they can be had for next to nothing; ``None`` if only `read` can tell."""

    def open_notifier(self) -> Notifier:
        """What tells that the values may have changed, by whatever process; see ``execstore.notify``. It never fails:
        one that only polls (``PollingNotifier``) always works."""

    def status(self) -> EngineStatus | None:
        """How far the store has come; ``None`` if that can't be told just now."""

    # --- changing ---
    #
    # A transaction's change only ever comes back to the engine that gave it, so it may ask for its own class.

    def change(self, operation: Callable[[Change], _T]) -> _T:
        """Do one change: call ``operation`` with an empty one, commit it, and give what ``operation`` returned.

        If it raises, nothing happens and its error is passed on, in the way of `reject`. A change that stayed empty is
        not committed, but what it read stands, as after `reject`. It may be called several times, with new changes, and
        by another thread of this handle that does a change at the same time.
        """

    def begin(self) -> Change:
        """Begin a transaction. It must end in one of `commit`, `rollback`, `reject`, on whatever thread."""

    def try_begin(self) -> Change | None:
        """As `begin`, but ``None`` at once if another writer is in the way."""

    def commit(self, change: Any) -> None:
        """Make a transaction durable and show it; one that is empty ends as by `reject`.

        Raises:
            TransactionConflictError: others changed what it has read. Nothing was changed. Not raised by an engine
                that keeps others out.
        """

    def reject(self, change: Any) -> None:
        """End a transaction that can't be, whose caller is told why. See to it that what it read is true and durable.

        Raises:
            TransactionConflictError: it isn't true any more, or never was; as in `commit`.
        """

    def rollback(self, change: Any) -> None:
        """Forget a transaction. It never fails."""

    # --- life ---

    def close(self) -> None:
        """Give everything back. Twice is fine."""

    def abandon(self) -> None:
        """Let go of what a forked child has inherited, without a word to what it shares with its parent.

        The store then opens itself again by its opener, which raises where a child can't have it.
        """


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a store asks of the engine that it is opened on.

    ``flush_commits``: what returned survives a power cut, of all that the engine runs on. ``timeout_seconds``: how long
    to wait for other writers, and for a server. ``rotation`` tells from the values when a new segment of the log is
    begun, other than at the store's own size (``Rotation.within``); it is asked for each change, and cheap. ``mend`` is
    called with a change in which it may mend what a power cut tore; only an engine that can be torn calls it.
    """

    layout: Layout
    read_only: bool = False
    flush_commits: bool = True
    timeout_seconds: float = 30.0
    rotation: Callable[[Mapping[str, Any]], Rotation] = lambda _: Rotation()
    mend: Callable[[Change], None] | None = None
