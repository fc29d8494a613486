"""Receipts of consent: which event said what, when, and where it came from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from event_schemas.codec import DecodeError, decode
from event_schemas.profile import ConsentChanged
from services.use_cases.wire_time import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentReceipt:
    """One change. `receipt_id` is the id of the event; with its source it names it for good. `said` is what the person
    was asked, by locale, as the strategy has it now; empty where it has no such purpose any more."""

    receipt_id: str
    source: str
    at: str
    purpose: str
    granted: bool
    proof_id: str | None
    said: Mapping[str, str]


def consent_receipts(values: Iterable[bytes], words: Mapping[str, Mapping[str, str]]) -> list[ConsentReceipt]:
    """The receipts among some events, oldest first; an event that came twice gives one."""
    found: dict[tuple[str, str], tuple[int, ConsentReceipt]] = {}
    for value in values:
        try:
            event = decode(value)
        except DecodeError:
            continue
        if isinstance(event, ConsentChanged):
            receipt = ConsentReceipt(
                receipt_id=event.id,
                source=event.source,
                at=rfc3339(event.time_ms),
                purpose=event.data.purpose,
                granted=event.data.granted,
                proof_id=event.data.proof_id,
                said=words.get(event.data.purpose, {}),
            )
            found.setdefault((event.source, event.id), (event.time_ms, receipt))
    return [receipt for _, receipt in sorted(found.values(), key=lambda one: one[0])]


def newest_by_purpose(receipts: Sequence[ConsentReceipt]) -> dict[str, ConsentReceipt]:
    """The receipt that counts for each purpose."""
    return {receipt.purpose: receipt for receipt in receipts}
