"""The table of private names is what the sources use, and what the installed libraries have."""

from __future__ import annotations

import ast
import inspect
import re
from importlib.metadata import version
from pathlib import Path

import pytest

import shared.link
import shared.link.webrtc
from shared.link.webrtc.private import PRIVATE_NAMES

WEBRTC = Path(shared.link.webrtc.__file__).parent
ROOT = Path(shared.link.__file__).parents[2]
LISTED = {name for row in PRIVATE_NAMES for name in row.names}


def private_names(path: Path) -> set[str]:
    """Private attributes in a file that are not those of the object whose method it is."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }


def used() -> dict[str, set[str]]:
    """By name, the files that use it."""
    found: dict[str, set[str]] = {}
    for path in sorted(WEBRTC.glob("*.py")):
        for name in private_names(path):
            found.setdefault(name, set()).add(path.name)
    return found


def test_every_private_name_in_use_is_listed():
    assert {name: files for name, files in used().items() if name not in LISTED} == {}


def test_every_listed_name_is_in_use():
    assert LISTED - set(used()) == set()


def test_no_name_is_listed_twice_for_one_class():
    rows = [(row.owner, name) for row in PRIVATE_NAMES for name in row.names]
    assert len(rows) == len(set(rows))
    assert all(row.reason for row in PRIVATE_NAMES)


@pytest.mark.parametrize(
    ("owner", "name"), [(row.owner, name) for row in PRIVATE_NAMES for name in row.names]
)
def test_the_installed_version_has_it(owner, name):
    written = name.removeprefix(f"_{owner.__name__}")  # as the class itself writes it
    source = inspect.getsource(owner)
    uses = rf"(def {written}\(|self\.{written}\b|^    {written}:)"
    assert re.search(uses, source, re.MULTILINE), f"{owner.__name__} has no {name} any more"


def test_the_versions_installed_are_those_that_these_names_were_read_in():
    assert version("aiortc").startswith("1.16.")


def test_aiortc_and_aioice_are_named_in_this_package_alone():
    imports = re.compile(r"^\s*(import|from) (aiortc|aioice)", re.MULTILINE)
    outside = [
        path.relative_to(ROOT).as_posix()
        for floor in ("shared", "sender", "receiver", "signaling", "veilscope")
        for path in (ROOT / floor).rglob("*.py")
        if path.parent != WEBRTC and imports.search(path.read_text(encoding="utf-8"))
    ]
    assert outside == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x._a", {"_a"}),
        ("self._a", set()),
        ("self._x._a", {"_a"}),
        ("x._a = 1\ndel x._b", {"_a", "_b"}),
        ("x.__dict__", set()),
        ("f()._a()", {"_a"}),
    ],
)
def test_the_walk_finds_what_belongs_to_another(tmp_path, source, names):
    path = tmp_path / "some.py"
    path.write_text(source)
    assert private_names(path) == names
