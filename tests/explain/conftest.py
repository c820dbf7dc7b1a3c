"""Where explanations are made, and the tear-down that verifies the store that they were made on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from execstore import Store
from execstore.explain.place import open_place
from execstore.explain.topics import explainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from execstore.explain.parts import Part
    from execstore.explain.place import Place


def check(place: Place) -> None:
    """Nothing lies about but what was opened, and the store is whole if it is still there."""
    assert [name for name in os.listdir(place.spare) if "opened" not in name] == []
    if os.path.exists(place.store):
        with Store(place.store) as store:
            report = store.verify()
            assert report.ok, report.problems


@pytest.fixture
def place() -> Iterator[Place]:
    """A place whose store must be whole in the end."""
    with open_place() as place:
        yield place
        check(place)


@pytest.fixture(scope="session")
def explained() -> Callable[..., Sequence[Part]]:
    """The parts of a topic (``lies=True``: on a disk that lies). Each is made once: they are never changed."""
    known: dict[tuple[str, bool], Sequence[Part]] = {}

    def explain(topic: str, *, lies: bool = False) -> Sequence[Part]:
        if (topic, lies) not in known:
            with open_place() as place:
                known[topic, lies] = tuple(explainer(topic)(place, lies=lies))
                check(place)
        return known[topic, lies]

    return explain
