"""Restore: a new store out of a backup, whole or not at all.

Nothing in the archive is taken on trust. It is read as a stream, each member once, and nothing is unpacked under a name
that the archive gives: records and lines are checked and put into a store made beside the place, by the same code that
an import uses; index entries, counts and the head are made anew; the links in the archive are compared with what they
must be, and left out. Sizes and numbers are bounded by what the archive announces in its first member, and that by the
room there is. In the end the whole new store is verified, and only then given its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from typing import TYPE_CHECKING, Final

from execstore.errors import DeserializationError, InvalidArgumentError, SourceDamagedError, StoreFullError
from execstore.imports import StoreFiller
from execstore.integrity.archive import (
    LONGEST_SUM_LINE,
    MANIFEST_NAME,
    MAXIMUM_MANIFEST_BYTES,
    SUMS_NAME,
    parse_manifest,
    parse_place,
    parse_sums,
)
from execstore.integrity.checks import check_checkpoint, check_event_lines, check_record
from execstore.integrity.report import RestoreReport
from execstore.integrity.tar import TarReader, decompressed
from execstore.new_folder import new_folder
from execstore.schema import CHECKPOINTS, EVENT_LIMITS, EXECUTION_EVENTS, EXECUTIONS, LAYOUT, TIME
from execstore.store import Store
from execstore.tree.paths import encode_name, segment_first
from execstore.tree.reader import MAXIMUM_FILE_BYTES
from execstore.watcher.lines import parse_ends

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from execstore.engine import Change
    from execstore.integrity.archive import Manifest, Place
    from execstore.integrity.report import Problem
    from execstore.integrity.tar import Member
    from execstore.models import Execution

__all__ = ["restore"]

_REMEDY: Final = "a restore needs a new folder, or an empty one"


def restore(
    archive: str | os.PathLike[str] | BinaryIO, path: str | os.PathLike[str], *, max_bytes: int | None = None
) -> RestoreReport:
    """Make a store out of a backup; see `Store.restore`."""
    if max_bytes is not None and (type(max_bytes) is not int or max_bytes < 0):
        raise InvalidArgumentError("max_bytes", f"must be an integer, not negative, but is {max_bytes!r}")
    target = os.fspath(path)
    if not isinstance(target, str) or not target or "\0" in target:
        raise InvalidArgumentError("path", f"must be the path of a folder, not {path!r}")
    started = time.monotonic()
    with _opened(archive) as (stream, name), decompressed(stream) as unpacked:
        reader = TarReader(unpacked, name)
        manifest = _read_manifest(reader, name)
        with new_folder(path, "restoring", _REMEDY) as beside:
            _check_room(manifest, name, beside, max_bytes)
            with StoreFiller(beside) as filler:
                restoration = _Restoration(reader, manifest, name, filler)
                restoration.run()
            problems = _settle(beside, restoration, manifest)
    return RestoreReport(
        path=os.path.abspath(target),
        executions=restoration.executions,
        execution_events=restoration.execution_events,
        log_events=manifest.latest_event + 1 - manifest.oldest_event,
        checkpoints=restoration.checkpoints,
        clamped=tuple(restoration.clamped),
        problems=problems,
        seconds=time.monotonic() - started,
    )


@contextlib.contextmanager
def _opened(archive: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    if isinstance(archive, str | os.PathLike):
        name = os.fspath(archive)
        if not name or "\0" in name:
            raise InvalidArgumentError("archive", f"must be the path of a file, not {archive!r}")
        with open(name, "rb") as stream:
            yield stream, name
    else:
        of_file = getattr(archive, "name", None)
        yield archive, of_file if isinstance(of_file, str) else "the archive"


def _read_manifest(reader: TarReader, archive: str) -> Manifest:
    member = reader.next()
    if member is None or member.name != MANIFEST_NAME or member.target is not None:
        raise reader.damage(f"a backup begins with {MANIFEST_NAME}")
    if member.size > MAXIMUM_MANIFEST_BYTES:
        raise reader.damage(f"it is of {member.size} bytes, and may be of {MAXIMUM_MANIFEST_BYTES}")
    return parse_manifest(reader.read(), archive)


def _check_room(manifest: Manifest, archive: str, folder: str, max_bytes: int | None) -> None:
    if max_bytes is not None and manifest.bytes > max_bytes:
        reason = f"{archive} announces {manifest.bytes} bytes, and {max_bytes} were allowed"
        raise InvalidArgumentError("max_bytes", reason)
    free = shutil.disk_usage(folder).free
    if manifest.bytes > free:
        raise StoreFullError(os.path.dirname(folder), f"{archive} needs {manifest.bytes} bytes, and {free} are free")


class _Restoration:
    """The way through the archive, member by member."""

    def __init__(self, reader: TarReader, manifest: Manifest, archive: str, filler: StoreFiller) -> None:
        self.executions = self.execution_events = self.checkpoints = 0
        self.newest_ns = manifest.time_ns
        self.clamped: list[str] = []
        self._reader = reader
        self._manifest = manifest
        self._archive = archive
        self._filler = filler
        self._names: set[str] = set()
        self._digests: dict[str, str] = {}
        self._links = 0
        self._bytes = 0
        self._damaged_events = 0
        self._next_event = manifest.oldest_event
        self._event_time_ns = 0
        self._pending: tuple[str, Execution, bytes, bytes] | None = None

    def run(self) -> None:
        """Take everything.

        Raises: SourceDamagedError, for whatever isn't as it must be; what the filler raises.
        """
        member = self._reader.next()
        while member is not None and member.name != SUMS_NAME:
            self._take(member)
            member = self._reader.next()
        self._put_pending()
        if member is None:
            raise self._reader.damage(f"the archive ends behind it, without {SUMS_NAME}")
        self._check_sums(member)
        after = self._reader.next()
        if after is not None:
            raise self._reader.damage(f"it stands behind {SUMS_NAME}, which ends a backup")
        self._check_totals()
        self._filler.end_log(self._manifest.latest_event)

    def _take(self, member: Member) -> None:
        damage = self._reader.damage
        if member.target is not None:
            self._check_link(member)
            return
        place = parse_place(member.name)
        if isinstance(place, str):
            raise damage(place)
        if place.folder in LAYOUT.indexes:
            raise damage("an index entry is a symbolic link")
        if member.name in self._names:
            raise damage("it is in the archive twice")
        self._names.add(member.name)
        self._bytes += member.size
        if len(self._names) > self._manifest.files:
            raise damage(f"it is one more than the {self._manifest.files} files that {MANIFEST_NAME} announces")
        if member.size > MAXIMUM_FILE_BYTES or self._bytes > self._manifest.bytes:
            raise damage(f"with its {member.size} bytes it is more than {MANIFEST_NAME} announces")
        data = self._reader.read()
        self._digests[member.name] = hashlib.sha256(data).hexdigest()
        if place.folder == EXECUTIONS:
            self._take_record(place, data)
        elif place.folder == EXECUTION_EVENTS:
            self._take_events(place, data)
        elif place.folder == LAYOUT.log:
            self._take_segment(place, data)
        else:
            self._take_checkpoint(place, data)

    def _check_link(self, member: Member) -> None:
        damage = self._reader.damage
        self._links += 1
        if self._links > self._manifest.links:
            raise damage(f"it is one more than the {self._manifest.links} links that {MANIFEST_NAME} announces")
        expected = LAYOUT.aliases().get(member.name)
        if expected is None:
            place = parse_place(member.name)
            if isinstance(place, str):
                raise damage(place)
            if place.folder not in LAYOUT.indexes:
                raise damage("it is a symbolic link where a file belongs")
            expected = f"../../{LAYOUT.alias(place.folder)}/{place.name}.json"
        if member.target != expected:
            raise damage(f"it leads to {member.target}, where no index entry does")

    def _take_record(self, place: Place, data: bytes) -> None:
        self._put_pending()
        execution = check_record(data)
        if isinstance(execution, str):
            raise self._reader.damage(execution)
        if encode_name(execution.id) != place.name:
            raise self._reader.damage(f"it holds execution {execution.id!r}, whose file has another name")
        self._pending = (place.name, execution, data, b"")

    def _take_events(self, place: Place, data: bytes) -> None:
        if self._pending is None or self._pending[0] != place.name:
            raise self._reader.damage("the execution of these events doesn't stand right before them")
        checked = check_event_lines(data)
        if checked.damaged:
            number, reason = checked.damaged[0]
            raise self._reader.damage(f"line {number}: {reason}")
        name, execution, record, _ = self._pending
        self._pending = (name, execution, record, data)
        self.execution_events += len(checked.good)

    def _put_pending(self) -> None:
        if self._pending is None:
            return
        _, execution, record, lines = self._pending
        self._pending = None
        self._filler.put_execution(execution, record, lines)
        self.executions += 1
        self.newest_ns = max(self.newest_ns, execution.modify_time)

    def _take_segment(self, place: Place, data: bytes) -> None:
        first = segment_first(place.name)
        if first != self._next_event:
            raise self._reader.damage(f"event {self._next_event} should come next")
        if not data.endswith(b"\n"):
            raise self._reader.damage("its last line isn't ended: a part of it is missing")
        for line in data[:-1].split(b"\n"):
            number = self._next_event
            try:
                self._event_time_ns = parse_ends(line, number).timestamp
            except DeserializationError as error:
                self._damaged_events += 1
                if self._damaged_events > self._manifest.damaged_events:
                    raise self._reader.damage(error.reason) from None
            self._filler.append_log(number, line, self._event_time_ns)
            self._next_event += 1

    def _take_checkpoint(self, place: Place, data: bytes) -> None:
        checkpoint = check_checkpoint(data)
        if isinstance(checkpoint, str):
            raise self._reader.damage(checkpoint)
        name, number = checkpoint
        if encode_name(name) != place.name:
            raise self._reader.damage(f"it is of {name!r}, whose file has another name")
        if place.folder == CHECKPOINTS:
            if number > self._manifest.latest_event:
                self.clamped.append(name)
            self._filler.put_watcher_checkpoint(name, min(number, self._manifest.latest_event))
        else:
            self._filler.put_checkpoint(name, number, data)
        self.checkpoints += 1

    def _check_sums(self, member: Member) -> None:
        if member.target is not None or member.size > LONGEST_SUM_LINE * len(self._names):
            raise self._reader.damage("it is no list of the files' checksums")
        sums = parse_sums(self._reader.read())
        if sums is None:
            raise self._reader.damage("it is no list of the files' checksums")
        for name in sorted(sums.keys() | self._digests.keys()):
            if sums.get(name) != self._digests.get(name):
                raise self._damage_of(name)

    def _damage_of(self, name: str) -> SourceDamagedError:
        if name not in self._digests:
            return self._reader.damage(f"it speaks of {name}, which isn't in the archive")
        return self._reader.damage(f"it has another checksum for {name}, which was changed since the backup was made")

    def unsound(self, problem: Problem) -> SourceDamagedError:
        """The error for what shows only once all of it is a store."""
        return SourceDamagedError(self._archive, problem.path, problem.reason)

    def _check_totals(self) -> None:
        manifest = self._manifest
        if (len(self._names), self._bytes) != (manifest.files, manifest.bytes):
            reason = f"{MANIFEST_NAME} announces {manifest.files} files of {manifest.bytes} bytes, and there are "
            raise self._reader.damage(f"{reason}{len(self._names)} of {self._bytes}")
        if self._next_event != manifest.latest_event + 1:
            raise self._reader.damage(f"event {self._next_event} and those behind it are missing")
        if self.executions != sum(manifest.counts.values()):
            raise self._reader.damage(f"{MANIFEST_NAME} counts {sum(manifest.counts.values())} executions")


def _settle(folder: str, restoration: _Restoration, manifest: Manifest) -> tuple[Problem, ...]:
    """Let the store go on where the other one was, and check it. Returns the damage that the backup announced."""
    with Store(folder) as store:
        # Past the store's own way to commit, which would collect the old events that have just come.
        store.engine().change(lambda change: _set_values(change, restoration.newest_ns, manifest.event_limits))
        report = store.verify()
        if [problem for problem in report.problems if problem.kind != "log"] or (
            len(report.problems) > manifest.damaged_events
        ):
            raise restoration.unsound(report.problems[0])
    return report.problems


def _set_values(change: Change, newest_ns: int, event_limits: Sequence[int] | None) -> None:
    change.set_value(TIME, newest_ns)
    if event_limits is not None:
        change.set_value(EVENT_LIMITS, list(event_limits))
