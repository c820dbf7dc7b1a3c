"""Every parser, against spoiled inputs and against all that ever broke one. The long way is ``tests/fuzz/run.py``."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import FINDINGS, TARGETS, TOKENS, run_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Restoring makes a whole store each time.
EXAMPLES = {"restore": 25, "restore_sealed": 25}
MOST_SECONDS = 10
MOST_KIB = 256 * 1024

findings = sorted(path for path in FINDINGS.iterdir() if path.suffix == ".bin")


def spoil(data: bytes, changes: Sequence[tuple[int, int | None, bytes]]) -> bytes:
    """Replace, at each place (a part of 65536 of the length), so many bytes with others; ``None``: by as many."""
    for place, removed, added in changes:
        start = place * (len(data) + 1) // 65536
        data = data[:start] + added + data[start + (len(added) if removed is None else removed) :]
    return data


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 65535),
        st.none() | st.integers(0, 40),
        st.sampled_from(TOKENS) | st.binary(max_size=4),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_good_input_is_taken(name: str) -> None:
    assert any(run_target(TARGETS[name], data) for data in TARGETS[name].seeds())


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_spoiled_input_is_refused_or_means_something(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    used_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(
        max_examples=EXAMPLES.get(name, 400),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(seeds), CHANGES)
    def try_one(data: bytes, changes: list[tuple[int, int | None, bytes]]) -> None:
        started = time.process_time()
        run_target(target, spoil(data, changes))
        assert time.process_time() - started < MOST_SECONDS

    try_one()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used_before < MOST_KIB


@pytest.mark.parametrize("path", findings, ids=[path.stem for path in findings])
def test_what_broke_a_promise_once_does_so_no_more(path: Path) -> None:
    run_target(TARGETS[path.stem.partition("-")[0]], path.read_bytes())
