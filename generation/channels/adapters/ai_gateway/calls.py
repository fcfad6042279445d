"""Calls of the AI Gateway: one request per call, and never a retry."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from generation.channels.adapter import Checked, Credentials
from generation.channels.adapters import costs, pictures
from generation.channels.adapters.ai_gateway import answer, errors, request
from generation.channels.adapters.calling import header_secret, told, watched
from generation.channels.adapters.http_json import Refused, mapping, names, post
from generation.contract import Answer, Call
from generation.egress.transport import Exchange

ORIGIN = "https://ai-gateway.vercel.sh/v3/ai"


async def generate(call: Call, credentials: Credentials) -> Answer:
    """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
    return await watched(call, credentials, partial(_ask, call, credentials), errors.tell)


async def check(credentials: Credentials, spool: Path) -> Checked:
    """The models at the gateway, and the team's credit, which stands at the root of its origin as its SDK asks for
    it. Raises ChannelError."""
    base_url = (credentials.base_url or ORIGIN).rstrip("/")
    headers = request.authentication(header_secret(credentials))
    config = await told(f"{base_url}/config", headers, credentials, spool, errors.tell)
    url = urlsplit(base_url)._replace(path="/v1/credits").geturl()
    credit = await told(url, headers, credentials, spool, errors.tell)
    listed = mapping(config).get("models")
    return Checked(names(listed, "id") if listed else None, costs.balance_micros(mapping(credit).get("balance")))


async def _ask(call: Call, credentials: Credentials, record: Exchange) -> Answer:
    base_url = (credentials.base_url or ORIGIN).rstrip("/")
    headers = request.headers(call, header_secret(credentials))
    try:
        found = await post(
            f"{base_url}/{request.route(call)}", headers, partial(request.body, call, credentials.options)
        )
    except Refused as error:
        refusal = errors.refusal(error)
        if refusal is None:
            raise
        return refusal
    read = answer.read_language if call.is_multimodal else answer.read_images
    reading = read(found.body, record)
    if reading.base64 is None:
        return reading.answer
    image = await pictures.from_base64(reading.base64, reading.mime_type, call, record)
    return replace(reading.answer, image=image)
