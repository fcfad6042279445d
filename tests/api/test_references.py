"""References by address, by file, by output: fetched safely, cleaned, stored, sent along."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from generation import media
from generation.models import Generation, Reference

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]


def _photo() -> bytes:
    """A JPEG with a place in its metadata and a web page behind its end."""
    image = Image.merge("RGB", [Image.effect_noise((400, 300), 30)] * 3)
    exif = Image.Exif()
    exif[0x010F] = "A Made Up Camera"
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    return file.getvalue() + b"<html><script>alert(1)</script></html>"


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/photo.jpg":
            self._answer(200, _photo())
        elif self.path == "/page.jpg":
            self._answer(200, b"<html>not an image</html>")
        elif self.path == "/moved.jpg":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/")
            self.end_headers()
        elif self.path == "/endless.jpg":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(40):
                    self.wfile.write(b"x" * 1024 * 1024)
            except OSError:
                return
        else:
            self._answer(404, b"nothing")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(settings: Any) -> Iterator[str]:
    """A web site on loopback that this test, and only it, may be fetched from."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings.NBP_FETCH_ALLOW_HOSTS = [f"127.0.0.1:{server.server_port}"]
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_reference_by_address_is_stored_clean_and_upright(api: Any, alice: Any, queue: Any, site: str) -> None:
    response = api(
        alice, "POST", "generations", {"prompt": "x", "references": [{"url": f"{site}/photo.jpg", "role": "style"}]}
    )
    assert response.status_code == 202, response.content
    row = Reference.objects.get()
    stored = media.read(row.storage_name)
    image = Image.open(io.BytesIO(stored))
    assert (image.size, row.width, row.height, row.role) == ((300, 400), 300, 400, "style")
    assert not image.getexif()
    assert b"<script>" not in stored
    assert b"Made Up" not in stored
    assert response.json()["aspect_ratio"] == "3:4"
    queue.run()
    assert Generation.objects.get().status == "succeeded"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/page.jpg", "reference_not_decodable"),
        ("/moved.jpg", "reference_redirected"),
        ("/none.jpg", "reference_bad_status"),
        ("/endless.jpg", "reference_too_large"),
    ],
)
def test_an_address_that_brings_no_image(api: Any, alice: Any, site: str, path: str, code: str) -> None:
    response = api(alice, "POST", "generations", {"prompt": "x", "references": [{"url": site + path}]})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["billed"]) == (400, code, False)
    assert Generation.objects.count() == 0


def test_loopback_is_refused_unless_it_is_allowed(api: Any, alice: Any, site: str, settings: Any) -> None:
    settings.NBP_FETCH_ALLOW_HOSTS = []
    response = api(alice, "POST", "generations", {"prompt": "x", "references": [{"url": f"{site}/photo.jpg"}]})
    assert response.json()["error"]["code"] == "reference_forbidden_address"


def test_nobody_listens_there(api: Any, alice: Any, settings: Any) -> None:
    settings.NBP_FETCH_ALLOW_HOSTS = ["127.0.0.1:9"]
    response = api(alice, "POST", "generations", {"prompt": "x", "references": [{"url": "http://127.0.0.1:9/a.png"}]})
    assert response.json()["error"]["code"] == "reference_unreachable"


def test_an_output_of_mine_is_a_reference_and_another_accounts_is_not(
    api: Any, alice: Any, make_person: Any, queue: Any
) -> None:
    made = api(alice, "POST", "generations", {"prompt": "x", "aspect_ratio": "16:9", "image_size": "4K"}).json()
    queue.run()
    output = api(alice, "GET", f"generations/{made['id']}").json()["outputs"][0]["id"]
    again = api(alice, "POST", "generations", {"prompt": "y", "references": [{"output": output}]})
    assert (again.status_code, again.json()["aspect_ratio"]) == (202, "16:9")
    carol = make_person("carol", test_micros=1_000_000)
    stolen = api(carol, "POST", "generations", {"prompt": "y", "references": [{"output": output}]})
    assert (stolen.status_code, stolen.json()["error"]["code"]) == (400, "output_not_found")
    queue.run()


def test_fourteen_references_and_five_subjects_are_served(api: Any, alice: Any, queue: Any) -> None:
    data = base64.b64encode(_photo()).decode()
    references = [
        {"data": data, "role": "subject" if number < 5 else "object", "name": f"No {number}"} for number in range(14)
    ]
    response = api(alice, "POST", "generations", {"prompt": "a group picture", "references": references})
    assert (response.status_code, response.json()["quote_micros"]) == (202, 164_340)
    queue.run()
    assert Generation.objects.get().status == "succeeded"


def test_previous_must_be_clear(api: Any, alice: Any, queue: Any) -> None:
    made = api(alice, "POST", "generations", {"prompt": "x", "n": 2, "image_size": "1K"}).json()
    response = api(alice, "POST", "generations", {"prompt": "y", "previous": made["id"]})
    assert response.json()["error"]["code"] == "output_not_found"
    queue.run()
    response = api(alice, "POST", "generations", {"prompt": "y", "previous": made["id"]})
    assert response.json()["error"]["code"] == "previous_ambiguous"
    outputs = api(alice, "GET", f"generations/{made['id']}").json()["outputs"]
    response = api(alice, "POST", "generations", {"prompt": "y", "previous": outputs[1]["id"]})
    assert response.status_code == 202
    queue.run()


def test_a_full_set_of_references_leaves_no_room_for_a_previous_image(api: Any, alice: Any, queue: Any) -> None:
    made = api(alice, "POST", "generations", {"prompt": "x", "image_size": "1K"}).json()
    queue.run()
    data = base64.b64encode(_photo()).decode()
    body = {"prompt": "y", "previous": made["id"], "references": [{"data": data}] * 14}
    assert api(alice, "POST", "generations", body).json()["error"]["code"] == "too_many_references"
