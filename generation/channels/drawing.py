"""Draws the pictures of the sandbox and of the fake providers; it must never be mistaken for a model's work."""

from __future__ import annotations

import colorsys
import hashlib
import io
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Literal

from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

Rgb = tuple[int, int, int]
ImageFormat = Literal["PNG", "JPEG"]
Openable = Path | str | IO[bytes]

_FONT_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "C:/Windows/Fonts",
)
_CJK_FONTS = (
    "notosanscjk",
    "notosanssc",
    "sourcehansans",
    "wqy-",
    "droidsansfallback",
    "pingfang",
    "hiragino sans gb",
    "stheiti",
    "arial unicode",
    "msyh.",
    "simhei",
    "simsun.",
    "unifont",
)
_WIDE_FONTS = ("dejavusans.", "notosans-regular", "liberationsans-regular", "arial.")
_SHOWN_CHARACTERS = 360


def draw(
    prompt: str,
    width: int,
    height: int,
    *,
    seed: int | None = None,
    mark: str = "SANDBOX",
    image_format: ImageFormat = "PNG",
    references: Sequence[Openable] = (),
) -> bytes:
    """A picture of exactly `width` x `height` pixels, the same bytes for the same arguments.

    It shows the prompt (its first 360 characters), "`mark` - not made by a model", and a small copy of each reference
    along the bottom edge; a reference that cannot be opened shows as an empty frame. Chinese, Japanese and Korean need
    a font of the system; without one the built-in font draws what it can and an empty box for the rest.
    """
    digest = hashlib.sha256(f"{prompt}\0{seed}".encode("utf-8", "replace")).digest()
    image = _landscape(width, height, digest)
    canvas = ImageDraw.Draw(image)
    notice = f"{mark} - not made by a model"
    _write_prompt(canvas, prompt, width, height)
    _write_notice(canvas, f"{notice}   {width}x{height}", width, height)
    _paste_references(image, references)
    return _encode(image, notice, image_format)


def _landscape(width: int, height: int, digest: bytes) -> Image.Image:
    hue = digest[0] / 256
    gradient = Image.linear_gradient("L").resize((1, 256))
    sky = ImageOps.colorize(gradient, _rgb(hue, 0.36, 0.55), _rgb(hue + 0.1, 0.8, 0.7))
    image = sky.resize((width, height), Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(image)
    radius = min(width, height) * (0.08 + digest[1] / 256 * 0.07)
    x, y = width * (0.15 + digest[2] / 256 * 0.7), height * (0.2 + digest[3] / 256 * 0.2)
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_rgb(hue + 0.45, 0.82, 0.75))
    for layer in range(3):
        top = height * (0.6 + layer * 0.11)
        centre = width * digest[4 + layer] / 256
        hill = (centre - width, top, centre + width, top + height)
        canvas.ellipse(hill, fill=_rgb(hue + 0.2 + layer * 0.05, 0.42 - layer * 0.09, 0.4))
    return image


def _rgb(hue: float, lightness: float, saturation: float) -> Rgb:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, lightness, saturation)
    return int(red * 255), int(green * 255), int(blue * 255)


def _write_prompt(canvas: ImageDraw.ImageDraw, prompt: str, width: int, height: int) -> None:
    text = " ".join("".join(char if char.isprintable() else " " for char in prompt[: _SHOWN_CHARACTERS * 4]).split())
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "…"
    if not text:
        return
    box_width, box_height = width * 0.86, height * 0.5
    size = max(8, min(width, height) // 13)
    lines = wrap(text, font := _font(size), box_width)
    while size > 8 and len(lines) * size * 1.35 > box_height:
        size = max(8, int(size * 0.84))
        lines = wrap(text, font := _font(size), box_width)
    top = (height - len(lines) * size * 1.35) / 2
    for number, line in enumerate(lines):
        place = (width / 2, top + (number + 0.5) * size * 1.35)
        edge = max(1, size // 14)
        canvas.text(place, line, font=font, fill="white", anchor="mm", stroke_width=edge, stroke_fill="#20242c")


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Lines no wider than `width` pixels, broken at spaces and between the characters of spaceless scripts."""
    lines: list[str] = []
    line = ""
    for piece in _pieces(text, font, width):
        if line.strip() and font.getlength((line + piece).rstrip()) > width:
            lines.append(line.strip())
            line = ""
        line += piece
    return [*lines, line.strip()] if line.strip() else lines


def _pieces(text: str, font: ImageFont.FreeTypeFont, width: float) -> Iterable[str]:
    """Words with their space; words that are too long or of a spaceless script come one character at a time."""
    for word in text.split(" "):
        if font.getlength(word) > width or any(_is_spaceless(char) for char in word):
            yield from word[:-1]
            yield word[-1:] + " "
        else:
            yield word + " "


def _is_spaceless(char: str) -> bool:
    return "\u2e80" <= char <= "\ufeff" or char >= "\U00020000"


def _write_notice(canvas: ImageDraw.ImageDraw, notice: str, width: int, height: int) -> None:
    size = max(6, min(width, height) // 26)
    font = _font(size)
    while size > 6 and font.getlength(notice) > width * 0.95:
        size -= max(1, size // 12)
        font = _font(size)
    canvas.rectangle((0, 0, width, size * 2), fill="#20242c")
    canvas.text((width / 2, size), notice, font=font, fill="#ffd75e", anchor="mm")


def _paste_references(image: Image.Image, references: Sequence[Openable]) -> None:
    if not references:
        return
    gap = max(2, min(image.size) // 80)
    side = min(min(image.size) // 6, (image.width - gap) // len(references) - gap)
    if side < 4:
        return
    canvas = ImageDraw.Draw(image)
    for number, reference in enumerate(references):
        left, top = gap + number * (side + gap), image.height - side - gap
        canvas.rectangle((left - 1, top - 1, left + side, top + side), fill="#20242c", outline="white")
        if thumbnail := _thumbnail(reference, side):
            image.paste(thumbnail, (left + (side - thumbnail.width) // 2, top + (side - thumbnail.height) // 2))


def _thumbnail(reference: Openable, side: int) -> Image.Image | None:
    try:
        with Image.open(reference) as picture:
            picture.thumbnail((side, side))
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _encode(image: Image.Image, notice: str, image_format: ImageFormat) -> bytes:
    output = io.BytesIO()
    if image_format == "JPEG":
        image.save(output, "JPEG", quality=85, comment=notice.encode())
        return output.getvalue()
    information = PngInfo()
    information.add_text("Software", "sandbox")
    information.add_itxt("Comment", notice)
    image.save(output, "PNG", compress_level=1, pnginfo=information)
    return output.getvalue()


def _font(size: int) -> ImageFont.FreeTypeFont:
    """A font object of its own for each drawing, for FreeType's faces are not safe to share between threads."""
    path = font_path()
    font = ImageFont.truetype(path, size) if path else ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


@cache
def font_path() -> str | None:
    """The system's best font for prompts: one that knows CJK, else one that knows much; None means the built-in."""
    files = sorted(path for folder in _FONT_FOLDERS for path in _font_files(Path(folder).expanduser()))
    for name in (*_CJK_FONTS, *_WIDE_FONTS):
        for path in files:
            if path.name.lower().startswith(name):
                return str(path)
    return None


def _font_files(folder: Path) -> Iterable[Path]:
    if folder.is_dir():
        yield from (path for path in folder.rglob("*") if path.suffix.lower() in (".ttf", ".ttc", ".otf"))
