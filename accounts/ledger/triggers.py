"""The triggers of the ledger: what a CHECK cannot say because it compares with the row before."""

from __future__ import annotations

from accounts.guards import Guard, Guards, immutable

_WALLET = "SELECT 1 FROM ledger_wallet w WHERE w.id = NEW.wallet_id"
_PRIOR = "SELECT 1 FROM ledger_entry p WHERE p.wallet_id = NEW.wallet_id AND p.sequence = NEW.sequence - 1"


def _moved(column: str, side: str, sign: int) -> str:
    into, out_of = ("destination", "source") if sign > 0 else ("source", "destination")
    change = (
        f"CASE WHEN NEW.{into} = '{side}' THEN NEW.amount_micros"
        f" WHEN NEW.{out_of} = '{side}' THEN -NEW.amount_micros ELSE 0 END"
    )
    return f"NEW.{column}_after_micros = p.{column}_after_micros + ({change})"


_CHAINED = " AND ".join([_moved("available", "available", 1), _moved("held", "held", 1), _moved("debt", "debt", -1)])
_FIRST = "NEW.sequence = 1"
_IS_HEAD = (
    "w.head_sequence = NEW.sequence AND w.available_micros = NEW.available_after_micros"
    " AND w.held_micros = NEW.held_after_micros AND w.debt_micros = NEW.debt_after_micros"
)

GUARDS = Guards(
    *immutable("ledger_entry", "a ledger entry"),
    *immutable("ledger_lotuse", "the use of a lot"),
    # Each entry continues the one before it, and the newest equals the wallet: journal and balance cannot part.
    Guard(
        "ledger_entry_chained",
        "ledger_entry",
        "INSERT",
        f"NOT ({_FIRST}) AND NOT EXISTS ({_PRIOR} AND {_CHAINED})",
        "a ledger entry must continue the one before it",
    ),
    Guard(
        "ledger_entry_first",
        "ledger_entry",
        "INSERT",
        f"{_FIRST} AND (NEW.available_after_micros <> NEW.amount_micros OR NEW.held_after_micros <> 0"
        " OR NEW.debt_after_micros <> 0)",
        "the first entry of a wallet brings money in",
    ),
    Guard(
        "ledger_entry_head",
        "ledger_entry",
        "INSERT",
        f"NOT EXISTS ({_WALLET} AND (w.head_sequence > NEW.sequence OR ({_IS_HEAD})))",
        "a ledger entry must agree with its wallet",
    ),
    Guard(
        "ledger_wallet_stale",
        "ledger_wallet",
        "UPDATE",
        "(NEW.available_micros <> OLD.available_micros OR NEW.held_micros <> OLD.held_micros"
        " OR NEW.debt_micros <> OLD.debt_micros OR NEW.head_sequence <> OLD.head_sequence)"
        " AND NEW.head_sequence <= OLD.head_sequence",
        "a balance moves only together with a new entry",
    ),
    Guard(
        "ledger_wallet_identity",
        "ledger_wallet",
        "UPDATE",
        "NEW.account_id <> OLD.account_id OR NEW.mode <> OLD.mode OR NEW.currency <> OLD.currency",
        "a wallet keeps its owner, mode and currency",
    ),
    Guard("ledger_wallet_no_delete", "ledger_wallet", "DELETE", "1 = 1", "a wallet is never deleted"),
    Guard(
        "ledger_hold_final",
        "ledger_hold",
        "UPDATE",
        "OLD.state <> 'open' OR NEW.authorized_micros <> OLD.authorized_micros OR NEW.wallet_id <> OLD.wallet_id"
        " OR NEW.output_id <> OLD.output_id",
        "a settled hold is final and an open one keeps its amount",
    ),
    Guard("ledger_hold_no_delete", "ledger_hold", "DELETE", "1 = 1", "a hold is never deleted"),
    Guard("ledger_lot_no_delete", "ledger_lot", "DELETE", "1 = 1", "a lot is never deleted"),
    Guard(
        "ledger_lot_identity",
        "ledger_lot",
        "UPDATE",
        "NEW.granted_micros <> OLD.granted_micros OR NEW.wallet_id <> OLD.wallet_id",
        "a lot keeps its amount and wallet",
    ),
)
