"""The service as a stranger meets it: started, asked, stopped, killed, started again."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_the_first_start_gives_a_stranger_an_image(service: Any) -> None:
    running = service()
    note = running.note
    assert set(note) == {
        "base_url",
        "email",
        "password",
        "live_key",
        "test_key",
        "admin_url",
        "admin_email",
        "admin_password",
    }
    assert stat.S_IMODE((running.folder / "quickstart.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((running.folder / "secrets.json").stat().st_mode) == 0o600
    printed = next(line.strip() for line in running.log.splitlines() if line.strip().startswith("curl "))
    answer = json.loads(subprocess.run(printed, shell=True, capture_output=True, check=True, timeout=60).stdout)
    assert answer["status"] == "succeeded"
    image = Image.open(io.BytesIO(httpx2.get(answer["outputs"][0]["url"], trust_env=False).content))
    assert image.size == (2048, 2048)
    assert running.ask("GET", "wallet").json()["available_micros"] == 100_000_000 - answer["price_micros"]
    assert running.ask("GET", "wallet", mode="live").json()["available_micros"] == 10_000_000
    live = running.create("x", mode="live")
    assert (live.status_code, live.json()["error"]["code"]) == (503, "no_channel_configured")
    running.audit()
    assert running.signal(signal.SIGINT) == 0
    running.start()
    assert running.note == note
    assert running.ask("GET", f"generations/{answer['id']}").json()["status"] == "succeeded"
    assert running.create("again").json()["status"] == "succeeded"


def test_it_listens_on_loopback_only(service: Any) -> None:
    running = service()
    addresses = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
    port = f"{running.port:04X}"
    listening = [
        line.split()[1]
        for line in addresses.splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port}")
    ]
    assert listening == [f"0100007F:{port}"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_clean_stop_answers_waiters_and_queues_the_work_again(service: Any, number: int) -> None:
    running = service(NBP_SHUTDOWN_GRACE_SECONDS="1")
    answers: list[httpx2.Response] = []
    waiting = [
        threading.Thread(target=lambda: answers.append(running.create("sandbox:slow:30 fine", wait=60)))
        for _ in range(5)
    ]
    for thread in waiting:
        thread.start()
    time.sleep(2)
    before = time.monotonic()
    assert running.signal(number) == 0, running.log
    assert time.monotonic() - before < 15
    for thread in waiting:
        thread.join()
    assert [answer.status_code for answer in answers] == [202] * 5
    assert all(answer.json()["id"].startswith("gen_") for answer in answers)
    running.environment["NBP_LEASE_SECONDS"] = "2"
    running.start()
    states = [running.ask("GET", f"generations/{answer.json()['id']}").json() for answer in answers]
    assert {state["status"] for state in states} == {"running"}
    assert "Traceback" not in running.log


def test_a_worker_killed_while_a_call_is_out(service: Any) -> None:
    """kill -9: every prompt still ends in one image and one charge, and the audit is clean."""
    running = service(NBP_LEASE_SECONDS="2")
    ids = [running.create("sandbox:slow:3 fine", wait=0, image_size="1K").json()["id"] for _ in range(6)]
    time.sleep(1.5)
    running.kill()
    running.start()
    done = [running.end(each) for each in ids]
    assert [each["status"] for each in done] == ["succeeded"] * 6
    for each in done:
        statuses = [attempt["status"] for attempt in each["outputs"][0]["attempts"]]
        assert statuses[-1] == "ok"
        assert set(statuses[:-1]) <= {"unknown"}
    assert any(len(each["outputs"][0]["attempts"]) > 1 for each in done)
    wallet = running.ask("GET", "wallet").json()
    assert (wallet["available_micros"], wallet["held_micros"]) == (100_000_000 - 6 * 147_400, 0)
    running.audit()


def test_a_client_that_hangs_up_loses_nothing(service: Any) -> None:
    running = service()
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(
            f"{running.base_url}/api/v1/generations",
            json={"prompt": "sandbox:slow:2 fine"},
            timeout=1,
            trust_env=False,
            headers={
                "authorization": f"Bearer {running.note['test_key']}",
                "prefer": "wait=60",
                "idempotency-key": "mine",
            },
        )
    again = running.create("sandbox:slow:2 fine", headers={"idempotency-key": "mine"})
    assert (again.status_code, again.json()["status"]) == (200, "succeeded")
    assert len(running.ask("GET", "generations").json()["data"]) == 1
    running.audit()


def test_fifty_waiters_at_once(service: Any) -> None:
    running = service(NBP_WORKER_THREADS="64")
    answers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(running.create("sandbox:slow:1 fine", image_size="1K").status_code)
        )
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 50
    running.audit()


def test_events_stream_while_it_runs(service: Any) -> None:
    running = service()
    made = running.create("sandbox:slow:1 fine", wait=0).json()
    states = []
    with httpx2.stream(
        "GET",
        f"{running.base_url}/api/v1/generations/{made['id']}/events",
        timeout=30,
        trust_env=False,
        headers={"authorization": f"Bearer {running.note['test_key']}"},
    ) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                states.append(json.loads(line[6:])["status"])
    assert states[-1] == "succeeded"
    assert "running" in states


def test_a_body_beyond_the_limit_is_turned_away(service: Any) -> None:
    running = service(NBP_MAX_BODY_BYTES="100000", NBP_WORKER_THREADS="")
    large = running.ask("POST", "generations", json={"prompt": "x", "metadata": {"a": "x" * 200_000}})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")

    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 10_000

    chunked = running.ask("POST", "generations", content=pieces(), headers={"content-type": "application/json"})
    assert chunked.status_code == 413
    assert running.create("fine", image_size="1K").json()["status"] == "succeeded"


def test_forwarded_headers_are_not_believed(service: Any) -> None:
    running = service()
    headers = {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1", "x-forwarded-host": "evil.example"}
    answer = running.create("x", image_size="1K", headers=headers).json()
    assert answer["outputs"][0]["url"].startswith(running.base_url)
    assert stat.S_IMODE(running.folder.stat().st_mode) in (0o700, 0o755)


def test_production_needs_its_secrets_and_a_mail_server(service: Any, tmp_path: Any) -> None:
    environment = {"PATH": os.environ["PATH"], "NBP_ENV": "production", "NBP_DATA_DIR": str(tmp_path)}
    from tests.live.conftest import Service

    stranger = Service(tmp_path, {})
    stranger.environment = environment
    assert "SECRET_KEY" in stranger.manage("check").stderr
    environment |= {
        "SECRET_KEY": "x" * 60,
        "NBP_KEY_PEPPER": "x",
        "NBP_LINK_KEY": "x",
        "NBP_FIELD_KEYS": "k1:" + "0" * 64,
    }
    assert "EMAIL_URL" in stranger.manage("check").stderr
    environment |= {"EMAIL_URL": "smtp://127.0.0.1:25", "ALLOWED_HOSTS": "example.org"}
    assert stranger.manage("check").returncode == 0
    assert not (tmp_path / "quickstart.json").exists()
    assert not (tmp_path / "secrets.json").exists()
