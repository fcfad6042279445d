"""An account's customer at Stripe: made when it is first needed, one for each mode."""

from __future__ import annotations

import hashlib
from datetime import datetime

from accounts.models import Account, Membership
from accounts.payments.models import Customer
from accounts.payments.stripe_gateway import StripeGateway
from accounts.transactions import write_transaction


def known_customer(account: Account, *, livemode: bool) -> str:
    """The customer's id, or an empty text before the first top-up."""
    row = Customer.objects.filter(account=account, livemode=livemode).first()
    return row.stripe_customer_id if row else ""


def customer_of(account: Account, gateway: StripeGateway, *, now: datetime) -> str:
    """The customer's id. Raises StripeUnavailable or StripeRefused."""
    known = known_customer(account, livemode=gateway.livemode)
    if known:
        return known
    owner = Membership.objects.filter(account=account, role=Membership.Role.OWNER).order_by("created_at", "id").first()
    email = owner.user.email if owner else ""
    # The key travels in a header, which takes no address beyond ASCII.
    digest = hashlib.sha256(email.encode()).hexdigest()[:16]
    made = gateway.make_customer(
        account_id=account.public_id, email=email, name=account.name, key=f"customer:{account.pk}:{digest}"
    )
    with write_transaction():
        Customer.objects.get_or_create(
            account=account, livemode=gateway.livemode, defaults={"stripe_customer_id": made, "created_at": now}
        )
    return known_customer(account, livemode=gateway.livemode)


def forget_customer(stripe_customer_id: str) -> None:
    """Stripe does not know this customer."""
    Customer.objects.filter(stripe_customer_id=stripe_customer_id).delete()
