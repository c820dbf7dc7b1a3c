"""The benchmark's parts work and measure what they say; how fast they are is nothing to test here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from execstore import Store
from execstore.bench import watch
from execstore.bench.measure import Measurement, distribution, quantile
from execstore.cli.app import run
from execstore.notify import PollingNotifier, open_notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_quantiles() -> None:
    samples = [float(number) for number in range(100, 0, -1)]
    assert quantile(samples, 0.5) == 51
    assert distribution(samples) == {"median": 51, "p99": 100, "greatest": 100}
    assert distribution([3.0]) == {"median": 3, "p99": 3, "greatest": 3}


@pytest.mark.parametrize("kind", ["inotify", "polling"])
def test_latency_across_processes(tmp_path: Path, kind: str) -> None:
    notifier = open_notifier if kind == "inotify" else lambda _: PollingNotifier(0.01)
    measured = watch._latency_across(str(tmp_path / "store"), kind, notifier, 5, 0.001)
    assert measured.unit == "ms"
    assert measured.values["median since the call"] > 0
    assert measured.values["greatest"] >= measured.values["median"]
    with Store(tmp_path / "store", read_only=True) as store:
        assert sum(store.counts().values()) == 6


def test_latency_within_one_process(tmp_path: Path) -> None:
    assert watch._latency_within(str(tmp_path / "store"), 5).values["median since the call"] > 0


def test_catching_up(tmp_path: Path) -> None:
    reading, looking, searching = watch._catching_up(str(tmp_path / "store"), 3)
    assert 0 < reading.values["median"] < looking.values["median"] < searching.values["median"]


def test_the_long_log(tmp_path: Path) -> None:
    watch._fill(str(tmp_path / "long"), 3000)
    watch._fill(str(tmp_path / "short"), watch._SHORT_LOG)
    with Store(tmp_path / "long", read_only=True) as store:
        assert store.verify().ok
        assert store.event_store.get_latest_event_num() == 3000
    assert watch._cold_reading(str(tmp_path / "long"), 3000).values["rate"] > 0
    assert len(watch._seeking(str(tmp_path), 3000, 2).values) == 4
    shared = watch._one_reading_for_fifty(str(tmp_path / "long"), 2000)
    # Counted, not timed: fifty readings would be fifty times as much.
    assert shared.values == {} or shared.values["times"] < 10


@pytest.mark.parametrize("within", [False, True])
def test_slowing_down(tmp_path: Path, within: bool) -> None:
    path = str(tmp_path / "store")
    measured = watch._slowing_down_within(path, 2) if within else watch._slowing_down(path, 2, 0.0, "at once")
    assert measured.values["times"] == pytest.approx(measured.values["followed (us)"] / measured.values["alone (us)"])


def test_the_command_prints_each_as_it_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(folder: str, *, quick: bool) -> Iterator[Measurement]:
        assert quick
        yield Measurement("one", "ms", {"median": 0.12345, "p99": 1234.5}, "< 2", True)
        yield Measurement("two", "times", {"times": 3.0}, "<= 1.1", False)
        yield Measurement("three", "us", {"median": 7.0})

    monkeypatch.setattr(watch, "measure_watch", measure)
    assert run(["bench", "watch", "--quick"], "execstore") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "one (ms): median 0.123, p99 1,234  [ok: < 2]",
        "two (times): times 3  [MISSED: <= 1.1]",
        "three (us): median 7",
    ]
    assert captured.err == "1 of these are not what they should be on a quiet machine\n"
    assert run(["bench", "watch", "--quick", "--json"], "execstore") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == {"name": "two", "unit": "times", "values": {"times": 3.0}, "bar": "<= 1.1", "met": False}
