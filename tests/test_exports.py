"""The public names: all there, sorted, and not dear to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import execstore


def test_all_is_sorted_and_every_name_is_there() -> None:
    assert execstore.__all__ == sorted(execstore.__all__)
    for name in execstore.__all__:
        assert getattr(execstore, name) is not None
        assert name in dir(execstore)


def test_names_are_those_of_their_modules() -> None:
    from execstore.models import Execution
    from execstore.store import Store

    assert execstore.Execution is Execution
    assert execstore.Store is Store
    assert execstore.errors.ExecStoreError.__module__ == "execstore.errors"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = execstore.nonsense


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import execstore", ["click", "rich", "filelock", "asyncio", "sqlite3", "execstore.cli", "execstore.store"]),
        ("from execstore import Store", ["click", "rich", "asyncio", "sqlite3", "execstore.cli", "execstore.interop"]),
    ],
)
def test_importing_loads_no_more_than_is_needed(statement: str, absent: list[str]) -> None:
    code = f"{statement}; import sys; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
