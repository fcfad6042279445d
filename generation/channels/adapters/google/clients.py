"""Builds the SDK's clients: on the shared transport, without a retry, and deaf to the process environment."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
from google import genai
from google.genai import types
from google.genai.client import DebugConfig

from generation.egress import loop
from generation.egress.transport import shared_client

# Where no other key may stand, because each call brings its own.
GIVEN_WITH_EACH_CALL = "given-with-each-call"
# Variables that no argument of the SDK overrules. Set wrongly, the first keeps any client from being made, and the
# second sends calls to another host.
_HIDDEN = ("GOOGLE_GENAI_HTTP_CLIENT", "GOOGLE_API_USE_MTLS_ENDPOINT")


def kept(key: tuple[str, ...], make: Callable[[], genai.Client]) -> genai.Client:
    """The loop's one SDK client of a key: making one takes tens of milliseconds. `make` runs where little is heard of
    the environment; what else the SDK would look up there has to be given."""
    belongings = loop.belongings()
    client = belongings.get((genai.Client, *key))
    if client is None:
        with _hidden_variables():
            client = belongings[(genai.Client, *key)] = make()
    assert isinstance(client, genai.Client)
    return client


def options(base_url: str, api_version: str) -> types.HttpOptions:
    """How every client of ours speaks HTTP."""
    return types.HttpOptions(
        base_url=base_url,
        api_version=api_version,
        retry_options=types.HttpRetryOptions(attempts=1),
        httpx_async_client=shared_client(),
        # Neither is used by our calls; both spare the SDK a look at SSL_CERT_FILE and a slow start.
        httpx_client=httpx2.Client(transport=httpx2.BaseTransport(), trust_env=False),
        async_client_args={"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)},
    )


def no_debugging() -> DebugConfig:
    """Neither recording nor replaying, whatever the environment says."""
    return DebugConfig(client_mode="", replays_directory="", replay_id="")


@contextmanager
def _hidden_variables() -> Iterator[None]:
    hidden = {name: os.environ.pop(name) for name in _HIDDEN if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
