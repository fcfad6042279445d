"""The sandbox's pictures: exact, quick, marked and repeatable."""

import io
import time

import pytest
from PIL import Image, ImageFont

from generation.channels import drawing
from generation.channels.drawing import draw
from generation.pixels import pixel_size

RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "1:4", "4:1", "1:8", "8:1")


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(1024, 1024), (1344, 768), (352, 2816), (1, 1), (37, 5)])
def test_a_picture_has_exactly_the_asked_size_and_format(size, image_format):
    picture = opened(draw("a fox", *size, image_format=image_format))
    assert picture.size == size
    assert picture.format == image_format
    assert picture.mode == "RGB"


def test_prompt_and_seed_decide_every_byte():
    assert draw("a fox", 200, 200) == draw("a fox", 200, 200)
    pictures = {draw("a fox", 200, 200), draw("a fox", 200, 200, seed=1), draw("an owl", 200, 200, seed=1)}
    assert len(pictures) == 3


def test_a_png_says_in_its_metadata_that_no_model_made_it():
    picture = opened(draw("a fox", 64, 64, mark="FAKE"))
    assert picture.text["Comment"] == "FAKE - not made by a model"
    assert picture.text["Software"] == "sandbox"


def test_a_jpeg_says_in_its_comment_that_no_model_made_it():
    picture = opened(draw("a fox", 64, 64, image_format="JPEG"))
    assert picture.info["comment"] == b"SANDBOX - not made by a model"


def test_the_mark_and_the_prompt_are_written_on_the_picture():
    blank = opened(draw("", 400, 400))
    marked = opened(draw("", 400, 400, mark="ANOTHER"))
    assert blank.crop((0, 0, 400, 30)).tobytes() != marked.crop((0, 0, 400, 30)).tobytes()
    assert len(opened(draw("a fox", 400, 400)).crop((50, 150, 350, 250)).getcolors(100_000)) > len(
        blank.crop((50, 150, 350, 250)).getcolors(100_000)
    )


def test_references_show_along_the_bottom_edge(tmp_path):
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (300, 200), colour).save(tmp_path / f"{name}.png")
    references = [tmp_path / "red.png", str(tmp_path / "blue.png"), io.BytesIO(b"no image"), tmp_path / "absent.png"]
    picture = opened(draw("a fox", 512, 512, references=references))
    colours = {colour for _, colour in picture.crop((0, 400, 512, 512)).getcolors(100_000)}
    assert {(255, 0, 0), (0, 0, 255)} <= colours
    assert (255, 0, 0) not in {colour for _, colour in picture.crop((0, 0, 512, 400)).getcolors(100_000)}


@pytest.mark.parametrize(
    "prompt", ["", " \n\t", "一只红色的狐狸" * 200, "x" * 5000, "a\x00b\ud800 \u200f🦊 שלום", "word " * 999]
)
def test_any_prompt_can_be_drawn(prompt):
    assert opened(draw(prompt, 320, 200)).size == (320, 200)


def test_lines_keep_to_the_width_in_latin_and_in_chinese():
    font = ImageFont.load_default(20)
    for text in ("several words that need more than one line", "一只红色的狐狸在雪地里奔跑远处是山", "W" * 80):
        lines = drawing.wrap(text, font, 150)
        assert len(lines) > 1
        assert all(font.getlength(line) <= 150 for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_without_a_font_of_the_system_the_built_in_one_draws(monkeypatch):
    monkeypatch.setattr(drawing, "_FONT_FOLDERS", ())
    drawing.font_path.cache_clear()
    try:
        assert drawing.font_path() is None
        assert opened(draw("a fox, 狐狸", 300, 300)).size == (300, 300)
    finally:
        drawing.font_path.cache_clear()


def test_a_font_that_knows_chinese_is_preferred(monkeypatch, tmp_path):
    for name in ("DejaVuSans.ttf", "sub/NotoSansCJK-Regular.ttc", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(drawing, "_FONT_FOLDERS", (str(tmp_path / "absent"), str(tmp_path)))
    drawing.font_path.cache_clear()
    try:
        assert drawing.font_path() == str(tmp_path / "sub" / "NotoSansCJK-Regular.ttc")
    finally:
        drawing.font_path.cache_clear()


@pytest.mark.parametrize(("side", "seconds"), [(2048, 0.3), (4096, 1.2)])
def test_large_pictures_are_quick(side, seconds):
    draw("warm up", 64, 64)
    started_at = time.thread_time()
    draw("a red fox in the snow, golden hour", side, side)
    assert time.thread_time() - started_at < seconds


@pytest.mark.parametrize("ratio", RATIOS)
def test_sizes_keep_the_ratio_and_the_area(ratio):
    width, height = pixel_size(ratio, "1K")
    across, down = map(int, ratio.split(":"))
    assert width / height == pytest.approx(across / down, rel=0.06)
    assert width * height == pytest.approx(1024 * 1024, rel=0.06)
    assert pixel_size(ratio, "2K") == (2 * width, 2 * height)
    assert pixel_size(ratio, "4K") == (4 * width, 4 * height)
    assert pixel_size(ratio, "512") == (width // 2, height // 2)


@pytest.mark.parametrize(("ratio", "size"), [("7:5", "1K"), ("1:1", "1k"), ("1:1", "8K"), ("", "1K")])
def test_unknown_sizes_are_refused(ratio, size):
    with pytest.raises(ValueError, match="no pixel size"):
        pixel_size(ratio, size)
