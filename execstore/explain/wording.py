"""What a call does, in words. They are derived from the call: its kind of file, what was written, what stood there.

No order of calls is known here, so whatever the engine does next, each step is still told by what it is.
"""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from execstore.explain.kinds import kind_of
from execstore.explain.recording import OPENED, RETURNED
from execstore.tree.format_file import parse_format
from execstore.tree.head import Head, parse_head
from execstore.tree.journal import Record, parse_record, seed
from execstore.tree.names import FORMAT_PATH
from execstore.tree.steps import Move

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from execstore.explain.recording import Call, Item
    from execstore.tree.steps import Step

__all__ = [
    "FLUSH",
    "OPEN",
    "PUBLISH",
    "RETURN",
    "STAGE",
    "SYNC",
    "Difference",
    "Words",
    "describe",
    "difference",
    "seed_of",
    "seed_of_folder",
    "told_of",
]

STAGE: Final = "stage"
FLUSH: Final = "flush"
PUBLISH: Final = "publish"
SYNC: Final = "sync"
RETURN: Final = "return"
OPEN: Final = "open"

_SHOWN_LINES: Final = 7
_FILLING: Final = "(filling: newlines)"


class Words(NamedTuple):
    """``phase`` is one of this module's constants; ``section`` names the part of FORMAT.md that the step shows."""

    phase: str
    title: str
    sentences: tuple[str, ...]
    section: str


class Difference(NamedTuple):
    """A file before and after: a summary, and lines, each marked ``"-"``, ``"+"`` or, for a remark, ``" "``."""

    summary: str
    lines: tuple[tuple[str, str], ...]


def seed_of(files: Mapping[str, Item]) -> int:
    """Where the checksums of this store start."""
    return seed(parse_format(files[FORMAT_PATH].data, FORMAT_PATH).store_id)


def seed_of_folder(path: str) -> int:
    """The same, of a store that is there."""
    with open(os.path.join(path, FORMAT_PATH), "rb") as file:
        return seed(parse_format(file.read(), path).store_id)


def describe(call: Call, checksum_seed: int) -> Words:
    """Say what a call does."""
    kind = kind_of(call.path) if call.path else None
    match call.operation:
        case operation if operation == RETURNED:
            return Words(
                RETURN,
                f"The call for {call.path} returns",
                ("The caller now knows that it is done. From here on nothing may take it back.",),
                "A change",
            )
        case operation if operation == OPENED:
            return Words(OPEN, "The store is open", ("Everything that follows finds what the head says.",), "Crashes")
        case "read":
            return _describe_read(call)
        case "lock":
            sentence = kind_of(call.path).sentence.removeprefix("Empty. ")
            return Words(OPEN, f"Take {call.path}", (sentence,), "Locks")
        case "sync":
            return Words(
                SYNC,
                "Make the whole tree durable",
                (
                    "Until now only the journal was flushed. Now every file, every name and the head reach the disk.",
                    "Only after this may old records of the journal be written over.",
                ),
                "Crashes",
            )
        case "sync_folder":
            place = call.path or "the store's folder"
            return Words(
                SYNC, f"Make the names in {place} durable", ("The names in it stay, whatever happens.",), "Crashes"
            )
        case "flush":
            return _describe_flush(call)
        case "rename" if kind is not None:
            return _describe_rename(call)
    if kind is None:
        return Words(PUBLISH, f"{call.operation} {call.path}", (), "A change")
    if kind.name == "journal":
        return _describe_journal(call, checksum_seed)
    if kind.name == "head":
        return _describe_head(call)
    return _describe_file(call)


_QUESTIONS: Final = {
    "format": "Is this a store, and of a version that I know?",
    "head": "Was it closed in peace, or is there something to mend?",
    "journal": "Which records are whole, and follow one another?",
    "log": "Which events are new?",
}


def _describe_read(call: Call) -> Words:
    kind = kind_of(call.path)
    return Words(OPEN, f"Read {call.path}", (_QUESTIONS.get(kind.name, kind.sentence),), kind.section)


