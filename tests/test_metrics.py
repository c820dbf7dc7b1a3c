"""What a store tells of itself: the numbers, their text, and OpenTelemetry."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState, Store
from execstore.counters import FLUSH_BOUNDS_NS, Counters
from execstore.errors import ExecStoreError, MissingExtraError
from execstore.metrics import Family, Sample, families, register, render, write_textfile
from tests.openmetrics import parse
from tests.support import in_child, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StoreFactory
    from tests.support import FakeClock

S = ExecutionState


def test_commits_and_conflicts_are_counted(store: Store) -> None:
    store.create_execution(make_execution("e1"))
    store.add_execution_event("e1")  # changes nothing, so nothing is committed
    store.add_execution_event("e1", make_event())
    store.update_execution_state(make_request("e1", S.RUNNING))
    refused: list[Callable[[Any], object]] = [
        lambda target: target.create_execution(make_execution("e1")),
        lambda target: target.update_execution_state(make_request("e1", S.FAILED, revision=7)),
        lambda target: target.update_execution_state(make_request("e1", S.FAILED, expected=(S.NEW,))),
        lambda target: target.update_execution_state(make_request("e2", S.FAILED)),  # not there: no conflict
        lambda target: target.create_execution(make_execution("e3", state=S.FAILED)),  # never possible: no conflict
    ]
    for call in refused:
        with suppress(ExecStoreError):
            call(store)
    assert (store.metrics().commits, store.metrics().conflicts) == (3, 3)
    with store.begin_tx() as tx:
        for call in refused:
            with suppress(ExecStoreError):
                call(tx)
        tx.delete_execution("e1")
        tx.create_execution(make_execution("e4"))
    metrics = store.metrics()
    assert (metrics.commits, metrics.conflicts) == (4, 6)
    assert sum(metrics.flushes) == 4
    assert metrics.flush_ns > 0


def test_each_handle_counts_its_own_and_all_see_the_transactions(open_store: StoreFactory) -> None:
    first, second = open_store(), open_store()
    first.create_execution(make_execution("e1"))
    second.create_execution(make_execution("e2"))
    second.create_execution(make_execution("e3"))
    assert [each.metrics().commits for each in (first, second)] == [1, 2]
    transaction = first.metrics().transaction
    assert transaction is not None
    assert second.metrics().transaction == transaction
    second.delete_execution("e3")
    assert open_store(read_only=True).metrics().transaction == transaction + 1


def test_a_child_counts_anew(open_store: StoreFactory) -> None:
    store = open_store()
    store.create_execution(make_execution("e1"))

    def work() -> str:
        store.create_execution(make_execution("e2"))
        metrics = store.metrics()
        return f"{metrics.commits} {sum(metrics.flushes)}"

    assert in_child(work) == "1 1"
    assert store.metrics().commits == 1


def test_relaxed_commits_flush_nothing(open_store: StoreFactory) -> None:
    store = open_store(durability="relaxed")
    store.create_execution(make_execution("e1"))
    assert (store.metrics().commits, sum(store.metrics().flushes)) == (1, 0)


def test_no_count_is_lost_between_threads() -> None:
    counters = Counters()

    def count() -> None:
        for _ in range(2000):
            counters.add_commit()
            counters.add_conflict()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert counters.snapshot()[:2] == (8000, 8000)


@pytest.mark.parametrize(
    ("elapsed_ns", "index"),
    [(0, 0), (100_000, 0), (100_001, 1), (1_000_000, 3), (10**9, len(FLUSH_BOUNDS_NS) - 1), (10**9 + 1, -1)],
)
def test_a_flush_is_counted_in_its_class(elapsed_ns: int, index: int) -> None:
    counters = Counters()
    counters.add_flush(elapsed_ns)
    assert counters.snapshot().flushes[index] == 1
    assert counters.snapshot().flush_ns == elapsed_ns


def test_the_oldest_live_execution_has_an_age(store: Store, clock: FakeClock) -> None:
    store.create_execution(make_execution("new"))
    assert store.metrics().oldest_live_age_ns is None
    store.create_execution(make_execution("old", state=S.BID_ACCEPTED))
    created = store.get_execution("old").create_time
    clock.now_ns = created + 5 * 10**9
    store.create_execution(make_execution("young", state=S.BID_ACCEPTED))
    store.update_execution_state(make_request("old", S.RUNNING))
    assert store.metrics().oldest_live_age_ns == 5 * 10**9
    clock.now_ns = created - 10**9
    assert store.metrics().oldest_live_age_ns == 0


# --- as text --------------------------------------------------------------------------------------------------------


def test_the_text_says_it_all(store: Store) -> None:
    store.create_execution(make_execution("e1", state=S.BID_ACCEPTED), make_event())
    store.event_store.store_checkpoint('a"\\\nb', 1)
    metrics = store.metrics()
    found = parse(render(families(metrics, problems=2)))
    assert found["execstore_executions"].value(state="BidAccepted") == 1
    assert len(found["execstore_executions"].samples) == 12
    assert found["execstore_log_events"].value() == 2
    assert found["execstore_log_kept_events"].value() == 2
    assert found["execstore_log_bytes"].value() == metrics.event_log.bytes > 0
    assert found["execstore_journal_bytes"].value() == metrics.journal_bytes > metrics.journal_used_bytes > 0
    assert found["execstore_watcher_lag_events"].value(watcher='a"\\\nb') == 1
    assert found["execstore_watcher_lost_events"].value(watcher='a"\\\nb') == 0
    assert found["execstore_commits"].value() == 2
    assert found["execstore_problems"].value() == 2
    assert found["execstore_flush_duration_seconds"].samples["_count", ()] == 2
    assert found["execstore_flush_duration_seconds"].samples["_sum", ()] == metrics.flush_ns / 10**9


def test_the_prometheus_client_reads_the_same(store: Store) -> None:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    classic = pytest.importorskip("prometheus_client.parser")
    store.create_execution(make_execution("e1", state=S.BID_ACCEPTED), make_event())
    store.event_store.store_checkpoint('a"\\\nb', 1)
    text = render(families(store.metrics(), problems=0))
    ours = {
        (name + suffix, labels, value)
        for name, family in parse(text).items()
        for (suffix, labels), value in family.samples.items()
    }
    for read in (parser.text_string_to_metric_families, classic.text_string_to_metric_families):
        theirs = [sample for family in read(text) for sample in family.samples]
        assert {(sample.name, tuple(sample.labels.items()), sample.value) for sample in theirs} == ours


@pytest.mark.parametrize(
    "text",
    [
        "a 1\n# EOF\n",
        "# TYPE a gauge\na 1\n",
        "# TYPE a gauge\na 1 2\n# EOF\n",
        "# TYPE a gauge\na_total 1\n# EOF\n",
        "# TYPE a counter\na 1\n# EOF\n",
        "# TYPE a counter\na_total -1\n# EOF\n",
        "# TYPE a gauge\n# UNIT a bytes\na 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a x\n# UNIT a a\na 1\n# EOF\n",
        "# TYPE a gauge\na 1\na 1\n# EOF\n",
        "# TYPE a gauge\na 1\n# TYPE a gauge\n# EOF\n",
        '# TYPE a gauge\na{b="\\x"} 1\n# EOF\n',
        '# TYPE a histogram\na_bucket{le="1.0"} 1\na_sum 1\na_count 1\n# EOF\n',
        '# TYPE a histogram\na_bucket{le="1.0"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n# EOF\n',
    ],
)
def test_the_parser_of_these_tests_is_strict(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_a_text_is_escaped() -> None:
    family = Family("a", "gauge", 'one\n"two"\\', (Sample(1.5e-7, (("l", "\n"),)),))
    assert render([family]) == '# TYPE a gauge\n# HELP a one\\n\\"two\\"\\\\\na{l="\\n"} 1.5e-07\n# EOF\n'


def test_a_file_that_cannot_be_replaced_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_textfile(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# --- OpenTelemetry --------------------------------------------------------------------------------------------------


def test_instruments_tell_what_the_store_does(open_store: StoreFactory) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    store = open_store()
    store.create_execution(make_execution("e1", state=S.BID_ACCEPTED))
    store.event_store.store_checkpoint("w", 0)
    reader = export.InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])
    register(store, provider.get_meter("test"))

    def read() -> dict[str, list[tuple[dict[str, Any], float]]]:
        data = reader.get_metrics_data()
        metrics = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
        return {each.name: [(dict(p.attributes), p.value) for p in each.data.data_points] for each in metrics}

    found = read()
    assert ({"state": "BidAccepted"}, 1) in found["execstore.executions"]
    assert found["execstore.commits"] == [({}, 2)]
    assert found["execstore.flushes"] == [({}, 2)]
    assert found["execstore.watcher.lag"] == [({"watcher": "w"}, 1)]
    assert found["execstore.transactions"] == [({}, store.metrics().transaction)]
    assert found["execstore.oldest_live_execution.age"][0][1] >= 0
    assert len(found) == 11
    store.close()
    assert read() == {}
    provider.shutdown()


def test_without_opentelemetry_it_says_what_to_install(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'execstore\[otel\]'"):
        register(store)
