"""For all crash tests: nothing waits, and every run of a test makes the same bytes."""

from __future__ import annotations

import functools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from execstore.tree import journal, reading
from tests.crash.explore import Explorer, Thoroughness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.tree.journal import Record


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulated process has the machine for itself, so whoever doesn't get a lock at once never will."""
    monkeypatch.setattr(reading, "_STUCK_SECONDS", -1.0)
    monkeypatch.setattr(reading, "_READ_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(reading, "_READ_ATTEMPTS", 2)


@pytest.fixture(autouse=True)
def same_store_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's random ID goes into every checksum."""
    monkeypatch.setattr("secrets.token_hex", lambda count: "5eed" * (count // 2))


@pytest.fixture(autouse=True)
def known_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left after one crash and after another holds the same records, mostly: a fifth of the time went there."""
    parse = functools.lru_cache(maxsize=1024)(journal.parse_record)

    def parse_once(data: bytes, offset: int, checksum_seed: int) -> Record | None:
        header = journal._HEADER.match(data, offset)
        if header is None:
            return None
        record = parse(data[offset : header.end() + int(header[4])], 0, checksum_seed)
        return record and record._replace(end=offset + record.end)

    monkeypatch.setattr(journal, "parse_record", parse_once)


class Effort:
    """How much is tried, and how much was.

    ``EXECSTORE_CRASH_ROUNDS=20`` (say) runs every test with that many seeds and tries more at each stop;
    ``EXECSTORE_CRASH_SEED=7`` starts from another seed than the usual one, or runs a failure again.
    """

    def __init__(self) -> None:
        self.rounds = int(os.environ.get("EXECSTORE_CRASH_ROUNDS", "0"))
        self.states = 0
        self.stops = 0
        self._first = os.environ.get("EXECSTORE_CRASH_SEED", "")

    @property
    def is_long(self) -> bool:
        return self.rounds > 0

    def amount(self, usual: int, long: int) -> int:
        return long if self.is_long else usual

    def seeds(self, usual: int) -> range:
        """The seeds to run a test with."""
        first = int(self._first or usual)
        return range(first, first + max(self.rounds, 1))

    @contextmanager
    def explorer(
        self, seed: int, thoroughness: Thoroughness | None = None, *, syncs_all: bool = True
    ) -> Iterator[Explorer]:
        """An explorer whose states are counted, whatever comes of it."""
        usual = Thoroughness(bound=self.amount(4, 24), limit=self.amount(3, 10), recovery_every=self.amount(300, 150))
        explorer = Explorer(seed, thoroughness or usual, syncs_all=syncs_all)
        try:
            yield explorer
        finally:
            self.states += explorer.states
            self.stops += explorer.stops


_EFFORT = Effort()


@pytest.fixture
def effort() -> Effort:
    return _EFFORT


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _EFFORT.states:
        terminalreporter.write_line(f"simulated crashes: {_EFFORT.states} states at {_EFFORT.stops} stops")
