"""For the power cuts: asked for by ``-m power_cut``, and done where the machine lets them.

``EXECSTORE_POWER_CUTS=2000`` (say) makes that many cuts of each file system, and more of all else in proportion;
``EXECSTORE_POWER_CUT_SEED=7`` starts from another seed than the usual one.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.power_cut import examine, machine

if TYPE_CHECKING:
    from collections.abc import Iterator

USUAL_CUTS = 60


@dataclass
class Tally:
    """What was tried on one file system."""

    cuts: int = 0
    recordings: int = 0
    made_whole: int = 0
    lost: int = 0
    seconds: float = 0.0
    acknowledged: int = 0


@dataclass
class Effort:
    """How much is tried, and how much was."""

    cuts: int = field(default_factory=lambda: int(os.environ.get("EXECSTORE_POWER_CUTS", str(USUAL_CUTS))))
    seed: str = field(default_factory=lambda: os.environ.get("EXECSTORE_POWER_CUT_SEED", "1"))
    tallies: dict[str, Tally] = field(default_factory=dict)

    def share(self, part: float) -> int:
        """So many cuts of those that there are to be."""
        return max(int(self.cuts * part), 1)

    @contextmanager
    def counted(self, kind: machine.FileSystemKind) -> Iterator[Tally]:
        tally = self.tallies.setdefault(kind.name, Tally())
        started = time.monotonic()
        try:
            yield tally
        finally:
            tally.seconds += time.monotonic() - started


_EFFORT = Effort()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "power_cut" in config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("power_cut"):
            item.add_marker(pytest.mark.skip(reason="power cuts are made when asked for: -m power_cut"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, tally in _EFFORT.tallies.items():
        terminalreporter.write_line(
            f"power cuts on {name}: {tally.cuts} of {tally.recordings} recordings with {tally.acknowledged} "
            f"acknowledged operations, {tally.lost} lost something, {tally.made_whole} made again with "
            f"whole blocks, {tally.seconds:.0f} s (seed {_EFFORT.seed})"
        )


@pytest.fixture
def effort() -> Effort:
    return _EFFORT


@pytest.fixture(params=machine.FILE_SYSTEMS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> machine.FileSystemKind:
    """Each file system in turn, if it can be had here."""
    found: machine.FileSystemKind = request.param
    missing = found.missing()
    if missing is not None:
        pytest.skip(missing)
    return found


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory that is taken down with all that is mounted below it."""
    with machine.workplace() as folder:
        yield folder


def judge(outcome: examine.Outcome, tally: Tally) -> None:
    """Count the cuts; what was lost is kept, and told."""
    tally.cuts += outcome.cuts
    tally.lost += len(outcome.lost)
    tally.made_whole += outcome.made_whole
    for cut, reason in outcome.lost[:1]:
        kept = Path(tempfile.mkdtemp(prefix="execstore-power-cut-failure-"))
        examine.keep(outcome.run, cut, reason, kept)
        pytest.fail(
            f"{len(outcome.lost)} of {outcome.cuts} power cuts lost something (task {outcome.run.task}). The first, at "
            f"moment {cut.moment} ({cut.manner}):\n{reason}\n"
            f"See it again: python -m tests.power_cut.examine {kept}"
        )
    assert not outcome.damaged, "a file system that stands no power cut tells nothing of the store"
