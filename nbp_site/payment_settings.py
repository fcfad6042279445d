"""Settings of payments and promotions; a part of `nbp_site.settings`."""

from __future__ import annotations

import sys

from django.core.exceptions import ImproperlyConfigured

from nbp_site.environment import IS_DEVELOPMENT, env

STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="")
# Two are in force while one is rotated.
STRIPE_WEBHOOK_SECRETS = env.list("STRIPE_WEBHOOK_SECRET", default=[])
NBP_STRIPE_API_BASE = env.str("NBP_STRIPE_API_BASE", default="")
NBP_STRIPE_TAX = env.bool("NBP_STRIPE_TAX", default=False)
NBP_STRIPE_TAX_CODE = env.str("NBP_STRIPE_TAX_CODE", default="txcd_10103000")
NBP_TOP_UP_OFFERS_CENTS = env.list("NBP_TOP_UP_OFFERS_CENTS", cast=int, default=[1_000, 2_500, 5_000, 10_000])
NBP_TOP_UP_MINIMUM_CENTS = env.int("NBP_TOP_UP_MINIMUM_CENTS", default=500)
NBP_TOP_UP_MAXIMUM_CENTS = env.int("NBP_TOP_UP_MAXIMUM_CENTS", default=100_000)
NBP_TOP_UPS_PER_HOUR = env.int("NBP_TOP_UPS_PER_HOUR", default=10)
NBP_TOP_UP_FAILURES_PER_DAY = env.int("NBP_TOP_UP_FAILURES_PER_DAY", default=10)
NBP_SIGNUP_CREDIT_MICROS = env.int("NBP_SIGNUP_CREDIT_MICROS", default=0)
NBP_SIGNUP_CREDIT_DAYS = env.int("NBP_SIGNUP_CREDIT_DAYS", default=30)
NBP_SIGNUP_CREDIT_NEEDS_CARD = env.bool("NBP_SIGNUP_CREDIT_NEEDS_CARD", default=True)
NBP_SIGNUP_CREDITS_PER_NETWORK = env.int("NBP_SIGNUP_CREDITS_PER_NETWORK", default=2)
NBP_SIGNUP_CREDITS_PER_DOMAIN = env.int("NBP_SIGNUP_CREDITS_PER_DOMAIN", default=50)
NBP_RETENTION_EVENT_DAYS = env.int("NBP_RETENTION_EVENT_DAYS", default=90)
NBP_SELF_REFUND_DAYS = env.int("NBP_SELF_REFUND_DAYS", default=0)

# A key without a webhook's secret would have to believe anybody.
_is_making_one = "register_stripe_webhook" in sys.argv[1:2]
if STRIPE_SECRET_KEY and not STRIPE_WEBHOOK_SECRETS and not IS_DEVELOPMENT and not _is_making_one:
    raise ImproperlyConfigured(
        "STRIPE_SECRET_KEY is set without STRIPE_WEBHOOK_SECRET. manage.py register_stripe_webhook makes one."
    )
if STRIPE_SECRET_KEY and not STRIPE_SECRET_KEY.startswith(("sk_test_", "sk_live_", "rk_test_", "rk_live_")):
    raise ImproperlyConfigured("STRIPE_SECRET_KEY must begin with sk_test_, sk_live_, rk_test_ or rk_live_.")
if NBP_STRIPE_API_BASE and not IS_DEVELOPMENT:
    raise ImproperlyConfigured("NBP_STRIPE_API_BASE is for development: it sends Stripe's key somewhere else.")

# Where people are sent to pay, and to see their cards.
STRIPE_PAGES: list[str] = []
if NBP_STRIPE_API_BASE:
    STRIPE_PAGES = [NBP_STRIPE_API_BASE]
elif STRIPE_SECRET_KEY:
    STRIPE_PAGES = ["https://checkout.stripe.com", "https://billing.stripe.com"]
