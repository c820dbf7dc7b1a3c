"""A watcher that sends notices: what ends badly is told to a webhook or to a command.

It shows a watcher with a checkpoint: each event is handled at least once and in order, whichever process wrote it and
whenever the notifier was running. A notice that can't be delivered is tried again, with longer and longer pauses, and
those behind it wait. Only what was delivered is checkpointed, so after a kill the last few may come twice: each bears
the number of its event, by which a receiver can tell.

    python examples/notifier.py --store my-store --command 'mail -s "execution failed" ops@example.org'
    python examples/notifier.py --store my-store --url http://127.0.0.1:8080/notices --state Failed --state Cancelled

A command gets the notice, a line of JSON, on its standard input, and the event's number in $EXECSTORE_EVENT; a webhook
gets it by POST, and the number as the header Idempotency-Key. `execstore --store my-store watchers` shows how far the
notifier has come, and `execstore watchers remove notifier` forgets it. SIGTERM and Ctrl-C end it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

from execstore import ExecutionState, ExecutionUpsert, Store
from execstore.errors import ExecStoreError
from execstore.watcher import CompactionStrategy, EventFilter, EventIterator, Operation, WatcherManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore import Execution
    from execstore.watcher import Event, Watcher

TIMEOUT_SECONDS = 30.0


def notice_of(execution: Execution, number: int) -> dict[str, Any]:
    """What is told of an execution."""
    state = execution.compute_state
    output = execution.run_output
    return {
        "event": number,
        "execution": execution.id,
        "job": execution.job_id,
        "state": state.state_type.value,
        "message": state.message,
        "exit_code": output.exit_code if output is not None and output.exit_code else None,
    }


def post(url: str, notice: dict[str, Any]) -> None:
    """Send a notice to a webhook. Raises if it isn't answered by a success."""
    request = urllib.request.Request(
        url,
        json.dumps(notice).encode(),
        {"Content-Type": "application/json", "Idempotency-Key": str(notice["event"])},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
        pass  # urlopen raises for a status that is no success


def call(command: str, notice: dict[str, Any]) -> None:
    """Give a notice to a command. Raises if that fails."""
    subprocess.run(
        ["sh", "-c", command],
        input=json.dumps(notice).encode() + b"\n",
        env={**os.environ, "EXECSTORE_EVENT": str(notice["event"])},
        timeout=TIMEOUT_SECONDS,
        check=True,
    )


class Notifier:
    """Handles a watcher's events. What it raises makes the watcher try again."""

    def __init__(
        self, watcher: Watcher, states: frozenset[ExecutionState], send: Callable[[dict[str, Any]], None]
    ) -> None:
        self.watcher = watcher
        self.states = states
        self.send = send
        self.unstored = 0

    def handle_event(self, event: Event) -> None:
        """Send what there is to tell of an event; a restart then begins behind it."""
        has_told = self.tell(event)
        self.unstored += 1
        # A checkpoint is a commit. One after each notice keeps any but the last from coming twice; that of the others
        # may wait, but not for ever, since the event log keeps what a watcher hasn't handled.
        if has_told or self.unstored >= 100:
            self.watcher.checkpoint(event.seq_num)
            self.unstored = 0

    def tell(self, event: Event) -> bool:
        """Send a notice if an execution has just come into one of the states, and say whether it has."""
        upsert = event.object
        if not isinstance(upsert, ExecutionUpsert) or upsert.current is None:
            return False
        state = upsert.current.compute_state.state_type
        before = None if upsert.previous is None else upsert.previous.compute_state.state_type
        if state not in self.states or state is before:
            return False
        notice = notice_of(upsert.current, event.seq_num)
        try:
            self.send(notice)
        except (OSError, subprocess.SubprocessError) as error:
            note(f"event {event.seq_num} can't be delivered, will be tried again: {error}")
            raise
        note(f"event {event.seq_num}: told that {upsert.current.id} is {state.value}")
        return True


def note(text: str) -> None:
    print(text, flush=True)


def end(*_: object) -> None:
    """End the program from wherever its main thread is, through each ``with``."""
    sys.exit(0)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Send a notice of executions that end badly.")
    parser.add_argument("--store", required=True, metavar="DIR")
    receiver = parser.add_mutually_exclusive_group(required=True)
    receiver.add_argument("--url", help="POST to this address")
    receiver.add_argument("--command", help="run this by sh, with the notice on its standard input")
    parser.add_argument("--state", action="append", choices=[each.value for each in ExecutionState], metavar="S")
    parser.add_argument("--name", default="notifier", help="under which its checkpoint is kept (notifier)")
    parser.add_argument("--from-now", action="store_true", help="at the first start, leave out what was before")
    parser.add_argument("--max-pause", type=float, default=60.0, metavar="SECONDS", help="between tries (60)")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    states = frozenset(ExecutionState(name) for name in arguments.state or ["Failed"])

    def send(notice: dict[str, Any]) -> None:
        if arguments.url is not None:
            post(arguments.url, notice)
        else:
            call(arguments.command, notice)

    try:
        with Store(arguments.store) as store, WatcherManager(store.event_store) as manager:
            watcher = manager.create(
                arguments.name,
                filter=EventFilter(("ExecutionUpsert",), (Operation.CREATE, Operation.UPDATE)),
                initial_event_iterator=EventIterator.latest() if arguments.from_now else EventIterator.trim_horizon(),
                max_backoff=arguments.max_pause,
                on_compacted=CompactionStrategy.CONTINUE,
            )
            if arguments.from_now:
                # So that the next start goes on here, too, even if there was nothing to tell meanwhile.
                watcher.checkpoint(watcher.stats().checkpoint_iterator.sequence_number)
            watcher.set_handler(Notifier(watcher, states, send))
            watcher.start()
            note(f"{arguments.name} is ready")
            while True:
                signal.pause()
    except ExecStoreError as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
