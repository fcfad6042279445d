"""House rules that a reviewer would otherwise repeat: tasks are one call, routes declare how they authenticate."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from generation import tasks
from generation.dialects.native.error_codes import ERROR_CODES

ROOT = Path(__file__).resolve().parents[2]


def test_a_task_makes_one_call() -> None:
    tree = ast.parse(inspect.getsource(tasks))
    decorated = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("shared_task" in ast.dump(each) for each in node.decorator_list)
    ]
    assert decorated
    for node in decorated:
        statements = [
            each for each in node.body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        ]
        assert len(statements) == 1, f"{node.name} does more than one thing"


def _routes(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[tuple[str, object]]:
    for each in patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _routes(each.url_patterns, path)
        else:
            yield path, each.callback


OPEN_API_ROUTES = {"schema", "docs", "docs/errors", "^(?P<path>.*)$"}


def test_every_api_route_asks_for_a_key() -> None:
    routes = {
        path.removeprefix("api/v1/"): view
        for path, view in _routes(get_resolver().url_patterns)
        if path.startswith("api/")
    }
    assert len(routes) > 8
    for path, view in routes.items():
        if path in OPEN_API_ROUTES:
            continue
        cls = getattr(view, "cls", None)
        assert cls is not None, f"{path} is not a DRF view"
        names = [each.__name__ for each in cls.authentication_classes]
        assert names == ["ApiKeyAuthentication"], f"{path} authenticates by {names}"


def test_every_error_code_is_documented() -> None:
    """A code that the source raises stands in the table that clients read."""
    documented = {row.code for row in ERROR_CODES}
    used = set()
    for package in ("accounts", "generation"):
        for path in (ROOT / package).rglob("*.py"):
            if "migrations" in path.parts or "fakes" in path.parts:
                continue
            used |= _codes(path)
    assert used
    assert used <= documented, f"not documented: {sorted(used - documented)}"


def _codes(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Refusal", "AuthenticationFailed"):
            place = 1 if getattr(node.func, "id", "") == "Refusal" else 0
            if len(node.args) > place and isinstance(node.args[place], ast.Constant):
                found.add(node.args[place].value)
        is_invalid = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "invalid" and len(node.args) == 3
        if is_invalid and isinstance(node.args[2], ast.Constant):
            found.add(node.args[2].value)
    return found


@pytest.mark.parametrize("path", ["generation/execution/results.py", "generation/execution/road.py"])
def test_terminal_failures_are_documented(path: str) -> None:
    documented = {row.code for row in ERROR_CODES}
    text = (ROOT / path).read_text(encoding="utf-8")
    codes = set(re.findall(r'code="(\w+)"', text)) | set(re.findall(r'= \("(\w+)", "', text))
    assert codes <= documented
