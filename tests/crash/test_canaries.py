"""The engine with one planted mistake at a time. Each must be caught: a canary that lives is a failing test.

A mistake is put in by replacing one function, here and nowhere else. If the engine changes so that a replacement no
longer fits, its test fails too: only what the crash tests themselves find counts as caught.
"""

from __future__ import annotations

import contextlib
import random
import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import ExecStoreError, StoreBusyError
from execstore.tree import journal, publish, reading, recovery, retirement, tree
from execstore.tree import making as making_module
from execstore.tree.head import HeadFile
from execstore.tree.journal import JournalFiles, Record
from execstore.tree.lock import Handles
from execstore.tree.publish import put_file
from execstore.tree.reading import Reading
from execstore.tree.refusal import refused_before
from execstore.tree.retirement import Retirement, journaled_paths
from execstore.tree.steps import Overlay, Remove
from execstore.tree.tree import Tree
from tests.crash import simulated, test_crashes, test_faulty_disk, test_two_processes
from tests.crash.explore import Explorer, LossError, Reference, Thoroughness
from tests.crash.workload import plan_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.head import Head
    from execstore.tree.steps import Append, Step
    from tests.crash.conftest import Effort

Patch = pytest.MonkeyPatch

# --- what is planted ------------------------------------------------------------------------------------------------


def no_flush_of_the_journal(patch: Patch) -> None:
    patch.setattr(JournalFiles, "flush", lambda self, number: None)


def journal_flushed_after_publishing(patch: Patch) -> None:
    flush, show = JournalFiles.flush, Tree._publish
    waiting: list[tuple[JournalFiles, int]] = []

    def publish_first(self: Tree, records: list[Record], head: Head) -> Head:
        head = show(self, records, head)
        for pair in [pair for pair in waiting if pair[0] is self._journal]:
            waiting.remove(pair)
            flush(*pair)
        return head

    patch.setattr(JournalFiles, "flush", lambda self, number: waiting.append((self, number)))
    patch.setattr(Tree, "_publish", publish_first)


def no_sync_at_a_checkpoint(patch: Patch) -> None:
    turn = Tree._turn
    patch.setattr(Retirement, "begin", lambda self, epoch, number, failed: None)
    patch.setattr(Tree, "_turn", lambda self, head: turn(self, head._replace(retired=head.epoch)))


def retired_before_the_sync(patch: Patch) -> None:
    patch.setattr(Retirement, "begin", lambda self, epoch, number, failed: setattr(self, "retired", epoch))


def failed_retirement_ignored(patch: Patch) -> None:
    def begin(self: Retirement, epoch: int, number: int, failed: Callable[[OSError], None]) -> None:
        if epoch > self.retired:
            with contextlib.suppress(OSError):
                self._fs.sync(journaled_paths(self._journal, number))
            self.retired = epoch

    patch.setattr(Retirement, "begin", begin)


def failed_sync_at_a_checkpoint_ignored(patch: Patch) -> None:
    patch.setattr(HeadFile, "invalidate", lambda self: None)


def folders_not_synced(patch: Patch) -> None:
    def sync_each(fs: FileSystem, paths: Iterable[str]) -> None:
        for path in paths:
            with contextlib.suppress(OSError):
                _flush(fs, path)

    patch.setattr(simulated, "sync_each", sync_each)


def files_not_synced(patch: Patch) -> None:
    sync_each = simulated.sync_each

    def only_folders(fs: FileSystem, paths: Iterable[str]) -> None:
        sync_each(fs, [f"{path.rpartition('/')[0]}/." for path in paths])

    patch.setattr(simulated, "sync_each", only_folders)


def head_not_synced_at_a_checkpoint(patch: Patch) -> None:
    def paths(files: JournalFiles, *numbers: int) -> Iterator[str]:
        return (path for path in journaled_paths(files, *numbers) if path != "head")

    patch.setattr(retirement, "journaled_paths", paths)


