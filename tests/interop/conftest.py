"""A database that Bacalhau's real store wrote, and what that store reads from it (tests/data)."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
def database_bytes() -> bytes:
    """The real store's file."""
    return lzma.decompress((DATA / "bacalhau-executions.db.xz").read_bytes())


@pytest.fixture(scope="session")
def database(database_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the real store's file. Not to be changed."""
    path = tmp_path_factory.mktemp("bacalhau") / "executions.db"
    path.write_bytes(database_bytes)
    return path


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    """What the real store reads from it."""
    content: dict[str, Any] = json.loads(lzma.decompress((DATA / "bacalhau-expected.json.xz").read_bytes()))
    return content
