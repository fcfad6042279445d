"""What the documentation says is so: links lead somewhere, tables are complete, what it names exists, examples run."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from django.urls import get_resolver

from accounts.ledger.postings import KINDS
from generation.channels.seed import SECRET_VARIABLES
from generation.dialects.native import urls as native_urls
from generation.dialects.native.error_codes import ERROR_CODES
from nbp_site.environment import SECRET_NAMES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
EACH_DOCUMENT = pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# Known to Compose and PostgreSQL, not to the service.
FOREIGN_NAMES = {"POSTGRES_PASSWORD", "POSTGRES_USER", "POSTGRES_DB"}


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _doc(name: str) -> str:
    return _text(ROOT / name)


def _prose(page: Path) -> str:
    return FENCE.sub("", _text(page))


def _code(page: Path) -> str:
    """Everything in fences and in code spans, a line each."""
    fenced = [match[3] for match in FENCE.finditer(_text(page))]
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", _prose(page))])


def _section(text: str, title: str) -> str:
    """From a heading to the next one of its rank or above."""
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,6}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"no section {title}"
    return match[2]


def _rows(text: str) -> list[list[str]]:
    """The cells of the body rows of every table in a text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {place - 1 for place, row in enumerate(rows) if set(row[0]) == {"-"}}
    return [row for place, row in enumerate(rows) if place not in heads and set(row[0]) != {"-"}]


def _block(page: Path, language: str) -> str:
    found = [match[3] for match in FENCE.finditer(_text(page)) if match[2] == language]
    assert len(found) == 1
    return found[0]


# --- links -------------------------------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@EACH_DOCUMENT
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(document)):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.is_relative_to(ROOT), target
        assert path.is_file(), target
        assert not anchor or anchor in _anchors(path), target


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)\s#]+\.md)", _prose(page)):
            if not target.startswith("http"):
                queue.append((page.parent / target).resolve())
    assert set(PAGES) == reached


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < 300_000, picture.name


# --- commands ----------------------------------------------------------------------------------------------------


@EACH_DOCUMENT
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", _doc("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|[\s=;&])make ([a-z][a-z-]*)", _code(document), re.MULTILINE))
    assert named <= targets, named - targets


@EACH_DOCUMENT
def test_commands_exist(document: Path) -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", _text(document)))
    assert named <= set(get_commands()), named - set(get_commands())


def test_the_operators_commands_are_listed() -> None:
    listed = {row[0].strip("`").split()[1] for row in _rows(_section(_doc("docs/operating.md"), "Commands"))}
    own = {name for name, app in get_commands().items() if app in ("accounts", "generation", "nbp_site")}
    assert listed == own


# --- settings ----------------------------------------------------------------------------------------------------