def _describe_flush(call: Call) -> Words:
    kind = kind_of(call.path)
    if kind.name == "journal":
        sentence = "The disk must promise to keep every record written so far. The caller waits for that."
        return Words(FLUSH, f"Flush {call.path}", (sentence,), "A change")
    return Words(
        FLUSH, f"Flush {call.path}", (f"The disk must promise to keep {kind.noun} as it is now.",), kind.section
    )


def _describe_rename(call: Call) -> Words:
    kind = kind_of(call.path)
    old = kind_of(call.source)
    if old.name == "new":
        sentence = "A rename happens at one stroke: whoever looks sees the old file or the new one, never a part."
        return Words(PUBLISH, f"Rename it: now it is {kind.noun}", (sentence, kind.sentence), kind.section)
    return Words(PUBLISH, f"Move the entry in {kind.noun}", (kind.sentence,), kind.section)


def _describe_journal(call: Call, checksum_seed: int) -> Words:
    if call.operation == "truncate":
        return Words(STAGE, f"Shorten {call.path}", ("A very large record had made it longer.",), "The journal")
    if call.before is not None and call.after == call.before and call.operation == "pwrite":
        twice = (
            "These records may be in memory only: whoever wrote them may have died before the flush.",
            "Writing makes their pages dirty, so that the next flush really reaches the disk.",
        )
        return Words(STAGE, f"Write the same bytes into {call.path} once more", twice, "Crashes")
    record = _record(call.data, checksum_seed)
    if record is None:
        return Words(STAGE, f"Write into {call.path}", (kind_of(call.path).sentence,), "The journal")
    number = len(record.steps)
    sentences: tuple[str, ...] = (
        f"One record holds the whole change: {number} step{'s' * (number != 1)}, and all bytes for them.",
        "A checksum seals it. Torn in the middle, it doesn't count. The files of the tree are as before.",
    )
    if call.offset == 0:
        sentences = (f"{call.path} begins anew, with epoch {record.epoch}.", *sentences)
    return Words(STAGE, f"Write transaction {record.transaction} into {call.path}", sentences, "The journal")


def _record(data: bytes, checksum_seed: int) -> Record | None:
    try:
        return parse_record(data, 0, checksum_seed)
    except ValueError:
        return None


def _describe_head(call: Call) -> Words:
    old = _head(call.before)
    new = _head(call.after)
    if new is None:
        return Words(
            PUBLISH, "Write the head", ("It says nothing now. Who reads it must ask the journal.",), "The head"
        )
    if new.begun != new.published:
        sentences: tuple[str, ...] = (
            "Its two numbers differ now. That tells every reader: the files are being changed.",
            "A reader looks again a moment later. If it still is so, it reads the rest from the journal.",
        )
        title = f"Head: transactions {new.published + 1} to {new.begun} begin to show"
        if new.begun == new.published + 1:
            title = f"Head: transaction {new.begun} begins to show"
    elif new.clean:
        title = "Head: clean"
        sentences = ("The files hold all there is, durably. The next opening has nothing to do.",)
    elif old is not None and (old.journal, old.epoch) != (new.journal, new.epoch):
        title = f"Head: go on in journal.{new.journal}, epoch {new.epoch}"
        sentences = (
            f"The next record goes to the start of journal.{new.journal}, over records that are no longer needed.",
            f"journal.{old.journal} stays as it is, until its own turn comes.",
        )
    elif old is not None and (old.begun, old.published) == (new.begun, new.published):
        names = [name for name in Head._fields if getattr(old, name) != getattr(new, name)]
        title = f"Head: {', '.join(names) or 'the same again'}"
        sentences = tuple(f"It now says {name} {_value(new, name)}; it was {_value(old, name)}." for name in names)
    else:
        title = f"Head: transaction {new.published} is shown"
        sentences = (
            "Its two numbers are equal: the files are exactly what this transaction made of them.",
            "A reader that finds the same line before and after its look has seen one moment.",
        )
    return Words(PUBLISH, title, sentences, "The head")


def _value(head: Head, name: str) -> str:
    value = getattr(head, name)
    return str(value).lower() if isinstance(value, bool | int) else "otherwise"


def _head(item: Item | None) -> Head | None:
    return None if item is None else parse_head(item.data)


