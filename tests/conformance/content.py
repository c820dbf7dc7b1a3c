"""All that a store holds, whatever its engine: to see that a call changed nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from execstore.schema import LAYOUT

if TYPE_CHECKING:
    from execstore import Store
    from execstore.engine import Reader

__all__ = ["content_of"]


def content_of(store: Store) -> dict[str, Any]:
    """Records, lines, index entries and values by what they are called; the log's lines by their numbers."""

    def look(reader: Reader) -> dict[str, Any]:
        found: dict[str, Any] = {"values": dict(reader.values)}
        for collection in LAYOUT.records:
            for name in reader.record_names(collection):
                found[f"{collection}/{name}"] = reader.record_named(collection, name)
        for collection in LAYOUT.lines:
            for name in reader.lines_names(collection):
                found[f"{collection}/{name}"] = reader.lines(collection, reader.key_of(name) or name)
        for index in LAYOUT.indexes:
            for group in reader.groups(index):
                for name in reader.members_named(index, group.text):
                    found[f"{index}/{group.text}/{name}"] = True
        return found

    return store.look(look) | {"log": store.engine().read_log(1, 1 << 30)}
