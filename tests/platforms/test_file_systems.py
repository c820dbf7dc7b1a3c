"""A store on every file system that can be had here: ``EXECSTORE_PLATFORMS=1 pytest tests/platforms -rs``, as root.

What can't be mounted is skipped, with the reason. `exercise` says what is done on each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.platforms.exercise import CHECKS, REFUSED
from tests.platforms.machine import (
    EXERCISE,
    HERE,
    IN_USER_MODE_LINUX,
    TIMEOUT_SECONDS,
    Kind,
    mounted,
    user_mode_linux,
    windows_python,
)

if TYPE_CHECKING:
    from pathlib import Path

asked_for = pytest.mark.skipif(
    not os.environ.get("EXECSTORE_PLATFORMS"),
    reason="other file systems are tried when asked for: EXECSTORE_PLATFORMS=1",
)


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


def judge(kind: Kind, text: str) -> None:
    """Every check was done to its end, on a file system of the kind that is meant."""
    if kind.is_refused:
        assert "refused: " in text
        return
    assert f"takes A and a for {'one name' if kind.takes_a_for_capital_a else 'two names'}" in text, text
    assert [check.__name__ for check in CHECKS if f"{check.__name__}\n" not in text.replace("\r\n", "\n")] == [], text


def test_here(tmp_path: Path) -> None:
    """In the folder that tests use anyway, whatever it lies on."""
    status, text = run(sys.executable, str(EXERCISE), str(tmp_path))
    assert status == 0, text


@asked_for
@pytest.mark.parametrize("kind", HERE, ids=lambda kind: kind.name)
def test_this_kernel(kind: Kind, tmp_path: Path) -> None:
    with mounted(kind, tmp_path) as place:
        folder = place / "here"
        folder.mkdir(mode=0o700)
        status, text = run(sys.executable, str(EXERCISE), str(folder))
        assert status == (REFUSED if kind.is_refused else 0), text
        judge(kind, text)


@asked_for
@pytest.mark.parametrize("kind", IN_USER_MODE_LINUX, ids=lambda kind: kind.name)
def test_another_kernel(kind: Kind, tmp_path: Path) -> None:
    text = user_mode_linux(kind, tmp_path)
    assert f"ended with {REFUSED if kind.is_refused else 0}" in text, text
    judge(kind, text)


@asked_for
def test_python_for_windows(tmp_path: Path) -> None:
    """Under Wine, whose drive Z: is this machine's root."""
    command = windows_python()
    status, text = run(*command, "Z:" + str(EXERCISE).replace("/", "\\"), "Z:" + str(tmp_path).replace("/", "\\"))
    assert status == 0, text
    judge(Kind("windows", (), (), takes_a_for_capital_a=True), text)
