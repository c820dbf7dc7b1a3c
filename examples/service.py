"""A small HTTP/JSON service on asyncio: executions over the network of one machine, with a live feed.

It shows `AsyncStore` in an event loop: no request waits for another's disk, an update that came too late is answered by
409, and `/events` streams the event log as lines of JSON to any number of listeners, whichever process wrote it. The
HTTP is the little that it takes, on asyncio's streams; a real service would have a framework do that part.

    pip install 'execstore[async]'
    python examples/service.py --store my-store --port 8099

    curl -s localhost:8099/executions -d '{"ID": "e-1", "JobID": "j-1", "Job": {"Name": "hello"}}'
    curl -s localhost:8099/executions/e-1
    curl -s 'localhost:8099/executions?state=New&limit=10'
    curl -s -X PATCH localhost:8099/executions/e-1 -d '{"state": "Running", "expect_revision": 1}'
    curl -sN 'localhost:8099/events?after=0'                 # each event, until Ctrl-C

It listens on 127.0.0.1 alone, since it asks nobody who he is. SIGTERM and Ctrl-C end it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from execstore import (
    Event,
    Execution,
    ExecutionState,
    State,
    UpdateExecutionCondition,
    UpdateExecutionRequest,
    errors,
)
from execstore.aio import AsyncStore
from execstore.watcher import EventIterator

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from execstore.watcher import Event as LogEvent

HEAD_BYTES = 16 * 1024
BODY_BYTES = 1 << 20
PAGE = 100
TIMEOUT_SECONDS = 30.0

STATUSES: dict[type[errors.ExecStoreError], HTTPStatus] = {
    errors.ExecutionNotFoundError: HTTPStatus.NOT_FOUND,
    errors.ExecutionAlreadyExistsError: HTTPStatus.CONFLICT,
    errors.ExecutionAlreadyTerminalError: HTTPStatus.CONFLICT,
    errors.InvalidExecutionStateError: HTTPStatus.CONFLICT,
    errors.InvalidExecutionRevisionError: HTTPStatus.CONFLICT,
    errors.InvalidExecutionError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.DeserializationError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.EventsCompactedError: HTTPStatus.GONE,
    errors.StoreFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.StoreBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
}


class RefusedError(Exception):
    """A request that is answered by a status and a sentence."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Request:
    """A request, read."""

    method: str
    path: tuple[str, ...]
    query: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from None
        if not isinstance(value, dict):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is no JSON object")
        return value

    def number(self, name: str, default: int) -> int:
        """A number of the query."""
        text = self.query.get(name, str(default))
        if not text.isascii() or not text.isdecimal() or len(text) > 18:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} must be a number, not {text!r}")
        return int(text)


