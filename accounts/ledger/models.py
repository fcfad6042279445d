"""Money as rows: wallets, holds, entries, lots and key budgets, in integer micro-dollars (1 USD = 1,000,000).

The constraints here and the triggers beside them carry the invariants; Python only has to be right once.
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from accounts.ledger.postings import HOLD_KINDS, KINDS
from accounts.models import MODES, Account, ApiKey


class Wallet(models.Model):
    """What an account may spend in one mode. `head_sequence` is the number of its newest entry."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        FROZEN = "frozen"
        CLOSED = "closed"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="wallets")
    mode = models.CharField(max_length=4, choices=MODES)
    currency = models.CharField(max_length=3, default="usd")
    available_micros = models.BigIntegerField(default=0)
    held_micros = models.BigIntegerField(default=0)
    debt_micros = models.BigIntegerField(default=0)
    head_sequence = models.BigIntegerField(default=0)
    status = models.CharField(max_length=6, choices=Status, default=Status.ACTIVE)
    monthly_limit_micros = models.BigIntegerField(null=True, blank=True, help_text="Empty = no limit.")
    low_balance_micros = models.BigIntegerField(null=True, blank=True, help_text="Tell the owners below this.")
    is_low_told = models.BooleanField(default=False, db_default=False, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "mode"], name="wallet_once"),
            models.CheckConstraint(condition=Q(mode__in=("live", "test")), name="wallet_mode"),
            models.CheckConstraint(condition=Q(currency="usd"), name="wallet_currency"),
            models.CheckConstraint(condition=Q(available_micros__gte=0), name="wallet_available"),
            models.CheckConstraint(condition=Q(held_micros__gte=0), name="wallet_held"),
            models.CheckConstraint(condition=Q(debt_micros__gte=0), name="wallet_debt"),
            models.CheckConstraint(condition=Q(status__in=("active", "frozen", "closed")), name="wallet_status"),
        ]

    def __str__(self) -> str:
        return f"{self.mode} wallet of {self.account}"


class BudgetPeriod(models.Model):
    """What one key may spend between two resets. Moved in the transaction of the hold, so the cap is hard."""

    api_key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="budget_periods")
    starts_at = models.DateTimeField()
    limit_micros = models.BigIntegerField()
    reserved_micros = models.BigIntegerField(default=0)
    spent_micros = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["api_key", "starts_at"], name="budget_period_once"),
            models.CheckConstraint(
                condition=Q(reserved_micros__gte=0) & Q(spent_micros__gte=0), name="budget_positive"
            ),
            models.CheckConstraint(
                condition=Q(limit_micros__gte=F("reserved_micros") + F("spent_micros")), name="budget_limit"
            ),
        ]

    def __str__(self) -> str:
        return f"budget of {self.api_key_id} from {self.starts_at:%Y-%m-%d}"


