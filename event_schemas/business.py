"""Graded signals on companies: `bank.business.signal`."""

from datetime import date
from typing import Literal

from pydantic import model_validator

from event_schemas.business_signals import SIGNAL_KINDS, Direction, Grade, SignalType
from event_schemas.envelope import Amount, BankData, Currency, CustomerEnvelope, Identifier, LongText, ShortText, Slug


class Signal(BankData):
    """Something happened at a company: a bid won, capital raised, a lawsuit. `SIGNAL_KINDS` says what grade a type
    usually has; a direction that contradicts the type is refused."""

    signal: SignalType
    grade: Grade
    direction: Direction
    amount: Amount | None = None
    currency: Currency | None = None
    counterparty: ShortText | None = None
    industry: Slug | None = None
    region: Slug | None = None
    effective_on: date | None = None
    expires_on: date | None = None
    reference: Identifier | None = None
    summary: LongText | None = None

    @model_validator(mode="after")
    def _agrees(self) -> "Signal":
        usual = SIGNAL_KINDS[self.signal].direction
        if self.direction != usual:
            raise ValueError(f"direction: this type of signal is {usual}")
        return self


class SignalRaised(CustomerEnvelope):
    """A signal on a company came in."""

    type: Literal["bank.business.signal"] = "bank.business.signal"
    data: Signal
