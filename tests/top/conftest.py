"""What the tests of ``top`` share: stores with something in them, and a way to drive the screens."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Event, Execution, ExecutionState, State, UpdateExecutionRequest
from execstore.top.source import Source
from tests.support import PATIENCE_SECONDS, make_execution

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from textual.pilot import Pilot

    from execstore import Store
    from execstore.top.app import TopApp
    from tests.conftest import StoreFactory

LONG_ID = "e-11111111-2222-3333-4444-555555555555"


def move(store: Store, execution_id: str, state: ExecutionState, message: str = "", *events: Event) -> None:
    """Bring an execution into a state."""
    new_values = Execution(compute_state=State(state, message))
    store.update_execution_state(UpdateExecutionRequest(execution_id, new_values, events=events))


def fill(store: Store) -> None:
    """One execution that is new, two that are live, one each that has completed and failed, of two jobs."""
    for number, (execution_id, state, message) in enumerate(
        [
            ("e-new", ExecutionState.NEW, ""),
            (LONG_ID, ExecutionState.RUNNING, "running for long"),
            ("e-accepted", ExecutionState.BID_ACCEPTED, ""),
            ("e-completed", ExecutionState.COMPLETED, ""),
            ("e-failed", ExecutionState.FAILED, "no such file"),
        ]
    ):
        job = {"Name": ("thumbnails", "nightly")[number % 2], "Type": "batch", "Count": 1}
        execution = make_execution(execution_id, f"j-{number % 2}", job=job)
        store.create_execution(execution, Event("Scheduling", f"made {execution_id}"))
        if state is not ExecutionState.NEW:
            move(store, execution_id, state, message)


@pytest.fixture
def filled(open_store: StoreFactory) -> Store:
    """A store with something in it, open for writing; its clock is the real one, as is that of who looks at it."""
    store = open_store()
    fill(store)
    return store


@pytest.fixture
def make_source(open_store: StoreFactory) -> Iterator[Callable[..., Source]]:
    """Makes what looks at the store, through a handle of its own that can't write."""
    sources: list[Source] = []

    def make(**options: Any) -> Source:
        source = Source(open_store(read_only=True), **options)
        sources.append(source)
        return source

    yield make
    for source in sources:
        source.leave()


async def until(pilot: Pilot[Any], condition: Callable[[], object], what: str = "") -> None:
    """Let the program go on until something holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what or screen_text(pilot.app)  # type: ignore[arg-type]
        await pilot.pause(0.02)
    await pilot.pause()


def screen_text(app: TopApp) -> str:
    """What is on the screen, line by line."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line).rstrip() for line in lines)


def drive(
    app: TopApp, script: Callable[[Pilot[Any]], Coroutine[Any, Any, None]], size: tuple[int, int] = (80, 24)
) -> None:
    """Run the program on a screen that exists only in memory, and do to it what the script says."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await script(pilot)

    asyncio.run(run())