class SpendingPeriod(models.Model):
    """What a wallet with a spending limit reserved and spent in a month. The limit itself is the wallet's."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="spending_periods")
    starts_at = models.DateTimeField()
    reserved_micros = models.BigIntegerField(default=0)
    spent_micros = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["wallet", "starts_at"], name="spending_period_once"),
            models.CheckConstraint(
                condition=Q(reserved_micros__gte=0) & Q(spent_micros__gte=0), name="spending_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"spending of {self.wallet_id} from {self.starts_at:%Y-%m-%d}"


class Hold(models.Model):
    """Money set aside for one output before work starts. It ends once, in a capture or a release.

    `output_id` is opaque here: money has never heard of images.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="holds")
    output_id = models.UUIDField(unique=True)
    budget_period = models.ForeignKey(BudgetPeriod, null=True, on_delete=models.PROTECT, related_name="holds")
    authorized_micros = models.BigIntegerField()
    captured_micros = models.BigIntegerField(default=0)
    released_micros = models.BigIntegerField(default=0)
    state = models.CharField(max_length=8, default="open")
    created_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["wallet"], condition=Q(state="open"), name="hold_open")]
        constraints = [
            models.CheckConstraint(condition=Q(authorized_micros__gt=0), name="hold_authorized"),
            models.CheckConstraint(
                name="hold_state",
                condition=Q(state="open", captured_micros=0, released_micros=0, settled_at=None)
                | Q(
                    state="captured",
                    captured_micros__gt=0,
                    released_micros__gte=0,
                    authorized_micros=F("captured_micros") + F("released_micros"),
                    settled_at__isnull=False,
                )
                | Q(
                    state="released",
                    captured_micros=0,
                    released_micros=F("authorized_micros"),
                    settled_at__isnull=False,
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.state} hold {self.pk}"


def _legal_postings() -> Q:
    legal = Q()
    for kind, sides in KINDS.items():
        legal |= Q(kind=kind, source=sides.source, destination=sides.destination)
    return legal


class Entry(models.Model):
    """One movement: a debit and a credit in one row, never changed. `*_after` lets a reader check with a pencil."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="entries")
    sequence = models.BigIntegerField()
    kind = models.CharField(max_length=16, choices=[(kind, kind) for kind in KINDS])
    source = models.CharField(max_length=12)
    destination = models.CharField(max_length=12)
    amount_micros = models.BigIntegerField()
    available_after_micros = models.BigIntegerField()
    held_after_micros = models.BigIntegerField()
    debt_after_micros = models.BigIntegerField()
    hold = models.ForeignKey(Hold, null=True, on_delete=models.PROTECT, related_name="entries")
    idempotency_key = models.CharField(max_length=120, unique=True)
    actor = models.CharField(max_length=254, blank=True, default="")
    reason = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "entries"
        indexes = [models.Index(fields=["kind", "created_at"], name="entry_kind_time")]
        constraints = [
            models.UniqueConstraint(fields=["wallet", "sequence"], name="entry_sequence_once"),
            models.UniqueConstraint(
                fields=["hold", "kind"], condition=Q(hold__isnull=False), name="entry_hold_kind_once"
            ),
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="entry_amount"),
            models.CheckConstraint(
                condition=Q(available_after_micros__gte=0, held_after_micros__gte=0, debt_after_micros__gte=0),
                name="entry_after",
            ),
            models.CheckConstraint(condition=_legal_postings(), name="entry_posting"),
            models.CheckConstraint(
                condition=Q(hold__isnull=False, kind__in=HOLD_KINDS) | (Q(hold__isnull=True) & ~Q(kind__in=HOLD_KINDS)),
                name="entry_hold",
            ),
        ]

    @property
    def public_id(self) -> str:
        return f"ent_{self.pk}"

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_micros}"


class Lot(models.Model):
    """Money that came in together, used up first-expiring first."""

    class Kind(models.TextChoices):
        PAID = "paid"
        PROMOTIONAL = "promotional"
        GOODWILL = "goodwill"

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="lots")
    entry = models.OneToOneField(Entry, on_delete=models.PROTECT, related_name="lot")
    kind = models.CharField(max_length=12, choices=Kind)
    granted_micros = models.BigIntegerField()
    remaining_micros = models.BigIntegerField()
    priority = models.SmallIntegerField(default=100)
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["wallet", "priority", "expires_at", "id"],
                condition=Q(remaining_micros__gt=0),
                name="lot_usable",
            ),
            models.Index(
                fields=["expires_at"],
                condition=Q(remaining_micros__gt=0, expires_at__isnull=False),
                name="lot_expiring",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(granted_micros__gt=0), name="lot_granted"),
            models.CheckConstraint(
                condition=Q(remaining_micros__gte=0) & Q(remaining_micros__lte=F("granted_micros")),
                name="lot_remaining",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} lot {self.pk}"


class LotUse(models.Model):
    """How much of a lot an entry used up. Never changed."""

    entry = models.ForeignKey(Entry, on_delete=models.PROTECT, related_name="lot_uses")
    lot = models.ForeignKey(Lot, on_delete=models.PROTECT, related_name="uses")
    amount_micros = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["entry", "lot"], name="lot_use_once"),
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="lot_use_amount"),
        ]

    def __str__(self) -> str:
        return f"{self.amount_micros} of lot {self.lot_id}"
