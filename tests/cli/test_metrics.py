"""``execstore metrics``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from execstore import Store
from tests.openmetrics import parse

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import CommandLine


def test_the_text_has_what_a_fresh_handle_can_know(execstore_cli: CommandLine, path: Path) -> None:
    result = execstore_cli("metrics")
    assert (result.status, result.stderr) == (0, "")
    found = parse(result.stdout)
    assert found["execstore_executions"].value(state="Running") == 1
    assert found["execstore_executions"].value(state="New") == 1
    assert found["execstore_log_events"].value() == 11
    with Store(path, read_only=True) as store:
        assert found["execstore_transactions"].value() == store.metrics().transaction
    assert not {"execstore_commits", "execstore_conflicts", "execstore_problems"} & set(found)


def test_problems_are_counted_when_asked(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    assert parse(execstore_cli("metrics", "--verify").stdout)["execstore_problems"].value() == 0
    record = path / "executions" / f"{ids[0]}.json"
    content = record.read_bytes()
    record.write_bytes(b"{")
    try:
        result = execstore_cli("metrics", "--verify")
        document = execstore_cli("metrics", "--verify", "--json").json()
    finally:
        record.write_bytes(content)
    assert result.status == 0
    assert parse(result.stdout)["execstore_problems"].value() == document["problems"] > 0


def test_the_same_as_json(execstore_cli: CommandLine) -> None:
    document = execstore_cli("metrics", "--json").json()
    assert document["executions"]["Failed"] == 1
    assert document["event_log"]["latest"] == 11
    assert document["problems"] is None
    assert "commits" not in document


def test_the_textfile_is_replaced_in_one_step(execstore_cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "textfiles" / "execstore.prom"
    file.parent.mkdir()
    file.write_text("old")
    with open(file, encoding="utf-8") as reading:
        result = execstore_cli("metrics", "--textfile", str(file))
        assert reading.read() == "old"
    assert (result.status, result.stdout, result.stderr) == (0, "", "")
    assert "execstore_executions" in parse(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o644
    assert os.listdir(file.parent) == ["execstore.prom"]


def test_a_textfile_that_cannot_be_written(execstore_cli: CommandLine, tmp_path: Path) -> None:
    for place in (str(tmp_path / "no" / "x.prom"), str(tmp_path)):
        result = execstore_cli("metrics", "--textfile", place)
        assert (result.status, result.stdout) == (3, "")
        assert result.stderr.startswith("execstore: ")
        assert str(tmp_path) in result.stderr
        assert result.stderr.count("\n") == 1
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []


def test_a_textfile_is_no_json(execstore_cli: CommandLine, tmp_path: Path) -> None:
    result = execstore_cli("metrics", "--json", "--textfile", str(tmp_path / "x.prom"))
    assert (result.status, "excludes" in result.stderr) == (2, True)
