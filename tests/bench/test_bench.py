"""The comparison's own arithmetic is right, and every contender does its work; how fast they are is nothing to test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Store
from execstore.bench import harness, record, report, workloads
from execstore.bench.adapters import CONTENDERS, command_line, has
from execstore.bench.adapters.base import Unavailable
from execstore.bench.contender import Contender, ContenderError
from execstore.bench.disks import describe_disk, describe_machine, fresh_file_system
from execstore.bench.harness import Settings, measure
from execstore.bench.measure import Latency, Ratio, latency, ratio
from execstore.bench.phases import measure_phases
from execstore.bench.plot import _panels, plot
from execstore.bench.workloads import BY_NAME, OPERATIONS, Plan, execution_id, job_id
from execstore.cli.app import run
from tests.support import PATIENCE_SECONDS, python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORES = [name for name in CONTENDERS if name != "floor"]


# --- arithmetic -------------------------------------------------------------------------------------------------------


def test_latency_is_of_all_calls_of_all_rounds() -> None:
    assert latency([[1000, 3000], [2000, 9000, 4000]]) == Latency(3, 9, 9, 9, 5)
    thousand = [[number * 1000 for number in range(1000, 0, -1)]]
    assert latency(thousand) == Latency(500.5, 991, 1000, 1000, 1000)


def test_a_ratio_is_the_others_time_over_ours_with_the_rounds_spread() -> None:
    # By round: 1.0, 2.0, 3.0, 4.0; of all samples: 25 over 10.
    others = [[10, 10, 10], [20, 20, 20], [30, 30, 30], [40, 40, 40]]
    ours = [[10, 10, 10]] * 4
    assert ratio(others, ours) == Ratio(2.5, 2.0, 4.0)
    assert ratio(ours, ours) == Ratio(1, 1, 1)
    with pytest.raises(ValueError, match="zip"):
        ratio(others, ours[:3])


def test_throughput_compares_rates_so_that_over_one_is_still_ours() -> None:
    found = harness._throughput({"execstore": [100.0, 300.0, 200.0], "sqlite": [50.0, 150.0, 100.0]})
    assert found["execstore"] == {"per_second": 200}
    assert found["sqlite"] == {"per_second": 100, "ratio": {"value": 2, "low": 2, "high": 2}}
    assert harness._throughput({"sqlite": [50.0]}) == {"sqlite": {"per_second": 50}}


def test_the_order_rotates() -> None:
    names: list[Any] = ["a", "b", "c"]
    assert [harness._turns(names, number) for number in range(4)] == [[*"abc"], [*"bca"], [*"cab"], [*"abc"]]


def test_far_behind_is_less_than_half_of_what_was_recorded() -> None:
    found = {"value": 0.9, "low": 0.1, "high": 0.95}
    result = {"sizes": {"10": {"operations": {"get": {"execstore": {}, "sqlite": {"ratio": found}}}}}}
    assert report.ratios_of(result) == {"10 get sqlite": 0.9}
    assert record.far_behind({"10 get sqlite": 1.8, "10 get lmdb": 9}, result) == []
    assert record.far_behind({"10 get sqlite": 2.0}, result) == ["10 get sqlite: 0.90, where 2.00 is recorded"]
    found["high"] = 1.1  # some rounds were all right
    assert record.far_behind({"10 get sqlite": 2.0}, result) == []


# --- the work ---------------------------------------------------------------------------------------------------------


def test_ids_are_scattered_and_all_different() -> None:
    ids = [execution_id(number) for number in range(5000)]
    assert len(set(ids)) == 5000
    assert ids != sorted(ids)
    assert len({job_id(number) for number in range(5000)}) == 500
    assert len(json.dumps(workloads.load_document(), separators=(",", ":"))) == pytest.approx(2400, abs=50)


def test_the_plan_updates_each_once_a_turn_and_moves_every_state() -> None:
    plan = Plan(200)
    ordinary = {number for number in range(200) if number % workloads.LIVE_EVERY}
    turns = []
    assert plan.next("count", 2) == ([0, 0], "New")
    for _ in range(2):
        numbers: list[int] = []
        while len(numbers) < len(ordinary):
            batch, state = plan.next("update", 30)
            numbers += batch
        assert sorted(numbers) == sorted(ordinary)
        turns.append(state)
        assert plan.next("count", 1) == ([0], state)  # that of nearly all
    assert turns[0] != turns[1]
    plan.give_back_updates(10)
    assert plan.next("update", 30)[0] == numbers[-10:]


def test_the_plan_deletes_what_it_made_and_reads_what_is_there() -> None:
    plan = Plan(1000, quick=True)
    made = plan.next("create")[0] + plan.next("lifecycle")[0]
    assert min(made) == 1000
    assert len(made) == BY_NAME["create"].quick + BY_NAME["lifecycle"].quick
    assert plan.next("delete") == (made, "")
    assert plan.next("delete") == ([], "")
    assert len(set(plan.next("get", 1000)[0])) == 1000
    assert max(plan.next("watch", 1000)[0]) + 99 <= 2000


@pytest.fixture(params=STORES)
def contender(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Contender]:
    try:
        with Contender(request.param, str(tmp_path)) as started:
            started.ask("fill", [200])
            yield started
    except Unavailable as error:
        pytest.skip(str(error))


def test_each_contender_does_the_work(contender: Contender) -> None:
    def ask(do: str, *numbers: int, argument: str = "", **more: Any) -> list[int]:
        answer = contender.ask(do, list(numbers), argument, **more)
        assert len(answer["ns"]) == len(numbers)
        assert min(answer["ns"]) > 0
        assert answer["until_ns"] - answer["from_ns"] >= max(answer["ns"])
        results: list[int] = answer["results"]
        return results

    assert ask("count", 0, argument="New") == [198]
    assert ask("live", 0) == [2]
    assert ask("get", 0, 1, 199) == [1, 1, 1]
    assert ask("list_job", 5, 199) == [10, 10]
    assert ask("watch", 1, 300) == [100, 100]

    ask("create", 200, 201)
    assert ask("list_job", 200) == [2]
    assert ask("events", 200) == [1]
    assert ask("count", 0, argument="New") == [200]
    with pytest.raises(ContenderError):
        ask("create", 200)

    assert ask("update", 200, argument="AskForBid") == [2]
    assert ask("get", 200) == [2]
    assert ask("events", 200) == [2]
    assert [ask("count", 0, argument=state) for state in ("New", "AskForBid")] == [[199], [1]]
    ask("add_event", 200, 200)
    assert ask("events", 200) == [4]

    assert ask("lifecycle", 202) == [5]
    assert ask("events", 202) == [5]
    assert ask("count", 0, argument="Completed") == [1]
    with pytest.raises(ContenderError):
        ask("update", 202, argument="Running")

    ask("delete", 200, 202)
    assert ask("list_job", 201) == [1]
    assert ask("count", 0, argument="Completed") == [0]
    for gone in ("get", "delete", "add_event"):
        with pytest.raises(ContenderError):
            ask(gone, 200)

    assert ask("open", 201, 5) == [1, 1]
    # 400 of the filled ones, then 2 * 2, 2, 2, 2 + 4 * 2 = 18 and, but for bbolt as Bacalhau uses it, 2 deletes.
    latest = 418 if contender.name == "bbolt" else 420
    assert ask("watch", latest - 99, latest - 98) == [100, 99]


def test_threads_share_the_work(contender: Contender) -> None:
    answer = contender.ask("create", list(range(200, 212)), threads=4)
    assert len(answer["ns"]) == 12
    assert contender.ask("count", [0], "New")["results"] == [210]
    with pytest.raises(ContenderError):  # of one thread, the others do their part
        contender.ask("create", [212, 200, 213], threads=3)
    assert contender.ask("count", [0], "New")["results"] == [212]


def test_seconds_end_a_batch_early(contender: Contender) -> None:
    answer = contender.ask("update", list(range(1, 99)), "AskForBid", seconds=1e-9)
    assert len(answer["ns"]) == 1


def test_what_the_filler_wrote_is_a_whole_store(tmp_path: Path) -> None:
    with Contender("execstore", str(tmp_path)) as contender:
        contender.ask("fill", [150])
        contender.ask("create", [150])
    with Store(tmp_path / "store") as store:
        assert store.verify().ok
        assert store.get_execution_events(execution_id(149))[0].message == "created"
        assert store.history(execution_id(149))[0].revision == 1


def test_the_floor_writes(tmp_path: Path) -> None:
    with Contender("floor", str(tmp_path)) as floor:
        floor.ask("fill", [10])
        assert floor.ask("create", list(range(5)))["results"] == [1] * 5
        assert not has("floor", "get")
        with pytest.raises(ContenderError, match="reads nothing"):
            floor.ask("get", [1])


def test_a_contender_that_is_not_to_be_had_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="Go isn't installed; on Debian: apt install"):
        command_line("bbolt", str(tmp_path))
    with pytest.raises(Unavailable, match=r"mkfs|root"):
        fresh_file_system("ext4", str(tmp_path)).__enter__()
    assert os.listdir(tmp_path) == []


def test_a_terminated_run_leaves_nothing_behind(tmp_path: Path) -> None:
    arguments = ("-m", "execstore", "bench", "--on", str(tmp_path), "--only", "execstore,create", "--rounds", "1000")
    with python(*arguments, stderr=subprocess.PIPE) as bench:
        assert bench.stderr is not None
        assert "filling" in bench.stderr.readline()
        assert len(os.listdir(tmp_path)) == 1
        bench.terminate()
        _, rest = bench.communicate(timeout=PATIENCE_SECONDS)
    assert bench.returncode == -signal.SIGINT
    assert "Traceback" not in rest
    assert os.listdir(tmp_path) == []


# --- a whole run ------------------------------------------------------------------------------------------------------

_TINY = Settings(
    contenders=("execstore", "sqlite", "floor"),
    sizes=(40, 120),
    rounds=3,
    quick=True,
    scale=0.2,
    threads=(1, 3),
    processes=(1, 2),
    writers_rounds=2,
    sustained_seconds=0.15,
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bench")
    said: list[str] = []
    found = measure(str(folder), _TINY, said.append)
    assert os.listdir(folder) == []
    assert "120 executions: several writers" in said
    return {"machine": describe_machine(), "disk": describe_disk(str(folder))} | found


def test_a_run_measures_all_that_it_says(result: dict[str, Any]) -> None:
    small, large = result["sizes"]["40"], result["sizes"]["120"]
    assert list(small["operations"]) == [operation.name for operation in OPERATIONS]
    for operation, by_name in small["operations"].items():
        assert set(by_name) == {name for name in _TINY.contenders if has(name, operation)}
        assert all(values["median_us"] > 0 for values in by_name.values())
        assert "ratio" not in by_name["execstore"]
        ours, sqlite = by_name["execstore"]["median_us"], by_name["sqlite"]
        assert sqlite["ratio"]["value"] == pytest.approx(sqlite["median_us"] / ours)
    assert small["operations"]["create"]["sqlite"]["calls"] == 3 * 4
    assert set(large["threads"]["update"]) == {"1", "3"}
    assert set(large["processes"]["create"]) == {"1", "2"}
    assert "threads" not in small
    assert set(large["sustained"]) == {"execstore", "sqlite"}
    assert all(large["costs"]["create"][name]["dirtied_bytes"] > 0 for name in _TINY.contenders)
    assert all(size > 0 for size in large["disk_bytes"].values())


def test_the_phases_of_an_operation_are_all_of_it(tmp_path: Path) -> None:
    found = {measured.name: measured.values for measured in measure_phases(str(tmp_path), quick=True)}
    assert list(found)[:4] == ["create", "update", "add event", "delete"]
    assert len(found) == 9
    for number, values in enumerate(found.values()):
        assert {"whole", "journal and head", "Python"} <= values.keys()
        assert (number < 4) == ("flush" in values) == ("files and links" in values)
        assert max(values.values()) == values["whole"]


def test_the_tables_fit(result: dict[str, Any]) -> None:
    lines = [*report.describe(result), *report.tables(result)]
    assert max(map(len, lines)) <= report.WIDTH
    assert "One writer or reader, a store of 40 executions" in lines
    everyone = {name: {"median_us": 1e6, "ratio": {"value": 123.4, "low": 100, "high": 200}} for name in CONTENDERS}
    assert max(map(len, report._operations({"create": everyone}))) <= report.WIDTH


def test_recording_replaces_what_was_of_the_same_kind(result: dict[str, Any], tmp_path: Path) -> None:
    record.record(str(tmp_path), "one kind", "execstore bench --first", result)
    record.record(str(tmp_path), "another", "execstore bench", result)
    record.record(str(tmp_path), "one kind", "execstore bench --second", result)
    text = (tmp_path / record.RESULTS).read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## another", "## one kind"]
    assert "--second" in text
    assert "--first" not in text
    ratios = json.loads((tmp_path / record.RATIOS).read_text())
    assert ratios["one kind"] == report.ratios_of(result) == ratios["another"]
    assert "120 create 3 threads sqlite" in ratios["another"]
    assert "40 get sqlite" in ratios["another"]


def test_the_plot(result: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot(result, str(tmp_path / "plot.svg"))
    assert "<svg" in (tmp_path / "plot.svg").read_text()


def test_nothing_is_plotted_against_a_single_place(result: dict[str, Any]) -> None:
    assert [title for title, _, _ in _panels(result)] == [
        "durable creates a second",
        "create, median µs",
        "get, median µs",
        "count a state, median µs",
    ]
    one_size = result | {"sizes": {"120": result["sizes"]["120"]}}
    assert [title for title, _, _ in _panels(one_size)] == ["durable creates a second"]
    no_writers = result | {"sizes": {"40": result["sizes"]["40"]}}
    assert next(title for title, _, _ in _panels(no_writers)) == "create, median µs"


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command(
    result: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[str, Settings]] = []

    def measure_nothing(folder: str, settings: Settings, say: object) -> dict[str, Any]:
        asked.append((folder, settings))
        return {"sizes": result["sizes"], "skipped": {"bbolt": "Go isn't installed"}}

    monkeypatch.setattr(harness, "measure", measure_nothing)
    arguments = ["bench", "--quick", "--on", str(tmp_path), "--only", "sqlite,create", "--only", "get"]
    assert run([*arguments, "--record", str(tmp_path)], "execstore") == 0
    out = capsys.readouterr().out
    assert "without bbolt: Go isn't installed" in out
    folder, settings = asked[0]
    assert folder.startswith(str(tmp_path))
    assert settings == replace(Settings.quickly(), contenders=("execstore", "sqlite"), operations=("create", "get"))

    ratios = tmp_path / record.RATIOS
    assert run([*arguments, "--json", "--check", str(ratios)], "execstore") == 0
    assert json.loads(capsys.readouterr().out)["sizes"] == result["sizes"]
    label, recorded = next(iter(json.loads(ratios.read_text()).items()))
    ratios.write_text(json.dumps({label: recorded | {"40 get sqlite": 1e9}}))
    assert run([*arguments, "--json", "--check", str(ratios)], "execstore") == 1
    assert "far behind: 40 get sqlite: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "oracle"], "'oracle' is none of execstore, bbolt"),
        (["--threads", "1,x"], "takes numbers over 0"),
        (["--check", "no-such-file"], "can't be read"),
        (["--plot", "no-such-folder/plot.svg"], "takes an .svg or .png in a folder that is there"),
        (["--record", "no-such-folder"], "does not exist"),
        (["--fresh", "fat"], "'fat' is not one of"),
    ],
)
def test_the_command_refuses(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", *arguments], "execstore") == 2
    assert said in capsys.readouterr().err