def _flush(fs: FileSystem, path: str) -> None:
    descriptor = fs.open(path, write=True)
    fs.flush(descriptor)
    fs.close(descriptor)


def format_not_flushed(patch: Patch) -> None:
    flush = making_module._flush_file
    patch.setattr(making_module, "_flush_file", lambda fs, path: None if path == ".new" else flush(fs, path))


def names_not_synced_before_format(patch: Patch) -> None:
    sync_folder = simulated.SimulatedFileSystem.sync_folder

    def only_with_format(self: simulated.SimulatedFileSystem, path: str) -> None:
        if path or "FORMAT" in self.image.root.live:
            sync_folder(self, path)

    patch.setattr(simulated.SimulatedFileSystem, "sync_folder", only_with_format)


def name_of_format_not_synced_by_who_comes_next(patch: Patch) -> None:
    enter = Tree._enter

    def enter_without(self: Tree) -> None:
        sync_folder = self._fs.sync_folder
        self._fs.sync_folder = lambda path: None  # type: ignore[method-assign]
        try:
            enter(self)
        finally:
            self._fs.sync_folder = sync_folder  # type: ignore[method-assign]

    patch.setattr(Tree, "_enter", enter_without)


def checksum_not_checked(patch: Patch) -> None:
    parse, header = journal.parse_record, journal._HEADER

    def believe(data: bytes, offset: int, seed: int) -> Record | None:
        match = header.match(data, offset)
        if match is None:
            return None
        body = data[match.end() : match.end() + int(match[4])]
        prefix = re.sub(rb" crc32 [0-9a-f]{8}\n$", b"", match[0])
        right = b"%b crc32 %08x\n%b" % (prefix, zlib.crc32(body, zlib.crc32(prefix, seed)), body)
        try:
            record = parse(right, 0, seed)
        except (ValueError, LookupError, TypeError):
            return None
        # Whoever checks nothing takes the checksum as it stands there.
        return record and record._replace(checksum=int(match[5], 16), end=match.end() + len(body))

    patch.setattr(journal, "parse_record", believe)


def record_before_not_checked(patch: Patch) -> None:
    patch.setattr(
        Record,
        "continues",
        lambda self, transaction, epoch, checksum: (self.transaction, self.epoch) == (transaction + 1, epoch),
    )


def no_record_checked_for_its_place(patch: Patch) -> None:
    patch.setattr(Record, "continues", lambda self, transaction, epoch, checksum: True)


def clean_before_the_sync(patch: Patch) -> None:
    def leave(self: Tree) -> None:
        with self._flush_lock.held(), self._change_lock.held():
            head = self._head_now()
            self._head.write(head._replace(clean=True))
            self._head.flush()
            self._fs.sync(journaled_paths(self._journal, 0, 1))

    patch.setattr(Tree, "_leave", leave)


def clean_head_believed_whatever_follows(patch: Patch) -> None:
    patch.setattr(recovery, "is_clean", lambda fs, files, head: head is not None and head.clean)


def recovery_without_rewriting(patch: Patch) -> None:
    patch.setattr(JournalFiles, "rewrite", lambda self, number, start, end: None)


def flush_in_place_of_rewriting(patch: Patch) -> None:
    patch.setattr(JournalFiles, "rewrite", lambda self, number, start, end: self.flush(number))


def joining_without_rewriting(patch: Patch) -> None:
    patch.setattr(Tree, "_adopt", lambda self, head: self._publish(self._staged.refresh(head), head))


def recovery_of_what_the_head_does_not_know_only(patch: Patch) -> None:
    read = recovery.read_journal

    def newest(files: JournalFiles, root: str) -> recovery.Journaled:
        journaled = read(files, root)
        return replace(journaled, records=journaled.records[-1:])

    patch.setattr(recovery, "read_journal", newest)


def begun_not_written(patch: Patch) -> None:
    write = HeadFile.write
    patch.setattr(HeadFile, "write", lambda self, head: write(self, head) if head.begun == head.published else None)


