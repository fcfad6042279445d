"""What is past its days is forgotten: words, references, images, and files that no row names.

Money is never forgotten: charges, prices, hashes and entries stay. Everything here is done in small batches, and twice
does no more than once.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db.models import QuerySet

from accounts.identifiers import parse_public_id
from accounts.transactions import write_transaction
from generation import media
from generation.models import (
    LIVE_STATES,
    TERMINAL_STATES,
    Attempt,
    Batch,
    Generation,
    IdempotencyKey,
    Media,
    Output,
    Reference,
)

_BATCH = 200
_FILES = 2000
_STRAY_AFTER = timedelta(hours=24)
_WALK_EVERY = timedelta(hours=24)


def purge(*, now: datetime) -> bool:
    """Forget a batch of each kind. True if there may be more."""
    is_full = [_forget_words(now) == _BATCH, _forget_images(now) == _BATCH]
    is_full.append(WALK.step(now=now))
    return any(is_full)


def overdue(*, now: datetime) -> dict[str, int]:
    """How much of each kind `purge` would forget by and by, nothing of it done."""
    return {
        "generations": _wordy(now).count(),
        "images": _old_images(now).count(),
        "stray_files": sum(1 for _ in _stray(_stored_files(), now)),
    }


def _cutoff(days: int, now: datetime) -> datetime | None:
    return now - timedelta(days=days) if days else None


def _wordy(now: datetime) -> QuerySet[Generation]:
    """Generations whose words are past their days and not needed by work in hand."""
    cutoff = _cutoff(settings.NBP_RETENTION_PROMPT_DAYS, now)
    if cutoff is None:
        return Generation.objects.none()
    old = Generation.objects.filter(purged_at=None, created_at__lt=cutoff, finished_at__lt=cutoff)
    return old.exclude(outputs__in=_needed()).order_by("created_at")


def _old_images(now: datetime) -> QuerySet[Media]:
    cutoff = _cutoff(settings.NBP_RETENTION_IMAGE_DAYS, now)
    if cutoff is None:
        return Media.objects.none()
    old = Media.objects.filter(purged_at=None, created_at__lt=cutoff, output__state__in=TERMINAL_STATES)
    return old.exclude(output__in=_needed()).order_by("created_at")


def _needed() -> set[uuid.UUID]:
    """Outputs that unfinished generations continue, and those which these continue in their turn."""
    found: set[uuid.UUID] = set()
    turns = Generation.objects.filter(open_count__gt=0, previous_output__isnull=False)
    step = set(turns.values_list("previous_output_id", flat=True))
    while step - found:
        found |= step
        earlier = Generation.objects.filter(outputs__in=step, previous_output__isnull=False)
        step = set(earlier.values_list("previous_output_id", flat=True))
    return {output_id for output_id in found if output_id is not None}


def _forget_words(now: datetime) -> int:
    """Blank what the customer wrote and sent, and what the model said to it."""
    ids = list(_wordy(now).values_list("pk", flat=True)[:_BATCH])
    if not ids:
        return 0
    references = Reference.objects.filter(generation__in=ids)
    names = list(references.values_list("storage_name", flat=True))
    with write_transaction():
        Attempt.objects.filter(output__generation__in=ids).update(upstream_message="")
        # Without its channel a turn's signatures are not sent again, and its image goes along as a reference.
        Output.objects.filter(generation__in=ids).update(
            text="", sources=[], search_suggestions="", parts=[], parts_channel_id=None, parts_upstream_model=""
        )
        references.delete()
        IdempotencyKey.objects.filter(generation__in=ids).delete()
        Generation.objects.filter(pk__in=ids).update(
            prompt="", metadata={}, tags=[], request_sha256="", conversation_sha256="", purged_at=now
        )
    _remove(names)
    return len(ids)


def _forget_images(now: datetime) -> int:
    """Mark first, remove then: a crash between the two leaves a stray file, never a row without its image."""
    rows = list(_old_images(now).values_list("pk", "storage_name")[:_BATCH])
    if not rows:
        return 0
    with write_transaction():
        Media.objects.filter(pk__in=[pk for pk, _ in rows]).update(purged_at=now)
    _remove(name for _, name in rows)
    return len(rows)


def _remove(names: Iterable[str]) -> None:
    for name in names:
        media.remove(name)


# --- files that no row names ---------------------------------------------------------------------------------------


def _stored_files() -> Iterator[Path]:
    """Every file of ours in a local storage, folder by folder."""
    try:
        root = Path(default_storage.path(""))
    except NotImplementedError:
        return
    for folder in sorted([*root.glob("outputs/*"), *root.glob("references/*"), *root.glob("batches/*")]):
        if folder.is_dir():
            with os.scandir(folder) as entries:
                yield from (Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False))


def _stray(files: Iterable[Path], now: datetime) -> Iterator[Path]:
    """Those that no row names and that no work in hand is about to name."""
    old = iter(path for path in files if _is_older(path, now - _STRAY_AFTER))
    while batch := list(islice(old, 500)):
        drafts = [path for path in batch if path.name.startswith((".out_", ".gen_"))]
        yield from drafts
        yield from _stray_outputs(batch)
        yield from _stray_references(batch)
        yield from _stray_requests(batch)


def _is_older(path: Path, moment: datetime) -> bool:
    try:
        return path.stat().st_mtime < moment.timestamp()
    except FileNotFoundError:
        return False


def _owners(prefix: str, files: Iterable[Path]) -> dict[Path, uuid.UUID]:
    """Files by the id in their name; what has no such name is not ours to judge."""
    found = {path: parse_public_id(prefix, path.name.partition("-")[0]) for path in files}
    return {path: owner for path, owner in found.items() if owner is not None}


def _stray_outputs(files: Iterable[Path]) -> Iterator[Path]:
    """Images of ended outputs that are not, or no longer, the output's."""
    owners = _owners("out", files)
    ended = Output.objects.filter(pk__in=owners.values()).exclude(state__in=LIVE_STATES)
    rows = ended.values_list("pk", "media__storage_name", "media__purged_at")
    names = {pk: "" if purged_at or not name else Path(name).name for pk, name, purged_at in rows}
    for path, owner in owners.items():
        # An output that this database does not know may be another database's.
        if owner in names and names[owner] != path.name:
            yield path


