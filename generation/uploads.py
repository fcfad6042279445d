"""Files that customers send ahead: whole or in pieces, kept for their days, named in later requests, forgotten.

A file in pieces is known by a secret in its address, as its pieces come without a key. Rows go first, files after them.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

from django.conf import settings
from django.db import IntegrityError
from django.db.models import QuerySet, Sum

from accounts.authentication import Requester
from accounts.identifiers import new_uuid, public_id
from accounts.transactions import write_transaction
from generation import media
from generation.contract import Refusal, invalid
from generation.media import StoredFile
from generation.models import Upload

# As Gemini's clients read them out of an address: letters and digits, dashes only inside.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
# Pieces but the last have a multiple of so many bytes.
GRANULARITY = 256 * 1024
_UNFINISHED_FOR = timedelta(hours=24)
_BATCH = 200


@dataclass(frozen=True, slots=True)
class File:
    """A customer's file as doors show it."""

    name: str
    purpose: str
    filename: str
    mime_type: str
    byte_count: int
    sha256: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Sending:
    """What a customer says of a file that is about to come."""

    purpose: str
    filename: str = ""
    mime_type: str = ""
    name: str = ""
    lives: timedelta = timedelta(days=30)


def keep(requester: Requester, data: bytes, sending: Sending, *, now: datetime) -> File:
    """Store a whole file."""
    _require_room(requester, len(data))
    row = _row(requester, sending, now)
    row.byte_count, row.sha256 = len(data), hashlib.sha256(data).hexdigest()
    media.store(_storage_name(row.pk), data)
    try:
        _save(row)
    except Refusal:
        media.remove(_storage_name(row.pk))
        raise
    return _file(row)


def begin(requester: Requester, sending: Sending, byte_count: int, *, now: datetime) -> str:
    """Open a file of so many bytes that comes in pieces; the answer is the secret that stands for it."""
    if byte_count < 1:
        raise invalid("X-Goog-Upload-Header-Content-Length", "Say how many bytes the file has.")
    _require_room(requester, byte_count)
    row = _row(requester, sending, now)
    secret = secrets.token_urlsafe(32)
    row.is_whole, row.secret_sha256, row.byte_count = False, _hash(secret), byte_count
    row.expires_at = min(row.expires_at, now + _UNFINISHED_FOR)
    _save(row)
    return f"{row.pk.hex}.{secret}"


def add(address: str, offset: int, data: bytes) -> None:
    """Take the next piece, or the last one again. Pieces but the last have a multiple of 256 KiB, as at Google."""
    row = _coming(address)
    end = offset + len(data)
    is_repeated = end == row.received_count and media.exists(_piece_name(row.pk, offset))
    if offset != row.received_count and not is_repeated:
        raise invalid("X-Goog-Upload-Offset", f"The next piece begins at {row.received_count}.")
    if end > row.byte_count or (end < row.byte_count and (not data or len(data) % GRANULARITY)):
        raise invalid("X-Goog-Upload-Offset", f"A piece has n x {GRANULARITY} bytes, the last one the rest.")
    media.remove(_piece_name(row.pk, offset))
    media.store(_piece_name(row.pk, offset), data)
    Upload.objects.filter(pk=row.pk).update(received_count=end)


def finish(address: str, *, lives: timedelta, now: datetime) -> File:
    """Put the pieces together."""
    row = _coming(address)
    if row.received_count != row.byte_count:
        raise invalid("X-Goog-Upload-Command", f"{row.byte_count - row.received_count} bytes are still to come.")
    pieces = list(_pieces(row))
    digest = hashlib.sha256()
    with NamedTemporaryFile(dir=media.spool_directory()) as whole:
        for piece in (piece for name in pieces for piece in media.chunks(name)):
            digest.update(piece)
            whole.write(piece)
        whole.flush()
        media.store(_storage_name(row.pk), Path(whole.name))
    row.sha256, row.is_whole, row.secret_sha256, row.expires_at = digest.hexdigest(), True, "", now + lives
    row.save()
    _remove(pieces)
    return _file(row)


def found(requester: Requester, name: str) -> File:
    """One of the requester's own files in the same mode."""
    return _file(_own_row(requester, name))


def stored(requester: Requester, name: str) -> StoredFile:
    """Where one of the requester's own files lies."""
    row = _own_row(requester, name)
    file = StoredFile(_storage_name(row.pk), row.byte_count)
    if not media.is_whole(file):
        raise Refusal("gone", "file_not_found", "The stored file is no longer there.")
    return file


def content(requester: Requester, name: str) -> bytes:
    """The bytes of one of the requester's own files."""
    return media.read(stored(requester, name).name)


