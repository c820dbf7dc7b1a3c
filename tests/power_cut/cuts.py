"""Images as a power cut could leave them.

A disk keeps what was written before the last flush that it reported. Of what was written since, each sector of 512
bytes may be there or not, whatever the order was. (Where two writes went to one sector, the later is over the earlier:
the disk's cache held only that.)

No file system stands all of this. A folder's block of xfs, or the superblock of ext4 and btrfs, is written over in
place, and has a checksum over all 4 KiB of it: torn within, it is damage that only a file system's own repair mends.
Disks of today write 4 KiB whole. So what a file system itself doesn't stand is tried again with whole blocks.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tests.power_cut.device import FLUSH, read_log
from tests.power_cut.machine import copy_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.power_cut.device import Entry

__all__ = ["Cut", "Recording", "choose_cuts"]

SECTOR = 512
_BLOCK_SECTORS = 8


@dataclass(frozen=True)
class Cut:
    """A recipe: the power goes when ``moment`` entries are in the log, and of those after the last flush some stay.

    ``kept``: for each write of which something stays, its index in the log and which of its sectors (``None``: all).
    """

    moment: int
    manner: str
    kept: tuple[tuple[int, tuple[int, ...] | None], ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Cut:
        kept = tuple((index, None if sectors is None else tuple(sectors)) for index, sectors in data["kept"])
        return cls(data["moment"], data["manner"], kept)


class Recording:
    """The log of a device, and the image that it began with."""

    def __init__(self, base: Path, log: Path) -> None:
        self.base = base
        self.entries: Sequence[Entry] = list(read_log(str(log)))
        self.flushes = [index for index, entry in enumerate(self.entries) if entry.offset == FLUSH]

    def __str__(self) -> str:
        size = sum(len(entry.data) for entry in self.entries) / 1e6
        return f"{len(self.entries) - len(self.flushes)} writes ({size:.1f} MB), {len(self.flushes)} flushes"

    def durable(self, moment: int) -> int:
        """How many entries are sure to be on disk when ``moment`` are in the log."""
        while moment > 0 and self.entries[moment - 1].offset != FLUSH:
            moment -= 1
        return moment

    def with_whole_blocks(self, cut: Cut) -> Cut:
        """The same cut by a disk that writes blocks of 4 KiB whole: each as its first sector that was written."""
        kept: list[tuple[int, tuple[int, ...] | None]] = []
        for index, sectors in cut.kept:
            if sectors is None:
                kept.append((index, None))
                continue
            first = self.entries[index].offset // SECTOR
            blocks: dict[int, list[int]] = {}
            for sector in range(len(self.entries[index].data) // SECTOR):
                blocks.setdefault((first + sector) // _BLOCK_SECTORS, []).append(sector)
            whole = tuple(each for block in blocks.values() if block[0] in sectors for each in block)
            if whole:
                kept.append((index, whole))
        return Cut(cut.moment, cut.manner, tuple(kept))

    def images(self, cuts: Sequence[Cut], folder: Path) -> Iterator[tuple[Cut, Path]]:
        """An image of each cut, in order of their moments; each is overwritten by the next."""
        durable, image = folder / "durable", folder / "cut"
        copy_sparse(self.base, durable)
        applied = 0
        with open(durable, "r+b", buffering=0) as file:
            for cut in sorted(cuts, key=lambda each: each.moment):
                until = self.durable(cut.moment)
                for entry in self.entries[applied:until]:
                    _write(file, entry, None)
                applied = until
                copy_sparse(durable, image)
                with open(image, "r+b", buffering=0) as target:
                    for index, sectors in cut.kept:
                        _write(target, self.entries[index], sectors)
                yield cut, image


def _write(file: Any, entry: Entry, sectors: Sequence[int] | None) -> None:
    if entry.offset == FLUSH:
        return
    parts = [(0, len(entry.data))] if sectors is None else [(sector * SECTOR, SECTOR) for sector in sectors]
    for start, length in parts:
        file.seek(entry.offset + start)
        file.write(entry.data[start : start + length])


def choose_cuts(recording: Recording, acknowledged: Sequence[int], seed: str, count: int) -> list[Cut]:
    """Recipes by chance: at any moment, just before a flush (when most is open), and just after an answer."""
    chance = random.Random(f"{seed} cuts")
    size = len(recording.entries)

    def is_open(flush: int) -> int:
        return flush - recording.durable(flush)

    cuts = []
    for _ in range(count):
        where = chance.random()
        if where < 0.25 and acknowledged:
            moment = min(chance.choice(acknowledged) + chance.choice((0, 0, 1, 3)), size)
        elif where < 0.5:
            moment = chance.choice(recording.flushes)
        elif where < 0.75:
            moment = max(chance.choices(recording.flushes, k=4), key=is_open)
        else:
            moment = chance.randint(0, size)
        cuts.append(_choose(recording, moment, chance))
    return cuts


_MANNERS = ("nothing", "everything", "some", "some", "one missing", "one kept", "torn", "torn", "torn", "last torn")


def _choose(recording: Recording, moment: int, chance: random.Random) -> Cut:
    window = list(range(recording.durable(moment), moment))
    manner = chance.choice(_MANNERS)
    odd = chance.choice(window) if window else -1
    share = chance.choice((0.1, 0.5, 0.9))
    kept: list[tuple[int, tuple[int, ...] | None]] = []
    for index in window:
        tears = False
        if manner == "nothing":
            stays = False
        elif manner == "some":
            stays = chance.random() < share
        elif manner == "one missing":
            stays = index != odd
        elif manner == "one kept":
            stays = index == odd
        elif manner == "torn":
            stays = chance.random() < 0.8
            tears = chance.random() < share
        elif manner == "last torn":
            stays = True
            tears = index == window[-1]
        else:
            stays = True
        if stays:
            sectors = _tear(recording.entries[index], chance) if tears else None
            if sectors != ():
                kept.append((index, sectors))
    return Cut(moment, manner, tuple(kept))


def _tear(entry: Entry, chance: random.Random) -> tuple[int, ...]:
    """The sectors of a write that stay: the first ones, the last ones, or any."""
    count = len(entry.data) // SECTOR
    at = chance.randint(0, count)
    manner = chance.randrange(3)
    if manner == 0:
        return tuple(range(at))
    if manner == 1:
        return tuple(range(at, count))
    return tuple(sector for sector in range(count) if chance.random() < 0.5)
