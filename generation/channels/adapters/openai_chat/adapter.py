"""The adapter for chat completions that answer with pictures: OpenRouter, and services that speak like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from generation.channels.adapter import Checked, Credentials, Option
from generation.channels.adapters import costs, pictures
from generation.channels.adapters.calling import header_secret, told, watched
from generation.channels.adapters.failures import Told, answered
from generation.channels.adapters.http_json import Refused, mapping, names, post
from generation.channels.adapters.openai_chat import answer, request
from generation.channels.adapters.openai_errors import error_of, kind_within, moderation_in, status_of, tell
from generation.contract import Answer, Call
from generation.egress.transport import Exchange

ORIGIN = "https://openrouter.ai/api/v1"
_PATH_OF_OPENROUTER = "/api/v1"


class OpenAIChatAdapter:
    """Chat completions with the modality "image". Without a base URL it is OpenRouter."""

    kind = "openai_chat"
    needs_secret = True
    abilities = frozenset({"thinking", "history", "seed"})
    lanes = frozenset({"standard"})
    options: Mapping[str, Option] = {
        "size": Option(
            "How ratio and size are asked for: OpenRouter's image_config, New-API's extra_body, fields at the top, a "
            "suffix of the model's name (-2k-16x9), or not at all.",
            ("image_config", "extra_body", "top_level", "suffix", "unset"),
        ),
    }

    def load(self) -> None:
        """Nothing that is not loaded anyway."""

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
        return await watched(call, credentials, partial(_ask, call, credentials), tell)

    async def check(self, credentials: Credentials, spool: Path) -> Checked | None:
        """Ask which models there are, and OpenRouter what the key may still spend. Raises ChannelError."""
        base_url = (credentials.base_url or ORIGIN).rstrip("/")
        headers = {"authorization": f"Bearer {header_secret(credentials)}"}
        listed = await told(f"{base_url}/models", headers, credentials, spool, tell)
        # https://openrouter.ai/docs/api/api-reference/api-keys/get-current-key; its list of models is anybody's.
        is_openrouter = base_url.endswith(_PATH_OF_OPENROUTER)
        key = await told(f"{base_url}/key", headers, credentials, spool, tell) if is_openrouter else None
        balance_micros = costs.balance_micros(mapping(mapping(key).get("data")).get("limit_remaining"))
        return Checked(_models_in(listed, credentials.options), balance_micros)


def _models_in(listed: Any, options: Mapping[str, str]) -> frozenset[str] | None:
    """The names in a list of models. Where a size is part of a name, the list says nothing of the name we send."""
    data = mapping(listed).get("data")
    return names(data, "id") if data and options.get("size") != "suffix" else None


async def _ask(call: Call, credentials: Credentials, record: Exchange) -> Answer:
    base_url = credentials.base_url or ORIGIN
    headers = {"authorization": f"Bearer {header_secret(credentials)}"}
    try:
        found = await post(
            f"{base_url.rstrip('/')}/chat/completions", headers, partial(request.body, call, credentials.options)
        )
    except Refused as error:
        return _refusal(error.status, error_of(error.body)) or _raise(error)
    failure = answer.error_in(found.body)
    if failure:
        # Work had begun, and the upstream says that it failed: it bills nothing for that.
        status = status_of(failure)
        told = Told(message=str(failure.get("message", "")), kind=kind_within(status, failure))
        return _refusal(status, failure) or _raise(answered(status, told, {}, credentials.secret))
    reading = answer.read(found.body, record, request_id=found.headers.get("x-generation-id", ""))
    if not reading.url:
        return reading.answer
    image = await pictures.from_url(reading.url, call, record, credentials.base_url)
    return replace(reading.answer, image=image)


def _refusal(status: int, error: Mapping[str, object]) -> Answer | None:
    reason = moderation_in(status, mapping(error))
    return Answer("refused", reason) if reason else None


def _raise(error: Exception) -> Answer:
    raise error
