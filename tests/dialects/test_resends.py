"""Clients that are killed, lose their answer or send again: one image for what was asked once, charged once."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.dialects import sdks
from tests.live.conftest import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
_IMAGES = "/openai/v1/images/generations"
_GEMINI = "/gemini/v1beta/models/gemini-3-pro-image:generateContent"
_GATEWAY = "/ai-gateway/v4/ai/image-model"
DOORS: dict[str, Callable[[str], tuple[str, dict[str, Any]]]] = {
    "openai": lambda prompt: (_IMAGES, {"model": "gemini-3-pro-image", "prompt": prompt}),
    "chat": lambda prompt: ("/v1/chat/completions", {"messages": [{"role": "user", "content": prompt}]}),
    "responses": lambda prompt: ("/openai/v1/responses", {"input": prompt}),
    "gemini": lambda prompt: (_GEMINI, {"contents": [{"parts": [{"text": prompt}]}]}),
    "gateway": lambda prompt: (_GATEWAY, {"prompt": prompt, "n": 1}),
}


def _headers(running: Service, **more: str) -> dict[str, str]:
    key = running.note["test_key"]
    gateway = {"ai-image-model-specification-version": "4", "ai-model-id": "google/gemini-3-pro-image"}
    return (
        {"authorization": f"Bearer {key}", "x-goog-api-key": key, "content-type": "application/json"} | gateway | more
    )


def _post(running: Service, door: str, prompt: str, **headers: str) -> httpx2.Response:
    path, body = DOORS[door](prompt)
    return httpx2.post(
        running.base_url + path, json=body, headers=_headers(running, **headers), timeout=90, trust_env=False
    )


def _hang_up(running: Service, door: str, prompt: str, *, after: float) -> None:
    """Ask, and leave before there is an answer."""
    path, body = DOORS[door](prompt)
    client = http.client.HTTPConnection("127.0.0.1", running.port)
    client.request("POST", path, json.dumps(body), _headers(running))
    time.sleep(after)
    assert client.sock is not None
    client.sock.shutdown(socket.SHUT_RDWR)
    client.close()


@pytest.mark.parametrize("door", DOORS)
def test_a_client_that_was_cut_off_and_asks_again_gets_the_image_it_asked_for(
    running: Service, bought: Callable[[], int], door: str
) -> None:
    prompt = f"sandbox:slow:2 lost at {door}"
    _hang_up(running, door, prompt, after=0.7)
    time.sleep(0.3)
    again = _post(running, door, prompt)
    assert again.status_code == 200, again.text
    assert bought() == 1


@pytest.mark.parametrize("door", DOORS)
def test_two_clients_that_ask_for_the_same_at_once_get_two_images(
    running: Service, bought: Callable[[], int], door: str
) -> None:
    answers: list[httpx2.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(_post(running, door, f"sandbox:slow:1 twice at {door}")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert [each.status_code for each in answers] == [200, 200]
    assert len({each.headers["x-generation-id"] for each in answers}) == 2
    assert bought() == 2


@pytest.mark.parametrize("door", DOORS)
def test_who_was_answered_and_asks_again_gets_another_image(
    running: Service, bought: Callable[[], int], door: str
) -> None:
    first, second = (_post(running, door, f"again and again at {door}") for _ in range(2))
    assert first.headers["x-generation-id"] != second.headers["x-generation-id"]
    assert bought() == 2


def test_a_resend_that_says_so_joins_although_the_first_is_still_connected(
    running: Service, bought: Callable[[], int]
) -> None:
    first: list[httpx2.Response] = []
    prompt = "sandbox:slow:2 a resend"
    waiting = threading.Thread(target=lambda: first.append(_post(running, "openai", prompt)))
    waiting.start()
    time.sleep(0.7)
    second = _post(running, "openai", prompt, **{"x-stainless-retry-count": "1"})
    waiting.join(90)
    assert second.headers["x-generation-id"] == first[0].headers["x-generation-id"]
    assert bought() == 1
    # And after the answer, too: it may have been lost on its way.
    third = _post(running, "openai", prompt, **{"x-stainless-retry-count": "2"})
    assert (third.content, bought()) == (second.content, 1)


@pytest.mark.parametrize("door", DOORS)
def test_an_idempotency_key_replays(running: Service, bought: Callable[[], int], door: str) -> None:
    key = {"idempotency-key": f"replay-{door}"}
    first, second = (_post(running, door, "a replay", **key) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.headers["x-generation-id"] == second.headers["x-generation-id"]
    assert bought() == 1


def test_a_killed_process_whose_successor_asks_again_pays_once(
    running: Service, environment: dict[str, str], bought: Callable[[], int], tmp_path: Path
) -> None:
    """The SDK in a process that dies with -9 in the midst of its wait; a new one asks the same."""
    sdk = sdks.python_sdks("openai")[-1]
    script = tmp_path / "ask.py"
    script.write_text(
        "import json, os\n"
        "from openai import OpenAI\n"
        "client = OpenAI(base_url=os.environ['NBP_ORIGIN'] + '/openai/v1', api_key=os.environ['NBP_API_KEY'])\n"
        "made = client.images.generate(model='gemini-3-pro-image', prompt='sandbox:slow:3 killed')\n"
        "print(json.dumps(len(made.data)))\n"
    )
    python = str(sdks.python_of(sdk))
    victim = subprocess.Popen([python, str(script)], env={"PATH": "/usr/bin", **environment})
    deadline = time.monotonic() + 30
    while running.ask("GET", "wallet").json()["held_micros"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    time.sleep(0.2)
    done = subprocess.run(
        [python, str(script)], env={"PATH": "/usr/bin", **environment}, capture_output=True, timeout=90, check=True
    )
    assert json.loads(done.stdout) == 1
    assert bought() == 1


def test_a_service_that_dies_under_its_clients_leaves_them_one_image_each(tmp_path: Path) -> None:
    """Web and worker die with -9; the SDK sends again by itself until the service is back."""
    folder = tmp_path / "service"
    folder.mkdir()
    running = Service(folder, {"NBP_LEASE_SECONDS": "3"}).start()
    try:
        environment = {"NBP_ORIGIN": running.base_url, "NBP_API_KEY": running.note["test_key"]}
        script = tmp_path / "ask.py"
        script.write_text(
            "import os\n"
            "from openai import OpenAI\n"
            "client = OpenAI(base_url=os.environ['NBP_ORIGIN'] + '/v1', api_key=os.environ['NBP_API_KEY'],\n"
            "    max_retries=20)\n"
            "client.images.generate(model='gemini-3-pro-image', prompt='sandbox:slow:1 the service dies')\n"
        )
        python = str(sdks.python_of(sdks.python_sdks("openai")[-1]))
        client = subprocess.Popen([python, str(script)], env={"PATH": "/usr/bin", **environment})
        while running.ask("GET", "wallet").json()["held_micros"] == 0:
            time.sleep(0.05)
        running.kill()
        running.start()
        assert client.wait(120) == 0
        wallet = running.ask("GET", "wallet").json()
        assert (wallet["held_micros"], 100_000_000 - wallet["available_micros"]) == (0, 147_400)
        running.audit()
    finally:
        running.kill()


def test_a_batch_whose_client_hung_up_is_handed_in_once(running: Service) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": {"prompt": "a lost batch"}}
    key = {"authorization": f"Bearer {running.note['test_key']}"}
    with httpx2.Client(base_url=f"{running.base_url}/openai/v1", headers=key, trust_env=False) as client:
        file = client.post("/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", json.dumps(line))}).json()
        body = {"input_file_id": file["id"], "endpoint": "/v1/images/generations", "completion_window": "24h"}
        for _ in range(3):
            lost = http.client.HTTPConnection("127.0.0.1", running.port)
            lost.request("POST", "/openai/v1/batches", json.dumps(body), key | {"content-type": "application/json"})
            assert lost.sock is not None
            # Without a word, as a process that is killed.
            lost.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            lost.close()
            time.sleep(1.0)
        name = client.post("/batches", json=body).json()["id"]
        found = [each["id"] for each in client.get("/batches").json()["data"] if each["input_file_id"] == file["id"]]
        assert found == [name]
        while client.get(f"/batches/{name}").json()["status"] != "completed":
            time.sleep(0.2)
    running.audit()
