"""Graded signals on companies: `bank.business.signal`."""

from datetime import date
from typing import Literal

from event_schemas.envelope import Amount, BankData, Currency, CustomerEnvelope, Identifier, LongText, ShortText, Slug


class Signal(BankData):
    """Something happened at a company: a bid won, capital raised, a lawsuit. `grade` A is worth most."""

    signal: Slug
    grade: Literal["A", "B", "C", "D"]
    direction: Literal["positive", "negative"]
    amount: Amount | None = None
    currency: Currency | None = None
    counterparty: ShortText | None = None
    industry: Slug | None = None
    region: Slug | None = None
    effective_on: date | None = None
    expires_on: date | None = None
    reference: Identifier | None = None
    summary: LongText | None = None


class SignalRaised(CustomerEnvelope):
    """A signal on a company came in."""

    type: Literal["bank.business.signal"] = "bank.business.signal"
    data: Signal
