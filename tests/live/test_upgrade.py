"""A database of an earlier release, killed in the middle of work, meets today's code: it is migrated and goes on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.live import previous_release
from tests.live.conftest import ROOT, Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
FIXTURES = sorted((ROOT / "tests" / "fixtures").glob("v*.tar.gz"))


def _previous_tag() -> str | None:
    """The newest release before the commit in hand."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return None
    found = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD~1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None


def _check(running: Service, left_behind: dict[str, Any]) -> None:
    """Today's code over the old folder: the past is unchanged, what was unfinished ends once, the audit is clean."""
    done = [running.end(each) for each in left_behind["unfinished"]]
    assert [each["status"] for each in done] == ["succeeded"] * len(done), running.log
    assert all(len(each["outputs"]) == 1 and each["price_micros"] == 147_400 for each in done)
    past = {name: running.end(each) for name, each in left_behind["ended"].items()}
    assert {name: each["status"] for name, each in past.items()} == {
        "plain": "succeeded",
        "edit": "succeeded",
        "with a reference, twice": "succeeded",
        "after errors": "succeeded",
        "refused": "failed",
        "canceled": "canceled",
    }
    url = past["plain"]["outputs"][0]["url"]
    assert httpx2.get(url, trust_env=False).status_code == 200
    again = running.create("a lighthouse", image_size="1K", headers={"idempotency-key": "first"})
    assert again.json()["id"] == left_behind["ended"]["plain"]
    edit = running.create("and in snow", image_size="1K", previous=past["plain"]["outputs"][0]["id"])
    assert edit.json()["status"] == "succeeded"
    wallet = running.ask("GET", "wallet").json()
    spent = sum(each["price_micros"] for each in [*past.values(), *done, edit.json()])
    assert (wallet["available_micros"], wallet["held_micros"]) == (100_000_000 - spent, 0)
    running.audit()


@pytest.fixture
def old_folder(tmp_path: Path) -> Iterator[Service]:
    """A service of today's code over a folder that the test fills before it starts it. Old keys stay known."""
    folder = tmp_path / "data"
    folder.mkdir()
    running = Service(folder, {"NBP_IDEMPOTENCY_DAYS": "36500"})
    yield running
    running.kill()


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def test_a_stored_database_of_an_earlier_release_goes_on(fixture: Path, old_folder: Service) -> None:
    left_behind = previous_release.unpack(fixture, old_folder.folder)
    _check(old_folder.start(), left_behind)


def test_a_database_of_the_previous_tag_goes_on(tmp_path: Path, old_folder: Service) -> None:
    tag = _previous_tag()
    if tag is None:
        pytest.skip("SKIPPED LOUDLY: no tag v* before this commit; the stored databases stand in")
    code = tmp_path / "code"
    code.mkdir()
    left_behind = previous_release.leave_behind(previous_release.code_of(tag, code), old_folder.folder)
    _check(old_folder.start(), left_behind)


def test_there_is_a_stored_database() -> None:
    assert FIXTURES
