"""Calls of Black Forest Labs: one request begins the work, and questions that cost nothing follow it to its end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2

from generation.channels.adapter import Checked, Credentials
from generation.channels.adapters import costs, pictures
from generation.channels.adapters.bfl import answer, request
from generation.channels.adapters.bfl.answer import WORKING, Reading, Task
from generation.channels.adapters.bfl.errors import failed, lost, tell, while_working
from generation.channels.adapters.calling import header_secret, told, watched
from generation.channels.adapters.http_json import Refused, get, mapping, post
from generation.contract import Answer, Call, ChannelError
from generation.egress.guard import ForbiddenAddress, allow_hosts, check_url
from generation.egress.transport import Exchange, exchange

logger = logging.getLogger(__name__)

ORIGIN = "https://api.bfl.ai"
POLL_SECONDS = 1.0
# One question that hangs must not use up the time in which the next would be answered.
POLL_ANSWER_SECONDS = 30.0
# A task is not known everywhere at once; questions in a row that may find nothing of it.
MISSING_POLLS = 5
# No answer of theirs holds a picture.
_ANSWER_BYTES = 1024 * 1024
_PORTS = {"http": 80, "https": 443}


async def generate(call: Call, credentials: Credentials) -> Answer:
    """Make one call, or follow the work of an earlier one. Raises ChannelError; asyncio.CancelledError passes."""
    return await watched(call, credentials, partial(_ask, call, credentials), tell)


async def check(credentials: Credentials, spool: Path) -> Checked:
    """The credits that are left (https://docs.bfl.ai/api-reference/get-the-users-credits). Raises ChannelError."""
    url = f"{(credentials.base_url or ORIGIN).rstrip('/')}/v1/credits"
    found = mapping(await told(url, _headers(credentials), credentials, spool, tell))
    balance = costs.balance_micros(found.get("credits"), micros_per_unit=answer.MICROS_PER_CREDIT)
    return Checked(balance_micros=balance)


async def _ask(call: Call, credentials: Credentials, record: Exchange) -> Answer:
    if call.handle:
        # The request went out in an earlier attempt; what goes wrong from here on leaves paid work behind.
        record.is_sent = True
        task = answer.task_of(call.handle)
    else:
        task = await _begun(call, credentials, record)
    _require_followable(task, credentials)
    if not task.is_followed:
        await _keep(call, task)
    reading = await _ended(call, credentials, task)
    cost_micros = task.cost_micros if reading.cost_micros is None else reading.cost_micros
    found = Answer(reading.finish, reading.word, cost_micros=cost_micros, upstream_request_id=task.id)
    if found.finish != "ok":
        return found
    return replace(found, image=await pictures.from_url(reading.sample, call, record, credentials.base_url))


async def _begun(call: Call, credentials: Credentials, record: Exchange) -> Task:
    """Send the one request that is paid for."""
    _expect_little(record)
    base_url = credentials.base_url or ORIGIN
    url = f"{base_url.rstrip('/')}/v1/{quote(call.upstream_model)}"
    found = await post(url, _headers(credentials), partial(request.body, call))
    return answer.read_task(found.body)


async def _keep(call: Call, task: Task) -> None:
    """Name the work to whoever may have to follow it. That this fails is no reason to give up what is paid for."""
    if call.keep_handle is None:
        return
    try:
        await call.keep_handle(task.handle)
    except Exception:
        logger.exception("the handle of task %s could not be kept", task.id)


async def _ended(call: Call, credentials: Credentials, task: Task) -> Reading:
    """How the task ended. Only the deadline of the call limits how long it is asked for."""
    missing_count = 0
    while True:
        reading = await _poll(call, credentials, task)
        if reading.state in ("ready", "refused"):
            return reading
        if reading.state == "failed":
            raise failed(reading, task, credentials.secret)
        missing_count = missing_count + 1 if reading.state == "missing" else 0
        if missing_count > MISSING_POLLS:
            raise lost(task)
        await asyncio.sleep(POLL_SECONDS)


async def _poll(call: Call, credentials: Credentials, task: Task) -> Reading:
    """How far the task is; what goes wrong in asking says nothing of it."""
    try:
        # An exchange of its own: that of the call tells what became of the request that is paid for.
        with exchange(spool=call.spool) as record:
            _expect_little(record)
            async with asyncio.timeout(POLL_ANSWER_SECONDS):
                found = await get(task.polling_url, _headers(credentials))
        return answer.read(found.body)
    except Refused as error:
        refused = error
    except (httpx2.HTTPError, OSError, ValueError):
        return WORKING
    # Out here, so that what may be raised drags no body along.
    return while_working(refused, task, credentials.secret)


def _headers(credentials: Credentials) -> dict[str, str]:
    return {"x-key": header_secret(credentials)}


def _expect_little(record: Exchange) -> None:
    record.byte_cap, record.is_lifting = min(record.byte_cap, _ANSWER_BYTES), False


def _require_followable(task: Task, credentials: Credentials) -> None:
    """Raises ChannelError for an address that our key must not be sent to: neither the channel's own nor a public one.

    Elsewhere it is only sent under TLS, which also keeps it from whatever a name inside leads to.
    """
    home = _origin(credentials.base_url or ORIGIN)
    try:
        check_url(task.polling_url, allow_hosts([home.partition("://")[2]]))
        is_fine = _origin(task.polling_url) == home or urlsplit(task.polling_url).scheme == "https"
    except (ForbiddenAddress, ValueError):
        is_fine = False
    if not is_fine:
        message = "the upstream asks to be looked in on at an address that is not followed"
        raise ChannelError("unknown", message, upstream_request_id=task.id)


def _origin(url: str) -> str:
    """Scheme, host and port of a URL, the default port included."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    written = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{written}:{parts.port or _PORTS.get(parts.scheme, 0)}"
