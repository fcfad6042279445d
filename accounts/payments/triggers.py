"""The triggers of payments: a payment keeps what it is for, its mode is its wallet's, and what is over stays over."""

from __future__ import annotations

from accounts.guards import Guard, Guards, immutable

_SAME_MODE = "SELECT 1 FROM ledger_wallet w WHERE w.id = NEW.wallet_id AND (w.mode = 'live') = NEW.livemode"
_OWN_WALLET = (
    "SELECT 1 FROM payments_payment p JOIN ledger_entry e ON e.wallet_id = p.wallet_id"
    " WHERE p.id = NEW.payment_id AND e.id = NEW.entry_id"
)

GUARDS = Guards(
    *immutable("payments_paymententry", "the origin of an entry"),
    Guard(
        "payments_entry_wallet",
        "payments_paymententry",
        "INSERT",
        f"NOT EXISTS ({_OWN_WALLET})",
        "an entry stems from a payment into its own wallet",
    ),
    Guard(
        "payments_payment_mode",
        "payments_payment",
        "INSERT",
        f"NOT EXISTS ({_SAME_MODE})",
        "a payment credits the wallet of its own mode",
    ),
    Guard(
        "payments_payment_identity",
        "payments_payment",
        "UPDATE",
        "NEW.wallet_id <> OLD.wallet_id OR NEW.livemode <> OLD.livemode OR NEW.amount_cents <> OLD.amount_cents"
        " OR NEW.credit_micros <> OLD.credit_micros OR NEW.bonus_micros <> OLD.bonus_micros OR NEW.kind <> OLD.kind",
        "a payment keeps its wallet, mode and amounts",
    ),
    Guard(
        "payments_payment_final",
        "payments_payment",
        "UPDATE",
        "OLD.state = 'succeeded' AND NEW.state <> 'succeeded'",
        "a credited payment stays credited",
    ),
    Guard("payments_payment_no_delete", "payments_payment", "DELETE", "1 = 1", "a payment is never deleted"),
    Guard(
        "payments_refund_identity",
        "payments_refund",
        "UPDATE",
        "NEW.payment_id <> OLD.payment_id OR NEW.amount_cents <> OLD.amount_cents"
        " OR NEW.credit_micros <> OLD.credit_micros OR NEW.revoked_micros <> OLD.revoked_micros"
        " OR (OLD.state = 'failed' AND NEW.state <> 'failed')",
        "a refund keeps its amounts, and a failed one stays failed",
    ),
    Guard("payments_refund_no_delete", "payments_refund", "DELETE", "1 = 1", "a refund is never deleted"),
    Guard("payments_dispute_no_delete", "payments_dispute", "DELETE", "1 = 1", "a dispute is never deleted"),
)
