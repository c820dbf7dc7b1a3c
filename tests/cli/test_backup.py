"""``execstore backup``, ``restore`` and ``repair``, as a user types them."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from execstore import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import CommandLine


def test_a_backup_and_its_restoration(execstore_cli: CommandLine, path: Path, ids: list[str], tmp_path: Path) -> None:
    archive, target = tmp_path / "b.tar.gz", tmp_path / "restored"
    result = execstore_cli("backup", str(archive))
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.startswith(
        "4 executions with 4 events, 11 events of the log, 0 checkpoints, as of transaction "
    )
    assert gzip.decompress(archive.read_bytes())
    result = execstore_cli("--store", str(target), "restore", str(archive))
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.startswith("4 executions with 4 events, 11 events of the log, 0 checkpoints, verified; ")
    with Store(path, read_only=True) as one, Store(target, read_only=True) as other:
        assert list(one.list_executions()) == list(other.list_executions())


def test_both_tell_json(execstore_cli: CommandLine, path: Path, tmp_path: Path) -> None:
    archive, target = tmp_path / "b.tar", tmp_path / "restored"
    made = execstore_cli("backup", str(archive), "--json").json()
    assert (made["file"], made["executions"], made["skipped"]) == (str(archive), 4, [])
    restored = execstore_cli("restore", "--store", str(target), str(archive), "--json").json()
    assert (restored["path"], restored["executions"], restored["clamped"]) == (str(target), 4, [])


def test_through_a_pipe(path: Path, tmp_path: Path, program_environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "execstore", "--store"]
    with subprocess.Popen(
        [*command, str(path), "backup", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=program_environment,
    ) as backup:
        restore = subprocess.run(
            [*command, str(tmp_path / "restored"), "restore", "-", "--json"],
            stdin=backup.stdout,
            capture_output=True,
            check=False,
            env=program_environment,
            timeout=60,
        )
        assert backup.stderr is not None
        assert b"4 executions" in backup.stderr.read()
    assert (backup.returncode, restore.returncode, restore.stderr) == (0, 0, b"")
    with Store(tmp_path / "restored", read_only=True) as store:
        assert store.verify().executions == 4


def test_what_is_there_is_left_alone(execstore_cli: CommandLine, path: Path, tmp_path: Path) -> None:
    archive = tmp_path / "b.tar"
    execstore_cli("backup", str(archive))
    result = execstore_cli("restore", str(archive))
    assert (result.status, result.stdout) == (1, "")
    assert "a restore needs a new folder, or an empty one" in result.stderr


def test_a_damaged_archive_is_one_line(execstore_cli: CommandLine, path: Path, tmp_path: Path) -> None:
    archive = tmp_path / "b.tar"
    execstore_cli("backup", str(archive))
    os.truncate(archive, 9000)
    result = execstore_cli("--store", str(tmp_path / "restored"), "restore", str(archive))
    assert (result.status, result.stdout, result.stderr.count("\n")) == (3, "", 1)
    assert "the archive ends here" in result.stderr
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["backup"], 2),
        (["restore"], 2),
        (["restore", "/no/such/file"], 2),
        (["--store", "/no/such/store", "backup", "-"], 3),
        (["--store", "/no/such/store", "repair"], 3),
        (["backup", "/no/such/folder/b.tar"], 3),
    ],
)
def test_wrong_usage(execstore_cli: CommandLine, arguments: list[str], status: int) -> None:
    result = execstore_cli(*arguments)
    assert (result.status, result.stdout, result.stderr.count("\n")) == (status, "", 1)


def test_repair_mends_and_says_what(execstore_cli: CommandLine, path: Path, ids: list[str], tmp_path: Path) -> None:
    (path / f"executions/{ids[0]}.json").write_text("{]")
    assert execstore_cli("verify").status == 1
    dry = execstore_cli("repair", "--dry-run")
    assert (dry.status, dry.stderr) == (1, "")
    assert f"executions/{ids[0]}.json" in dry.stdout
    assert f"would be done: executions/{ids[0]}.json: restored revision " in dry.stdout
    planned = execstore_cli("repair", "--dry-run", "--json").json()
    assert planned["remaining"]
    left_out = execstore_cli("backup", str(tmp_path / "b.tar"))
    assert left_out.status == 1
    assert f"left out: executions/{ids[0]}.json" in left_out.stderr
    with tarfile.open(tmp_path / "b.tar") as archive:
        assert f"executions/{ids[0]}.json" not in archive.getnames()
    result = execstore_cli("repair")
    assert (result.status, result.stderr) == (0, "")
    assert f"-> quarantine/executions!{ids[0]}.json" in result.stdout
    assert f"executions/{ids[0]}.json: {planned['actions'][1]['action']}" in result.stdout
    assert result.stdout.endswith("thing(s) mended, 0 problem(s) left\n")
    again = execstore_cli("repair", "--json")
    assert (again.status, again.json()) == (0, {"ok": True, "actions": [], "remaining": []})
    assert (path / f"quarantine/executions!{ids[0]}.json").read_text() == "{]"


@pytest.mark.parametrize("name", ["FORMAT", "journal.0", "lock"])
def test_repair_of_a_store_that_cannot_be_opened(execstore_cli: CommandLine, path: Path, name: str) -> None:
    (path / name).unlink()
    assert execstore_cli("ls").status != 0
    repaired = execstore_cli("repair", "--json")
    assert (repaired.status, repaired.stderr) == (0, "")
    assert name in [action["path"] for action in repaired.json()["actions"]]
    assert execstore_cli("verify").status == 0


@pytest.mark.parametrize("command", ["backup", "restore", "repair"])
def test_the_help_has_an_example(execstore_cli: CommandLine, command: str) -> None:
    assert "\n  execstore " in execstore_cli(command, "--help").stdout
