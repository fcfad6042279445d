"""The adapter for `/images/generations` and `/images/edits` of OpenAI and of services that speak like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from generation.channels.adapter import Checked, Credentials, Option
from generation.channels.adapters import pictures
from generation.channels.adapters.calling import header_secret, told, watched
from generation.channels.adapters.http_json import Answered, Refused, mapping, names, post, post_form
from generation.channels.adapters.openai_errors import error_of, moderation_in, tell
from generation.channels.adapters.openai_images import answer, request
from generation.contract import Answer, Call
from generation.egress.transport import Exchange

ORIGIN = "https://api.openai.com/v1"


class OpenAIImagesAdapter:
    """The Images API. Pictures come as base64 or as a link, whatever was asked."""

    kind = "openai_images"
    needs_secret = True
    abilities = frozenset({"mask"})
    lanes = frozenset({"standard"})
    options: Mapping[str, Option] = {
        "size": Option(
            "How ratio and size are asked for: WIDTHxHEIGHT in `size`, or in fields of their own.", ("pixels", "fields")
        ),
        "response_format": Option(
            "Whether base64 is asked for by name; OpenAI's newest models refuse the field.", ("b64_json", "unset")
        ),
    }

    def load(self) -> None:
        """Nothing that is not loaded anyway."""

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
        return await watched(call, credentials, partial(_ask, call, credentials), tell)

    async def check(self, credentials: Credentials, spool: Path) -> Checked | None:
        """Ask which models there are. Raises ChannelError."""
        headers = {"authorization": f"Bearer {header_secret(credentials)}"}
        url = f"{(credentials.base_url or ORIGIN).rstrip('/')}/models"
        data = mapping(await told(url, headers, credentials, spool, tell)).get("data")
        return Checked(names(data, "id") if data else None)


async def _ask(call: Call, credentials: Credentials, record: Exchange) -> Answer:
    base_url = credentials.base_url or ORIGIN
    try:
        answered = await _send(call, credentials, base_url.rstrip("/"))
    except Refused as error:
        reason = moderation_in(error.status, error_of(error.body))
        if reason:
            return Answer("refused", reason)
        raise
    reading = answer.read(answered.body, record, request_id=answered.headers.get("x-request-id", ""))
    if reading.base64:
        image = await pictures.from_base64(reading.base64, reading.mime_type, call, record)
    elif reading.url:
        image = await pictures.from_url(reading.url, call, record, credentials.base_url)
    else:
        return reading.answer
    return replace(reading.answer, image=image)


async def _send(call: Call, credentials: Credentials, base_url: str) -> Answered:
    headers = {"authorization": f"Bearer {header_secret(credentials)}"}
    images = request.images(call)
    fields = request.fields(call, credentials.options)
    if not images:
        return await post(f"{base_url}/images/generations", headers, lambda: fields)
    form = {name: str(value) for name, value in fields.items()}
    return await post_form(f"{base_url}/images/edits", headers, form, images)
