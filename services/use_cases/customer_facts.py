"""What a decision knows of its customer: the state and the ledger as read, and what of them could not be read."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from decision_engine.contact_ledger import ContactRecord, decode_records
from decision_engine.customer import UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.engine import LEDGER_UNAVAILABLE
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.snapshot import read_snapshot
from services.ports import CustomerReading
from services.use_cases.degradation import LEDGER_UNREADABLE, STATE_REBUILDING, STATE_UNAVAILABLE, STATE_UNREADABLE

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerFacts:
    """A customer as read. `ledger` are the bytes of `contacts`, None where there are none or they make no sense;
    `causes` say what is missing and why."""

    snapshot: CustomerSnapshot
    contacts: Sequence[ContactRecord]
    ledger: bytes | None
    causes: tuple[str, ...]


def customer_facts(
    features: CompiledFeatures, reading: CustomerReading | None, missing: Sequence[str], now_ms: int
) -> CustomerFacts:
    """The facts of a reading; without one nothing is known, for the reasons in `missing`. Never raises for what is
    stored."""
    if reading is not None and not reading.complete:
        # A default consent must not stand in for a withdrawal, nor an empty ledger for a refusal, that is still unread.
        return customer_facts(features, None, (STATE_REBUILDING,), now_ms)
    if reading is None:
        causes = (STATE_UNAVAILABLE, LEDGER_UNAVAILABLE, *missing)
        return CustomerFacts(snapshot=UNKNOWN_CUSTOMER, contacts=(), ledger=None, causes=causes)
    snapshot, unread_state = _snapshot(features, reading.state, now_ms)
    contacts, unread_ledger = _contacts(reading.ledger)
    return CustomerFacts(
        snapshot=snapshot,
        contacts=contacts,
        ledger=None if unread_ledger else reading.ledger,
        causes=unread_state + unread_ledger,
    )


def _snapshot(features: CompiledFeatures, state: bytes | None, now_ms: int) -> tuple[CustomerSnapshot, tuple[str, ...]]:
    try:
        return read_snapshot(features, state, now_ms), ()
    except Exception:  # noqa: BLE001 - whatever is wrong with one stored state, its customer gets an answer
        _log.exception("a customer's state could not be read", extra={"action": "read_state"})
        return UNKNOWN_CUSTOMER, (STATE_UNAVAILABLE, STATE_UNREADABLE)


def _contacts(ledger: bytes | None) -> tuple[Sequence[ContactRecord], tuple[str, ...]]:
    try:
        return decode_records(ledger), ()
    except Exception:  # noqa: BLE001 - as above; who cannot be counted is not contacted
        _log.exception("a customer's ledger could not be read", extra={"action": "read_ledger"})
        return (), (LEDGER_UNAVAILABLE, LEDGER_UNREADABLE)
