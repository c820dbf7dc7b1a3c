"""A contender's process: ``python -m execstore.bench.worker NAME FOLDER``.

It opens its store and says so, then does a batch for each line of its input and times itself, so that the pipe isn't
measured. The Go program in ``go/`` speaks the same:

- at the start, and for each request: one reply, a line of JSON. ``{"error": "..."}`` if it didn't go well.
- a request: ``do`` is an operation of ``workloads``, or ``fill`` with the number of executions; ``numbers`` the
  executions; ``argument`` the operation's; ``threads`` how many share them out; ``seconds``, if over 0: leave the rest
  undone after so long; ``start_ns``, if given: begin at this time of the monotonic clock.
- a reply: ``ns`` what each took, ``results`` what each returned, ``from_ns`` and ``until_ns`` when all began and ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from execstore.bench.adapters import adapter_class
from execstore.bench.adapters.base import Unavailable
from execstore.bench.workloads import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.bench.adapters.base import Adapter

__all__ = ["main", "serve"]


def serve(adapter: Adapter, request: dict[str, Any]) -> dict[str, Any]:
    """Do one request."""
    name, numbers = request["do"], request["numbers"]
    if name == "fill":
        adapter.fill(numbers[0])
        return {}
    if name not in BY_NAME:
        raise ValueError(f"no such operation: {name}")
    if name == "open":
        return _open(adapter, numbers)
    operation: Callable[[int, str], int] = getattr(adapter, name)
    threads, argument, seconds = request.get("threads", 1), request.get("argument", ""), request.get("seconds", 0)
    if start_ns := request.get("start_ns", 0):
        time.sleep(max(0, start_ns - time.monotonic_ns()) / 1e9)
    parts = [_Part(operation, numbers[thread::threads], argument, seconds) for thread in range(threads)]
    from_ns = time.monotonic_ns()
    if threads == 1:
        parts[0].run()
    else:
        running = [threading.Thread(target=part.run) for part in parts]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    until_ns = time.monotonic_ns()
    for part in parts:
        if part.error is not None:
            raise part.error
    return {
        "ns": [each for part in parts for each in part.ns],
        "results": [each for part in parts for each in part.results],
        "from_ns": from_ns,
        "until_ns": until_ns,
    }


class _Part:
    """One thread's share."""

    def __init__(self, operation: Callable[[int, str], int], numbers: list[int], argument: str, seconds: float) -> None:
        self._operation, self._numbers, self._argument, self._seconds = operation, numbers, argument, seconds
        self.ns: list[int] = []
        self.results: list[int] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            self.error = error

    def _run(self) -> None:
        operation, argument, ns, results, clock = self._operation, self._argument, self.ns, self.results, _clock
        end_ns = clock() + int(self._seconds * 1e9)
        for number in self._numbers:
            began = clock()
            result = operation(number, argument)
            ended = clock()
            ns.append(ended - began)
            results.append(result)
            if self._seconds and ended >= end_ns:
                return


_clock = time.perf_counter_ns


def _open(adapter: Adapter, numbers: list[int]) -> dict[str, Any]:
    """The opening and the first get, which is when some really open; the closing isn't timed."""
    ns, results = [], []
    from_ns = time.monotonic_ns()
    for number in numbers:
        adapter.close()
        began = _clock()
        adapter.open()
        results.append(adapter.get(number, ""))
        ns.append(_clock() - began)
    return {"ns": ns, "results": results, "from_ns": from_ns, "until_ns": time.monotonic_ns()}


def main(name: str, folder: str) -> None:
    """Serve standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the one who asks, and with it the input
    try:
        adapter = adapter_class(name)(folder)
    except Unavailable as error:
        _reply({"error": str(error)})
        return
    _reply({})
    for line in sys.stdin:
        try:
            answer = serve(adapter, json.loads(line))
        except Exception as error:  # noqa: BLE001 - told to the one who asked, who stops
            answer = {"error": f"{type(error).__name__}: {error}"}
        _reply(answer)
    adapter.close()


def _reply(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except BrokenPipeError:
        os._exit(0)  # the one who asked has gone; an ordinary end would try to flush into the pipe once more
