"""Copying a store to another place, on whatever engine. See `copy_store`."""

from __future__ import annotations

from execstore.copying.copier import CopyReport, copy_store

__all__ = ["CopyReport", "copy_store"]
