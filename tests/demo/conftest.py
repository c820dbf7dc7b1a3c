"""What the demo's tests share: a store whose tear-down finds it whole, and jobs made of a shell script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from execstore import Store
from execstore.demo.jobs import Job, parse_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", durability="relaxed") as opened:
        yield opened
        report = opened.verify()
        assert report.ok, report.problems


@pytest.fixture
def make_job() -> Callable[..., Job]:
    """Make a checked job that runs a shell script; more members of the task are given by name."""

    def make(name: str, script: str, *, job_type: str = "batch", count: int = 1, **task: Any) -> Job:
        engine = {"Type": "exec", "Params": {"Command": "sh", "Parameters": ["-c", script]}}
        document = {
            "Name": name,
            "Type": job_type,
            "Count": count,
            "Tasks": [{"Name": "main", "Engine": engine, **task}],
        }
        return parse_job(document, f"{name}.json")

    return make
