"""What can be explained: each topic's module, loaded when it is asked for, and a line about it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore.explain.parts import Part

__all__ = ["ON_A_LYING_DISK", "TOPICS", "explainer"]

TOPICS: Final[dict[str, tuple[str, str]]] = {
    "layout": ("execstore.explain.layout", "What each file and folder of a store is."),
    "commit": ("execstore.explain.commit", "One create: durable by one flush, then shown at one moment."),
    "recovery": ("execstore.explain.recovery", "What the first user after a power cut does."),
    "checkpoint": ("execstore.explain.checkpoint", "The journal's turn to its other file."),
    "group-commit": ("execstore.explain.group_commit", "Several threads' changes, made durable by few flushes."),
    "watch": ("execstore.explain.watch", "An event's way from one process to a handler in another."),
}
"""In the order in which to learn them."""

ON_A_LYING_DISK: Final = frozenset({"commit", "checkpoint", "group-commit"})
"""Topics that can be told of a disk that only says that it flushed."""


def explainer(topic: str) -> Callable[..., Iterator[Part]]:
    """The function of a topic: ``explain(place, lies=False)``."""
    function: Callable[..., Iterator[Part]] = importlib.import_module(TOPICS[topic][0]).explain
    if not callable(function):
        raise TypeError(f"{TOPICS[topic][0]} explains nothing")
    return function
