"""What a destination keeps of a copy that isn't finished: of which store it is, and how far it has come.

It stands among the checkpoints (``sequence_tracking``) and goes, in the end, when the copy was compared. Each of the
copy's changes is made for one state of it, so that two copies into one place don't get mixed up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from execstore import codec
from execstore.codec import CodecError
from execstore.schema import SEQUENCE_TRACKING

if TYPE_CHECKING:
    from execstore.engine import Reader

__all__ = ["KEY", "CopyPhase", "CopyState", "encode_copy_state", "read_copy_state"]

KEY: Final = "copy.unfinished"
"""Its key, and the name of it as a checkpoint."""


class CopyPhase(StrEnum):
    """EXECUTIONS: those up to the ID ``after`` are there. SWEEP: what the source has no more is removed, up to that ID.
    LOG: the event log is there up to the number ``through``. CHECK: all is there, and is to be compared."""

    EXECUTIONS = "executions"
    SWEEP = "sweep"
    LOG = "log"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class CopyState:
    """How far a copy has come. ``since``: executions that the log names above this number may have changed since they
    were copied. ``through`` is 0 as long as nothing of the log is there."""

    source_id: str
    phase: CopyPhase
    since: int
    after: str = ""
    through: int = 0
    sweeps: bool = False


def encode_copy_state(state: CopyState) -> bytes:
    """The record, whose first members are those of any checkpoint."""
    members: dict[str, Any] = {
        "Name": KEY,
        "SequenceNumber": state.through,
        "Source": state.source_id,
        "Phase": state.phase.value,
        "Since": state.since,
        "After": state.after,
        "Sweeps": state.sweeps,
    }
    return codec.encode_members(members)


def read_copy_state(reader: Reader) -> CopyState | None:
    """What a store keeps of an unfinished copy, ``None`` if it is none.

    Raises:
        StoreCorruptedError: it can't be read.
    """
    data = reader.record(SEQUENCE_TRACKING, KEY)
    if data is None:
        return None
    try:
        match codec.decode(data):
            case {
                "SequenceNumber": int(through),
                "Source": str(source_id),
                "Phase": str(phase),
                "Since": int(since),
                "After": str(after),
                "Sweeps": bool(sweeps),
            } if phase in list(CopyPhase):
                return CopyState(source_id, CopyPhase(phase), since, after, through, sweeps)
    except CodecError as error:
        raise reader.damage(SEQUENCE_TRACKING, KEY, error.reason) from error
    raise reader.damage(SEQUENCE_TRACKING, KEY, "it isn't what an unfinished copy keeps")
