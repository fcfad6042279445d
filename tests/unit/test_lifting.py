"""Lifting: what a parser and the markers tell together is what a plain parse would have told, or an error."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
import gzip
import hashlib
import importlib.util
import json
import random
import resource
import socket
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from generation.egress import base64_text, lifting, loop
from generation.egress.bodies import BodyTooLarge
from generation.egress.exchange import Exchange, exchange
from generation.egress.json_tokens import LONG_STRING_BYTES
from generation.egress.lifting import AnswerSink, LiftingSink
from generation.egress.transport import shared_client
from tests.json_texts import cut, nearly_base64_texts, objects, seeds, spelled, strings, values
from tests.raw_server import Play, RawServer, answer, chunked, then_close, then_reset

LONG = 12
DECLARED_ERRORS = (httpx2.DecodingError, BodyTooLarge)
JSON = "Content-Type: application/json; charset=UTF-8"


@pytest.fixture(scope="module", autouse=True)
def stopped_loop() -> Iterator[None]:
    yield
    loop.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


class Blob(BaseModel):
    """Decodes base64 the way google-genai's models do."""

    model_config = ConfigDict(val_json_bytes="base64")
    data: bytes


def plainly_decoded(text: str) -> bytes | None:
    try:
        return Blob.model_validate_json(json.dumps({"data": text})).data
    except ValidationError:
        return None


def rest_of(record: Exchange, pieces: Iterable[bytes], folder: Path, *, byte_cap: int = 10**8) -> bytes:
    """What stays of a body when its long strings are lifted."""
    sink = LiftingSink(byte_cap, folder, record.register, long_bytes=LONG)
    try:
        for piece in pieces:
            sink.write(piece)
        stream, byte_count = sink.finish()
    except BaseException:
        sink.discard()
        raise
    rest = b"".join(stream)  # type: ignore[arg-type]
    assert len(rest) == byte_count
    return rest


def resolved(value: Any, record: Exchange) -> Any:
    if isinstance(value, str):
        return record.text_of(value)
    if isinstance(value, list):
        return [resolved(item, record) for item in value]
    if isinstance(value, dict):
        return {resolved(key, record): resolved(item, record) for key, item in value.items()}
    return value


# --- the two parses are one --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=300)
@given(values, seeds, seeds)
def test_any_json_in_any_pieces_tells_what_a_plain_parse_tells(
    folder: Path, value: Any, spelling: int, cutting: int
) -> None:
    text = spelled(value, spelling)
    with exchange(spool=folder) as record:
        rest = rest_of(record, cut(text, cutting), folder)
        assert repr(resolved(json.loads(rest), record)) == repr(json.loads(text))
    assert list(folder.iterdir()) == []


@settings(deadline=None, max_examples=500)
@given(strings, seeds, seeds)
def test_lifted_is_what_pydantic_takes_for_base64_and_decodes_to_the_same(
    folder: Path, text: str, spelling: int, cutting: int
) -> None:
    body = spelled([text], spelling)
    is_long = len(body.strip(b"[] \n\t")) - 2 >= LONG
    with exchange(spool=folder) as record:
        (value,) = json.loads(rest_of(record, cut(body, cutting), folder))
        marker = plainly_decoded(value)
        found = record.lifted(marker) if marker else None
        data = plainly_decoded(text)
        if data is None or not is_long:
            assert (found, record.text_of(value)) == (None, text)
            return
        assert found is not None
        assert found.read() == record.bytes_of(marker or b"") == data
        assert (found.byte_count, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert record.text_of(value) == text


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["", "![a picture](", "Here it is:\n"]),
    st.binary(min_size=30, max_size=90),
    st.sampled_from(
        ["", ")", " and words", '"'],
    ),
    st.booleans(),
    seeds,
)
def test_of_a_data_url_within_a_string_only_the_base64_is_lifted(
    folder: Path, before: str, data: bytes, after: str, has_escapes: bool, cutting: int
) -> None:
    text = f"{before}data:image/png;base64,{encoded(data)}{after}"
    body = json.dumps([text]).replace("/", "\\/" if has_escapes else "/").encode()
    first, rest = body[:60], body[60:]
    with exchange(spool=folder) as record:
        # The first piece of a long string is long enough to hold the words before the base64.
        (value,) = json.loads(rest_of(record, [first, *cut(rest, cutting)], folder))
        marker = value.removeprefix(f"{before}data:image/png;base64,").removesuffix(after)
        found = record.lifted(base64.b64decode(marker))
        assert found is not None
        assert (found.read(), found.sha256) == (data, hashlib.sha256(data).hexdigest())
        assert record.text_of(value) == text
    assert list(folder.iterdir()) == []


