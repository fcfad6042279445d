"""The road of test mode: draws the picture itself and plays scripted failures; it must never call anybody."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from generation.channels.adapter import Checked, Credentials, Option
from generation.channels.adapters.sandbox_script import directives, raise_scripted, slow_seconds
from generation.channels.drawing import draw
from generation.contract import Answer, Call, ChannelError, Part, Source, SpooledImage, Usage
from generation.pixels import pixel_size

_DRAWING_THREADS = 2
_TOKENS_PER_INPUT_IMAGE = 560
_OUTPUT_TOKENS = {"4K": 2000}
_OUTPUT_TOKENS_DEFAULT = 1120
_THINKING_TOKENS = 225
_CHARACTERS_PER_TOKEN = 4
_SOURCE = Source(title="Example Domain", url="https://example.com/sandbox")
_SUGGESTIONS = '<div class="sandbox-search"><a href="https://example.com/search?q=sandbox">sandbox</a></div>'


def _variation(call: Call) -> int | None:
    """The seed, or the output's place among its siblings: n pictures of one prompt differ, as a model's would."""
    return call.seed if call.seed is not None else call.index or None


class SandboxAdapter:
    """Answers every call with a drawn picture unless the prompt holds a directive (see docs/sandbox.md).

    The pictures of two calls with the same prompt, seed, size and images are the same byte for byte.
    """

    kind = "sandbox"
    needs_secret = False
    abilities = frozenset({"grounding", "thinking", "history", "seed", "mask"})
    lanes = frozenset({"standard", "flex", "batch"})
    options: Mapping[str, Option] = {}

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_DRAWING_THREADS, thread_name_prefix="sandbox-drawing")

    def load(self) -> None:
        """Nothing that is not loaded anyway."""

    async def check(self, credentials: Credentials, spool: Path) -> Checked | None:
        """There is nobody to ask."""

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """One answer; raises `ChannelError` as scripted, and "unknown" when the deadline passes first."""
        del credentials  # The protocol hands them in; drawing needs none.
        request_id = f"sandbox-{uuid.uuid4().hex}"
        script = directives(call.prompt)
        try:
            async with asyncio.timeout(call.deadline_seconds):
                await asyncio.sleep(slow_seconds(script))
                raise_scripted(script, call.attempt_number, request_id)
                return await self._answer(call, script, request_id)
        except TimeoutError as error:
            message = f"The sandbox had not answered after {call.deadline_seconds:g} seconds."
            raise ChannelError("unknown", message) from error

    def close(self) -> None:
        """Waits for the pictures being drawn and ends the drawing threads."""
        self._executor.shutdown(cancel_futures=True)

    async def _answer(self, call: Call, script: Mapping[str, float | None], request_id: str) -> Answer:
        if "refuse" in script:
            usage = _usage(call, "", 0)
            return Answer("refused", "IMAGE_SAFETY", usage=usage, upstream_request_id=request_id)
        if "no-image" in script:
            text = "The sandbox was asked to answer in words only."
            return Answer(
                "no_image",
                "NO_IMAGE",
                text=text,
                parts=(Part("text", text),),
                usage=_usage(call, text, 0),
                upstream_request_id=request_id,
            )
        return await self._picture(call, script, request_id)

    async def _picture(self, call: Call, script: Mapping[str, float | None], request_id: str) -> Answer:
        is_small = "wrong-size" in script or not call.image_sizes_selectable
        image_size = "1K" if is_small else call.image_size
        width, height = _pixel_size(call.aspect_ratio, image_size, request_id)
        path = call.spool / f"{request_id}.png"
        image = await self._drawn(call, path, width, height, is_whole="garbage" not in script)
        if image.byte_count > call.byte_cap:
            path.unlink(missing_ok=True)
            raise ChannelError("unknown", f"The answer is larger than {call.byte_cap} bytes.")
        text = f"A sandbox picture of {width} x {height} pixels."
        signature = hashlib.sha256(
            f"{call.prompt}\0{_variation(call)}\0{width}x{height}".encode("utf-8", "replace")
        ).digest()
        return Answer(
            "ok",
            "STOP",
            image=image,
            text=text,
            parts=(Part("text", text), Part("image", signature=b"sandbox:" + signature)),
            sources=(_SOURCE,) if call.search_grounding else (),
            search_suggestions=_SUGGESTIONS if call.search_grounding else "",
            usage=_usage(call, text, _OUTPUT_TOKENS.get(image_size, _OUTPUT_TOKENS_DEFAULT)),
            draft_count=2 if "drafts" in script else 0,
            upstream_request_id=request_id,
        )

    async def _drawn(self, call: Call, path: Path, width: int, height: int, *, is_whole: bool) -> SpooledImage:
        future = self._executor.submit(_spool_picture, call, path, width, height, is_whole)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            # A thread cannot be stopped in the middle of a picture, so its file is removed when it has been written.
            future.add_done_callback(lambda _: path.unlink(missing_ok=True))
            raise


def _pixel_size(aspect_ratio: str, image_size: str, request_id: str) -> tuple[int, int]:
    try:
        return pixel_size(aspect_ratio, image_size)
    except ValueError as error:
        raise ChannelError("rejected", str(error), status=400, upstream_request_id=request_id) from error


def _spool_picture(call: Call, path: Path, width: int, height: int, is_whole: bool) -> SpooledImage:
    earlier = [turn.image.path for turn in call.history[-1:]]
    references = [*earlier, *(reference.path for reference in call.references)]
    content = draw(call.prompt, width, height, seed=_variation(call), references=references)
    if not is_whole:
        content = content[: len(content) // 2]
    path.write_bytes(content)
    return SpooledImage(path, "image/png", len(content), hashlib.sha256(content).hexdigest())


def _usage(call: Call, text: str, image_tokens: int) -> Usage:
    words = call.prompt + "".join(turn.prompt for turn in call.history)
    images = len(call.references) + sum(1 + len(turn.references) for turn in call.history)
    return Usage(
        input_text_tokens=-(-len(words) // _CHARACTERS_PER_TOKEN),
        input_image_tokens=images * _TOKENS_PER_INPUT_IMAGE,
        output_text_tokens=-(-len(text) // _CHARACTERS_PER_TOKEN),
        output_image_tokens=image_tokens,
        thinking_tokens=_THINKING_TOKENS,
        search_queries=1 if call.search_grounding else 0,
    )
