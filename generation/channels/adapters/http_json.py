"""One JSON request over the shared client, for adapters whose provider has no SDK that fits; it never retries."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from generation.contract import ImageFile
from generation.egress import loop
from generation.egress.transport import shared_client


class Refused(Exception):
    """The upstream answered with an error status. `body` is what it said as JSON, or None."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Answered:
    """A 2xx answer's JSON and its headers; long base64 in it may stand for files (`egress.exchange`)."""

    body: Any
    headers: Mapping[str, str]


async def post(url: str, headers: Mapping[str, str], build: Callable[[], Any]) -> Answered:
    """Send what `build` makes as JSON. It may read image files: it runs in a thread. Raises Refused, ValueError for an
    answer that is no JSON, and what httpx2 raises."""
    content = await loop.in_thread(lambda: json.dumps(build()).encode())
    sent = {"content-type": "application/json", **headers}
    return _read(await shared_client().post(url, content=content, headers=sent))


async def post_form(
    url: str, headers: Mapping[str, str], fields: Mapping[str, str], files: Sequence[tuple[str, ImageFile]]
) -> Answered:
    """Send a multipart form with images. Raises as `post`."""
    parts = await loop.in_thread(_parts, files)
    return _read(await shared_client().post(url, data=dict(fields), files=parts, headers=dict(headers)))


async def get(url: str, headers: Mapping[str, str]) -> Answered:
    """Ask again for what is known by its address. Raises as `post`."""
    return _read(await shared_client().get(url, headers=dict(headers)))


def _parts(files: Sequence[tuple[str, ImageFile]]) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [
        (
            name,
            (f"{name.removesuffix('[]')}.{file.mime_type.partition('/')[2]}", file.path.read_bytes(), file.mime_type),
        )
        for name, file in files
    ]


def _read(response: Any) -> Answered:
    body = parsed(response.content)
    if not response.is_success:
        raise Refused(response.status_code, body)
    if body is None:
        raise ValueError("the answer is no JSON")
    return Answered(body, response.headers)


def parsed(content: bytes) -> Any:
    """The JSON of a body, or None where there is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def as_base64(file: ImageFile) -> str:
    """An image as base64. Reads a file: blocks."""
    return base64.b64encode(file.path.read_bytes()).decode()


def as_data_url(file: ImageFile) -> str:
    """An image as a data URL. Reads a file: blocks."""
    return f"data:{file.mime_type};base64,{as_base64(file)}"


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one where a provider put something else."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """A JSON list, or an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """A JSON string, or an empty one."""
    return value if isinstance(value, str) else ""


def names(entries: Any, key: str, prefix: str = "") -> frozenset[str]:
    """What the objects of a JSON list have under a key, without a prefix."""
    found = (text(mapping(each).get(key)).removeprefix(prefix) for each in items(entries))
    return frozenset(filter(None, found))


def number(value: Any) -> int:
    """A JSON number that counts something, or 0."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
