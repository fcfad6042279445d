"""Reads for doors, pages and the admin. Nothing here changes a row."""

from generation.queries.catalogue import image_models
from generation.queries.channels import live_is_open
from generation.queries.generations import (
    find,
    finished,
    generation_of,
    media_by_link,
    media_of,
    output_of_conversation,
    output_of_image,
    progress,
)
from generation.queries.money import ENTRY_KINDS, budget, charges_of, statement, usage, wallet
from generation.queries.pages import Page
from generation.queries.whole_generations import (
    Reading,
    outcome,
    outcomes,
    reading,
    reading_at_acceptance,
    reading_of,
    readings,
)

__all__ = [
    "ENTRY_KINDS",
    "Page",
    "Reading",
    "budget",
    "charges_of",
    "find",
    "finished",
    "generation_of",
    "image_models",
    "live_is_open",
    "media_by_link",
    "media_of",
    "outcome",
    "outcomes",
    "output_of_conversation",
    "output_of_image",
    "progress",
    "reading",
    "reading_at_acceptance",
    "reading_of",
    "readings",
    "statement",
    "usage",
    "wallet",
]
