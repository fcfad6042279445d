"""Access tokens of Google's service accounts by the JWT bearer grant (RFC 7523), asked for over the shared client.

Nothing here is paid for, so whatever becomes of a request for a token, the call it was for was never sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import httpx2
from cryptography.exceptions import UnsupportedAlgorithm
from google.auth import crypt, jwt

from generation.channels.adapter import Credentials
from generation.channels.adapters.failures import BUSY_STATUSES, Told, answered
from generation.channels.adapters.http_json import mapping, number, text
from generation.contract import ChannelError, ErrorKind
from generation.egress import loop
from generation.egress.transport import Exchange, exchange, shared_client

GOOGLE = "https://oauth2.googleapis.com/token"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_SECONDS = 3600
SPARE_SECONDS = 60
ASKING_SECONDS = 30.0
ANSWER_BYTES = 256 * 1024
# What comes of signing with something that is no RSA key in PEM.
_NO_KEY = (ValueError, TypeError, AttributeError, UnsupportedAlgorithm)


def is_service_account(secret: str) -> bool:
    """Whether a channel's secret is a service account's JSON and not an API key."""
    return secret.lstrip().startswith("{")


def account_of(credentials: Credentials) -> ServiceAccount:
    """The loop's one object for a service account. Raises ChannelError for what is none."""
    digest = hashlib.sha256(credentials.secret.encode()).digest()
    kept, key = loop.belongings(), (ServiceAccount, digest, credentials.base_url)
    account = kept.get(key)
    if account is None:
        account = kept[key] = _read(credentials)
    assert isinstance(account, ServiceAccount)
    return account


class ServiceAccount:
    """One account and the access token it was given last; all calls that need a new one wait for the same request."""

    def __init__(self, email: str, private_key: str, key_id: str, token_uri: str) -> None:
        self._email, self._private_key, self._key_id, self._address = email, private_key, key_id, token_uri
        self._held = ""
        self._good_until = 0.0
        self._asking: asyncio.Task[ChannelError | None] | None = None
        # A call that is still out may have gone with the token before this one.
        self._secrets: deque[str] = deque(maxlen=4)

    def __repr__(self) -> str:
        return f"ServiceAccount({self._email!r})"

    async def token(self) -> str:
        """An access token that is good for another minute. Raises ChannelError, never of kind "unknown"."""
        if not self._held or asyncio.get_running_loop().time() >= self._good_until:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
                self._asking.add_done_callback(self._end_asking)
            # Unlike awaiting it, this leaves the request alone when one of those who wait for it gives up.
            asking = self._asking
            await asyncio.wait([asking])
            if problem := asking.result():
                raise _again(problem)
        return self._held

    def forget(self, token: str) -> None:
        """Take no further call with a token that was refused."""
        if token == self._held:
            self._held = ""

    def redacted(self, message: str) -> str:
        """A message without private key and tokens, plain or as JSON spells them."""
        secrets = [secret.strip() for secret in (self._private_key, *self._secrets)]
        for secret in filter(None, (*secrets, *(json.dumps(secret)[1:-1] for secret in secrets))):
            message = message.replace(secret, "[secret]")
        return message

    def _end_asking(self, _asking: object) -> None:
        self._asking = None

    async def _ask(self) -> ChannelError | None:
        """Fetch a token and keep it, or say why there is none."""
        try:
            assertion = await loop.in_thread(self._assertion)
        except _NO_KEY:
            return _wrong("the service account's private key cannot be read")
        self._secrets.append(assertion)
        with exchange(byte_cap=ANSWER_BYTES) as record:
            record.is_lifting = False
            try:
                async with asyncio.timeout(ASKING_SECONDS):
                    status, body = await self._post(assertion)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                return self._problem(record, f"{type(error).__name__}: {error}")
        return self._keep(body) if 200 <= status < 300 else self._problem(record, _words(body))

    async def _post(self, assertion: str) -> tuple[int, Any]:
        fields = {"grant_type": GRANT_TYPE, "assertion": assertion}
        response = await shared_client().post(self._address, data=fields)
        try:
            return response.status_code, json.loads(response.content)
        except (ValueError, RecursionError):
            return response.status_code, None

    def _assertion(self) -> str:
        """A claim to be the account, signed. CPU-bound: milliseconds. Raises one of _NO_KEY."""
        signer = crypt.RSASigner.from_string(self._private_key, self._key_id or None)  # type: ignore[no-untyped-call]
        issued_at = int(time.time())
        claims = {
            "iss": self._email,
            "scope": SCOPE,
            "aud": self._address,
            "iat": issued_at,
            "exp": issued_at + ASSERTION_SECONDS,
        }
        return bytes(jwt.encode(signer, claims)).decode()  # type: ignore[no-untyped-call]

    def _keep(self, body: Any) -> ChannelError | None:
        token = text(mapping(body).get("access_token"))
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            return ChannelError("failed", "the token endpoint answered without an access token", status=200)
        self._secrets.append(token)
        self._held = token
        good_seconds = number(mapping(body).get("expires_in")) - SPARE_SECONDS
        self._good_until = asyncio.get_running_loop().time() + max(good_seconds, 0)
        return None

    def _problem(self, record: Exchange, words: str) -> ChannelError:
        """Why there is no token: what the endpoint answered, or what became of the request."""
        message = self.redacted(f"no access token: {words or 'no reason given'}")
        if record.status is None or record.status < 300:
            return ChannelError("unreachable", message)
        return answered(record.status, Told(message, kind=_kind_of(record.status)), record.headers, "")


def _words(body: Any) -> str:
    """What an error of the token endpoint says (RFC 6749, 5.2)."""
    said = mapping(body)
    return ": ".join(filter(None, (text(said.get("error")), text(said.get("error_description")))))


def _kind_of(status: int) -> ErrorKind:
    if status in BUSY_STATUSES:
        return "busy"
    return "unauthorized" if 400 <= status < 500 else "failed"


def _again(problem: ChannelError) -> ChannelError:
    """The same error for another of those who waited: an exception belongs to one of them."""
    return ChannelError(
        problem.kind, problem.message, status=problem.status, retry_after_seconds=problem.retry_after_seconds
    )


def _read(credentials: Credentials) -> ServiceAccount:
    try:
        found = mapping(json.loads(credentials.secret))
    except (ValueError, RecursionError):
        found = {}
    email, private_key, token_uri = (text(found.get(name)) for name in ("client_email", "private_key", "token_uri"))
    if not email or not private_key or not token_uri:
        raise _wrong("the channel's secret is no service account with client_email, private_key and token_uri")
    if token_uri != GOOGLE and not _is_beside(token_uri, credentials.base_url):
        raise _wrong(f"the service account's token_uri is not {GOOGLE}")
    return ServiceAccount(email, private_key, text(found.get("private_key_id")), token_uri)


def _is_beside(token_uri: str, base_url: str) -> bool:
    """Whether tokens come from where the calls go: a stand-in that the operator named."""
    asked, called = urlsplit(token_uri), urlsplit(base_url)
    return bool(called.netloc) and (asked.scheme, asked.netloc) == (called.scheme, called.netloc)


def _wrong(message: str) -> ChannelError:
    return ChannelError("unauthorized", message)
