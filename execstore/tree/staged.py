"""What one handle knows of the journal's newest part: the records that are staged and not published yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from execstore.tree.steps import Overlay

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from execstore.tree.head import Head
    from execstore.tree.journal import JournalFiles, Record

__all__ = ["Place", "Staged"]


class Place(NamedTuple):
    """Where the next record goes: behind that of ``transaction``, whose checksum it names, at ``offset``."""

    transaction: int
    checksum: int
    offset: int


class Staged:
    """The staged records, in order. Changed under the change lock only; other threads may read meanwhile."""

    def __init__(self, journal: JournalFiles) -> None:
        self._journal = journal
        self._records: list[Record] = []
        self._own: set[int] = set()
        self._layer: Overlay | None = None  # the outcome of the records, made when it is asked for

    @property
    def newest(self) -> int:
        """The newest transaction, 0 if there is none."""
        return self._records[-1].transaction if self._records else 0

    def place_after(self, head: Head) -> Place:
        """Where the next record goes, of a head that these records follow."""
        if self._records:
            return _behind(self._records[-1])
        return Place(head.published, head.checksum, head.offset)

    def values_after(self, head: Head) -> Mapping[str, Any]:
        """The head's values once all is published."""
        return self._records[-1].values if self._records else head.values

    def layers(self) -> tuple[Overlay, ...]:
        """What to lay over the files to see all of them done."""
        if not self._records:
            return ()
        if self._layer is None:
            self._layer = Overlay(step for record in self._records for step in record.steps)
        return (self._layer,)

    def are_own(self, records: list[Record]) -> bool:
        """Whether this handle staged all of these."""
        return self._own.issuperset(record.transaction for record in records)

    def known_after(self, head: Head, until: int | None = None) -> list[Record]:
        """Those behind the published ones that this handle knows, without a look at the journal."""
        return [
            record
            for record in self._records
            if record.transaction > head.published and (until is None or record.transaction <= until)
        ]

    def after(self, head: Head, until: int | None = None) -> list[Record]:
        """The staged records behind the published ones, up to a transaction, as far as they are whole by now."""
        records = self.known_after(head, until)
        place = _behind(records[-1]) if records else Place(head.published, head.checksum, head.offset)
        while until is None or place.transaction < until:
            record = self._journal.read_at(head.journal, place.offset)
            if record is None or not record.continues(place.transaction, head.epoch, place.checksum):
                break
            records.append(record)
            place = _behind(record)
        return records

    def refresh(self, head: Head) -> list[Record]:
        """The same under the change lock, where nobody else is writing; remembered for decisions."""
        self.forget(head.published)
        records = self.after(head)
        if len(records) != len(self._records):
            self._records, self._layer = records, None
        return records

    def add(self, record: Record) -> None:
        """This handle wrote another one."""
        # If this is interrupted, the layer must not lack what the records have: then it is made anew.
        layer, self._layer = self._layer, None
        self._records.append(record)
        self._own.add(record.transaction)
        if layer is not None:
            layer.apply(record.steps)
            self._layer = layer

    def forget(self, published: int) -> None:
        """Those up to this transaction are published."""
        if self._records and self._records[0].transaction <= published:
            self._records = [record for record in self._records if record.transaction > published]
            self._own = {number for number in self._own if number > published}
            self._layer = None

    def clear(self) -> None:
        """A recovery did all there was to do."""
        self._records, self._own, self._layer = [], set(), None


def _behind(record: Record) -> Place:
    return Place(record.transaction, record.checksum, record.end)
