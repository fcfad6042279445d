"""Strangers' images in processes of their own: the same verdicts, and whatever an image does ends there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generation import decoding
from generation.decoding import Undecodable, exchange, pool
from generation.decoding.pool import Pool
from tests import images

ROOT = Path(__file__).resolve().parents[2]
CAP = 20 * 1024 * 1024
on_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes in /proc")


@pytest.fixture
def workers() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.end()


def is_alive(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def parent_of(entry: Path) -> int:
    return int((entry / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


def until(condition: Any, *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "data",
    [
        images.png(),
        images.png(mode="RGBA"),
        images.png(mode="P"),
        images.png(mode="I;16"),
        images.interlaced_png(33, 17),
        images.jpeg(),
        images.jpeg(progressive=True),
        images.two_picture_jpeg(),
        images.encoded(images.picture(mode="CMYK"), "JPEG"),
        images.webp(),
        images.webp(lossless=True),
        images.webp_with_exif(),
        images.polyglot(images.png()),
    ],
)
def test_an_image_comes_back_as_it_would_from_this_process(data: bytes) -> None:
    assert decoding.take_in_apart(data) == decoding.take_in(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html></html>",
        images.HTML_TAIL,
        images.png()[:-20],
        images.jpeg()[:-2],
        images.webp()[:-20],
        images.bomb_png(),
        images.overlong_png(),
        images.animated_webp(),
        images.animated_png(),
        images.scan_bomb_jpeg(),
        bytes(CAP + 1),
    ],
)
def test_a_refusal_has_the_words_it_would_have_in_this_process(data: bytes) -> None:
    with pytest.raises(Undecodable) as here:
        decoding.take_in(data)
    with pytest.raises(Undecodable) as apart:
        decoding.take_in_apart(data)
    assert apart.value.reason == here.value.reason


def test_one_process_serves_one_image_after_another(workers: Pool) -> None:
    for data in (images.png(), b"nothing", images.jpeg(), images.webp()):
        try:
            workers.take_in(data, CAP)
        except Undecodable:
            assert data == b"nothing"
        assert len(workers.idle_processes()) == 1
    first = workers.idle_processes()
    workers.take_in(images.png(), CAP)
    assert workers.idle_processes() == first


def unfolding() -> bytes:
    """A few kilobytes that unfold to 40 megapixels, the most we take."""
    return images.bomb_png(8000, 5000)


def test_an_image_that_needs_too_much_memory_is_refused_and_the_next_one_is_not(
    workers: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MEMORY_BYTES", 200 * 1024 * 1024)
    with pytest.raises(Undecodable) as refused:
        workers.take_in(unfolding(), CAP)
    assert refused.value.reason == exchange.TOO_MUCH_MEMORY
    assert workers.take_in(images.png(), CAP) == decoding.take_in(images.png())


def test_the_most_that_is_taken_fits_into_the_limits(workers: Pool) -> None:
    clean = workers.take_in(unfolding(), CAP)
    assert (clean.width, clean.height) == (8000, 5000)


def test_an_image_that_computes_for_too_long_is_refused(workers: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CPU_SECONDS", 0.1)
    with pytest.raises(Undecodable) as refused:
        workers.take_in(unfolding(), CAP)
    assert refused.value.reason == exchange.TOO_MUCH_TIME
    assert workers.idle_processes() == []
    assert workers.take_in(images.png(64, 64), CAP).width == 64


def test_an_image_that_stands_still_is_refused(workers: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    workers.take_in(images.png(), CAP)
    [process_id] = workers.idle_processes()
    monkeypatch.setattr(pool, "WALL_SECONDS", 0.3)
    os.kill(process_id, signal.SIGSTOP)
    with pytest.raises(Undecodable) as refused:
        workers.take_in(images.png(), CAP)
    assert refused.value.reason == exchange.TOO_MUCH_TIME


def test_a_process_that_died_while_it_waited_is_replaced(workers: Pool) -> None:
    workers.take_in(images.png(), CAP)
    [process_id] = workers.idle_processes()
    os.kill(process_id, signal.SIGKILL)
    assert workers.take_in(images.png(), CAP) == decoding.take_in(images.png())
    assert workers.idle_processes() != [process_id]


@on_linux
def test_an_image_whose_processes_are_killed_is_refused_and_costs_nobody_else_anything(workers: Pool) -> None:
    def kill_workers_of_ours() -> None:
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                is_worker = entry.name.isdigit() and b"generation.decoding.worker" in (entry / "cmdline").read_bytes()
                if is_worker and parent_of(entry) == os.getpid() and int(entry.name) not in spared:
                    os.kill(int(entry.name), signal.SIGKILL)

    # The pool of the tests before is none of this test's.
    spared = set(pool.pool().idle_processes())
    is_over = threading.Event()

    def hunt() -> None:
        while not is_over.wait(0.01):
            kill_workers_of_ours()

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        with pytest.raises(Undecodable) as refused:
            workers.take_in(unfolding(), CAP)
    finally:
        is_over.set()
        hunter.join()
    assert refused.value.reason == exchange.TOO_MUCH_MEMORY
    assert workers.take_in(images.jpeg(), CAP) == decoding.take_in(images.jpeg())


def test_more_callers_than_processes_wait_for_one(workers: Pool) -> None:
    done: list[int] = []
    threads = [
        threading.Thread(target=lambda: done.append(workers.take_in(images.jpeg(), CAP).width)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [200] * 8
    assert 1 <= len(workers.idle_processes()) <= pool.PROCESSES


@on_linux
def test_a_process_knows_no_secret_and_no_framework(workers: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "a secret of ours")
    workers.take_in(images.png(), CAP)
    [process_id] = workers.idle_processes()
    assert b"secret" not in Path(f"/proc/{process_id}/environ").read_bytes()
    assert "django" not in Path(f"/proc/{process_id}/maps").read_text(encoding="utf-8")
    listed = subprocess.run(
        [sys.executable, "-c", "import generation.decoding.worker, sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True, cwd=ROOT, env={},
    ).stdout.split()  # fmt: skip
    assert {"PIL.Image", "generation.decoding.worker"} <= {*listed}
    assert {each.partition(".")[0] for each in listed} & {"django", "celery", "httpx2", "accounts", "nbp_site"} == set()


_TRIES = """
import json, socket, sys
from generation.decoding import worker
worker._give_up_everything(10**9)
def tried(act):
    try:
        act()
    except OSError as error:
        return error.strerror
    return "done"
