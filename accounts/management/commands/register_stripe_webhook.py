"""Have Stripe send its events here, in the version of its API that this release speaks."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import CommandError, CommandParser

from accounts.management.answers import AnsweringCommand
from accounts.payments import connection
from accounts.payments.facts import StripeRefused, StripeUnavailable
from accounts.payments.stripe_gateway import API_VERSION

_PATH = "/webhooks/stripe"


class Command(AnsweringCommand):
    help = "Register https://HOST/webhooks/stripe at Stripe; prints the secret for STRIPE_WEBHOOK_SECRET, once."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("url", help="the site's address, such as https://images.example.org")
        parser.add_argument("--again", action="store_true", help="a second endpoint, for another secret")

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        stripe = connection.current()
        if stripe is None or stripe.fake is not None:
            raise CommandError("Set STRIPE_SECRET_KEY first.")
        url = _address(options["url"])
        try:
            known = [each for each in stripe.gateway.endpoints() if each.url == url]
            if any(each.api_version == API_VERSION for each in known) and not options["again"]:
                raise CommandError(f"{url} is registered. --again makes a second endpoint, with a secret of its own.")
            made = stripe.gateway.make_endpoint(url)
        except (StripeUnavailable, StripeRefused) as error:
            raise CommandError(f"Stripe: {error}") from None
        older = [each.id for each in known]
        return {"id": made.id, "url": made.url, "api_version": made.api_version, "secret": made.secret, "older": older}

    def lines(self, found: dict[str, Any]) -> list[str]:
        told = [
            f"{found['url']} gets events in version {found['api_version']}.",
            f"STRIPE_WEBHOOK_SECRET={found['secret']}",
        ]
        if found["older"]:
            told.append(
                f"Delete {', '.join(found['older'])} at Stripe once the new secret is in force; until then set both, "
                "with a comma between them."
            )
        return told


def _address(text: str) -> str:
    parts = urlsplit(text if "//" in text else f"https://{text}")
    is_loopback = parts.hostname in ("127.0.0.1", "localhost")
    if not parts.hostname or (parts.scheme != "https" and not is_loopback):
        raise CommandError("Give the site's https address, such as https://images.example.org.")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith(_PATH) else path + _PATH}"
