"""The pytest fixtures: name this module in ``pytest_plugins`` of a ``conftest.py``.

``execstore_store``
    an empty store in a temporary folder.
``execstore_stores``
    opens more of them, or more handles on one: see ``TemporaryStores``. It verifies each in the end.
``execstore_clock``
    the clock of all of them, which stands still: see ``FakeClock``.
``execstore_faults``
    what goes wrong for all of them: see ``Faults``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from execstore.errors import MissingExtraError
from execstore.testing import FakeClock, Faults, TemporaryStores

try:
    import pytest
except ImportError as error:
    raise MissingExtraError("the fixtures of execstore.testing", "testing") from error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from execstore.store import Store

__all__ = ["execstore_clock", "execstore_faults", "execstore_store", "execstore_stores"]


@pytest.fixture
def execstore_clock() -> FakeClock:
    """The clock of the test's stores."""
    return FakeClock()


@pytest.fixture
def execstore_faults() -> Faults:
    """What goes wrong for the test's stores; nothing does until it is told."""
    return Faults()


@pytest.fixture
def execstore_stores(tmp_path: Path, execstore_clock: FakeClock, execstore_faults: Faults) -> Iterator[TemporaryStores]:
    """Opens stores below ``tmp_path`` and verifies each in the end."""
    with TemporaryStores(tmp_path, clock=execstore_clock, faults=execstore_faults) as stores:
        yield stores


@pytest.fixture
def execstore_store(execstore_stores: TemporaryStores) -> Store:
    """An empty store."""
    return execstore_stores()
