"""The pages made of the docstrings: nothing to complain of, and what is public is there."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pdoc", reason="needs pdoc, of execstore[dev]")

from tests import api_pages
from tests.support import PATIENCE_SECONDS, python

if TYPE_CHECKING:
    from pathlib import Path


def test_the_pages_are_made_without_a_warning_and_every_name_leads_somewhere(tmp_path: Path) -> None:
    assert api_pages.build(tmp_path) == []
    for module_name in api_pages.MODULES:
        page = (tmp_path / f"{module_name.replace('.', '/')}.html").read_text()
        for name in importlib.import_module(module_name).__all__:
            assert f'id="{name}"' in page or f">{name}<" in page, (module_name, name)
        assert ":raises" not in page
        assert ":param" not in page
    store = (tmp_path / "execstore.html").read_text()
    assert store.count("Raises:</h6>") > 10


def test_what_leads_nowhere_is_told(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\n"
        "from execstore import Store\n"
        "from tests import api_pages\n"
        "Store.counts.__doc__ = 'See `Store.no_such_thing`, `NoSuchError` and `Store.begin_tx`.'\n"
        "print(*api_pages.build(pathlib.Path(sys.argv[1])), sep='\\n')\n"
    )
    done = python("-c", script, str(tmp_path))
    complaints = done.communicate(timeout=PATIENCE_SECONDS)[0].splitlines()
    assert complaints == [
        "execstore.Store.counts: `NoSuchError` leads nowhere",
        "execstore.html: #Store.no_such_thing leads nowhere",
    ]
