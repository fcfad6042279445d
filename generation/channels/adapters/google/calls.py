"""Calls of the Gemini API through google-genai; one request per call, and never a retry."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import httpx2
from google import genai
from google.genai import types
from google.genai.client import DebugConfig

from generation.channels.adapter import Credentials
from generation.channels.adapters import pictures
from generation.channels.adapters.calling import header_secret, watched
from generation.channels.adapters.google import answer, request
from generation.channels.adapters.google.errors import tell
from generation.contract import Answer, Call
from generation.egress import loop
from generation.egress.transport import Exchange, shared_client

ORIGIN = "https://generativelanguage.googleapis.com"
API_VERSION = "v1beta"


async def generate(call: Call, credentials: Credentials) -> Answer:
    """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
    return await watched(call, credentials, partial(_ask, call, credentials), tell)


async def _ask(call: Call, credentials: Credentials, record: Exchange) -> Answer:
    config = request.config(call, header_secret(credentials))
    contents = await _contents(call)
    response = await _client(credentials.base_url).aio.models.generate_content(
        model=call.upstream_model,
        # The SDK tries every kind of content on a list before it takes it for what it is; most calls have one turn.
        contents=contents[0] if len(contents) == 1 else [*contents],
        config=config,
    )
    reading = answer.read(response, record)
    if reading.data is None:
        return reading.answer
    return replace(reading.answer, image=await pictures.from_bytes(reading.data, reading.mime_type, call, record))


async def _contents(call: Call) -> list[types.Content]:
    if call.references or call.history:
        return await loop.in_thread(request.contents, call)
    return request.contents(call)


def _client(base_url: str) -> genai.Client:
    """The loop's one SDK client for a base URL: making one takes tens of milliseconds."""
    kept = loop.belongings()
    key = (genai.Client, base_url or ORIGIN)
    client = kept.get(key)
    if client is None:
        client = kept[key] = _new_client(base_url or ORIGIN)
    assert isinstance(client, genai.Client)
    return client


def _new_client(base_url: str) -> genai.Client:
    """A client that takes nothing from the process environment: all it would look up there is given here."""
    options = types.HttpOptions(
        base_url=base_url,
        api_version=API_VERSION,
        retry_options=types.HttpRetryOptions(attempts=1),
        httpx_async_client=shared_client(),
        # Neither is used by our calls; both spare the SDK a look at SSL_CERT_FILE and a slow start.
        httpx_client=httpx2.Client(transport=httpx2.BaseTransport(), trust_env=False),
        async_client_args={"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)},
    )
    with _hidden_backend_choice():
        return genai.Client(
            vertexai=False,
            api_key="given-with-each-call",
            http_options=options,
            debug_config=DebugConfig(client_mode="", replays_directory="", replay_id=""),
        )


@contextmanager
def _hidden_backend_choice() -> Iterator[None]:
    """Hide the one variable that no argument of the SDK overrules; set wrongly, it keeps any client from being made."""
    name = "GOOGLE_GENAI_HTTP_CLIENT"
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value