@settings(deadline=None, max_examples=20)
@given(objects, seeds, seeds)
def test_no_beginning_of_an_object_tells_anything(folder: Path, value: Any, spelling: int, cutting: int) -> None:
    text = spelled(value, spelling)
    for length in range(len(text)):
        with exchange(spool=folder) as record, pytest.raises((httpx2.DecodingError, ValueError)):
            json.loads(rest_of(record, cut(text[:length], cutting), folder))
    assert list(folder.iterdir()) == []


pieces_of_rubbish = st.sampled_from([b'"', b"\\", b"\\u00", b"{", b"A" * 20, b"+/-_", b"=", b"\xff", b"\0", b" "])


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.binary(max_size=300), st.lists(pieces_of_rubbish, max_size=60).map(b"".join)), seeds)
def test_rubbish_raises_nothing_but_declared_errors_and_leaves_no_file(folder: Path, text: bytes, cutting: int) -> None:
    with exchange(spool=folder) as record, contextlib.suppress(*DECLARED_ERRORS):
        sink = AnswerSink(250, folder, record.register)
        try:
            for piece in cut(text, cutting):
                sink.write(piece)
            sink.finish()
        finally:
            sink.discard()
    with exchange(spool=folder) as record, contextlib.suppress(*DECLARED_ERRORS):
        rest_of(record, cut(text, cutting), folder, byte_cap=250)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("module", ["pybase64", "base64"])
@settings(deadline=None, max_examples=200)
@given(text=nearly_base64_texts, cutting=seeds)
def test_the_standard_library_decodes_as_strictly(module: str, text: str, cutting: int) -> None:
    decoder, data = decoders()[module].Base64Text(), b""
    try:
        for piece in cut(text.encode(), cutting):
            if b"\\" in piece:
                return
            data += b"".join(decoder.feed(piece))
        data += decoder.finish()
    except ValueError:
        assert not plainly_decoded(text)
        return
    assert data == plainly_decoded(text)
    assert decoder.text_of(data) == text.encode()


@functools.cache
def decoders() -> dict[str, Any]:
    """The module as it is, and as it is where pybase64 is not installed."""
    spec = importlib.util.spec_from_file_location("base64_text_of_the_standard_library", base64_text.__file__)
    assert spec is not None
    assert spec.loader is not None
    fallback = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pybase64", None)
        spec.loader.exec_module(fallback)
    assert fallback.b64decode is base64.b64decode
    assert base64_text.b64decode is not base64.b64decode
    return {"pybase64": base64_text, "base64": fallback}


# --- through the transport ---------------------------------------------------------------------------------------


