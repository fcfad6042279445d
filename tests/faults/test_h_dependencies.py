"""What is installed is what was looked at: every library pinned, with the hashes of its files, and no second source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKED = sorted((ROOT / "requirements").glob("*.txt"))
_PIN = re.compile(r"([a-z0-9._-]+)(\[[a-z0-9,._ -]+\])?==([^\s;\\]+)( ; [^\\]+)?")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def _entries(path: Path) -> list[str]:
    """One text for each requirement, its continuation lines joined; comments left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    return [each.strip() for each in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines() if each.strip()]


def test_h17_there_are_locked_files() -> None:
    assert {path.name for path in LOCKED} >= {"base.txt", "dev.txt"}
    assert {path.stem for path in LOCKED} == {path.stem for path in (ROOT / "requirements").glob("*.in")}


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.name)
def test_h17_every_library_is_pinned_with_hashes_and_comes_from_nowhere_else(path: Path) -> None:
    entries = _entries(path)
    assert len(entries) > 5
    for entry in entries:
        pin, *hashes = re.split(r"\s+(?=--hash)", entry)
        assert _PIN.fullmatch(pin.strip()), f"{pin}: not one version"
        assert hashes, f"{pin}: no hash"
        assert all(_HASH.fullmatch(each.strip()) for each in hashes), f"{pin}: {hashes}"


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").iterdir()), ids=lambda path: path.name)
def test_h17_no_requirement_names_an_address_or_an_index(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        told = line.partition("#")[0]
        assert not re.search(r"://|@|--?(index|extra-index|find-links|trusted)|^-[fie]\b", told), line


def test_h17_what_is_asked_for_is_what_is_locked() -> None:
    for path in LOCKED:
        pinned = {match[1]: match[3] for each in _entries(path) if (match := _PIN.match(each))}
        wanted = path.with_suffix(".in").read_text(encoding="utf-8").splitlines()
        for line in wanted:
            if match := _PIN.match(line.strip().lower()):
                assert pinned.get(match[1], match[3]) == match[3], line


def test_h17_every_installation_of_the_project_asks_for_the_hashes() -> None:
    for name in ("Makefile", "Dockerfile"):
        text = re.sub(r"\\\n", " ", (ROOT / name).read_text(encoding="utf-8"))
        installs = [line for line in text.splitlines() if re.search(r"pip install\b", line)]
        assert installs
        for line in installs:
            assert "--require-hashes" in line, line


def test_h17_the_gate_looks_for_holes_in_code_and_libraries() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^lint:.*(\n\t.*)*bandit .*accounts generation nbp_site", makefile, re.MULTILINE)
    assert re.search(r"^audit-dependencies:.*\n\t.*tests/advisories\.py", makefile, re.MULTILINE)
