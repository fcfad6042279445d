"""Calls of the Gemini API through google-genai; one request per call, and never a retry."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
from google import genai
from google.genai import types
from google.genai.client import DebugConfig

from generation.channels.adapter import Credentials
from generation.channels.adapters import gemini_answer, gemini_errors, gemini_request
from generation.contract import Answer, Call, ChannelError, SpooledImage
from generation.egress import loop
from generation.egress.transport import Exchange, exchange, shared_client

ORIGIN = "https://generativelanguage.googleapis.com"
API_VERSION = "v1beta"


async def generate(call: Call, credentials: Credentials) -> Answer:
    """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
    _check_secret(credentials.secret)
    with exchange(byte_cap=call.byte_cap, spool=call.spool) as record:
        try:
            async with asyncio.timeout(call.deadline_seconds):
                return await _ask(call, credentials, record)
        except Exception as error:  # noqa: BLE001
            problem = gemini_errors.translate(error, record, credentials.secret, call.deadline_seconds)
    # Raised out here, so that no traceback drags the upstream's words and bytes along.
    raise problem


def _check_secret(secret: str) -> None:
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ChannelError("unauthorized", "the channel has no API key that a header can carry")


async def _ask(call: Call, credentials: Credentials, record: Exchange) -> Answer:
    contents = await _contents(call)
    response = await _client(credentials.base_url).aio.models.generate_content(
        model=call.upstream_model,
        # The SDK tries every kind of content on a list before it takes it for what it is; most calls have one turn.
        contents=contents[0] if len(contents) == 1 else [*contents],
        config=gemini_request.config(call, credentials.secret),
    )
    reading = gemini_answer.read(response, record)
    if reading.data is None:
        return reading.answer
    # Nothing is awaited once a lifted file is kept: whoever cancels later finds it with the answer.
    image = _kept(reading.data, reading.mime_type, record) or await _spooled(
        reading.data, reading.mime_type, call.spool
    )
    return replace(reading.answer, image=image)


def _kept(data: bytes, mime_type: str, record: Exchange) -> SpooledImage | None:
    lifted = record.keep(data)
    return SpooledImage(lifted.path, mime_type, lifted.byte_count, lifted.sha256) if lifted else None


async def _contents(call: Call) -> list[types.Content]:
    call.spool.mkdir(parents=True, exist_ok=True)
    if call.references or call.history:
        return await loop.in_thread(gemini_request.contents, call)
    return gemini_request.contents(call)


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


async def _spooled(data: bytes, mime_type: str, spool: Path) -> SpooledImage:
    """Write a picture too small to be lifted to a file of its own; whoever cancels this finds no file left behind."""
    path = spool / f"{uuid.uuid4().hex}.image"
    writing = asyncio.ensure_future(loop.in_thread(_write, path, data))
    try:
        digest = await asyncio.shield(writing)
    except asyncio.CancelledError:
        writing.add_done_callback(lambda _written: path.unlink(missing_ok=True))
        raise
    return SpooledImage(path=path, mime_type=mime_type, byte_count=len(data), sha256=digest)


def _write(path: Path, data: bytes) -> str:
    try:
        path.touch(mode=0o600)
        path.write_bytes(data)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return hashlib.sha256(data).hexdigest()
