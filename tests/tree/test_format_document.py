"""FORMAT.md's worked example is what really stands on disk."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import execstore.tree
from execstore import Execution, ExecutionState, State, Store

if TYPE_CHECKING:
    import pytest

DOCUMENT = Path(execstore.tree.__file__).parent / "FORMAT.md"
TIME_NS = 1795500000000000000


def test_the_worked_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "5f1e3c6a90b7d248")
    with Store(tmp_path / "store", clock=lambda: TIME_NS) as store:
        job = {"Name": "hello"}
        store.create_execution(Execution(id="e-1", job_id="j-1", job=job, compute_state=State(ExecutionState.NEW)))
        written = b"".join((tmp_path / "store" / name).read_bytes() for name in ("journal.0", "head")).decode()
        assert store.verify().ok
    example = DOCUMENT.read_text().partition("## A worked example")[2].partition("\n## ")[0]
    lines = [line[4:] for line in example.splitlines() if line.startswith("    ")]
    assert len(lines) > 8
    for line in lines:
        for part in line.split("…"):
            assert part in written, part