def published_before_it_is(patch: Patch) -> None:
    write = HeadFile.write
    patch.setattr(HeadFile, "write", lambda self, head: write(self, head._replace(published=head.begun)))


def append_at_the_end_of_the_file(patch: Patch) -> None:
    def append(fs: FileSystem, step: Append) -> None:
        size = fs.size(step.path)
        if size is None or step.offset == 0:
            put_file(fs, step.path, step.data)
        else:
            fs.overwrite(step.path, size, step.data)

    patch.setattr(publish, "_append", append)


def _without(patch: Patch, name: str) -> None:
    encode = journal.encode_record

    def encode_less(
        transaction: int, epoch: int, previous: int, steps: Any, values: dict[str, Any], seed: int
    ) -> tuple[bytes, int]:
        kept = {key: value for key, value in values.items() if key != name}
        return encode(transaction, epoch, previous, steps, kept, seed)

    patch.setattr(tree, "encode_record", encode_less)


def counts_not_in_the_record(patch: Patch) -> None:
    _without(patch, "counts")


def state_of_the_log_not_in_the_record(patch: Patch) -> None:
    _without(patch, "log")


def removals_not_replayed(patch: Patch) -> None:
    steps = Overlay.final_steps

    def fewer(self: Overlay) -> list[Step]:
        return [step for step in steps(self) if not isinstance(step, Remove)]

    patch.setattr(Overlay, "final_steps", fewer)


def old_name_of_a_moved_entry_left_in_a_recovery(patch: Patch) -> None:
    show = publish.publish
    patch.setattr(recovery, "publish", lambda fs, records, was_cut_off=False: show(fs, records))


def nobody_is_ever_alone(patch: Patch) -> None:
    patch.setattr(Handles, "are_none", lambda self: False)


def reader_without_the_journal(patch: Patch) -> None:
    patch.setattr(Reading, "_look_for_cut", lambda self, line: reading._Cut(line, None))


def reader_that_takes_a_recovery_for_a_writer(patch: Patch) -> None:
    def look(self: Reading, line: bytes) -> reading._Cut:
        lock = self._parts.change_lock
        if lock.try_acquire():
            try:
                return self._cut_under_lock(line)
            finally:
                lock.release()
        return reading._Cut(line, None)

    patch.setattr(Reading, "_look_for_cut", look)


def failed_flush_tried_again(patch: Patch) -> None:
    flush = JournalFiles.flush

    def again(self: JournalFiles, number: int) -> None:
        try:
            flush(self, number)
        except OSError:
            flush(self, number)

    patch.setattr(JournalFiles, "flush", again)


def handle_goes_on_after_a_failed_flush(patch: Patch) -> None:
    patch.setattr(Tree, "_check_failure", lambda self: None)


def everything_refused_is_nothing_changed(patch: Patch) -> None:
    patch.setattr(tree, "refused_after", lambda root, error, is_durable: refused_before(root, error))


def short_writes_taken_for_whole_ones(patch: Patch) -> None:
    patch.setattr(journal, "write_all", lambda fs, descriptor, data, offset: fs.pwrite(descriptor, data, offset))


def no_reserve(patch: Patch) -> None:
    patch.setattr("execstore.tree.reserve.release", lambda fs: None)


# --- who is to catch it ---------------------------------------------------------------------------------------------


def history(effort: Effort, *, syncs_all: bool = True, seeds: Sequence[int] = (1, 2, 3)) -> None:
    for seed in seeds:
        chance = random.Random(seed)
        reference = Reference(
            plan_steps(["create", "update_state", "add_events", "update_job"] * effort.amount(2, 4), chance)
        )
        thoroughness = Thoroughness(bound=4, limit=4, recovery_every=60, work_every=10)
        Explorer(seed, thoroughness, syncs_all=syncs_all).history(reference)


def history_with_each_file(effort: Effort) -> None:
    history(effort, syncs_all=False)


def closing(effort: Effort) -> None:
    Explorer(1).history(Reference(plan_steps(["create", "update_state"], random.Random(1))))