def _environment_reads() -> Iterator[tuple[str, list[object]]]:
    """(name, defaults that stand in the source) of every variable that the product reads."""
    for package in ("accounts", "generation", "nbp_site"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(_text(path))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    yield from _read_of(node, node.func)
    yield from ((name, []) for name in (*SECRET_NAMES, *SECRET_VARIABLES))


def _read_of(node: ast.Call, function: ast.Attribute) -> Iterator[tuple[str, list[object]]]:
    holder = ast.unparse(function.value)
    is_read = holder == "env" or (holder == "os.environ" and function.attr == "get")
    if is_read and node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value != ".env":
        defaults = [*node.args[1:], *(each.value for each in node.keywords if each.arg == "default")]
        yield node.args[0].value, [_literal(each) for each in defaults if not _has_names(each)]


def _has_names(node: ast.expr) -> bool:
    return any(isinstance(each, ast.Name) for each in ast.walk(node))


def _literal(node: ast.expr) -> object:
    return eval(compile(ast.Expression(node), "default", "eval"), {"__builtins__": {}})


def _settings_table() -> dict[str, str]:
    rows = _rows(_section(_doc("docs/operating.md"), "Every setting"))
    table = {row[0].strip("`"): row[1] for row in rows if row[0].startswith("`")}
    assert len(table) == len([row for row in rows if row[0].startswith("`")]), "a name stands twice"
    return table


def test_the_settings_table_is_complete() -> None:
    read = {name for name, _ in _environment_reads()}
    assert {"PORT", "HOST", "GOOGLE_GEMINI_BASE_URL", "SECRET_KEY", "NBP_ENV"} <= read
    assert set(_settings_table()) == read


def test_the_defaults_in_the_settings_table_are_right() -> None:
    table, count = _settings_table(), 0
    for name, defaults in _environment_reads():
        for default in defaults:
            if default not in ("", []):
                assert f"`{default}`" in table[name], f"{name}: {default}"
                count += 1
    assert count > 20


def test_the_example_environment_is_explained() -> None:
    named = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", _doc(".env.example"), re.MULTILINE))
    assert named
    assert named <= set(_settings_table()) | {"POSTGRES_PASSWORD"}


# --- faults ------------------------------------------------------------------------------------------------------


def test_the_tests_that_the_faults_name_exist() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", _doc("docs/reliability.md")))
    assert len(named) > 200
    lost = [
        f"{path}::{name}"
        for path, name in sorted(named)
        if not (ROOT / path).is_file() or not re.search(rf"^(?:async )?def {name}\(", _text(ROOT / path), re.MULTILINE)
    ]
    assert not lost


# --- the API -----------------------------------------------------------------------------------------------------


def test_the_error_table_is_complete() -> None:
    rows = _rows(_section(_doc("docs/api/native.md"), "Errors"))
    assert [tuple(row) for row in rows] == [(f"`{each.code}`", each.status, each.what_to_do) for each in ERROR_CODES]


def test_every_endpoint_is_documented() -> None:
    rows = _rows(_doc("docs/api/native.md").partition("## Keys and modes")[0])
    documented = {re.sub(r"\{\w+\}", "*", row[0].strip("`").split()[1]).removeprefix("/api/v1/") for row in rows}
    routes = {re.sub(r"<[^>]+>", "*", str(each.pattern)) for each in native_urls.urlpatterns}
    assert documented == {route for route in routes if not route.startswith("^")}
    assert any(str(each.pattern) == "api/v1/" for each in get_resolver().url_patterns)


# --- money and layers --------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_ledgers_example_runs() -> None:
    exec(compile(_block(ROOT / "docs" / "ledger.md", "python"), "docs/ledger.md", "exec"), {})


def test_the_posting_table_is_complete() -> None:
    rows = _rows(_section(_doc("docs/ledger.md"), "Postings"))
    assert {row[0].strip("`"): (row[1].strip("`"), row[2].strip("`")) for row in rows} == KINDS


def test_the_triggers_are_listed() -> None:
    from accounts.ledger.triggers import GUARDS as LEDGER
    from accounts.payments.triggers import GUARDS as PAYMENTS

    rows = _rows(_section(_doc("docs/ledger.md"), "What the database refuses"))
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(listed) == sorted(guard.name for guard in (*LEDGER.guards, *PAYMENTS.guards))


@pytest.mark.parametrize("title", ["The prompt's staircase", "The dollar's staircase"])
def test_the_staircases_are_those_of_the_contracts(title: str) -> None:
    contract = next(each for each in PROJECT["tool"]["importlinter"]["contracts"] if each["name"] == title)
    steps: dict[int, list[str]] = {}
    for step, room, _ in _rows(_section(_doc("docs/architecture.md"), title)):
        steps.setdefault(int(step), []).append(room.strip("`"))
    assert [" | ".join(steps[step]) for step in sorted(steps)] == contract["layers"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("audited")
def test_the_example_of_a_fault_test_passes(alice: Any, queue: Any) -> None:
    rooms: dict[str, Any] = {}
    exec(compile(_block(ROOT / "CONTRIBUTING.md", "python"), "CONTRIBUTING.md", "exec"), rooms)
    [test] = [value for name, value in rooms.items() if name.startswith("test_")]
    test(alice, queue)


def test_the_changelog_knows_the_version() -> None:
    assert re.search(rf"^## {re.escape(PROJECT['project']['version'])}\b", _doc("CHANGELOG.md"), re.MULTILINE)


# --- containers --------------------------------------------------------------------------------------------------


def _dockerfile() -> list[tuple[str, str]]:
    """(instruction, rest) of each line, continuations joined and comments left out."""
    lines = [line for line in _doc("Dockerfile").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    return [(line.split()[0], line.partition(" ")[2]) for line in joined.splitlines() if line.strip()]


def _check_command(command: list[str]) -> None:
    """A container's command names what exists here."""
    if command[:2] == ["python", "manage.py"]:
        assert command[2] in get_commands()
        source = _text(ROOT / "nbp_site" / "management" / "commands" / f"{command[2]}.py")
        for option in (each for each in command if each.startswith("--")):
            assert f'"{option}"' in source
    elif command[0] == "celery":
        assert (ROOT / command[command.index("-A") + 1] / "celery.py").is_file()
    else:
        assert command[0] == "redis-server"


def test_the_dockerfile_copies_and_starts_what_exists() -> None:
    instructions = _dockerfile()
    kept = [line[1:] for line in _doc(".dockerignore").splitlines() if line.startswith("!")]
    copied = [source for name, rest in instructions if name == "COPY" for source in rest.split()[:-1]]
    assert "requirements/base.txt" in copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source in kept, f".dockerignore leaves {source} out"
    assert sorted(kept) == sorted(copied)
    _check_command(json.loads(next(rest for name, rest in instructions if name == "CMD")))
    health = next(rest for name, rest in instructions if name == "HEALTHCHECK")
    python, option, program = json.loads(health[health.index("CMD") + 3 :])
    assert (python, option) == ("python", "-c")
    compile(program, "HEALTHCHECK", "exec")
    users = [rest for name, rest in instructions if name == "USER"]
    assert users == ["nbp"]


def test_the_image_has_a_python_we_support() -> None:
    version = re.fullmatch(r"python:3\.(\d+)-slim", next(rest for name, rest in _dockerfile() if name == "FROM"))
    assert version
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.14"
    assert 11 <= int(version[1]) < 14
    assert any("--require-hashes -r requirements/base.txt" in rest for name, rest in _dockerfile() if name == "RUN")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(_doc("compose.yml"))
    return loaded


def test_compose_has_the_four_services(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"web", "worker", "db", "redis"}
    for name, service in compose["services"].items():
        assert "healthcheck" in service or name == "web", name
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert not compose["services"][other].get("healthcheck", {}).get("disable")
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
        if "command" in service:
            _check_command(service["command"])


def test_compose_names_settings_that_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service.get("environment", {})) <= set(_settings_table()) | FOREIGN_NAMES
    assert set(re.findall(r"\$\{(\w+)", _doc("compose.yml"))) <= FOREIGN_NAMES
    ports = compose["services"]["web"]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert all(fnmatch.fnmatch(each["image"], "*:*") for each in compose["services"].values())


def test_the_shell_examples_can_be_parsed() -> None:
    for page in PAGES:
        for match in FENCE.finditer(_text(page)):
            if match[2] == "sh":
                shlex.split(match[3], comments=True)
