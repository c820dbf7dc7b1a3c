"""Real power cuts: what ext4, xfs and btrfs leave of a store that several processes were working on.

See `tests.power_cut.cuts` for what a cut may do, and `tests.power_cut.examine` for what must hold after it.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.power_cut import machine
from tests.power_cut.conftest import judge
from tests.power_cut.cuts import choose_cuts
from tests.power_cut.examine import examine_cuts, keep, load, try_cuts
from tests.power_cut.worker import FAULTS, Task
from tests.power_cut.workload import record, record_recovery
from tests.support import python

if TYPE_CHECKING:
    from tests.power_cut.conftest import Effort
    from tests.power_cut.machine import FileSystemKind

pytestmark = pytest.mark.power_cut

CUTS_EACH = 60  # of one recording, at the most
RECOVERY_CUTS_EACH = 6


def test_nothing_acknowledged_is_lost(kind: FileSystemKind, place: Path, effort: Effort) -> None:
    left, number = effort.share(0.6), 0
    with effort.counted(kind) as tally:
        while left > 0:
            number += 1
            seed = f"{effort.seed}.{number}"
            run = record(kind, Task(seed), place / str(number))
            tally.recordings += 1
            tally.acknowledged += run.history.acknowledged()
            judge(try_cuts(run, min(left, CUTS_EACH), seed), tally)
            left -= CUTS_EACH
            shutil.rmtree(run.folder)


def test_a_recovery_may_be_cut_off_too(kind: FileSystemKind, place: Path, effort: Effort) -> None:
    seed = f"{effort.seed}.recovery"
    chance = random.Random(seed)
    with effort.counted(kind) as tally:
        run = record(kind, Task(seed), place / "run")
        tally.recordings += 1
        tally.acknowledged += run.history.acknowledged()
        count = effort.share(0.2 / RECOVERY_CUTS_EACH)
        # Whole blocks: what the file system doesn't stand can't be recovered.
        firsts = map(run.recording.with_whole_blocks, choose_cuts(run.recording, run.history.moments(), seed, count))
        for number, (cut, image) in enumerate(run.recording.images(list(firsts), run.folder)):
            closes = chance.random() < 0.5
            again = record_recovery(run, image, cut.moment, place / str(number), closes=closes)
            tally.recordings += 1
            judge(try_cuts(again, RECOVERY_CUTS_EACH, f"{seed}.{number}"), tally)
            shutil.rmtree(again.folder)


def test_a_store_of_relaxed_durability_is_sound_again(kind: FileSystemKind, place: Path, effort: Effort) -> None:
    left, number = effort.share(0.2), 0
    with effort.counted(kind) as tally:
        while left > 0:
            number += 1
            seed = f"{effort.seed}.relaxed.{number}"
            run = record(kind, Task(seed, relaxed=True), place / str(number))
            tally.recordings += 1
            judge(try_cuts(run, min(left, CUTS_EACH), seed), tally)
            left -= CUTS_EACH
            shutil.rmtree(run.folder)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault])
def test_a_planted_mistake_is_caught(kind: FileSystemKind, place: Path, fault: str) -> None:
    """And what was kept of the cut that caught it shows it again."""
    run = record(kind, Task(f"canary {fault}", fault=fault), place / "run")
    cuts = choose_cuts(run.recording, run.history.moments(), "canary", 30)
    lost = examine_cuts(run, cuts, until_lost=True).lost
    assert lost
    (place / "kept").mkdir()
    keep(run, *lost[0], place / "kept")
    again, cut = load(place / "kept", place / "again")
    assert examine_cuts(again, [cut]).lost


def test_a_killed_test_leaves_nothing_behind(kind: FileSystemKind, place: Path) -> None:
    """Killed while a file system is mounted on a recording device; the next test takes it down."""
    program = f"""
        from pathlib import Path
        from tests.power_cut.machine import FILE_SYSTEMS, mounted, recording, workplace
        kind = next(kind for kind in FILE_SYSTEMS if kind.name == {kind.name!r})
        with workplace() as folder:
            kind.make_image(folder / "image")
            with recording(folder / "image", folder) as (device, _), mounted(kind, device, folder / "files"):
                (folder / "files" / "file").write_text("text")
                print(folder, flush=True)
                input()
        """
    with python("-c", "\n".join(line[8:] for line in program.splitlines())) as process:
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        assert folder
        assert folder in Path("/proc/self/mounts").read_text(encoding="utf-8")
        process.send_signal(signal.SIGKILL)
    machine.sweep()
    assert not Path(folder).exists()
    assert folder not in Path("/proc/self/mounts").read_text(encoding="utf-8")
    loops = subprocess.run(["losetup", "--json", "--list"], capture_output=True, text=True, check=True).stdout
    assert all(
        not (each["back-file"] or "").startswith(folder) for each in json.loads(loops or "{}").get("loopdevices", [])
    )
