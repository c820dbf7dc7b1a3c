"""Every test here runs on asyncio and on trio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from execstore.aio import AsyncStore
from execstore.watcher import JSONSerializer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import StoreFactory


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture(autouse=True)
def types() -> None:
    for name in ("Plain", "Plain0"):
        JSONSerializer.register_type(name, dict)


@pytest.fixture
async def async_store(open_store: StoreFactory, anyio_backend: str) -> AsyncIterator[AsyncStore]:
    open_store().close()
    async with AsyncStore.open(open_store.path()) as store:
        yield store
