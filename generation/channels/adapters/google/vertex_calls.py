"""Calls of Vertex AI through google-genai; one paid request per call, and never a retry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from google import genai
from google.auth import credentials as google_credentials
from google.genai import errors

from generation.channels.adapter import Checked, Credentials
from generation.channels.adapters.calling import header_secret, told, watched
from generation.channels.adapters.failures import Told
from generation.channels.adapters.google import calls, clients, imagen, request
from generation.channels.adapters.google.errors import BILLING, tell
from generation.channels.adapters.google.vertex_tokens import ServiceAccount, account_of, is_service_account
from generation.contract import Answer, Call, ChannelError
from generation.egress.transport import Exchange

API_VERSION = "v1beta1"
GLOBAL = "global"
MULTI_REGIONS = frozenset({"us", "eu"})
# Vertex reads no tier from the body: it refuses "flex" there, and bills the full price for the other spelling.
FLEX = {"X-Vertex-AI-LLM-Shared-Request-Type": "flex"}
# Both become part of an address.
_PROJECT = re.compile(r"[a-z0-9.:-]{1,100}")
_LOCATION = re.compile(r"[a-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where calls go. `project` and `location` are empty in express mode, where the key stands for both."""

    base_url: str
    project: str = ""
    location: str = ""


async def generate(call: Call, credentials: Credentials) -> Answer:
    """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
    account = account_of(credentials) if is_service_account(credentials.secret) else None
    place = _place(credentials, has_account=account is not None)
    _check(call, place)
    ask = partial(_ask, call, credentials, place, account)
    return await watched(call, credentials, ask, partial(_tell, account))


async def check(credentials: Credentials, spool: Path) -> Checked:
    """The models that Google publishes, which says that the credentials are good: publishers.models.list of
    https://docs.cloud.google.com/vertex-ai/generative-ai/docs/reference/rest. Raises ChannelError."""
    account = account_of(credentials) if is_service_account(credentials.secret) else None
    place = _place(credentials, has_account=account is not None)
    if account is None:
        headers = {"x-goog-api-key": header_secret(credentials)}
    else:
        headers = {"authorization": f"Bearer {await account.token()}", "x-goog-user-project": place.project}
    url = f"{place.base_url.rstrip('/')}/{API_VERSION}/publishers/google/models?pageSize=1000"
    found = await told(url, headers, credentials, spool, partial(_tell, account))
    return calls.listed(found, "publisherModels", "publishers/google/models/")


async def _ask(
    call: Call, credentials: Credentials, place: Place, account: ServiceAccount | None, record: Exchange
) -> Answer:
    headers = dict(FLEX) if call.lane == "flex" else {}
    if account is None:
        headers["x-goog-api-key"] = header_secret(credentials)
        return await _send(call, place, headers, record)
    token = await account.token()
    try:
        with _bearing(token):
            return await _send(call, place, headers, record)
    except errors.ClientError as error:
        if error.code == 401:
            account.forget(token)
        raise


async def _send(call: Call, place: Place, headers: dict[str, str], record: Exchange) -> Answer:
    if imagen.makes(call.upstream_model):
        return await imagen.generate(_client(place), call, headers, record)
    return await calls.generate_content(_client(place), call, request.config(call, headers), record)


def _tell(account: ServiceAccount | None, error: Exception) -> Told:
    told = tell(error)
    message = told.message.removesuffix(f" ({BILLING})")
    return replace(told, message=account.redacted(message) if account else message)


def _place(credentials: Credentials, *, has_account: bool) -> Place:
    if not has_account:
        return Place(credentials.base_url or _origin(GLOBAL))
    project = credentials.options.get("project", "")
    location = credentials.options.get("location") or GLOBAL
    if not _PROJECT.fullmatch(project):
        raise ChannelError("unauthorized", "a service account needs the channel's option `project`")
    if not _LOCATION.fullmatch(location):
        raise ChannelError("unauthorized", "the channel's option `location` is no location of Google Cloud")
    return Place(credentials.base_url or _origin(location), project, location)


def _origin(location: str) -> str:
    if location == GLOBAL:
        return "https://aiplatform.googleapis.com"
    if location in MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def _check(call: Call, place: Place) -> None:
    """Refuse what Vertex would take in silence: unheard words of a request, and flex where it bills the full price."""
    is_imagen = imagen.makes(call.upstream_model)
    if is_imagen and (call.references or call.history):
        raise ChannelError("rejected", "Imagen takes no images and no earlier turns")
    if call.lane == "flex" and (is_imagen or place.location not in ("", GLOBAL)):
        raise ChannelError("unreachable", "Vertex AI runs the flex lane for Gemini models at the location global only")


_token: ContextVar[str] = ContextVar("token", default="")


@contextmanager
def _bearing(token: str) -> Iterator[None]:
    """Have what is sent here and now carry a token."""
    reset = _token.set(token)
    try:
        yield
    finally:
        _token.reset(reset)


class _TokenOfTheCall(google_credentials.Credentials):
    """Hands the SDK the token of the call that it is sending, so that calls of several accounts share one client."""

    @property
    def token(self) -> str:
        return _token.get()

    @token.setter
    def token(self, _value: object) -> None:
        """The base class sets it once to nothing."""

    def refresh(self, _request: object) -> NoReturn:
        raise RuntimeError("tokens are fetched before a call, and never by the SDK")


def _client(place: Place) -> genai.Client:
    return clients.kept((place.base_url, "vertex", place.project, place.location), lambda: _new_client(place))


def _new_client(place: Place) -> genai.Client:
    options, debugging = clients.options(place.base_url, API_VERSION), clients.no_debugging()
    if not place.project:
        key = clients.GIVEN_WITH_EACH_CALL
        return genai.Client(vertexai=True, api_key=key, http_options=options, debug_config=debugging)
    return genai.Client(
        vertexai=True,
        project=place.project,
        location=place.location,
        credentials=_TokenOfTheCall(),  # type: ignore[no-untyped-call]
        http_options=options,
        debug_config=debugging,
    )
