"""Calls of the Gemini API through google-genai; one request per call, and never a retry."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from google import genai
from google.genai import types

from generation.channels.adapter import Checked, Credentials
from generation.channels.adapters import pictures
from generation.channels.adapters.calling import header_secret, told, watched
from generation.channels.adapters.google import answer, clients, request
from generation.channels.adapters.google.errors import tell
from generation.channels.adapters.http_json import mapping, names
from generation.contract import Answer, Call
from generation.egress import loop
from generation.egress.transport import Exchange

ORIGIN = "https://generativelanguage.googleapis.com"
API_VERSION = "v1beta"


async def generate(call: Call, credentials: Credentials) -> Answer:
    """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
    return await watched(call, credentials, partial(_ask, call, credentials), tell)


async def _ask(call: Call, credentials: Credentials, record: Exchange) -> Answer:
    tier = types.ServiceTier.FLEX if call.lane == "flex" else None
    config = request.config(call, {"x-goog-api-key": header_secret(credentials)}, tier)
    return await generate_content(_client(credentials.base_url or ORIGIN), call, config, record)


async def check(credentials: Credentials, spool: Path) -> Checked:
    """The models on offer: https://ai.google.dev/api/models#method:-models.list. Raises ChannelError."""
    url = f"{(credentials.base_url or ORIGIN).rstrip('/')}/{API_VERSION}/models?pageSize=1000"
    headers = {"x-goog-api-key": header_secret(credentials)}
    return listed(await told(url, headers, credentials, spool, tell), "models", "models/")


def listed(found: Any, key: str, prefix: str) -> Checked:
    """A page of models. Where there are more pages, it does not say what is missing."""
    page = mapping(found)
    return Checked(names(page[key], "name", prefix) if page.get(key) and not page.get("nextPageToken") else None)


async def generate_content(
    client: genai.Client, call: Call, config: types.GenerateContentConfig, record: Exchange
) -> Answer:
    """Send a call to a model that answers in words and pictures, and spool its picture. Raises what the SDK raises."""
    contents = await _contents(call)
    response = await client.aio.models.generate_content(
        model=call.upstream_model,
        # The SDK tries every kind of content on a list before it takes it for what it is; most calls have one turn.
        contents=contents[0] if len(contents) == 1 else [*contents],
        config=config,
    )
    reading = answer.read(response, record)
    if reading.data is None:
        return reading.answer
    return replace(reading.answer, image=await pictures.from_bytes(reading.data, reading.mime_type, call.spool, record))


async def _contents(call: Call) -> list[types.Content]:
    if call.references or call.history:
        return await loop.in_thread(request.contents, call)
    return request.contents(call)


def _client(base_url: str) -> genai.Client:
    return clients.kept(
        (base_url,),
        lambda: genai.Client(
            vertexai=False,
            api_key=clients.GIVEN_WITH_EACH_CALL,
            http_options=clients.options(base_url, API_VERSION),
            debug_config=clients.no_debugging(),
        ),
    )