def making(effort: Effort) -> None:
    test_crashes.test_making_a_store(effort)


def stale_head(effort: Effort) -> None:
    test_crashes.test_a_head_on_disk_that_says_clean_is_out_of_date_once_the_journal_goes_on()


def half_a_rename(effort: Effort) -> None:
    test_crashes.test_half_a_rename_is_mended()


def sharing_a_flush(effort: Effort) -> None:
    for survivor in ("both", "second", "nobody"):
        test_two_processes.test_two_changes_share_a_flush(survivor, effort)


def joining(effort: Effort) -> None:
    test_two_processes.test_one_dies_at_every_call_and_another_joins(effort)


def failing_calls(effort: Effort) -> None:
    for code in (*test_faulty_disk.CODES, test_faulty_disk.SHORT):
        for kind in ("update_state", "create_huge"):
            test_faulty_disk.test_a_call_that_fails(kind, code)


def failing_flushes(effort: Effort) -> None:
    test_faulty_disk.test_a_flush_that_fails_is_not_tried_again(5, True)


def full_disk(effort: Effort) -> None:
    for room in (0, 1, 2, 3, 5, 8):
        test_faulty_disk.test_a_full_disk_heals(room, inodes=False)


CANARIES: list[tuple[Callable[[Patch], None], Callable[[Effort], None]]] = [
    (no_flush_of_the_journal, history),
    (journal_flushed_after_publishing, history),
    (no_sync_at_a_checkpoint, history),
    (retired_before_the_sync, history),
    (failed_retirement_ignored, failing_flushes),
    (failed_sync_at_a_checkpoint_ignored, failing_flushes),
    (folders_not_synced, history_with_each_file),
    (files_not_synced, history_with_each_file),
    (head_not_synced_at_a_checkpoint, stale_head),
    (format_not_flushed, making),
    (names_not_synced_before_format, making),
    (name_of_format_not_synced_by_who_comes_next, making),
    (checksum_not_checked, history),
    (record_before_not_checked, sharing_a_flush),
    (no_record_checked_for_its_place, history),
    (clean_before_the_sync, closing),
    (clean_head_believed_whatever_follows, history),
    (recovery_without_rewriting, history),
    (flush_in_place_of_rewriting, failing_flushes),
    (joining_without_rewriting, joining),
    (recovery_of_what_the_head_does_not_know_only, history),
    (begun_not_written, history),
    (published_before_it_is, history),
    (append_at_the_end_of_the_file, history),
    (counts_not_in_the_record, history),
    (state_of_the_log_not_in_the_record, history),
    (removals_not_replayed, history),
    (old_name_of_a_moved_entry_left_in_a_recovery, half_a_rename),
    (nobody_is_ever_alone, history),
    (reader_without_the_journal, history),
    (reader_that_takes_a_recovery_for_a_writer, history),
    (failed_flush_tried_again, failing_flushes),
    (handle_goes_on_after_a_failed_flush, failing_flushes),
    (everything_refused_is_nothing_changed, failing_calls),
    (short_writes_taken_for_whole_ones, failing_calls),
    (no_reserve, full_disk),
]


@pytest.mark.parametrize(("plant", "hunt"), CANARIES, ids=[plant.__name__ for plant, _ in CANARIES])
def test_a_canary_is_caught(
    plant: Callable[[Patch], None], hunt: Callable[[Effort], None], monkeypatch: Patch, effort: Effort
) -> None:
    plant(monkeypatch)
    with pytest.raises((LossError, AssertionError, ExecStoreError)) as caught:
        hunt(effort)
    assert not isinstance(caught.value, StoreBusyError), "the planted mistake leaves a lock behind"


@pytest.mark.parametrize("syncs_all", [True, False], ids=["syncfs", "each file"])
def test_the_hunt_finds_nothing_where_nothing_is_planted(syncs_all: bool, effort: Effort) -> None:
    """The other hunts are tests of their own."""
    history(effort, syncs_all=syncs_all, seeds=[1])
    closing(effort)
