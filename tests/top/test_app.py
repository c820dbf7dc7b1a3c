"""The screens, driven by keys on a terminal that exists only in memory."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

pytest.importorskip("textual", reason="textual isn't installed (execstore[top])")

from execstore import Event, ExecutionState, Store
from execstore.errors import StoreNotFoundError
from execstore.top.app import TopApp
from execstore.top.filters import Filter, parse_filter
from execstore.top.listing import Listing
from execstore.top.source import Source
from tests.support import make_execution
from tests.top.conftest import LONG_ID, drive, move, screen_text, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual.pilot import Pilot

    from execstore.top.main_screen import MainScreen
    from tests.conftest import StoreFactory

FAST = 0.1
SIZES = [(80, 24), (140, 40), (40, 10), (60, 16), (20, 5), (10, 3), (1, 1), (250, 70)]


@pytest.fixture
def app(filled: Store, make_source: Callable[..., Source]) -> TopApp:
    return TopApp(make_source(polling_seconds=FAST), interval_seconds=FAST)


def rows_of(app: TopApp, name: str) -> list[str]:
    listing: Listing = main_of(app).query_one(f"#{name}", Listing)
    return [row.target for row in listing.rows]


def main_of(app: TopApp) -> MainScreen:
    return app._main


async def ready(pilot: Pilot[Any]) -> None:
    """Once the first look at the store is on the screen."""
    app: TopApp = pilot.app  # type: ignore[assignment]
    await until(pilot, lambda: rows_of(app, "events"))
    await pilot.pause()


def test_what_is_seen_at_80_by_24(app: TopApp) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        lines = screen_text(app).splitlines()
        assert len(lines) == 24
        assert lines[0].startswith(" execstore top  ")
        assert re.search(r"\d\d:\d\d:\d\d UTC$", lines[0])
        assert lines[1].startswith("── Executions 5 ─")
        assert "── Store ──" in lines[1]
        assert re.match(r"  Failed +1 +\+1 +", lines[6])
        assert "event log" in lines[6]
        assert lines[9].startswith("━━ Live executions 2 ━")
        assert lines[10].split() == ["ID", "JOB", "STATE", "AGE", "MESSAGE"]
        assert re.match(r"  e-111111…5555555  nightly +Running +\d+s  running for long$", lines[11])
        assert lines[16].startswith("── Events ─")
        assert "BidAccepted" in screen_text(app)
        assert lines[-1].startswith(" q quit  ? help  / filter")
        assert all(len(line) <= 80 for line in lines)

    drive(app, script)


def test_events_scroll_and_states_count_as_they_come(app: TopApp, filled: Store) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        for number in range(12):
            filled.create_execution(make_execution(f"x-{number}"), Event("Test", "made"))
        filled.delete_execution("e-failed")
        await until(pilot, lambda: "Failed → deleted" in screen_text(app))
        await until(pilot, lambda: re.search(r"  New +13 +", screen_text(app)))
        assert "x-11" in screen_text(app)
        assert "x-1 " not in screen_text(app)

    drive(app, script)


def test_moving_and_opening_and_going_back(app: TopApp, filled: Store) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        await pilot.press("down", "down", "up", "enter")  # from the second, the last, back to the first
        await until(pilot, lambda: "History 2" in screen_text(app))
        text = screen_text(app)
        assert text.startswith(f"{LONG_ID}  Running")
        assert f"Scheduling: made {LONG_ID}" in text
        assert "ComputeState.StateType: New → Running" in text
        # It follows what happens to it.
        move(filled, LONG_ID, ExecutionState.COMPLETED, "well done", Event("Test", "a new event"))
        await until(pilot, lambda: "Test: a new event" in screen_text(app) and "History 3" in screen_text(app))
        filled.delete_execution(LONG_ID)
        await until(pilot, lambda: "not in the store (any more)" in screen_text(app))
        await pilot.press("escape")
        assert app.screen is main_of(app)

    drive(app, script)


def test_an_event_opens_its_execution(app: TopApp) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        await pilot.press("tab", "home", "enter")
        await until(pilot, lambda: screen_text(app).startswith("e-new  New"))

    drive(app, script)


def test_reading_back_in_the_events_stays_where_it_is(app: TopApp, filled: Store) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        events = main_of(app).query_one("#events", Listing)
        await pilot.press("tab", "up", "up")
        current = events.current
        assert current is not None
        filled.add_execution_event("e-new", Event("Test", "one more"))
        await until(pilot, lambda: "one more" in str(events.rows[-1].cells))
        assert events.current == current
        assert "End: follow again" in screen_text(app)
        await pilot.press("end")
        filled.add_execution_event("e-new", Event("Test", "the last"))
        await until(pilot, lambda: "Test: the last" in screen_text(app))
        assert "follow again" not in screen_text(app)

    drive(app, script)


def test_filtering_while_typing(app: TopApp) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        await pilot.press("slash", *"thumb")
        assert rows_of(app, "executions") == ["e-accepted"]
        assert set(rows_of(app, "events")) == {"e-new", "e-accepted", "e-failed"}
        await pilot.press("enter")
        assert main_of(app).filter == Filter(words=("thumb",))
        assert "filter thumb" in screen_text(app)
        await pilot.press("slash", *" state:fa")
        await until(pilot, lambda: rows_of(app, "executions") == ["e-failed"])
        await pilot.press("backspace", "backspace", *"xx")
        assert "'xx' is none; it is one of" in screen_text(app)
        await pilot.press("enter")  # can't be kept
        assert "is none" in screen_text(app)
        await pilot.press("escape")
        assert main_of(app).filter == Filter(words=("thumb",))
        assert "is none" not in screen_text(app)
        await pilot.press("escape")
        assert main_of(app).filter == Filter()
        await until(pilot, lambda: rows_of(app, "executions") == [LONG_ID, "e-accepted"])
        await pilot.press("q")

    drive(app, script)
    assert app.return_value is None


def test_filtering_by_state_and_job_with_one_key(app: TopApp, filled: Store) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        await pilot.press("s")
        await until(pilot, lambda: rows_of(app, "executions") == ["e-new"])
        await pilot.press("S", "S")  # past none, to the last
        assert main_of(app).filter == Filter("Failed")
        await until(pilot, lambda: rows_of(app, "executions") == ["e-failed"])
        assert "Failed executions 1" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: len(rows_of(app, "executions")) == 2)
        await pilot.press("home", "j")
        assert main_of(app).filter == Filter(job="j-1")
        assert rows_of(app, "executions") == [LONG_ID]
        await pilot.press("j")
        assert main_of(app).filter == Filter()
        await pilot.press("slash", *"nothing", "enter")
        assert "none that fit: nothing" in screen_text(app)

    drive(app, script)


def test_pausing_and_turning(app: TopApp, filled: Store) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        await pilot.press("o")
        assert rows_of(app, "executions") == ["e-accepted", LONG_ID]
        assert "newest first" in screen_text(app)
        await pilot.press("p")
        assert "PAUSED" in screen_text(app)
        filled.add_execution_event("e-new", Event("Test", "meanwhile"))
        await until(pilot, lambda: main_of(app)._newest.events[-1].text == "Test: meanwhile")  # type: ignore[union-attr]
        await pilot.resize_terminal(100, 30)
        await pilot.press("tab", "tab")
        assert "meanwhile" not in screen_text(app)
        await pilot.press("space")
        assert "PAUSED" not in screen_text(app)
        assert "meanwhile" in screen_text(app)

    drive(app, script)


def test_the_whole_id_is_copied(app: TopApp) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        await pilot.press("home", "c")
        assert app.clipboard == LONG_ID
        await pilot.press("enter")
        await until(pilot, lambda: "History" in screen_text(app))
        app.copy_to_clipboard("")
        await pilot.press("c")
        assert app.clipboard == LONG_ID

    drive(app, script)


def test_the_mouse(app: TopApp) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        await pilot.click("#executions", offset=(5, 3))
        current = main_of(app).query_one("#executions", Listing).current
        assert current is not None
        assert current.target == "e-accepted"
        await pilot.click("#executions", offset=(5, 1))  # the titles
        await pilot.click("#executions", offset=(5, 2), times=2)
        await until(pilot, lambda: screen_text(app).startswith(LONG_ID))

    drive(app, script)


def test_help_explains_every_key_and_number(app: TopApp) -> None:
    from execstore.top.help import KEYS, help_lines
    from execstore.top.text import vitals

    page = "\n".join(line.plain for line in help_lines(200))
    listed = [re.split(r"  +", line.strip())[0] for line in page.splitlines() if line.strip()]
    for key, _ in KEYS:
        assert any(key in name.split(", ") or key == name for name in listed), key

    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        snapshot = main_of(app)._newest
        assert snapshot is not None
        for name, _ in vitals(snapshot, 0):
            assert name in listed
        await pilot.press("question_mark")
        assert screen_text(app).splitlines()[0] == "Keys"
        await pilot.press("pagedown", "end")
        assert "skipped" in screen_text(app)
        await pilot.press("escape")
        assert "Live executions" in screen_text(app)

    drive(app, script)


@pytest.mark.parametrize("size", [(80, 24), (10, 3)])
def test_it_fits_any_screen_and_while_it_changes(app: TopApp, filled: Store, size: tuple[int, int]) -> None:
    filled.create_execution(
        make_execution("日本語" * 20, state=ExecutionState.BID_ACCEPTED), Event("T\x1b[2J", "line\n" * 9)
    )

    def check() -> None:
        lines = screen_text(app).splitlines()
        assert len(lines) <= app.size.height
        assert all(line.isprintable() for line in lines)

    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        check()
        for width, height in (*SIZES, size):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            check()
        await pilot.press("tab")
        check()
        await pilot.press("question_mark")
        check()
        await pilot.press("escape", "home", "enter")
        await pilot.pause(0.1)
        for width, height in SIZES:
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            check()
        await pilot.press("escape", "slash", *"e", "enter")
        check()

    drive(app, script, size)


def test_both_lists_have_a_place_on_a_tiny_screen(app: TopApp) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        assert "Live executions 2" in screen_text(app)
        assert "Events" not in screen_text(app)
        await pilot.press("tab")
        await pilot.pause()
        assert "Events" in screen_text(app)
        assert "Live executions" not in screen_text(app)

    drive(app, script, (40, 10))


def test_an_empty_store(open_store: StoreFactory, make_source: Callable[..., Source]) -> None:
    store = open_store()
    app = TopApp(make_source(), interval_seconds=FAST)

    async def script(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "none yet" in screen_text(app))
        await pilot.press("enter", "j", "s", "c", "o", "tab", "enter", "j", "home", "end", "p", "p", "pagedown")
        assert "Live executions 0" in screen_text(app)
        store.create_execution(make_execution("first", state=ExecutionState.BID_ACCEPTED))
        await until(pilot, lambda: rows_of(app, "executions") == ["first"])

    drive(app, script)


def test_damage_is_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    from execstore.cli.top import _problems_of

    path = tmp_path / "damaged"
    with Store(path) as store:
        store.create_execution(make_execution("e-broken", state=ExecutionState.BID_ACCEPTED))
        store.create_execution(make_execution("e-whole", state=ExecutionState.BID_ACCEPTED))
    (path / "executions" / "e-broken.json").write_bytes(b"{")
    with Store(path, read_only=True) as store:
        source = Source(store)
        app = TopApp(source, interval_seconds=FAST)

        async def script(pilot: Pilot[Any]) -> None:
            await ready(pilot)
            assert rows_of(app, "executions") == ["e-whole"]
            assert re.search(r"^! .*e-broken", screen_text(app), re.MULTILINE)
            await pilot.press("tab", "home", "enter")
            await until(pilot, lambda: re.match(r"! .*e-broken.json is damaged", screen_text(app).replace("\n", "")))

        with _problems_of(source):
            drive(app, script)


@pytest.mark.parametrize("on_the_main_screen", [True, False])
def test_a_store_that_is_removed_ends_it_with_the_reason(tmp_path: Path, on_the_main_screen: bool) -> None:
    path = tmp_path / "store"
    with Store(path) as store:
        store.create_execution(make_execution("e-1", state=ExecutionState.BID_ACCEPTED))
    with Store(path, read_only=True) as store:
        app = TopApp(Source(store), interval_seconds=FAST)

        async def script(pilot: Pilot[Any]) -> None:
            await ready(pilot)
            if not on_the_main_screen:
                await pilot.press("enter")
            shutil.rmtree(path)
            await until(pilot, lambda: app.return_value is not None)

        drive(app, script)
        assert isinstance(app.return_value, StoreNotFoundError)
        assert "the store was removed" in str(app.return_value)


def test_a_store_that_is_closed_ends_it_with_the_reason(filled: Store, open_store: StoreFactory) -> None:
    store = open_store(read_only=True)
    app = TopApp(Source(store), interval_seconds=FAST)

    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        store.close()
        await until(pilot, lambda: app.return_value is not None)

    drive(app, script)
    assert "closed" in str(app.return_value)


def test_a_defect_ends_it_too(app: TopApp) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        with mock.patch.object(Source, "look", side_effect=ZeroDivisionError("a defect")):
            await until(pilot, lambda: app.return_value is not None)

    drive(app, script)
    assert isinstance(app.return_value, ZeroDivisionError)


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
def test_quitting_from_every_screen(filled: Store, make_source: Callable[..., Source], key: str) -> None:
    for before in ([], ["question_mark"], ["enter"], ["slash"]):
        if before == ["slash"] and key == "q":
            continue  # a letter like others
        app = TopApp(make_source(), interval_seconds=FAST, chosen=parse_filter("state:running"))

        async def script(pilot: Pilot[Any], app: TopApp = app, before: list[str] = before) -> None:
            await until(pilot, lambda: rows_of(app, "executions") == [LONG_ID])
            await pilot.press(*before, key)
            await until(pilot, lambda: not app.is_running or app._exit)

        drive(app, script)
        assert (app.return_value, app.return_code) == (None, 0)
        assert not app._thread.is_alive()


def test_no_colour_is_used_where_none_is_wanted(
    filled: Store, make_source: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    def colours(app: TopApp) -> set[str]:
        strips = app.screen._compositor.render_strips()
        found: set[str] = set()
        for strip in strips:
            filtered = strip.apply_filter(app._filters[-1], app.screen.styles.background) if app.no_color else strip
            for segment in filtered:
                if segment.style is not None:
                    for colour in (segment.style.color, segment.style.bgcolor):
                        found.add("default" if colour is None else colour.name)
        return found

    seen: list[set[str]] = []
    for no_color in (False, True):
        if no_color:
            monkeypatch.setenv("NO_COLOR", "1")
        else:
            monkeypatch.delenv("NO_COLOR", raising=False)
        app = TopApp(make_source(), interval_seconds=FAST)

        async def script(pilot: Pilot[Any], app: TopApp = app) -> None:
            await ready(pilot)
            await until(pilot, lambda: "Failed" in screen_text(app))
            seen.append(colours(app))

        drive(app, script)
    assert {"color(1)", "color(2)"} <= seen[0]
    assert seen[1] == {"default"}


def test_a_picture_can_be_taken(app: TopApp) -> None:
    async def script(pilot: Pilot[Any]) -> None:
        await ready(pilot)
        assert "Live" in app.export_screenshot()

    drive(app, script, (140, 40))
