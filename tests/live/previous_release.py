"""A data folder as an earlier release left it: work of every kind behind it, some still unfinished, then killed.

`python -m tests.live.previous_release v0.1.0 tests/fixtures/v0.1.0.tar.gz` packs one, made by that tag's own code.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image

from tests.live.conftest import ROOT, Service

KEPT = ("media", "secrets.json", "quickstart.json")


class OldService(Service):
    """A service that runs the code of another folder."""

    def __init__(self, code: Path, folder: Path, environment: dict[str, str]) -> None:
        super().__init__(folder, environment)
        self.code = code

    def start(self) -> OldService:
        with (self.folder / "log.txt").open("ab") as log:
            command = [sys.executable, str(self.code / "manage.py"), "serve"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.TransportError):
                httpx2.get(f"{self.base_url}/api/v1/wallet", timeout=5, trust_env=False)
                return self
            assert self.process.poll() is None, self.log
            time.sleep(0.1)
        raise AssertionError(self.log)


def code_of(revision: str, folder: Path) -> Path:
    """The project as it was at a tag or commit, unpacked below `folder`."""
    packed = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def leave_behind(code: Path, folder: Path) -> dict[str, Any]:
    """Run the code of `code` over `folder`, give it work of every kind, and kill it while some is unfinished.

    Answers the ids of what ended, by how it ended, and of what had not.
    """
    running = OldService(code, folder, {"NBP_WORKER_THREADS": "2", "NBP_LEASE_SECONDS": "5"}).start()
    try:
        ended = _ended_work(running)
        unfinished = [
            running.create(f"sandbox:slow:60 number {index}", wait=0, image_size="1K").json()["id"]
            for index in range(4)
        ]
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not _is_sent(running, unfinished[0]):
            time.sleep(0.1)
    finally:
        running.kill()
    # Nobody is to wait a minute for the pictures: the next release draws them at once.
    _be_quick(folder)
    return {"ended": ended, "unfinished": unfinished}


def _is_sent(running: Service, generation_id: str) -> bool:
    return bool(running.ask("GET", f"generations/{generation_id}").json()["outputs"][0]["attempts"])


def _be_quick(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "nbp.sqlite3")) as database:
        database.execute("UPDATE generation_generation SET prompt = replace(prompt, 'slow:60', 'slow:0')")
        database.commit()


def _ended_work(running: Service) -> dict[str, str]:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
    reference = {"data": base64.b64encode(picture.getvalue()).decode()}
    small = {"image_size": "1K"}
    plain = running.create("a lighthouse", headers={"idempotency-key": "first"}, **small).json()
    edit = running.create("now at night", previous=plain["outputs"][0]["id"], **small).json()
    more = {
        "with a reference, twice": running.create("in this colour", references=[reference], n=2, **small),
        "after errors": running.create("sandbox:503:1 sandbox:lost:1 a boat", **small),
        "refused": running.create("sandbox:refuse", **small),
    }
    patient = running.create("sandbox:429 again and again", wait=0, **small).json()
    running.ask("POST", f"generations/{patient['id']}/cancel")
    ended = {"plain": plain["id"], "edit": edit["id"], "canceled": patient["id"]}
    ended |= {name: answer.json()["id"] for name, answer in more.items()}
    for generation_id in ended.values():
        running.end(generation_id)
    return ended


def pack(folder: Path, note: dict[str, Any], target: Path) -> None:
    """The data folder as one archive: the database as SQL, the media, the secrets of this throw-away installation."""
    with contextlib.closing(sqlite3.connect(folder / "nbp.sqlite3")) as database:
        (folder / "nbp.sql").write_text("\n".join(database.iterdump()), encoding="utf-8")
    (folder / "left_behind.json").write_text(json.dumps(note, indent=1), encoding="utf-8")
    with tarfile.open(target, "w:gz") as archive:
        for name in ("nbp.sql", "left_behind.json", *KEPT):
            archive.add(folder / name, arcname=name)


def unpack(source: Path, folder: Path) -> dict[str, Any]:
    """A packed data folder, as it was."""
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    with contextlib.closing(sqlite3.connect(folder / "nbp.sqlite3")) as database:
        database.executescript((folder / "nbp.sql").read_text(encoding="utf-8"))
    return dict(json.loads((folder / "left_behind.json").read_text(encoding="utf-8")))


def main() -> None:
    revision, target = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as place:
        code, folder = Path(place) / "code", Path(place) / "data"
        for each in (code, folder):
            each.mkdir()
        note = leave_behind(code_of(revision, code), folder)
        pack(folder, note, target)
    print(json.dumps(note, indent=1), target.stat().st_size)


if __name__ == "__main__":
    main()