def lines(requester: Requester, name: str) -> Iterator[bytes]:
    """The lines of one of the requester's own files."""
    with media.opened(stored(requester, name).name) as file:
        yield from iter(file.readline, b"")


def listed(
    requester: Requester, *, limit: int, after: str = "", purpose: str = "", is_rising: bool = False
) -> list[File]:
    """A page of the requester's own files, newest first unless told otherwise; `after` is the last one's name."""
    rows = _own(requester).order_by("pk" if is_rising else "-pk")
    if purpose:
        rows = rows.filter(purpose=purpose)
    if after:
        last = _own_row(requester, after)
        rows = rows.filter(pk__gt=last.pk) if is_rising else rows.filter(pk__lt=last.pk)
    return [_file(row) for row in rows[:limit]]


def forget(requester: Requester, name: str) -> None:
    """Remove one of the requester's own files."""
    _forget(_own_row(requester, name))


def purge(*, now: datetime) -> bool:
    """Forget a batch of what is past its days. True if there may be more."""
    rows = list(Upload.objects.filter(expires_at__lt=now)[:_BATCH])
    for row in rows:
        _forget(row)
    return len(rows) == _BATCH


def _forget(row: Upload) -> None:
    names = [_storage_name(row.pk), *_pieces(row)]
    with write_transaction():
        Upload.objects.filter(pk=row.pk).delete()
    _remove(names)


def _remove(names: Sequence[str]) -> None:
    for name in names:
        media.remove(name)


def _row(requester: Requester, sending: Sending, now: datetime) -> Upload:
    row_id = new_uuid()
    if sending.name and not _NAME.fullmatch(sending.name):
        raise invalid("name", "1 to 40 lower-case letters, digits and dashes, the dashes inside.")
    return Upload(
        id=row_id,
        account=requester.account,
        api_key=requester.api_key,
        mode=requester.mode,
        name=sending.name or public_id("file", row_id).partition("_")[2],
        purpose=sending.purpose,
        filename=sending.filename[:255],
        mime_type=sending.mime_type[:120],
        created_at=now,
        expires_at=now + sending.lives,
    )


def _save(row: Upload) -> None:
    try:
        with write_transaction():
            row.save(force_insert=True)
    except IntegrityError:
        raise Refusal("conflict", "file_exists", f"There is a file named {row.name} already.") from None


def _require_small(byte_count: int) -> None:
    if byte_count > settings.NBP_MAX_BODY_BYTES:
        raise Refusal("too_large", "body_too_large", f"A file has at most {settings.NBP_MAX_BODY_BYTES:,} bytes here.")


def _require_room(requester: Requester, byte_count: int) -> None:
    _require_small(byte_count)
    kept = _rows_of(requester).aggregate(total=Sum("byte_count"))["total"] or 0
    if kept + byte_count > settings.NBP_UPLOAD_BYTES:
        raise Refusal(
            "too_large", "too_many_files", f"The files of an account have {settings.NBP_UPLOAD_BYTES:,} bytes in all."
        )


def _rows_of(requester: Requester) -> QuerySet[Upload]:
    return Upload.objects.filter(account=requester.account, mode=requester.mode)


def _own(requester: Requester) -> QuerySet[Upload]:
    return _rows_of(requester).filter(is_whole=True)


def _own_row(requester: Requester, name: str) -> Upload:
    row = _own(requester).filter(name=name).first() if _NAME.fullmatch(name) else None
    if row is None:
        raise Refusal("not_found", "file_not_found", "There is no file of yours with that name.")
    return row


def _coming(address: str) -> Upload:
    """The unfinished file behind an address."""
    row_hex, _, secret = address.partition(".")
    try:
        row = Upload.objects.filter(pk=uuid.UUID(row_hex), is_whole=False).first()
    except ValueError:
        row = None
    if row is None or not secrets.compare_digest(row.secret_sha256, _hash(secret)):
        raise Refusal("not_found", "file_not_found", "There is no upload under this address.")
    return row


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _storage_name(row_id: uuid.UUID) -> str:
    return f"uploads/{row_id.hex[-2:]}/{row_id.hex}"


def _piece_name(row_id: uuid.UUID, offset: int) -> str:
    return f"{_storage_name(row_id)}.{offset:012d}"


def _pieces(row: Upload) -> Iterator[str]:
    """The stored pieces of a file that came in some, in order."""
    offset = 0
    while offset < row.received_count and media.exists(name := _piece_name(row.pk, offset)):
        yield name
        offset += media.size(name)


def _file(row: Upload) -> File:
    return File(
        name=row.name,
        purpose=row.purpose,
        filename=row.filename,
        mime_type=row.mime_type,
        byte_count=row.byte_count,
        sha256=row.sha256,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
