"""What the layers above keep in a tree: the names of its collections, and what kind each is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """``records`` hold a document a key, ``lines`` a list of lines a key; ``indexes`` maps an index to the collection
    whose keys it groups; ``log`` is the numbered log. All are names of folders.

    ``fixed_groups`` are those indexes whose groups are a fixed set, with names that differ in more than case.
    """

    records: tuple[str, ...]
    lines: tuple[str, ...]
    indexes: Mapping[str, str] = field(default_factory=dict)
    log: str = "log"
    fixed_groups: tuple[str, ...] = ()

    def folders(self) -> list[str]:
        """All folders, in order."""
        return [*self.records, *self.lines, *self.indexes, self.log]

    def aliases(self) -> dict[str, str]:
        """Short links at the top, by which index entries lead to records: alias to collection.

        ext4 keeps a link's target inside the inode up to 59 bytes; ``../../executions/e-<UUID>.json`` has 60.
        """
        return {self.alias(index): collection for index, collection in self.indexes.items()}

    def alias(self, index: str) -> str:
        return "." + self.indexes[index][:1]