print(json.dumps([tried(lambda: open("/etc/hostname")), tried(socket.socket), tried(lambda: open("/tmp/x", "w"))]))
"""


def test_a_process_opens_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TRIES], capture_output=True, text=True, check=True, cwd=ROOT, env={}
    )  # fmt: skip
    assert json.loads(done.stdout) == ["Too many open files"] * 3


_OWNER = """
import sys, time
from generation.decoding.pool import pool
pool().take_in(sys.stdin.buffer.read(), 10**8)
print(*pool().idle_processes(), flush=True)
time.sleep(60 if sys.argv[1] == "stay" else 0)
"""


@on_linux
@pytest.mark.parametrize("end", ["leave", "stay"], ids=["it ends", "it is killed"])
def test_no_process_outlives_its_owner(end: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, end], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        owner.stdin.write(images.png())
        owner.stdin.close()
        process_id = int(owner.stdout.readline())
        if end == "stay":
            assert is_alive(process_id)
            owner.kill()
        owner.wait(30)
    until(lambda: not is_alive(process_id))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\n",
        b"[]\n",
        b'{"mime_type": "image/png", "width": 1, "height": 1, "length": 5}\nfour',
        b'{"mime_type": "text/html", "width": 1, "height": 1, "length": 4}\nfour',
        b'{"mime_type": "image/png", "width": 9999, "height": 1, "length": 4}\nfour',
        b'{"mime_type": "image/png", "width": -1, "height": 1, "length": 4}\nfour',
        b'{"mime_type": "image/png", "width": 1, "height": 1, "length": 99999999999}\nfour',
        b'{"mime_type": "image/png", "width": true, "height": 1, "length": 4}\nfour',
        b'{"width": 1, "height": 1, "length": 4}\nfour',
        b"x" * 5000,
    ],
)
def test_what_a_process_says_is_not_believed(said: bytes, tmp_path: Path) -> None:
    (tmp_path / "said").write_bytes(said)
    with (tmp_path / "said").open("rb") as pipe, pytest.raises(exchange.BrokenOff):
        exchange.answered(pipe)
