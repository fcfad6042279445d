"""JSON bodies for the framework's views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from generation.dialects import strict_json


class StrictJSONParser(BaseParser):
    """Answers 400 with a reason where the standard parser would guess, and 413 above the body limit.

    No JSONParser of the framework's: for those it keeps the whole body as long as there is the request.
    """

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return strict_json.read(stream)
