"""What is made beside its place: errors name the place, not the name that nobody has heard of."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from execstore.beside import give_name, make_file, make_folder
from execstore.new_folder import new_folder

if TYPE_CHECKING:
    from pathlib import Path


def test_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    target = str(tmp_path / ("ä" * 127))
    descriptor, beside = make_file(target)
    os.close(descriptor)
    give_name(beside, target)
    assert os.listdir(tmp_path) == ["ä" * 127]
    with new_folder(tmp_path / ("f" * 255), "restoring", "") as folder:
        assert os.path.isdir(folder)
    assert os.path.isdir(tmp_path / ("f" * 255))


@pytest.mark.parametrize("make", [make_file, lambda target: make_folder(target, "doing")])
@pytest.mark.parametrize(
    ("parent", "reason"), [("none/deeper", "there is no such folder"), ("file", "it is no folder")]
)
def test_a_folder_that_is_none(tmp_path: Path, make: object, parent: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=reason) as caught:
        make(str(tmp_path / parent / "name"))  # type: ignore[operator]
    assert (caught.value.filename, caught.value.strerror) == (str(tmp_path / parent), reason)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="who may write is told by users")
def test_a_folder_that_may_not_be_written_to() -> None:
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError) as of_file:
            make_file("/execstore-test.tar")
        with pytest.raises(PermissionError) as of_folder, new_folder("/execstore-test", "restoring", ""):
            pass
    finally:
        os.seteuid(user)
    for caught in (of_file, of_folder):
        assert (caught.value.filename, caught.value.strerror) == ("/", "this folder may not be written to")


def test_a_name_that_can_not_be_given(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.mkdir()
    descriptor, beside = make_file(str(target))
    os.close(descriptor)
    with pytest.raises(OSError, match="taken") as caught:
        give_name(beside, str(target))
    assert caught.value.filename == str(target)