def picture(byte_count: int = 100_000, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(byte_count)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def body_with(*images: bytes, **more: Any) -> bytes:
    return json.dumps({"images": [{"mime": "image/png", "data": encoded(image)} for image in images], **more}).encode()


Look = Callable[[Exchange, httpx2.Response], Any]


def take(play: Play, folder: Path | None, look: Look, **options: Any) -> Any:
    """One watched call; `look` sees the answer while the exchange is open."""

    async def post() -> Any:
        with exchange(spool=folder, **options) as record:
            return look(record, await shared_client().post(server.url, content=b"{}"))

    with RawServer(play) as server:
        try:
            return loop.run(post(), timeout_seconds=30)
        finally:
            assert len(server.requests) == 1


def passing(body: bytes) -> Look:
    """Sees the body as it was sent, with nothing lifted."""

    def look(record: Exchange, response: httpx2.Response) -> None:
        assert response.content == body
        assert spool_of(record) == []

    return look


def bringing(*images: bytes) -> Look:
    """Sees these images, lifted."""

    def look(record: Exchange, response: httpx2.Response) -> None:
        assert images_in(record, response) == [*images]
        assert len(spool_of(record)) == len(images)

    return look


def spool_of(record: Exchange) -> list[Path]:
    assert record.spool is not None
    return list(record.spool.iterdir())


def images_in(record: Exchange, response: httpx2.Response) -> list[bytes]:
    values = [base64.b64decode(image["data"], validate=True) for image in response.json()["images"]]
    assert all(record.lifted(value) for value in values)
    return [record.bytes_of(value) for value in values]


@pytest.mark.parametrize("wire", ["plain", "chunked", "gzip", "deflate", "trickled"])
def test_several_images_come_out_of_one_answer_whatever_the_wire(tmp_path: Path, wire: str) -> None:
    images = [picture(100_000, 1), picture(70_001, 2), picture(30_002, 3)]
    body = body_with(*images, text="words")
    plays = {
        "plain": answer(body, JSON),
        "chunked": chunked(*cut(body, 3), headers=JSON + "\r\n"),
        "gzip": answer(gzip.compress(body), JSON, "Content-Encoding: gzip"),
        "deflate": answer(zlib.compress(body), JSON, "Content-Encoding: deflate"),
        "trickled": chunked(*(body[i : i + 1] for i in range(60_000)), body[60_000:], headers=JSON + "\r\n"),
    }

    def look(record: Exchange, response: httpx2.Response) -> None:
        assert images_in(record, response) == images
        assert response.json()["text"] == "words"
        assert len(response.content) < 500
        assert response.headers["content-length"] == str(len(response.content))
        assert len(list(tmp_path.iterdir())) == 3

    take(plays[wire], tmp_path, look)
    assert list(tmp_path.iterdir()) == []


def test_a_kept_file_outlives_its_exchange_and_the_others_go(tmp_path: Path) -> None:
    def look(record: Exchange, response: httpx2.Response) -> Any:
        markers = [base64.b64decode(image["data"]) for image in response.json()["images"]]
        kept = record.keep(markers[1])
        assert record.keep(markers[1]) is None
        return kept

    images = [picture(50_000, 1), picture(60_000, 2)]
    kept = take(answer(body_with(*images), JSON), tmp_path, look)
    assert list(tmp_path.iterdir()) == [kept.path]
    assert kept.path.read_bytes() == images[1]
    assert kept.path.stat().st_mode & 0o777 == 0o600
    assert (kept.byte_count, kept.sha256) == (60_000, hashlib.sha256(images[1]).hexdigest())


def test_without_a_spool_directory_the_systems_is_used() -> None:
    def look(record: Exchange, response: httpx2.Response) -> Path:
        (image,) = response.json()["images"]
        lifted = record.lifted(base64.b64decode(image["data"]))
        assert lifted is not None
        assert lifted.path.exists()
        return lifted.path

    assert not take(answer(body_with(picture()), JSON), None, look).exists()


def test_a_marker_means_nothing_in_another_exchange(tmp_path: Path) -> None:
    def marker(_record: Exchange, response: httpx2.Response) -> str:
        return str(response.json()["images"][0]["data"])

    old = take(answer(body_with(picture()), JSON), tmp_path, marker)

    def look(record: Exchange, response: httpx2.Response) -> None:
        repeated = response.json()["text"]
        assert repeated == old
        assert record.text_of(repeated) == old
        assert record.lifted(base64.b64decode(repeated)) is None
        assert marker(record, response) != old

    take(answer(body_with(picture(), text=old), JSON), tmp_path, look)


def test_php_spelling_and_an_escaped_alphabet_are_lifted_too(tmp_path: Path) -> None:
    data = b"\xff" * 60_000
    for slash in (b"\\/", b"\\u002f", b"\\u002F"):
        body = body_with(data).replace(b"/" * 80_000, slash * 80_000)
        assert len(body) > 160_000
        take(answer(body, JSON), tmp_path, bringing(data))


@pytest.mark.parametrize(
    "text",
    [
        "lorem ipsum " * 9000,
        "A" * 100_000 + "!",
        "A" * 100_001,
        "A" * 50_000 + "\n" + "A" * 50_000,
        "A" * 50_000 + "\n\n\n\n" + "A" * 50_000,
        "+" * 50_000 + "-" * 50_000,
        "A" * 50_000 + "==" + "A" * 50_002,
        '\u00e9\n\\"\U0001f600' * 20_000,
    ],
)
def test_a_long_text_that_is_no_base64_stays_as_it_was(tmp_path: Path, text: str) -> None:
    def look(record: Exchange, response: httpx2.Response) -> None:
        assert response.json()["text"] == text
        assert images_in(record, response) == [picture()]
        assert len(list(tmp_path.iterdir())) == 1

    for is_ascii in (True, False):
        body = json.dumps({"text": text, "images": [{"data": encoded(picture())}]}, ensure_ascii=is_ascii)
        take(answer(body.encode(), JSON), tmp_path, look)
    assert list(tmp_path.iterdir()) == []


def test_a_long_text_that_could_be_base64_is_told_as_it_was(tmp_path: Path) -> None:
    def look(record: Exchange, response: httpx2.Response) -> None:
        assert len(response.content) < 200
        assert [record.text_of(text) for text in response.json()] == texts

    texts = ["A" * 100_000, "_" * 100_000, "word" * 20_000 + "QQ=", "word" * 20_000 + "QQ=="]
    take(answer(json.dumps(texts).encode(), JSON), tmp_path, look)


def test_a_short_string_is_not_lifted(tmp_path: Path) -> None:
    image = picture(LONG_STRING_BYTES // 4 * 3 - 3)

    def look(record: Exchange, response: httpx2.Response) -> None:
        value = base64.b64decode(response.json()["images"][0]["data"])
        assert value == image == record.bytes_of(value)
        assert list(tmp_path.iterdir()) == []

    take(answer(body_with(image), JSON), tmp_path, look)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (("Content-Type: text/html",), body_with(picture())),
        (("Content-Type: image/png",), body_with(picture())),
        (("Content-Type: application/json; charset=utf-16",), body_with(picture())),
        ((JSON,), b"<" + body_with(picture())),
        ((JSON,), b" " * 100),
        ((JSON,), b""),
    ],
)
def test_what_does_not_look_like_json_is_handed_on_as_it_came(
    tmp_path: Path, headers: tuple[str, ...], body: bytes
) -> None:
    take(answer(body, *headers), tmp_path, passing(body))


