"""What counts as a complete image, what a stranger may send, and what is left of it afterwards."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageOps, ImageStat, WebPImagePlugin

from generation import decoding
from generation.decoding import Decoded, Undecodable, jpeg, pillow, png, previews
from tests import images

INCOMPLETE = "The reference is not a complete PNG, JPEG or WebP image."
RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[bytes], Path]:
    def keep(data: bytes) -> Path:
        # The name lies on purpose: only the bytes may decide.
        path = tmp_path / "image.html"
        path.write_bytes(data)
        return path

    return keep


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures, 0 to 255."""
    assert one.size == other.size
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


# --- outputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (images.png(), "image/png"),
        (images.png(mode="RGBA"), "image/png"),
        (images.png(mode="P"), "image/png"),
        (images.png(mode="1"), "image/png"),
        (images.png(mode="I;16"), "image/png"),
        (images.animated_png(), "image/png"),
        (images.with_text_chunk(images.png()), "image/png"),
        (images.polyglot(images.png()), "image/png"),
        (images.jpeg(), "image/jpeg"),
        (images.jpeg(progressive=True), "image/jpeg"),
        (images.polyglot(images.jpeg()), "image/jpeg"),
        (images.webp(), "image/webp"),
        (images.webp(lossless=True), "image/webp"),
        (images.webp_with_exif(), "image/webp"),
    ],
)
def test_complete_images_are_known_by_their_bytes(data: bytes, mime_type: str, kept: Callable[[bytes], Path]) -> None:
    width, height = Image.open(BytesIO(data)).size
    assert decoding.verify_output(kept(data)) == Decoded(mime_type, width, height, len(data))


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO:UserWarning")
def test_a_second_picture_behind_the_first_is_no_harm(kept: Callable[[bytes], Path]) -> None:
    data = images.two_picture_jpeg()
    assert decoding.verify_output(kept(data)).mime_type == "image/jpeg"
    assert decoding.take_in(data).mime_type == "image/jpeg"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    "data",
    [
        images.png(),
        images.interlaced_png(61, 47),
        images.jpeg(),
        images.jpeg(progressive=True),
        images.webp(),
        images.webp(lossless=True),
        images.webp_with_exif(),
    ],
)
def test_a_truncated_image_is_refused(data: bytes, share: float, kept: Callable[[bytes], Path]) -> None:
    part = data[: int(len(data) * share)]
    with pytest.raises(Undecodable):
        decoding.verify_output(kept(part))
    with pytest.raises(Undecodable, match=INCOMPLETE):
        decoding.take_in(part)
    with pytest.raises(Undecodable):
        decoding.thumbnail(kept(part), 64)


@pytest.mark.parametrize("lost", [1, 2, 4, 11, 12, 16])
def test_the_last_bytes_count(lost: int, kept: Callable[[bytes], Path]) -> None:
    for data in (images.png(), images.jpeg(), images.webp()):
        with pytest.raises(Undecodable):
            decoding.verify_output(kept(data[:-lost]))


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG", b"\xff\xd8\xff", b"RIFF", images.gif(), images.SVG, images.HTML_TAIL]
)
def test_anything_else_is_refused(data: bytes, kept: Callable[[bytes], Path]) -> None:
    with pytest.raises(Undecodable):
        decoding.verify_output(kept(data))
    with pytest.raises(Undecodable, match=INCOMPLETE):
        decoding.inspect_reference(data)


def test_an_error_of_the_disk_says_nothing_about_the_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decoding.verify_output(tmp_path / "missing.png")


