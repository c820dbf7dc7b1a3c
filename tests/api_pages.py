"""The pages of the public interface, made by pdoc out of the docstrings: ``python -m tests.api_pages FOLDER``.

A warning, or a name in single backticks that leads nowhere, ends it with status 1. (What stands in double backticks is
only code, and needs to lead nowhere.)
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import typing
import warnings
from pathlib import Path
from typing import Any, Final

import jinja2
import pdoc
import pdoc.render
from markupsafe import Markup
from pdoc.render_helpers import linkify, relative_link

__all__ = ["MODULES", "build"]

MODULES: Final = (
    "execstore",
    "execstore.errors",
    "execstore.watcher",
    "execstore.aio",
    "execstore.collection",
    "execstore.copying",
    "execstore.engine",
    "execstore.event_log_status",
    "execstore.forwarding",
    "execstore.history",
    "execstore.integrity.report",
    "execstore.metrics",
    "execstore.pruning",
    "execstore.testing",
    "execstore.testing.fixtures",
)
"""What a program that uses execstore imports. Other modules are execstore's own."""

# The package's own page brings these along, since its __all__ names them.
_IMPLIED: Final = ("execstore.errors", "execstore.watcher")
_REFERENCE: Final = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)(?:\(\))?`(?!`)")
_UNLINKED: Final = re.compile(r"(?<=<code>)([A-Za-z_]\w*)((?:\.\w+)*(?:\(\))?)(?=</code>)")
_LINKED: Final = re.compile(r"<a href=\"[^\"]*\">([\w.]+)(?:\(\))?</a>")


def build(folder: Path) -> list[str]:
    """Write the pages; gives what is wrong with them, a sentence each."""
    homes = _homes()
    _evaluate_named_tuples(homes)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pdoc.render.configure(docformat="google", footer_text="execstore", show_source=False)
        pdoc.render.env.filters["linkify"] = _linkify_with(homes)
        pdoc.pdoc(*(name for name in MODULES if name not in _IMPLIED), output_directory=folder)
    complaints = [str(warning.message) for warning in said]
    for name in MODULES:
        page = (folder / f"{name.replace('.', '/')}.html").read_text()
        linked = set(_LINKED.findall(page))
        complaints += [
            f"{place}: `{reference}` leads nowhere"
            for place, text in _docstrings(pdoc.doc.Module.from_name(name))
            for reference in _REFERENCE.findall(text)
            if reference not in linked
        ]
    return complaints + _broken_links(folder)


def _broken_links(folder: Path) -> list[str]:
    pages = {page.resolve(): page.read_text() for page in folder.rglob("*.html")}
    anchors = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in pages.items()}
    complaints = []
    for page, text in pages.items():
        for target in re.findall(r'href="([^":$]+)"', text):
            file, _, anchor = target.partition("#")
            aim = (page.parent / file).resolve() if file else page
            if aim not in pages or (anchor and anchor not in anchors[aim]):
                complaints.append(f"{page.relative_to(folder.resolve())}: {target} leads nowhere")
    return complaints


def _homes() -> dict[str, tuple[str, Any]]:
    """Where each public name is at home, and what it is: the first of the modules that has it."""
    found: dict[str, tuple[str, Any]] = {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            found.setdefault(name, (module_name, getattr(module, name)))
    return found


def _linkify_with(homes: dict[str, tuple[str, Any]]) -> Any:
    """pdoc's filter, which also finds what another page has: docstrings say `Store.prune` wherever they are."""

    @jinja2.pass_context
    def filter_links(context: jinja2.runtime.Context, code: str, namespace: str = "", shorten: bool = True) -> Markup:
        here = context["module"].modulename

        def link(match: re.Match[str]) -> str:
            module_name, value = homes.get(match[1], ("", None))
            member = match[2].removesuffix("()")
            if not module_name:
                return match[0]
            anchor = member[1:] if inspect.ismodule(value) else match[1] + member
            page = value.__name__ if inspect.ismodule(value) else module_name
            return f'<a href="{relative_link(here, page)}#{anchor}">{match[0]}</a>'

        return Markup(_UNLINKED.sub(link, linkify(context, code, namespace, shorten)))

    return filter_links


def _evaluate_named_tuples(homes: dict[str, tuple[str, Any]]) -> None:
    """Write the types of named tuples out, since pdoc can't see what a module imports for type checkers alone."""
    names = {name: value for name, (_, value) in homes.items()}
    for _, value in homes.values():
        if inspect.isclass(value) and issubclass(value, tuple):
            value.__new__.__annotations__ = typing.get_type_hints(value, localns=names)


def _docstrings(namespace: pdoc.doc.Namespace[Any]) -> list[tuple[str, str]]:
    """Every text that is on a module's page, with the name of what it is about."""
    found = [(namespace.fullname, namespace.docstring)]
    for member in namespace.own_members if isinstance(namespace, pdoc.doc.Class) else namespace.members.values():
        if member.name.startswith("_") and member.name != "__init__":
            continue
        if isinstance(member, pdoc.doc.Class):
            found += _docstrings(member)
        elif not isinstance(member, pdoc.doc.Namespace):
            found.append((member.fullname, member.docstring))
    return found


if __name__ == "__main__":
    to = Path(sys.argv[1])
    wrong = build(to)
    print(*wrong, f"{len(MODULES)} pages in {to}", sep="\n", file=sys.stderr)
    sys.exit(1 if wrong else 0)
