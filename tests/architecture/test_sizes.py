"""Rooms stay small: 300 lines a module, 40 lines a function, one opening sentence each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOMELESS = {"utils", "helpers", "common", "services", "managers"}


def _modules() -> Iterator[Path]:
    for package in ("accounts", "generation", "nbp_site"):
        yield from (path for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts)


MODULES = sorted(_modules())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_is_small_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= 300
    assert path.stem not in HOMELESS
    if text.strip() and path.name not in ("apps.py", "__init__.py"):
        assert ast.get_docstring(tree), "the module does not say what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 40, f"{node.name} has {length} lines"


def test_the_check_sees_the_rooms() -> None:
    assert len(MODULES) > 100