def test_a_read_error_while_decoding_is_no_verdict() -> None:
    class Failing(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 100_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(OSError, match="Input/output"), pillow.opened(Failing(images.jpeg_4k()), "JPEG") as image:
        image.load()


# --- PNG, rule by rule ---------------------------------------------------------------------------------------------

IEND = images.chunk(b"IEND")
ROWS = bytes(13) * 3
IDAT = images.chunk(b"IDAT", zlib.compress(ROWS))
PALETTE = images.chunk(b"PLTE", bytes(6))
TEXT = images.chunk(b"tEXt", b"Comment\0hello")
HEAD = images.ihdr(4, 3)
INDEXED = images.ihdr(4, 3, 2, 3)
INDEXED_IDAT = images.chunk(b"IDAT", zlib.compress(bytes(6)))


def halves() -> tuple[bytes, bytes]:
    data = zlib.compress(ROWS)
    return images.chunk(b"IDAT", data[:5]), images.chunk(b"IDAT", data[5:])


def checked(data: bytes) -> tuple[int, int]:
    header = png.check(BytesIO(data))
    return header.width, header.height


@pytest.mark.parametrize(
    "chunks",
    [
        (HEAD, IDAT, IEND),
        (HEAD, TEXT, IDAT, TEXT, IEND),
        (HEAD, PALETTE, IDAT, IEND),
        (HEAD, *halves(), IEND),
        (HEAD, halves()[0], images.chunk(b"IDAT"), halves()[1], IEND),
        (HEAD, images.chunk(b"IDAT", zlib.compress(ROWS) + b"spare bytes"), IEND),
        (INDEXED, PALETTE, INDEXED_IDAT, IEND),
    ],
)
def test_png_chunks_in_order(chunks: tuple[bytes, ...]) -> None:
    assert checked(images.png_of(*chunks)) == (4, 3)


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (IDAT, IEND),
        (TEXT, HEAD, IDAT, IEND),
        (HEAD, IEND),
        (HEAD, IDAT),
        (HEAD, HEAD, IDAT, IEND),
        (HEAD, halves()[0], TEXT, halves()[1], IEND),
        (HEAD, IDAT, TEXT, IDAT, IEND),
        (HEAD, IDAT, PALETTE, IEND),
        (HEAD, PALETTE, PALETTE, IDAT, IEND),
        (HEAD, images.chunk(b"PLTE", bytes(7)), IDAT, IEND),
        (HEAD, images.chunk(b"PLTE"), IDAT, IEND),
        (INDEXED, INDEXED_IDAT, IEND),
        (INDEXED, images.chunk(b"PLTE", bytes(15)), INDEXED_IDAT, IEND),
        (images.ihdr(4, 3, 8, 0), PALETTE, images.chunk(b"IDAT", zlib.compress(bytes(15))), IEND),
        (HEAD, IDAT, images.chunk(b"IEND", b"x")),
        (HEAD, images.chunk(b"ABCD"), IDAT, IEND),
        (HEAD, images.chunk(b"te t"), IDAT, IEND),
        (HEAD, b"\xff\xff\xff\xfftEXt", IDAT, IEND),
        (HEAD[:-1] + b"\0", IDAT, IEND),
        (HEAD, TEXT[:-1] + b"\0", IDAT, IEND),
        (HEAD, IDAT[:-1] + b"\0", IEND),
    ],
)
def test_png_chunks_out_of_order(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(Undecodable):
        checked(images.png_of(*chunks))


@pytest.mark.parametrize(
    "header",
    [
        images.ihdr(0, 3),
        images.ihdr(4, 0),
        images.ihdr(40_000, 1),
        images.ihdr(1, 40_000),
        images.ihdr(20_000, 20_000),
        images.ihdr(2**32 - 1, 2**32 - 1),
        images.ihdr(4, 3, 3),
        images.ihdr(4, 3, 4, 2),
        images.ihdr(4, 3, 16, 3),
        images.ihdr(4, 3, 8, 1),
        images.ihdr(4, 3, 8, 7),
        images.ihdr(4, 3, interlace=2),
        images.ihdr(4, 3, compression=1),
        images.ihdr(4, 3, filtering=1),
        images.chunk(b"IHDR", b"short"),
    ],
)
def test_png_headers_that_make_no_sense(header: bytes) -> None:
    with pytest.raises(Undecodable):
        checked(images.png_of(header, IDAT, IEND))


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:-1],
        ROWS + b"\0",
        ROWS * 2,
        b"",
        b"\5" + ROWS[1:],
        ROWS[:26] + b"\x05" + ROWS[27:],
        ROWS[:13] + b"\xff" * 26,
    ],
)
def test_png_rows_that_do_not_fit(rows: bytes) -> None:
    with pytest.raises(Undecodable):
        checked(images.plain_png(rows=rows))


