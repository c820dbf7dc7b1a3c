"""The checker itself: it takes what can be explained, and nothing else."""

from __future__ import annotations

import random

import pytest

from tests.crash.linearizability import Operation, State, is_linearizable


def read(start: int, end: int, found: State) -> Operation:
    return Operation("read", start, end, found=found)


def create(start: int, end: int | None, value: str, done: bool | None = True) -> Operation:
    return Operation("create", start, end, value, done=done)


def swap(
    start: int, end: int | None, expected: int, value: str, done: bool | None = True, found: State = None
) -> Operation:
    return Operation("swap", start, end, value, expected, done, found)


EXPLAINED: dict[str, list[Operation]] = {
    "nothing": [],
    "in turn": [read(0, 1, None), create(2, 3, "a"), read(4, 5, (1, "a")), swap(6, 7, 1, "b"), read(8, 9, (2, "b"))],
    "a read during a change sees the one or the other": [
        create(0, 1, "a"),
        swap(2, 9, 1, "b"),
        read(3, 4, (1, "a")),
        read(5, 6, (2, "b")),
    ],
    "of two swaps one fails": [create(0, 1, "a"), swap(2, 5, 1, "b"), swap(3, 6, 1, "c", False, (2, ""))],
    "unknown and seen later": [
        create(0, 1, "a"),
        swap(2, None, 1, "b", None),
        read(3, 4, (1, "a")),
        read(9, 9, (2, "b")),
    ],
    "unknown and never seen": [create(0, 1, "a"), swap(2, None, 1, "b", None), swap(3, 4, 1, "c")],
    "created twice": [create(0, 1, "a"), create(2, 3, "b", False), read(4, 5, (1, "a"))],
}

UNEXPLAINED: dict[str, list[Operation]] = {
    "a lost update": [create(0, 1, "a"), swap(2, 3, 1, "b"), read(4, 5, (1, "a"))],
    "two swaps from one revision": [create(0, 1, "a"), swap(2, 5, 1, "b"), swap(3, 6, 1, "c")],
    "a read that goes back": [create(0, 1, "a"), swap(2, 9, 1, "b"), read(3, 4, (2, "b")), read(5, 6, (1, "a"))],
    "a value of nobody": [create(0, 1, "a"), read(2, 3, (1, "x"))],
    "seen before it was asked": [create(0, 1, "a"), read(2, 3, (2, "b")), swap(4, 5, 1, "b")],
    "a failure that was none": [create(0, 1, "a"), swap(2, 3, 1, "b", False, (1, ""))],
    "an acknowledged change that isn't there": [create(0, 1, "a"), read(2, 3, None)],
    "unknown, seen, and gone again": [
        create(0, 1, "a"),
        swap(2, None, 1, "b", None),
        read(3, 4, (2, "b")),
        read(5, 6, (1, "a")),
    ],
    "created twice": [create(0, 1, "a"), create(2, 3, "b")],
}


@pytest.mark.parametrize("name", list(EXPLAINED))
def test_what_can_be_explained(name: str) -> None:
    assert is_linearizable(EXPLAINED[name])


@pytest.mark.parametrize("name", list(UNEXPLAINED))
def test_what_cannot_be_explained(name: str) -> None:
    assert not is_linearizable(UNEXPLAINED[name])


def simulate(chance: random.Random, count: int) -> list[Operation]:
    """A history of a register that is right: each operation takes effect at one moment between its ends."""
    history: list[Operation] = []
    state: State = None
    for moment in range(100, 100 + count * 10, 10):
        start, end = moment - chance.randrange(1, 60), moment + chance.randrange(1, 60)
        value = f"v{moment}"
        kind = chance.choice(("read", "swap", "swap", "killed"))
        if kind == "read":
            history.append(read(start, end, state))
        elif state is None:
            history.append(create(start, end, value))
            state = (1, value)
        else:
            expected = state[0] - (chance.random() < 0.3)
            applies = expected == state[0]
            if kind == "killed":
                history.append(swap(start, None, expected, value, None))
                applies = applies and chance.random() < 0.5
            else:
                history.append(swap(start, end, expected, value, applies, None if applies else state))
            if applies:
                state = (expected + 1, value)
    return history


@pytest.mark.parametrize("seed", range(20))
def test_right_histories_are_explained_and_wrong_ones_are_not(seed: int) -> None:
    chance = random.Random(seed)
    history = simulate(chance, 200)
    assert is_linearizable(history)
    # A read that answers with what was true long before, or with what nobody wrote.
    numbers = [number for number, operation in enumerate(history) if operation.kind == "read" and operation.found]
    number = numbers[-1]
    old = history[number]
    assert old.found is not None
    history[number] = read(old.start, old.end or 0, (old.found[0] - min(20, old.found[0] - 1), "v?"))
    assert not is_linearizable(history)
