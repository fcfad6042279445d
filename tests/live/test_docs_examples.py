"""The examples of the README and of the API's page, run as they are printed there against a running service."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import example_environment

ROOT = Path(__file__).resolve().parents[2]
README, NATIVE = ROOT / "README.md", ROOT / "docs" / "api" / "native.md"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def _blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    # What starts the service, or sets the two variables, is done by the test.
    return [block for block in found if "$NBP_BASE_URL" in block or language == "python"]


def _run(command: list[str], running: Any, folder: Path) -> str:
    done = subprocess.run(
        command,
        env=example_environment(running, folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _python(page: Path, running: Any, folder: Path) -> str:
    blocks = _blocks(page, "python")
    assert blocks
    return _run([sys.executable, "-W", "error", "-c", "\n".join(blocks)], running, folder)


def _shell(page: Path, running: Any, folder: Path) -> str:
    blocks = _blocks(page, "sh")
    assert blocks
    return _run(["bash", "-euo", "pipefail", "-c", "\n".join(blocks)], running, folder)


def test_the_examples_of_the_readme(service: Any, tmp_path: Path) -> None:
    running = service()
    answer = json.loads(_shell(README, running, tmp_path))
    assert (answer["status"], answer["aspect_ratio"]) == ("succeeded", "16:9")
    first = _python(README, running, tmp_path)
    assert first.startswith("banana.png: ")
    picture = (tmp_path / "banana.png").read_bytes()
    assert _python(README, running, tmp_path) == first
    assert (tmp_path / "banana.png").read_bytes() == picture
    assert len(running.ask("GET", "generations").json()["data"]) == 2
    running.audit()


def test_the_examples_of_the_native_api(service: Any, tmp_path: Path) -> None:
    running = service()
    printed = _shell(NATIVE, running, tmp_path)
    assert (tmp_path / "lighthouse.png").stat().st_size > 1000
    events = re.findall(r"^event: generation\ndata: (.*)$", printed, re.MULTILINE)
    assert json.loads(events[-1])["status"] == "succeeded"
    _python(NATIVE, running, tmp_path)
    running.audit()