def test_who_begins_with_nothing_but_blanks_for_long_is_not_waited_for(tmp_path: Path) -> None:
    blank = b" " * 5000
    play = chunked(blank, WHOLE, headers=JSON + "\r\n")
    take(play, tmp_path, passing(blank + WHOLE))


@pytest.mark.parametrize(
    ("headers", "start"),
    [
        ((), b""),
        (("Content-Type: application/problem+json",), b""),
        (("Content-Type: text/json; charset=utf-8",), b""),
        ((JSON,), b" \n\t" * 1000),
    ],
)
def test_what_looks_like_json_is_lifted_from(tmp_path: Path, headers: tuple[str, ...], start: bytes) -> None:
    play = answer(start + body_with(picture()), *headers)
    take(play, tmp_path, bringing(picture()))


def test_a_byte_order_mark_stays_for_the_parser_to_judge(tmp_path: Path) -> None:
    def look(record: Exchange, response: httpx2.Response) -> None:
        assert response.content.startswith(b"\xef\xbb\xbf{")
        (image,) = json.loads(response.content)["images"]
        lifted = record.lifted(base64.b64decode(image["data"]))
        assert lifted is not None
        assert lifted.read() == picture()

    play = chunked(b"\xef", b"\xbb\xbf" + body_with(picture()), headers=JSON + "\r\n")
    take(play, tmp_path, look)


@pytest.mark.parametrize("status", ["302 Found", "400 Bad Request", "503 Service Unavailable"])
def test_only_from_a_success_is_lifted(tmp_path: Path, status: str) -> None:
    body = body_with(picture())
    play = answer(body, JSON, status=status)
    take(play, tmp_path, passing(body))


def test_an_answer_nobody_watches_is_left_alone() -> None:
    async def post() -> bytes:
        return (await shared_client().post(server.url, content=b"{}")).content

    body = body_with(picture())
    with RawServer(answer(body, JSON)) as server:
        assert loop.run(post()) == body


