"""The triggers of the road: charges are written once, and an output that has ended stays as it ended."""

from __future__ import annotations

from accounts.guards import Guard, Guards, immutable

GUARDS = Guards(
    *immutable("generation_charge", "a charge"),
    Guard(
        "generation_output_final",
        "generation_output",
        "UPDATE",
        "OLD.state IN ('succeeded', 'failed', 'canceled') AND (NEW.state <> OLD.state"
        " OR COALESCE(NEW.price_micros, -1) <> COALESCE(OLD.price_micros, -1))",
        "a finished output is final",
    ),
    Guard(
        "generation_output_quote",
        "generation_output",
        "UPDATE",
        "NEW.quote_micros <> OLD.quote_micros",
        "a quote is never changed",
    ),
    Guard("generation_output_no_delete", "generation_output", "DELETE", "1 = 1", "an output is never deleted"),
    Guard(
        "generation_attempt_mode",
        "generation_attempt",
        "INSERT",
        "NOT EXISTS (SELECT 1 FROM generation_output o JOIN channels_channel c ON c.mode = o.mode"
        " WHERE o.id = NEW.output_id AND c.id = NEW.channel_id"
        " AND (c.account_id IS NULL OR c.account_id = o.account_id))",
        "a channel serves outputs of its own mode, and an own key its own account, only",
    ),
)