def _describe_file(call: Call) -> Words:
    kind = kind_of(call.path)
    match call.operation:
        case "remove" | "remove_folder":
            verb = f"Remove from {kind.noun}" if kind.name.endswith("entry") else f"Remove {kind.noun}"
        case "make_folder":
            verb = f"Make {kind.noun}"
        case "link":
            verb = f"Enter it in {kind.noun}"
        case "overwrite" if call.offset:
            verb = f"Append to {kind.noun}"
        case _:
            verb = f"Write {kind.noun}"
    return Words(PUBLISH, verb, (kind.sentence,), kind.section)


_VERBS: Final = {
    "Append": "appends",
    "Enter": "enters",
    "Flush": "flushes",
    "Make": "makes",
    "Move": "moves",
    "Remove": "removes",
    "Rename": "renames",
    "Write": "writes",
}


def told_of(title: str) -> str:
    """A title as what somebody does: "Write the head" as "writes the head"."""
    verb, space, rest = title.partition(" ")
    return _VERBS.get(verb, verb.lower()) + space + rest


# --- before and after -----------------------------------------------------------------------------------------------


def difference(call: Call, checksum_seed: int) -> Difference:
    """A file before and after a call, in short."""
    if call.operation == "rename":
        return Difference("renamed", (("-", call.source), ("+", call.path)))
    if call.operation == "link":
        target = call.after.target if call.after is not None else ""
        return Difference("nothing → a link", (("+", f"{call.path.rpartition('/')[2]} → {target}"),))
    if call.operation in {"remove", "remove_folder"}:
        return Difference("gone", (("-", call.path),))
    if call.operation == "make_folder":
        return Difference("nothing → a folder", (("+", f"{call.path}/"),))
    if not call.changes or call.after is None:
        return Difference("", ())
    old, new = call.before.data if call.before is not None else None, call.after.data
    if kind_of(call.path).name == "journal":
        return _journal_difference(call, checksum_seed)
    was = "nothing" if old is None else f"{len(old):,} bytes"
    summary = f"{was} → {len(new):,} bytes" if old is None or len(old) != len(new) else f"{was}, in place"
    return Difference(summary, _changed_lines(old or b"", new))


def _changed_lines(old: bytes, new: bytes) -> tuple[tuple[str, str], ...]:
    """The lines that differ, without what lies between and without empty ones."""
    was, now = _text_lines(old), _text_lines(new)
    found: list[tuple[str, str]] = []
    for tag, start, end, new_start, new_end in difflib.SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        if tag != "equal":
            found += [("-", line) for line in was[start:end] if line.strip("\0")]
            found += [("+", line) for line in now[new_start:new_end] if line.strip("\0")]
    return _shortened(found)


def _text_lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").split("\n")


def _shortened(lines: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    if len(lines) <= _SHOWN_LINES:
        return tuple(lines)
    kept = _SHOWN_LINES - 1
    return (*lines[:kept], (" ", f"… {len(lines) - kept} more lines"))


def _journal_difference(call: Call, checksum_seed: int) -> Difference:
    """The journal is large and in place, so only where it was written."""
    old = (call.before.data if call.before is not None else b"")[call.offset : call.offset + len(call.data)]
    summary = f"{len(call.data):,} bytes at offset {call.offset:,}, in place"
    if old == call.data:
        return Difference(f"{summary}: the same as before", ())
    was = ("-", _FILLING) if not old.strip(b"\n\0") else ("-", f"{_text_lines(old)[0]} … (old, no longer needed)")
    record = _record(call.data, checksum_seed)
    header = call.data.partition(b"\n")[0].decode("utf-8", "replace")
    if record is None:
        return Difference(summary, (was, ("+", header)))
    return Difference(summary, (was, ("+", header), *(("+", f"    {_step(step)}") for step in record.steps)))


def _step(step: Step) -> str:
    name = type(step).__name__.lower()
    if isinstance(step, Move):
        return f"{name} {step.source} → {step.path}"
    data = getattr(step, "data", None)
    return f"{name} {step.path}" + (f" ({len(data):,} bytes)" if data is not None else "")
