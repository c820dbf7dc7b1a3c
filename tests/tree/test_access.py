"""A store's folder that others may write to is told of, once."""

from __future__ import annotations

import logging
import stat
from typing import TYPE_CHECKING

import pytest

from execstore import Store
from execstore.tree.access import others_may_write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("mode", "who"),
    [
        (0o700, None),
        (0o755, None),
        (0o770, "its group"),
        (0o777, "everybody"),
        (0o1777, "everybody"),
        (0o702, "everybody"),
    ],
)
def test_who_may_write_besides_the_owner(tmp_path: Path, mode: int, who: str | None) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    folder.chmod(mode)
    sentence = others_may_write(str(folder))
    assert (sentence is None) == (who is None)
    assert who is None or f"{who} may write to the store's folder (mode {mode:04o})" in (sentence or "")


def test_it_is_logged_once_and_verify_tells_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store"
    with Store(path) as store:
        assert store.verify().warnings == ()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    path.chmod(0o777)
    with caplog.at_level(logging.WARNING, "execstore"):
        for read_only in (False, True):
            with Store(path, read_only=read_only) as store:
                report = store.verify()
                assert report.ok
                assert len(report.warnings) == 1
                assert report.to_dict()["warnings"] == list(report.warnings)
    assert [record.getMessage() for record in caplog.records] == list(report.warnings)


def test_a_folder_that_is_gone_is_others_business(tmp_path: Path) -> None:
    assert others_may_write(str(tmp_path / "nothing")) is None
