"""What a central store keeps of each node that is forwarded to it: which store the node is, and how far it has come.

It stands among the store's checkpoints (``sequence_tracking``), under ``forward.NODE``, and changes in the same
transaction as what was brought. So whatever is cut off, and however many forward the same node, nothing of it comes
twice: who finds another stream than the one that a batch was made for, throws the batch away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from execstore import codec
from execstore.codec import CodecError
from execstore.errors import InvalidArgumentError, InvalidExecutionError
from execstore.schema import SEQUENCE_TRACKING
from execstore.validation import check_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from execstore.engine import Reader

__all__ = [
    "Phase",
    "Stream",
    "check_node",
    "encode_stream",
    "load_streams",
    "parse_stream",
    "read_stream",
    "stream_key",
]

_PREFIX: Final = "forward."
_NUMBERS: Final = ("SequenceNumber", "Until", "Events", "Conflicts", "LeftOut", "Time")
_TEXTS: Final = ("Source", "Fingerprint", "Phase", "After", "LastConflict")


class Phase(StrEnum):
    """What a node's forwarder is at.

    REPLAY: the log of the node begins with event 1, and is brought up to ``until``. COPY: the executions are brought
    whole, those up to the ID ``after`` are there. SWEEP: what the node no longer has is removed, up to that ID.
    CATCH_UP: executions that the log names are brought whole, as they are by now, since what stands in the log is in
    them already or not. FOLLOW: what stands in the log is done, event by event.
    """

    REPLAY = "replay"
    COPY = "copy"
    SWEEP = "sweep"
    CATCH_UP = "catch-up"
    FOLLOW = "follow"


@dataclass(frozen=True, slots=True)
class Stream:
    """How far one node has come.

    ``source_id`` is the node's store. ``sequence_number`` is the last event of its log that is done; ``fingerprint``
    tells that event from one of the same number in a store that was set back. ``sweeps``: a SWEEP follows the COPY.
    Since the beginning, ``events`` counts what was told in the central log, ``conflicts`` how often an execution was
    left out since it is another node's, ``left_out`` events whose execution isn't there. ``time_ns`` is when it last
    changed, by the central store's time.
    """

    node: str
    source_id: str
    sequence_number: int = 0
    fingerprint: str = ""
    phase: Phase = Phase.COPY
    after: str = ""
    until: int = 0
    sweeps: bool = False
    events: int = 0
    conflicts: int = 0
    left_out: int = 0
    last_conflict: str = ""
    time_ns: int = 0

    def begin_copy(self, number: int, fingerprint: str, *, sweeps: bool) -> Stream:
        """The same, about to bring everything whole; the log is needed from behind ``number`` on."""
        return replace(
            self, phase=Phase.COPY, sequence_number=number, fingerprint=fingerprint, after="", until=0, sweeps=sweeps
        )


def check_node(node: str) -> str:
    """Returns the name of a node. Raises ``InvalidArgumentError`` if it can't be one."""
    if not isinstance(node, str) or not node:
        raise InvalidArgumentError("node", f"a node's name is a text, not empty, not {node!r}")
    try:
        check_id(stream_key(node), "node")
    except InvalidExecutionError as error:
        raise InvalidArgumentError("node", error.reason) from None
    return node


def stream_key(node: str) -> str:
    """The key of a node's stream in the collection ``sequence_tracking``."""
    return _PREFIX + node


def encode_stream(stream: Stream) -> bytes:
    """The record: an object with a line for each member, whose first two are those of any checkpoint."""
    members: dict[str, Any] = {
        "Name": stream_key(stream.node),
        "SequenceNumber": stream.sequence_number,
        "Source": stream.source_id,
        "Fingerprint": stream.fingerprint,
        "Phase": stream.phase.value,
        "After": stream.after,
        "Until": stream.until,
        "Sweeps": stream.sweeps,
        "Events": stream.events,
        "Conflicts": stream.conflicts,
        "LeftOut": stream.left_out,
        "LastConflict": stream.last_conflict,
        "Time": stream.time_ns,
    }
    return codec.encode_members(members)


def parse_stream(data: bytes) -> Stream | None:
    """The stream of a record; ``None`` if it is a checkpoint of another kind, as after an export that left out the
    rest.

    Raises:
        CodecError: it is no JSON.
    """
    members = codec.decode(data)
    if not isinstance(members, dict) or not str(members.get("Name", "")).startswith(_PREFIX):
        return None
    if not _fits(members):
        return None
    return Stream(
        node=members["Name"].removeprefix(_PREFIX),
        source_id=members["Source"],
        sequence_number=members["SequenceNumber"],
        fingerprint=members["Fingerprint"],
        phase=Phase(members["Phase"]),
        after=members["After"],
        until=members["Until"],
        sweeps=members["Sweeps"],
        events=members["Events"],
        conflicts=members["Conflicts"],
        left_out=members["LeftOut"],
        last_conflict=members["LastConflict"],
        time_ns=members["Time"],
    )


def _fits(members: Mapping[str, Any]) -> bool:
    return (
        all(type(members.get(name)) is int and members[name] >= 0 for name in _NUMBERS)
        and all(isinstance(members.get(name), str) for name in _TEXTS)
        and isinstance(members.get("Sweeps"), bool)
        and members["Phase"] in list(Phase)
    )


def read_stream(reader: Reader, node: str) -> Stream | None:
    """A node's stream, ``None`` if there is none. Raises ``StoreCorruptedError`` if it can't be read."""
    key = stream_key(node)
    data = reader.record(SEQUENCE_TRACKING, key)
    try:
        return None if data is None else parse_stream(data)
    except CodecError as error:
        raise reader.damage(SEQUENCE_TRACKING, key, error.reason) from error


def _may_be_stream(key: str | None) -> bool:
    """``None`` is a key that only the record tells."""
    return key is None or key.startswith(_PREFIX)


def load_streams(reader: Reader) -> list[Stream]:
    """The streams of all nodes that were ever forwarded to this store, by node."""
    found: list[Stream] = []
    names = [name for name in reader.record_names(SEQUENCE_TRACKING) if _may_be_stream(reader.key_of(name))]
    records_named = getattr(reader, "records_named", None)  # of a BulkReader
    if records_named is None:
        records = [reader.record_named(SEQUENCE_TRACKING, name) for name in names]
    else:
        records = records_named(SEQUENCE_TRACKING, names)
    for data in records:
        try:
            stream = None if data is None else parse_stream(data)
        except CodecError:
            continue  # verify tells of it; the others are to be seen all the same
        if stream is not None:
            found.append(stream)
    return sorted(found, key=lambda stream: stream.node)