def _stray_references(files: Iterable[Path]) -> Iterator[Path]:
    """References of requests that were not accepted after all, or whose words were forgotten."""
    owners = _owners("gen", files)
    rows = Reference.objects.filter(generation__in=owners.values()).values_list("generation_id", "storage_name")
    named = {(generation_id, Path(name).name) for generation_id, name in rows}
    for path, owner in owners.items():
        if (owner, path.name) not in named:
            yield path


def _stray_requests(files: Iterable[Path]) -> Iterator[Path]:
    """Requests of batches that have ended, or that were not taken in after all."""
    found = {path: path.name for path in files if path.parent.parent.name == "batches" and len(path.name) == 32}
    waiting = Batch.objects.filter(pk__in=found.values(), ended_at=None).values_list("pk", flat=True)
    names = {pk.hex for pk in waiting}
    yield from (path for path, name in found.items() if name not in names)


class Walk:
    """Through all stored files once a day, a few thousand at a step."""

    def __init__(self) -> None:
        self._files: Iterator[Path] | None = None
        self._next_at: datetime | None = None

    def step(self, *, now: datetime) -> bool:
        """Remove the strays among the next files. True if there are more to look at."""
        if self._files is None:
            if self._next_at is not None and now < self._next_at:
                return False
            self._files, self._next_at = _stored_files(), now + _WALK_EVERY
        seen = list(islice(self._files, _FILES))
        for path in _stray(seen, now):
            path.unlink(missing_ok=True)
        if len(seen) < _FILES:
            self._files = None
        return self._files is not None


WALK = Walk()
