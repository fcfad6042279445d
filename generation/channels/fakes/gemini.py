"""A Gemini API of our own on a loopback port: the real wire, drawn pictures, scripted faults; it calls nobody."""

from __future__ import annotations

import secrets
from typing import Any

from generation.channels.fakes.faults import Fault
from generation.channels.fakes.gemini_api import is_generation, respond
from generation.channels.fakes.gemini_request import last_prompt
from generation.channels.fakes.http import Reply, Request
from generation.channels.fakes.server import FakeUpstream, Recorded
from generation.channels.fakes.studio import Studio

__all__ = ["FakeGemini", "Fault", "Recorded"]


class FakeGemini(FakeUpstream):
    """The Gemini API: `with FakeGemini() as fake: ... fake.base_url`.

    `size_bytes` and `cached` are those of its studio; a given `signing_key` makes its thought signatures outlive it.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        latency_seconds: float = 0.0,
        size_bytes: int = 0,
        cached: bool = False,
        is_recording: bool = True,
        signing_key: bytes = b"",
    ) -> None:
        super().__init__(port=port, latency_seconds=latency_seconds, is_recording=is_recording)
        self._studio = Studio(signing_key=signing_key or secrets.token_bytes(16), size_bytes=size_bytes, cached=cached)

    def is_work(self, request: Request) -> bool:
        return is_generation(request)

    def prompt_of(self, body: Any) -> str:
        return last_prompt(body)

    def respond(self, request: Request, body: Any, fault: Fault) -> Reply:
        return respond(self._studio, request, body, fault)