class Service:
    """Answers requests from a store."""

    def __init__(self, store: AsyncStore) -> None:
        self.store = store

    async def answer(self, request: Request) -> tuple[HTTPStatus, Any]:
        """What there is to say to a request: a status, and an object for the body."""
        match request.method, request.path:
            case "GET", ("executions",):
                return HTTPStatus.OK, await self._list(request)
            case "POST", ("executions",):
                document = {"ComputeState": {"StateType": "New"}, **request.json()}
                stored = await self.store.create_execution(Execution.from_dict(document), Event("Service", "created"))
                return HTTPStatus.CREATED, stored.to_dict()
            case "GET", ("executions", execution_id):
                return HTTPStatus.OK, (await self.store.get_execution(execution_id)).to_dict()
            case "PATCH", ("executions", execution_id):
                stored = await self.store.update_execution_state(_update(execution_id, request.json()))
                return HTTPStatus.OK, stored.to_dict()
            case "DELETE", ("executions", execution_id):
                await self.store.delete_execution(execution_id)
                return HTTPStatus.OK, {"deleted": execution_id}
            case "GET", ("counts",):
                counts = await self.store.counts()
                return HTTPStatus.OK, {state.value: count for state, count in counts.items() if count}
            case _, ("executions",) | ("executions", _) | ("counts",) | ("events",):
                raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} can't be done with this")
        raise RefusedError(HTTPStatus.NOT_FOUND, "there is /executions, /executions/ID, /counts and /events")

    async def _list(self, request: Request) -> dict[str, Any]:
        limit = min(request.number("limit", PAGE), PAGE)
        state = request.query.get("state")
        try:
            wanted = None if state is None else ExecutionState(state)
        except ValueError:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"{state!r} is no state") from None
        after = request.query.get("after")
        found = [each async for each in self.store.list_executions(state=wanted, limit=limit, after=after)]
        following = found[-1].id if limit and len(found) == limit else None
        return {"executions": [each.to_dict() for each in found], "after": following}

    async def stream(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """Write the event log from behind a number on, a line each, until the listener goes away."""
        start = EventIterator.after_sequence_number(request.number("after", 0))
        if "after" not in request.query:
            start = EventIterator.latest()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nConnection: close\r\n\r\n")
        await writer.drain()
        async for event in self.store.event_store.follow(start):
            writer.write(json.dumps(_line(event)).encode() + b"\n")
            await writer.drain()


def _update(execution_id: str, given: dict[str, Any]) -> UpdateExecutionRequest:
    unknown = set(given) - {"state", "message", "expect_revision"}
    if unknown:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"unknown members: {', '.join(sorted(unknown))}")
    revision = given.get("expect_revision", 0)
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 0:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "expect_revision must be a number")
    try:
        state = State(ExecutionState(str(given.get("state"))), str(given.get("message", "")))
    except ValueError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{given.get('state')!r} is no state") from None
    condition = UpdateExecutionCondition(expected_revision=revision)
    return UpdateExecutionRequest(execution_id, Execution(compute_state=state), condition)


def _line(event: LogEvent) -> dict[str, Any]:
    value = event.object
    document = value.to_dict() if hasattr(value, "to_dict") else value
    return {"event": event.seq_num, "operation": event.operation.value, "type": event.object_type, "object": document}


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request on a connection; ``None`` if there is none any more."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"over {HEAD_BYTES} bytes of head") from None
    first, *lines = head.split("\r\n")
    try:
        method, target, _ = first.split(" ")
    except ValueError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "this is no HTTP") from None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdecimal():
        raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "a body needs a Content-Length")
    if int(length) > BODY_BYTES:
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"over {BODY_BYTES} bytes")
    parts = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    path = tuple(unquote(part) for part in parts.path.strip("/").split("/"))
    return Request(method, path, query, await reader.readexactly(int(length)))


async def until_gone(work: Coroutine[None, None, None], reader: asyncio.StreamReader) -> None:
    """Do something that has no end, until the other side hangs up."""
    working, gone = asyncio.create_task(work), asyncio.create_task(reader.read())
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def serve_one(service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, which has one request."""
    try:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                request = await read_request(reader)
            if request is None:
                return
            if (request.method, request.path) == ("GET", ("events",)):
                await until_gone(service.stream(request, writer), reader)
                return
            status, document = await service.answer(request)
        except RefusedError as error:
            status, document = error.status, {"error": str(error)}
        except errors.ExecStoreError as error:
            status = next((each for kind, each in STATUSES.items() if isinstance(error, kind)), None) or (
                HTTPStatus.INTERNAL_SERVER_ERROR
            )
            document = {"error": str(error)}
        body = json.dumps(document).encode() + b"\n"
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
    except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
        pass  # who has asked is gone
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def serve(path: str, port: int) -> None:
    """Serve a store until SIGTERM or Ctrl-C."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    connections: set[asyncio.Task[None]] = set()
    async with AsyncStore.open(path) as store:
        service = Service(store)

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(serve_one(service, reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", port, limit=HEAD_BYTES)
        print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await stopping.wait()
        server.close()
        for task in connections:
            task.cancel()  # those who follow the events wouldn't end by themselves
        await asyncio.gather(*connections, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a store by HTTP on this machine.")
    parser.add_argument("--store", required=True, metavar="DIR")
    parser.add_argument("--port", type=int, default=8099, metavar="N", help="0 for any that is free (8099)")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.store, arguments.port))


if __name__ == "__main__":
    try:
        main()
    except errors.NotAStoreError as error:
        sys.exit(str(error))