# --- complete, or an error that leaves nothing -------------------------------------------------------------------

WHOLE = body_with(picture(400_000))


@pytest.mark.parametrize(
    "play",
    [
        then_close(answer(WHOLE[:300_000], JSON, length=len(WHOLE))),
        then_reset(answer(WHOLE[:300_000], JSON, length=len(WHOLE))),
        then_close(
            lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30D40\r\n" + WHOLE[:200_000])
        ),
        answer(gzip.compress(WHOLE)[:-9], JSON, "Content-Encoding: gzip"),
        answer(gzip.compress(WHOLE[:300_000]), JSON, "Content-Encoding: gzip"),
        answer(WHOLE[:300_000], JSON),
        chunked(WHOLE[:300_000], headers=JSON + "\r\n"),
        answer(WHOLE + b'"', JSON),
    ],
)
def test_an_answer_that_breaks_off_inside_a_picture_is_an_error(tmp_path: Path, play: Play) -> None:
    seen: list[Exchange] = []
    with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.DecodingError)):
        take(play, tmp_path, lambda record, _response: seen.append(record))
    assert seen == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [WHOLE[:-1], WHOLE[:-2], WHOLE + b"}", WHOLE + b"x", WHOLE + WHOLE])
def test_an_answer_cut_after_its_picture_or_with_something_behind_it_is_an_error(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        take(answer(body, JSON), tmp_path, lambda _record, response: json.loads(response.text))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_broken_at_its_very_end_is_not_lifted(tmp_path: Path) -> None:
    body = WHOLE.replace(b'"}]', b'!"}]')

    def look(_record: Exchange, response: httpx2.Response) -> None:
        assert response.content == body
        with pytest.raises(binascii.Error):
            base64.b64decode(response.json()["images"][0]["data"], validate=True)

    take(answer(body, JSON), tmp_path, look)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        b'["' + b"words " * 900_000 + b'"]',
        b'["' + b"A" * 5_000_000 + b'!"]',
        b"[" + b'"words",' * 700_000 + b"1]",
    ],
)
def test_what_stays_in_memory_has_a_cap_of_its_own(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(BodyTooLarge, match=f"without its images is larger than {lifting.REST_BYTE_CAP} bytes"):
        take(answer(body, JSON), tmp_path, lambda *_: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_pictures_above_the_cap_are_refused(tmp_path: Path, encoding: str) -> None:
    body = body_with(bytes(90_000), bytes(90_000))
    wire = gzip.compress(body) if encoding == "gzip" else body
    with pytest.raises(BodyTooLarge, match="the answer is larger than 200000 bytes"):
        take(answer(wire, JSON, f"Content-Encoding: {encoding}"), tmp_path, lambda *_: None, byte_cap=200_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room_bytes", [1, 200_000, 299_999])
def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path: Path, room_bytes: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            take(answer(body_with(picture(300_000)), JSON), tmp_path, lambda *_: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_canceled_call_leaves_no_file(tmp_path: Path) -> None:
    gate = threading.Event()

    def half(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            answer(WHOLE[:300_000], JSON, length=len(WHOLE))(connection)
            gate.wait(10)

    async def post() -> None:
        with exchange(spool=tmp_path):
            await shared_client().post(server.url, content=b"{}")

    async def canceled() -> None:
        task = asyncio.create_task(post())
        while not sum(path.stat().st_size for path in tmp_path.iterdir()) > 100_000:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    with RawServer(half) as server:
        loop.run(canceled(), timeout_seconds=20)
        assert list(tmp_path.iterdir()) == []
        gate.set()


def test_a_broken_picture_too_large_to_stay_is_not_even_read(tmp_path: Path) -> None:
    body = body_with(picture(20_000_000)).replace(b'"}]', b'!"}]')
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match="without its images"):
            take(answer(body, JSON), tmp_path, lambda *_: None)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_picture(tmp_path: Path) -> None:
    def peak_bytes(byte_count: int) -> int:
        body = body_with(picture(byte_count))
        tracemalloc.start()
        try:
            take(answer(body, JSON), tmp_path, lambda _record, response: len(response.content))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak_bytes(1_500_000), peak_bytes(20_000_000)
    assert large < 2_000_000
    assert large < small + 500_000
