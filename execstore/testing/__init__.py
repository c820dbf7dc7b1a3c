"""For tests of programs that use a store: temporary stores, a clock that stands still, and planted faults.

Nothing here needs pytest. With it, ``pytest_plugins = ["execstore.testing.fixtures"]`` in a ``conftest.py`` gives the
fixtures of `execstore.testing.fixtures`; nobody who doesn't ask for them gets them.

    def test_it_is_told_of_a_full_disk(execstore_store, execstore_faults):
        execstore_faults.fill_disk()
        ...

``examples/pytest_fixture/`` is a program with such tests.
"""

from __future__ import annotations

from execstore.testing.clock import FakeClock
from execstore.testing.faults import Faults, ProcessDied, Step
from execstore.testing.stores import TemporaryStores

__all__ = ["FakeClock", "Faults", "ProcessDied", "Step", "TemporaryStores"]
