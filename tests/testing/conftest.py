"""The fixtures that are tested, used as a program's own tests would: by naming their module."""

from __future__ import annotations

from execstore.testing.fixtures import execstore_clock, execstore_faults, execstore_store, execstore_stores

# pytest takes pytest_plugins in the topmost conftest.py alone; to have the names here is the same.
__all__ = ["execstore_clock", "execstore_faults", "execstore_store", "execstore_stores"]
