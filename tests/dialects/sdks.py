"""The SDKs that people use, each version in an environment of its own below var/sdks, made once and kept.

A Python SDK is named by a file of pinned requirements in `python/`, a set of JavaScript SDKs by a folder with a lock file
in `javascript/`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = ROOT / "var" / "sdks"
# "all" tries the versions between the newest and those of November 2025, too; nothing tries none.
WANTED = os.environ.get("NBP_SDKS", "")
_INSTALL_SECONDS = 600


def python_sdks(name: str) -> list[str]:
    """The versions of a Python SDK to try, as names of requirement files."""
    found = [path.name.removesuffix(".txt") for path in (HERE / "python").glob(f"{name}-*.txt")]
    return _without_middle(sorted(found, key=lambda sdk: [int(each) for each in sdk.rpartition("-")[2].split(".")]))


def javascript_sets() -> list[str]:
    """The sets of JavaScript SDKs to try."""
    return _without_middle(["november-2025", "previous", "current"])


def _without_middle(names: list[str]) -> list[str]:
    return names if WANTED == "all" or len(names) < 3 else [names[0], names[-1]]


def run_python(sdk: str, script: str, environment: dict[str, str]) -> Any:
    """What a script of ours prints as JSON, run with a version of an SDK."""
    return _answer([str(python_of(sdk)), "-W", "ignore", str(HERE / "scripts" / script)], environment, HERE)


def run_javascript(kind: str, script: str, environment: dict[str, str]) -> Any:
    """The same with a set of JavaScript SDKs."""
    folder = javascript_of(kind)
    shutil.copyfile(HERE / "scripts" / script, folder / script)
    return _answer([str(folder / "node_modules" / ".bin" / "node"), script], environment, folder)


def _answer(command: list[str], environment: dict[str, str], folder: Path) -> Any:
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(KEPT), "NO_PROXY": "*", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1])


def python_of(sdk: str) -> Path:
    _require_wanted()
    requirements = HERE / "python" / f"{sdk}.txt"
    folder = KEPT / f"{sdk}-{_digest(requirements)}"
    with _made_once(folder) as is_new:
        if is_new:
            _install([sys.executable, "-m", "venv", str(folder)])
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            _install([*pip, "--require-hashes", "-r", str(requirements)])
    return folder / "bin" / "python"


def javascript_of(kind: str) -> Path:
    _require_wanted()
    if shutil.which("npm") is None:
        pytest.skip("SKIPPED LOUDLY: no npm here, so no JavaScript SDK is tried")
    source = HERE / "javascript" / kind
    folder = KEPT / f"{kind}-{_digest(source / 'package-lock.json')}"
    with _made_once(folder) as is_new:
        if is_new:
            folder.mkdir(parents=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(source / name, folder / name)
            _install(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder)
    return folder


def _require_wanted() -> None:
    if not WANTED:
        pytest.skip("SKIPPED LOUDLY: make test-sdks installs the vendors' SDKs and tries them")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@contextmanager
def _made_once(folder: Path) -> Iterator[bool]:
    """Whether the folder is to be made now; several test processes ask for it. Half of one is made anew."""
    KEPT.mkdir(parents=True, exist_ok=True)
    mark = folder.with_name(f"{folder.name}.done")
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if mark.exists():
            yield False
            return
        shutil.rmtree(folder, ignore_errors=True)
        yield True
        mark.touch()


def _install(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    if done.returncode and "Could not" in done.stderr and "resolve host" in done.stderr:
        pytest.skip(f"SKIPPED LOUDLY: {command[:3]} cannot reach its registry")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def models_that_ship() -> list[str]:
    """The catalogue's image models as a service without live channels lists them: the default, and then by name."""
    rows = json.loads((ROOT / "generation" / "data" / "catalogue.json").read_text(encoding="utf-8"))["image_models"]
    return [row["name"] for row in sorted(rows, key=lambda row: (not row.get("is_default", False), row["name"]))]
