"""Money that moved: `bank.transaction.posted`."""

from typing import Literal

from event_schemas.envelope import (
    Amount,
    Balance,
    BankData,
    Country,
    Currency,
    CustomerEnvelope,
    Identifier,
    ShortText,
    Slug,
)

TransactionKind = Literal[
    "card",
    "transfer_in",
    "transfer_out",
    "salary",
    "cash_deposit",
    "cash_withdrawal",
    "fee",
    "interest",
    "loan_repayment",
    "loan_disbursed",
    "standing_order",
    "fx",
    "securities",
    "qr_payment",
    "utility",
    "insurance",
    "tax",
    "refund",
    "term_deposit",
    "other",
]


class Transaction(BankData):
    """One posting on one account; `amount` is never negative, `direction` says which way it went."""

    account_id: Identifier
    direction: Literal["credit", "debit"]
    amount: Amount
    currency: Currency
    balance_after: Balance | None = None
    kind: TransactionKind
    category: Slug | None = None
    """What it was for: `salary`, `groceries`, `travel`, … (docs/events.md lists the demo bank's words)."""
    counterparty: ShortText | None = None
    counterparty_bank: ShortText | None = None
    own_account: bool | None = None
    """True when the other side is the same person's account at another bank."""
    merchant_country: Country | None = None
    channel: Slug | None = None


class TransactionPosted(CustomerEnvelope):
    """A posting has been booked."""

    type: Literal["bank.transaction.posted"] = "bank.transaction.posted"
    data: Transaction
