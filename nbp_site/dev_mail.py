"""Mails of a development installation, readable in the browser. Never part of production's URLs."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

_SHOWN = 50


def _messages(file: Path) -> list[EmailMessage]:
    raw = file.read_bytes().split(b"-" * 79 + b"\n")
    return [email.message_from_bytes(part, policy=email.policy.default) for part in raw if part.strip()]


def _shown(message: EmailMessage) -> dict[str, Any]:
    body = message.get_body(preferencelist=("plain", "html"))
    return {
        "to": message["To"],
        "subject": message["Subject"],
        "date": message["Date"],
        "body": body.get_content() if body is not None else "",
    }


def mails(request: HttpRequest) -> HttpResponse:
    """The newest mails first, whole."""
    folder = Path(settings.NBP_DATA_DIR) / "mail"
    files = sorted(folder.glob("*.log"), key=lambda file: file.stat().st_mtime, reverse=True)[:_SHOWN]
    found = [_shown(message) for file in files for message in reversed(_messages(file))]
    return render(request, "dev/mail.html", {"mails": found})


urlpatterns = [path("", mails, name="dev-mail")]
