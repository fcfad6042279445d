"""The fake inside this process: the SDK's own HTTP client, with the fake where the network would be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import stripe

from accounts.payments.fake_stripe.fake import FakeStripe


class InProcessClient(stripe.HTTPClient):
    """Hands the SDK's requests to a fake."""

    name: ClassVar[str] = "fake"

    def __init__(self, fake: FakeStripe) -> None:
        super().__init__()
        self._fake = fake

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        parts = urlsplit(url)
        answer = self._fake.answer(method.upper(), parts.path, post_data or parts.query, dict(headers or {}))
        if answer.status is None:
            problem = "The fake broke the connection off."
            raise stripe.APIConnectionError(problem, should_retry=True)  # type: ignore[no-untyped-call]
        return answer.body, answer.status, answer.headers

    def close(self) -> None:
        """There is no connection."""
