"""Images that attack whoever opens them, sent through the API: refused by name, or made harmless, and never paid for."""

from __future__ import annotations

import base64
import io
import os
import signal
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from accounts.ledger.models import Entry, Hold
from generation import media
from generation.decoding import exchange, pool
from generation.models import Generation, Reference
from tests import images
from tests.faults.doors import ask, code_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]


def send(alice: Any, *files: bytes) -> Any:
    references = [{"data": base64.b64encode(each).decode()} for each in files]
    return ask(alice, "POST", "generations", {"prompt": "x", "image_size": "1K", "references": references})


def nothing_was_made(settings: Any) -> bool:
    """No generation, no hold, no entry but the grants, no file."""
    folder = Path(settings.STORAGES["default"]["OPTIONS"]["location"])
    files = [each for each in folder.rglob("*") if each.is_file()]
    entries = Entry.objects.exclude(kind="grant").count()
    return (Generation.objects.count(), Hold.objects.count(), Reference.objects.count(), entries, files) == (
        0,
        0,
        0,
        0,
        [],
    )


def stored() -> list[bytes]:
    return [media.read(row.storage_name) for row in Reference.objects.order_by("index")]


def _memory_mb() -> float:
    """What this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


on_linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads a process's memory from /proc")


@on_linux
@pytest.mark.parametrize(
    "edges", [(9000, 9000), (8000, 8000), (30_000, 2)], ids=["81 MP", "64 MP", "an edge of 30,000"]
)
def test_g1_a_bomb_is_refused_by_its_header_before_it_is_unfolded(
    alice: Any, settings: Any, edges: tuple[int, int]
) -> None:
    bomb = images.bomb_png(*edges)
    assert len(bomb) < 50_000
    before = _memory_mb()
    answer = send(alice, bomb)
    assert _memory_mb() - before < 60
    assert code_of(answer) == (400, "reference_not_decodable")
    assert answer.json()["error"]["param"] == "references[0]"
    assert nothing_was_made(settings)


def test_g1_rows_beyond_what_the_header_promises_are_not_unfolded(alice: Any, settings: Any) -> None:
    assert code_of(send(alice, images.overlong_png())) == (400, "reference_not_decodable")
    assert code_of(send(alice, images.scan_bomb_jpeg())) == (400, "reference_not_decodable")
    assert nothing_was_made(settings)


def test_g2_what_pillow_only_warns_of_is_an_error_here(alice: Any, settings: Any) -> None:
    categories = [each[2] for each in warnings.filters if each[0] == "error"]
    assert any(issubclass(Image.DecompressionBombWarning, each) for each in categories)
    assert code_of(send(alice, images.bomb_png(12_000, 12_000))) == (400, "reference_not_decodable")
    assert nothing_was_made(settings)


@pytest.mark.parametrize("make", [images.animated_webp, images.animated_png])
def test_g3_an_animation_is_refused(alice: Any, settings: Any, make: Any) -> None:
    answer = send(alice, make())
    assert code_of(answer) == (400, "reference_not_decodable")
    assert "animated" in answer.json()["error"]["message"]
    assert nothing_was_made(settings)


def _heavy_metadata() -> list[bytes]:
    """Pictures with megabytes of EXIF, profile, comment and compressed text."""
    plain = images.png(64, 48)
    bomb = b"Comment\0\0" + zlib.compress(bytes(50 * 2**20), 9)
    international = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(50 * 2**20), 9)
    profile = b"icc\0\0" + zlib.compress(bytes(5 * 2**20), 9)
    jpeg = images.jpeg(64, 48)
    comments = b"".join(b"\xff\xfe\xff\xff" + b"A secret place" + bytes(65_519) for _ in range(60))
    return [
        *(plain[:33] + images.chunk(kind, data) + plain[33:] for kind, data in (
            (b"zTXt", bomb), (b"iTXt", international), (b"iCCP", profile), (b"eXIf", b"II*\0" + bytes(2 * 2**20)),
        )),
        jpeg[:2] + comments + jpeg[2:],
        images.webp_with_exif(),
    ]  # fmt: skip


@on_linux
def test_g3_heavy_metadata_is_thrown_away_or_refused_and_never_kept(alice: Any, queue: Any) -> None:
    taken = 0
    for picture in _heavy_metadata():
        before = _memory_mb()
        answer = send(alice, picture)
        assert _memory_mb() - before < 100
        assert answer.status_code in (202, 400)
        taken += answer.status_code == 202
    assert taken >= 3
    for data in stored():
        assert len(data) < 100_000
        assert b"secret place" not in data
        assert images.CAMERA.encode() not in data
        assert not Image.open(io.BytesIO(data)).getexif()
    queue.run()


@pytest.mark.parametrize("make", [images.jpeg, images.png, images.webp])
def test_g4_an_image_cut_short_is_refused(alice: Any, settings: Any, make: Any) -> None:
    whole = make()
    for share in (0.5, 0.9, 0.99):
        assert code_of(send(alice, whole[: int(len(whole) * share)])) == (400, "reference_not_decodable")
    assert nothing_was_made(settings)


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        images.HTML_TAIL,
        b"GIF89a" + images.HTML_TAIL,
        b"%PDF-1.7\n" + images.png(8, 8),
        b"BM" + bytes(60),
        b"\0\0\1\0" + bytes(60),
        images.encoded(images.picture(16, 16), "TIFF"),
        images.encoded(images.picture(16, 16), "GIF"),
        images.PNG_SIGNATURE + images.HTML_TAIL,
        struct.pack("<4sI4s", b"RIFF", 4, b"WEBP") + images.HTML_TAIL,
    ],
    ids=["svg", "html", "gif and html", "pdf", "bmp", "ico", "tiff", "gif", "png head", "webp head"],
)
def test_g5_what_is_no_png_jpeg_or_webp_is_refused(alice: Any, settings: Any, data: bytes) -> None:
    assert code_of(send(alice, data)) == (400, "reference_not_decodable")
    assert nothing_was_made(settings)


def test_g5_an_image_that_is_a_web_page_too_loses_the_page(alice: Any, queue: Any) -> None:
    polyglots = [images.polyglot(make()) for make in (images.png, images.jpeg, images.webp)]
    assert send(alice, *polyglots, images.with_text_chunk(images.png(), images.HTML_TAIL)).status_code == 202
    assert len(stored()) == 4
    for data in stored():
        assert b"<script>" not in data
        assert b"<html" not in data
    queue.run()


def test_g5_the_bytes_decide_what_an_image_is_and_no_name_or_header_does(alice: Any, queue: Any) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n'
    body += b'--x\r\nContent-Disposition: form-data; name="image_size"\r\n\r\n1K\r\n'
    body += b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.html"\r\nContent-Type: text/html\r\n\r\n'
    body += images.png(64, 48) + b"\r\n--x--\r\n"
    made = ask(alice, "POST", "generations", raw=body, content_type="multipart/form-data; boundary=x")
    assert made.status_code == 202, made.content
    row = Reference.objects.get()
    assert (row.mime_type, row.storage_name[-4:]) == ("image/png", ".png")
    queue.run()
    output = made.json()["outputs"][0]["id"]
    answer = ask(alice, "GET", f"outputs/{output}/content")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


# --- A14: the decoder itself dies ---------------------------------------------------------------------------------------


@pytest.fixture
def workers() -> Any:
    """The decoding processes of this process, new ones at its beginning and at its end."""
    pool.pool().end()
    yield pool.pool()
    pool.pool().end()


@pytest.mark.usefixtures("workers")
def test_a14_an_image_that_exhausts_its_decoder_is_refused_and_the_next_is_served(
    alice: Any, queue: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MEMORY_BYTES", 200 * 2**20)
    answer = send(alice, images.png(64, 48), images.bomb_png(8000, 5000))
    assert code_of(answer) == (400, "reference_not_decodable")
    assert answer.json()["error"]["param"] == "references[1]"
    assert answer.json()["error"]["message"] == exchange.TOO_MUCH_MEMORY
    assert nothing_was_made(settings)
    assert send(alice, images.png(64, 48)).status_code == 202
    queue.run()
    assert Generation.objects.get().status == "succeeded"


def test_a14_an_image_that_kills_its_decoder_costs_this_process_nothing(
    alice: Any, queue: Any, settings: Any, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(alice, images.png(64, 48)).status_code == 202
    queue.run()
    before = Generation.objects.count()
    born: list[int] = []
    start = pool._Worker.__init__

    def doomed(self: Any) -> None:
        start(self)
        born.append(self.process.pid)
        threading.Timer(0.2, os.kill, [self.process.pid, signal.SIGKILL]).start()

    with monkeypatch.context() as patched:
        patched.setattr(pool._Worker, "__init__", doomed)
        workers.end()
        answer = send(alice, images.bomb_png(8000, 5000))
    assert code_of(answer) == (400, "reference_not_decodable")
    assert len(born) == 1
    assert Generation.objects.count() == before
    assert not Hold.objects.filter(state="open").exists()
    assert send(alice, images.png(64, 48)).status_code == 202
    queue.run()
