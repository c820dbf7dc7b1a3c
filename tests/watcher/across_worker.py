"""What the other processes of the tests across processes do: ``across_worker.py COMMAND STORE [ARGUMENT]``.

Each prints a line when the call it speaks of has returned, and flushes it at once: what was printed was acknowledged.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from execstore import Event, Store
from execstore.tree import tree
from execstore.watcher import Event as LogEvent
from execstore.watcher import (
    EventFilter,
    EventIterator,
    JSONSerializer,
    Operation,
    StoreEventRequest,
    Watcher,
    WatcherManager,
)

OPERATIONS = tuple(Operation)


def write(store: Store, count: str) -> None:
    """Store events, at random moments, until there are ``count`` (0: for ever)."""
    chance = random.Random(os.getpid())
    number = 0
    while number < int(count) or count == "0":
        operation = OPERATIONS[number % 3]
        seq_num = store.event_store.store_event(StoreEventRequest(operation, f"Plain{number % 2}", {"n": number}))
        print(seq_num, flush=True)
        number += 1
        if chance.random() < 0.5:
            time.sleep(chance.random() * 0.003)


def ask(store: Store, _: str) -> None:
    """Store an event for each line of the input."""
    for _line in sys.stdin:
        print(store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain0", {})), flush=True)


def die(store: Store, _: str) -> None:
    """Be killed when an event is durable, and its publication has begun."""

    def killed(*_arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    vars(tree)["publish"] = killed
    store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain0", {}))
    print(0, flush=True)


def watch(store: Store, name: str) -> None:
    """Print each event's number, then store it as the watcher's checkpoint, until the input ends."""

    def handle(event: LogEvent) -> None:
        print(event.seq_num, flush=True)
        watcher().checkpoint(event.seq_num)

    def watcher() -> Watcher:
        return manager.lookup(name)

    with WatcherManager(store.event_store) as manager:
        manager.create(name, handler=handle, initial_event_iterator=EventIterator.trim_horizon())
        watcher().start()
        sys.stdin.read()


def effect(store: Store, name: str) -> None:
    """Add each event's number to an execution's events, in one transaction with the checkpoint; print it."""

    def handle(event: LogEvent) -> None:
        with store.begin_tx() as transaction:
            if event.seq_num > transaction.get_checkpoint(name):
                transaction.add_execution_event("effects", Event("Effect", str(event.seq_num)))
                transaction.checkpoint(name, event.seq_num)
        print(event.seq_num, flush=True)

    with WatcherManager(store.event_store) as manager:
        only_plain = EventFilter(object_types=("Plain0", "Plain1"))
        start = EventIterator.after_sequence_number(store.get_checkpoint(name))
        manager.create(name, handler=handle, filter=only_plain, initial_event_iterator=start, ephemeral=True).start()
        sys.stdin.read()


COMMANDS = {"ask": ask, "die": die, "effect": effect, "watch": watch, "write": write}


def main(command: str, path: str, argument: str = "") -> None:
    JSONSerializer.register_type("Plain0", dict)
    JSONSerializer.register_type("Plain1", dict)
    with Store(path) as store:
        COMMANDS[command](store, argument)


if __name__ == "__main__":
    main(*sys.argv[1:])
