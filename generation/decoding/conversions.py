"""A stored image in another format, for those who ask for one. What it carried beside its pixels stays behind."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from generation.decoding import pillow
from generation.decoding.verdict import Kind, kind_of, require_unfoldable

_WHITE = (255, 255, 255)


def converted(path: Path, kind: Kind, quality: int) -> bytes:
    """The picture as `kind`; `quality` is 0 to 100, of no meaning for PNG. A JPEG has white where it was transparent.

    Raises `Undecodable` for a picture that is too large to be unfolded, or that the format cannot hold. Blocks while
    others are being decoded.
    """
    with path.open("rb") as file, pillow.slot(), pillow.opened(file, kind_of(file.read(16))) as image:
        require_unfoldable(*image.size)
        image.load()
        picture = pillow.plain(pillow.upright(image))
        buffer = BytesIO()
        if kind == "PNG":
            picture.save(buffer, "PNG", compress_level=3)
        elif kind == "WEBP":
            picture.save(buffer, "WEBP", quality=quality, method=2)
        else:
            _opaque(picture).save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()


def _opaque(picture: Image.Image) -> Image.Image:
    if picture.mode not in ("LA", "RGBA"):
        return picture
    ground = Image.new("RGB", picture.size, _WHITE)
    ground.paste(picture.convert("RGBA"), mask=picture.getchannel("A"))
    return ground