def test_png_picture_data_needs_its_own_end_and_checksum() -> None:
    whole = zlib.compress(ROWS)
    for data in (whole[:-4], whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"\0" + whole, b"", b"nonsense"):
        with pytest.raises(Undecodable):
            checked(images.png_of(HEAD, images.chunk(b"IDAT", data), IEND))


def test_a_wrong_byte_anywhere_is_noticed() -> None:
    data = images.plain_png(5, 7)
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        with pytest.raises(Undecodable):
            checked(damaged)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 5), (4, 4), (5, 3), (7, 8), (9, 9), (33, 35), (64, 1), (3, 70)])
@pytest.mark.parametrize(("depth", "color"), [(1, 0), (8, 0), (2, 3), (8, 2), (16, 2), (4, 3), (8, 4), (16, 6)])
def test_interlaced_png(size: tuple[int, int], depth: int, color: int) -> None:
    data = images.interlaced_png(*size, depth, color)
    opened(data)  # Pillow agrees that it is one
    assert checked(data) == size
    with pytest.raises(Undecodable):
        checked(data[:-20] + data[-12:])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 300), st.integers(1, 40), st.sampled_from([(1, 0), (4, 3), (8, 2), (16, 6)]), st.integers(0, 2**32)
)
def test_any_plain_png_is_counted_right(width: int, height: int, kind: tuple[int, int], seed: int) -> None:
    source = random.Random(seed)
    depth, color = kind
    bits = width * depth * {0: 1, 3: 1, 2: 3, 6: 4}[color]
    rows = b"".join(bytes([source.randrange(5)]) + source.randbytes((bits + 7) // 8) for _ in range(height))
    assert checked(images.plain_png(width, height, rows, depth=depth, color=color)) == (width, height)
    with pytest.raises(Undecodable):
        checked(images.plain_png(width, height + 1, rows, depth=depth, color=color))


def test_a_4k_png_is_checked_in_little_memory_and_time(kept: Callable[[bytes], Path]) -> None:
    path = kept(images.png_4k())
    started = time.perf_counter()
    assert decoding.verify_output(path).width == 4096
    assert time.perf_counter() - started < 5  # about 0.2 s on an idle core
    tracemalloc.start()
    try:
        decoding.verify_output(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20, peak


def test_more_rows_than_promised_stop_the_check_at_once() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable, match="more rows"):
            checked(images.overlong_png())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20, peak


# --- JPEG, rule by rule --------------------------------------------------------------------------------------------

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
FRAME = b"\xff\xc0\x00\x0b\x08\x00\x03\x00\x04\x01\x01\x11\x00"
SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"entropy \xff\x00 \xff\xd0 coded"


@pytest.mark.parametrize(
    "data",
    [
        SOI + FRAME + SCAN + EOI,
        SOI + b"\xff\x01" + FRAME + SCAN + b"\xff\xff\xff\xd9",
        SOI + b"\xff\xe1\x00\x04\xff\xd9" + FRAME + SCAN + EOI + EOI,
        SOI + b"stray bytes" + FRAME + SCAN * 64 + EOI,
        SOI + FRAME + SCAN + bytes(jpeg.WINDOW - 36) + EOI,
        SOI + FRAME + SCAN + bytes(jpeg.WINDOW * 2) + EOI,
    ],
)
def test_jpeg_markers(data: bytes) -> None:
    assert jpeg.check(BytesIO(data)) == (4, 3)


def test_a_jpeg_marker_is_found_across_any_border() -> None:
    for shift in range(60):
        data = SOI + FRAME + SCAN + bytes(jpeg.WINDOW - shift) + EOI
        assert jpeg.check(BytesIO(data)) == (4, 3)
        with pytest.raises(Undecodable):
            jpeg.check(BytesIO(data[:-1]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        FRAME + SCAN + EOI,
        SOI,
        SOI + EOI,
        SOI + FRAME + EOI,
        SOI + SCAN + EOI,
        SOI + FRAME + SCAN,
        SOI + FRAME + SCAN + b"\xff",
        SOI + SOI + FRAME + SCAN + EOI,
        SOI + b"\xff\xe0\x00\x01" + FRAME + SCAN + EOI,
        SOI + FRAME + SCAN + b"\xff\xe0\xff\xff" + EOI,
        SOI + b"\xff\xc0\x00\x04\x08\x00",
        SOI + FRAME[:5] + bytes(4) + FRAME[9:] + SCAN + EOI,
        SOI + FRAME[:5] + b"\xff\xff\xff\xff" + FRAME[9:] + SCAN + EOI,
        SOI + FRAME + SCAN * 65 + EOI,
    ],
)
def test_jpeg_markers_that_make_no_sense(data: bytes) -> None:
    with pytest.raises(Undecodable):
        jpeg.check(BytesIO(data))


def test_what_only_a_decoder_notices(kept: Callable[[bytes], Path]) -> None:
    with pytest.raises(Undecodable, match="does not decode"):
        decoding.verify_output(kept(SOI + FRAME + SCAN + EOI))


def test_a_picture_that_must_be_held_whole_has_its_own_limit(kept: Callable[[bytes], Path]) -> None:
    """A JPEG of many scans and a WebP are unfolded by their decoders; a PNG is read as a stream and may be larger."""
    wide = Image.new("L", (8192, 4900))
    for kind in ("JPEG", "WEBP"):
        data = images.encoded(wide, kind, quality=1, method=0)
        with pytest.raises(Undecodable, match="too large to be unfolded"):
            decoding.verify_output(kept(data))
    assert decoding.verify_output(kept(images.bomb_png(8192, 4900))).width == 8192


# --- memory outside Python's own -----------------------------------------------------------------------------------

_GROWTH = """
import sys
from pathlib import Path
from generation import decoding

def high_water():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])

small, large = Path(sys.argv[1]), Path(sys.argv[2])
act = eval(sys.argv[3])
act(small)
before = high_water()
act(large)
print(high_water() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the process's peak memory from /proc")
@pytest.mark.parametrize(
    ("small", "large", "act", "limit_mb"),
    [
        (images.png, images.png_4k, "decoding.verify_output", 4),
        (images.jpeg, images.jpeg_4k, "decoding.verify_output", 4),
        (images.png, images.png_4k, "lambda path: decoding.thumbnail(path, 512)", 16),
        (images.jpeg, images.jpeg_4k, "lambda path: decoding.thumbnail(path, 512)", 16),
    ],
)
def test_growth_of_the_process(
    small: Callable[[], bytes], large: Callable[[], bytes], act: str, limit_mb: int, tmp_path: Path
) -> None:
    (tmp_path / "small").write_bytes(small())
    (tmp_path / "large").write_bytes(large())
    command = [sys.executable, "-c", _GROWTH, str(tmp_path / "small"), str(tmp_path / "large"), act]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < limit_mb * 1024, done.stdout


def test_at_most_two_pictures_are_unfolded_at_once() -> None:
    inside, most, lock, leave = 0, 0, threading.Lock(), threading.Event()
    two_inside = threading.Semaphore(0)

    def work() -> None:
        nonlocal inside, most
        with pillow.slot():
            with lock:
                inside += 1
                most = max(most, inside)
            two_inside.release()
            leave.wait(10)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert two_inside.acquire(timeout=10)
    assert two_inside.acquire(timeout=10)
    assert not two_inside.acquire(timeout=0.05)
    leave.set()
    for thread in threads:
        thread.join(10)
    assert most == 2


# --- references ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (images.png(), "image/png"),
        (images.png(mode="RGBA"), "image/png"),
        (images.png(mode="LA"), "image/png"),
        (images.png(mode="L"), "image/png"),
        (images.png(mode="P"), "image/png"),
        (images.png(mode="1"), "image/png"),
        (images.jpeg(orientation=1), "image/jpeg"),
        (images.encoded(images.picture(mode="L"), "JPEG", quality=90), "image/jpeg"),
        (images.webp(), "image/webp"),
        (images.webp(lossless=True), "image/png"),
    ],
)
def test_a_reference_is_drawn_anew_and_looks_the_same(data: bytes, mime_type: str) -> None:
    clean = decoding.take_in(data)
    before, after = opened(data), opened(clean.data)
    assert decoding.inspect_reference(data) == Decoded(mime_type_of(data), *before.size, len(data))
    assert (clean.mime_type, (clean.width, clean.height)) == (mime_type, after.size)
    assert mime_type_of(clean.data) == mime_type
    assert after.has_transparency_data == before.has_transparency_data
    assert difference(before.convert("RGBA"), after.convert("RGBA")) < 4


def mime_type_of(data: bytes) -> str:
    return str(Image.open(BytesIO(data)).get_format_mimetype())


def test_a_transparent_palette_stays_transparent() -> None:
    indexed = images.picture(32, 32).quantize(8)
    clean = opened(decoding.take_in(images.encoded(indexed, "PNG", transparency=0)).data)
    assert clean.mode == "RGBA"
    assert clean.getchannel("A").getextrema() == (0, 255)


def test_a_grey_picture_of_sixteen_bits_keeps_its_shades() -> None:
    ramp = Image.new("I;16", (256, 1))
    ramp.putdata([value * 257 for value in range(256)])
    clean = opened(decoding.take_in(images.encoded(ramp, "PNG")).data)
    assert clean.mode == "L"
    assert list(clean.tobytes()) == list(range(256))


def test_print_colors_become_screen_colors() -> None:
    data = images.encoded(images.picture().convert("CMYK"), "JPEG", quality=95)
    clean = opened(decoding.take_in(data).data)
    assert clean.mode == "RGB"
    assert difference(clean, images.picture()) < 8


def test_a_color_profile_is_applied_before_it_is_dropped() -> None:
    profile = ImageCms.createProfile("sRGB")
    swapped = ImageCms.ImageCmsProfile(profile).tobytes()
    # Red and green change places in the profile: the same numbers mean other colors.
    swapped = swapped.replace(b"rXYZ", b"tmp1").replace(b"gXYZ", b"rXYZ").replace(b"tmp1", b"gXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be")).replace(b"sRGB", b"wide")
    red = Image.new("RGB", (8, 8), (230, 20, 20))
    clean = opened(decoding.take_in(images.encoded(red, "PNG", icc_profile=swapped)).data)
    assert "icc_profile" not in clean.info
    red_level, green_level, _ = clean.getpixel((4, 4))
    assert green_level > red_level
    standard = ImageCms.ImageCmsProfile(profile).tobytes()
    assert opened(decoding.take_in(images.encoded(red, "PNG", icc_profile=standard)).data).getpixel((4, 4)) == (
        230,
        20,
        20,
    )
    nonsense = opened(decoding.take_in(images.encoded(red, "PNG", icc_profile=b"nonsense")).data)
    assert nonsense.getpixel((4, 4)) == (230, 20, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_reference_is_turned_upright(orientation: int, kind: str) -> None:
    data = images.encoded(images.picture(), kind, exif=images.exif(orientation), quality=95)
    clean = decoding.take_in(data)
    expected = ImageOps.exif_transpose(opened(data))
    assert expected is not None
    assert (clean.width, clean.height) == expected.size == ((200, 320) if orientation > 4 else (320, 200))
    assert difference(opened(clean.data), expected) < 4


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("block", [b"MM", b"nonsense", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x05\0"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_spoil_a_picture(kind: str, block: bytes) -> None:
    data = images.encoded(images.picture(), kind, exif=b"Exif\0\0" + block)
    assert decoding.take_in(data).width == 320


@pytest.mark.parametrize(
    "data",
    [
        images.jpeg(),
        images.with_text_chunk(images.png()),
        images.encoded(images.picture(), "PNG", exif=images.exif(3)),
        images.webp_with_exif(),
    ],
)
def test_metadata_and_polyglot_tails_are_gone(data: bytes) -> None:
    dirty = images.polyglot(data)
    assert images.CAMERA.encode() in dirty
    clean = decoding.take_in(dirty)
    assert images.CAMERA.encode() not in clean.data
    assert b"<html" not in clean.data
    assert b"Exif" not in clean.data
    image = opened(clean.data)
    assert dict(image.getexif()) == {}
    assert not {"exif", "comment", "xmp", "icc_profile", "Comment"} & set(image.info)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (images.bomb_png(), "An edge of the reference is longer than 8192 pixels."),
        (images.bomb_png(8000, 8000), "The reference is larger than 40 megapixels."),
        (images.bomb_png(8193, 1), "An edge of the reference is longer than 8192 pixels."),
        (images.animated_png(), "The reference is animated. Send a single picture."),
        (images.animated_webp(), "The reference is animated. Send a single picture."),
        (images.png() + bytes(20 * 2**20), "The reference is larger than 20 MB."),
        (images.overlong_png(), INCOMPLETE),
        (images.scan_bomb_jpeg(), INCOMPLETE),
        (images.png_of(images.ihdr(0, 5), IDAT, IEND), INCOMPLETE),
    ],
)
def test_what_a_stranger_may_not_send(data: bytes, reason: str) -> None:
    started = time.perf_counter()
    for take in (decoding.inspect_reference, decoding.take_in):
        with pytest.raises(Undecodable) as refusal:
            take(data)
        assert refusal.value.reason == reason
    assert time.perf_counter() - started < 3


def test_an_image_made_here_may_be_heavier_than_a_strangers() -> None:
    data = images.png_4k()
    with pytest.raises(Undecodable, match="larger than 20 MB"):
        decoding.inspect_reference(data)
    assert decoding.inspect_reference(data, byte_cap=64 * 2**20).width == 4096


def test_the_bomb_is_small_and_would_pass_pillow() -> None:
    assert len(images.bomb_png()) < 12_000
    assert Image.open(BytesIO(images.bomb_png())).size == (9000, 9000)


def test_the_largest_reference_is_taken() -> None:
    data = images.bomb_png(8192, 4882)
    assert decoding.inspect_reference(data).height == 4882


def test_a_jpeg_may_not_show_two_sizes() -> None:
    data = images.encoded(images.picture(), "JPEG")
    at = data.index(b"\xff\xc0")
    frame = data[at : at + 19]
    other = frame[:5] + bytes([0, 10, 0, 10]) + frame[9:]
    for both in (data[:at] + other + data[at:], data[:at] + frame + other + data[at + len(frame) :]):
        with pytest.raises(Undecodable):
            decoding.take_in(both)


def test_too_much_for_webp_becomes_png(monkeypatch: pytest.MonkeyPatch) -> None:
    # libwebp gives up like this on some pictures of 20 megapixels and more, which take it many seconds.
    def overflow(*_args: object) -> bytes:
        raise ValueError("encoding error 6")

    data = images.webp()
    monkeypatch.setattr(WebPImagePlugin._webp, "WebPEncode", overflow)
    clean = decoding.take_in(data)
    assert clean.mime_type == mime_type_of(clean.data) == "image/png"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_damage_never_surprises(data: st.DataObject) -> None:
    whole = data.draw(
        st.sampled_from([images.jpeg(), images.png(64, 64), images.webp(), images.webp_with_exif(), images.gif()])
    )
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, min(len(damaged), 700) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            clean = decoding.take_in(bytes(damaged))
        except Undecodable as error:
            assert error.reason.startswith(("The reference", "An edge"))
        else:
            assert opened(clean.data).size == (clean.width, clean.height)


# --- previews ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
@pytest.mark.parametrize(
    ("size", "max_edge"), [((320, 200), 64), ((1031, 517), 100), ((700, 1900), 128), ((40, 30), 64)]
)
def test_a_png_preview_made_in_strips_is_the_usual_one(
    mode: str, size: tuple[int, int], max_edge: int, kept: Callable[[bytes], Path]
) -> None:
    data = images.encoded(images.picture(*size, mode), "PNG")  # every filter type occurs
    preview = opened(decoding.thumbnail(kept(data), max_edge))
    shrunk = opened(data)
    shrunk.thumbnail((max_edge, max_edge))
    expected = opened(images.encoded(shrunk, "WEBP", quality=80, method=2))
    assert preview.format == "WEBP"
    assert preview.size == expected.size
    assert preview.has_transparency_data == expected.has_transparency_data
    assert difference(flat(preview), flat(expected)) < 5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_the_strips_are_the_picture(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "_STRIP_BYTES", 5000)
    source = random.Random(mode)
    stride = 1 + 101 * len(mode)
    rows = b"".join(bytes([row % 5]) + source.randbytes(stride - 1) for row in range(83))
    data = images.plain_png(101, 83, rows, color={"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}[mode])
    strips = list(previews._strips(*png.scanlines(BytesIO(data)), 3))
    assert len(strips) > 1
    assert all(strip.height % 3 == 0 for strip in strips[:-1])
    assert b"".join(strip.tobytes() for strip in strips) == opened(data).tobytes()


def flat(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


@pytest.mark.parametrize(
    "data",
    [
        images.jpeg(orientation=1),
        images.webp(),
        images.png(mode="P"),
        images.png(mode="1"),
        images.png(mode="I;16"),
        images.interlaced_png(320, 200),
        images.encoded(images.picture().convert("CMYK"), "JPEG"),
    ],
)
def test_other_previews(data: bytes, kept: Callable[[bytes], Path]) -> None:
    assert opened(decoding.thumbnail(kept(data), 80)).size == (80, 50)


def test_a_preview_is_upright_and_stripped(kept: Callable[[bytes], Path]) -> None:
    data = decoding.thumbnail(kept(images.jpeg()), 100)
    assert opened(data).size in ((62, 100), (63, 100))
    assert images.CAMERA.encode() not in data
    assert b"EXIF" not in data


def test_a_preview_is_never_made_of_too_much(kept: Callable[[bytes], Path]) -> None:
    with pytest.raises(Undecodable, match="too large to be unfolded"):
        decoding.thumbnail(kept(images.bomb_png()), 100)
    with pytest.raises(ValueError, match="at least one pixel"):
        decoding.thumbnail(kept(images.png()), 0)


def test_a_long_thin_picture_has_a_preview(kept: Callable[[bytes], Path]) -> None:
    for kind in ("PNG", "JPEG"):
        data = images.encoded(images.picture(4000, 3), kind)
        assert opened(decoding.thumbnail(kept(data), 100)).size == (100, 1)


# --- shapes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "ratio"),
    [
        (1024, 1024, "1:1"),
        (1000, 1024, "1:1"),
        (1344, 768, "16:9"),
        (768, 1344, "9:16"),
        (1536, 672, "21:9"),
        (9000, 100, "21:9"),
        (100, 9000, "9:16"),
        (1184, 864, "4:3"),
        (864, 1184, "3:4"),
        (1248, 832, "3:2"),
        (896, 1152, "4:5"),
    ],
)
def test_nearest_ratio(width: int, height: int, ratio: str) -> None:
    assert decoding.nearest_ratio(width, height, RATIOS) == ratio


def test_too_wide_and_too_tall_count_the_same() -> None:
    # 2:1 is as far from 1:1 as from 4:1; by plain difference it would be far nearer to 1:1.
    assert decoding.nearest_ratio(2001, 1000, ("1:1", "4:1")) == "4:1"
    assert decoding.nearest_ratio(1999, 1000, ("1:1", "4:1")) == "1:1"
    with pytest.raises(ValueError, match="at least one pixel"):
        decoding.nearest_ratio(0, 5, RATIOS)
    with pytest.raises(ValueError, match="empty"):
        decoding.nearest_ratio(5, 5, ())


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1, 1, "1K"),
        (1024, 1024, "1K"),
        (1536, 672, "1K"),
        (1535, 1536, "1K"),
        (1536, 1536, "2K"),
        (2048, 2048, "2K"),
        (3168, 1344, "2K"),
        (3071, 3072, "2K"),
        (3072, 3072, "4K"),
        (5504, 3072, "4K"),
        (6336, 2688, "4K"),
    ],
)
def test_size_class(width: int, height: int, size: str) -> None:
    assert decoding.size_class(width, height) == size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_picture_in_another_format_has_the_same_pixels(tmp_path: Path, kind: Any, mode: str) -> None:
    source = tmp_path / "source.png"
    images.picture(64, 48, "RGBA" if mode == "RGBA" else "RGB").convert(mode).save(source)
    made = Image.open(BytesIO(decoding.converted(source, kind, 95)))
    assert (made.format, made.size) == (kind, (64, 48))
    if mode == "RGB":
        difference = ImageChops.difference(made.convert("RGB"), Image.open(source))
        assert max(ImageStat.Stat(difference).mean) < (0.01 if kind == "PNG" else 12)
    if mode == "RGBA" and kind == "JPEG":
        assert made.getpixel((0, 0)) >= (235, 235, 235), "white where it was transparent"
