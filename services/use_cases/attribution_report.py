"""What conversions of a period are credited to: by offer, treatment, channel or arm, under either model.

Conversions come as they were archived, corrections among them: of each only the highest revision counts, and none that
belongs to an earlier one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import orjson

from services.ports import ShellError

MOST_CONVERSIONS = 1_000_000
"""So many are held in memory at once: some hundred bytes each."""
UNKNOWN = "unknown"
"""The arm of a touch whose decision was not known."""


class CreditedBy(StrEnum):
    """What a row of the report is about."""

    OFFER = "offer"
    TREATMENT = "treatment"
    CHANNEL = "channel"
    ARM = "arm"


class CreditModel(StrEnum):
    """How a conversion is split among the touches before it."""

    LAST_TOUCH = "last_touch"
    SHARED = "shared"


class ReportTooLarge(ShellError):
    """The period has more conversions than one report can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionQuery:
    """Conversions from `since_ms` until `until_ms` (exclusive, epoch milliseconds), and how to count them. With
    `channels` only what touches in these earned is shown."""

    since_ms: int
    until_ms: int
    by: CreditedBy
    model: CreditModel
    channels: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditRow:
    """What one offer, treatment, channel or arm earned: conversions (a sum of shares), their value in minor units, and
    how many touches that took."""

    name: str
    conversions: float
    value: int
    touches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionReport:
    """The rows, the largest first, and their sums. `unreadable` are records that could not be counted."""

    rows: tuple[CreditRow, ...]
    conversions: float
    value: int
    unreadable: int = 0


class AttributionReports(Protocol):
    """Answers queries off the event loop. Raises ReportTooLarge, ArchiveBusy."""

    async def attribution(self, query: AttributionQuery) -> AttributionReport: ...


_Credit = tuple[str, float, int]
"""Name, share, worth of the whole conversion."""


def report(events: Iterable[bytes], query: AttributionQuery) -> AttributionReport:
    """The report over the conversions of the period, in any order and with any repeats. Raises ReportTooLarge."""
    newest: dict[str, tuple[int, tuple[_Credit, ...]]] = {}
    unreadable = 0
    for value in events:
        try:
            data = orjson.loads(value)["data"]
            name, revision = str(data["conversion_id"]), int(data["revision"])
            if revision > newest.get(name, (-1,))[0]:
                newest[name] = (revision, _credits(data, query))
        except (ValueError, KeyError, TypeError):
            unreadable += 1
        if len(newest) > MOST_CONVERSIONS:
            raise ReportTooLarge(f"more than {MOST_CONVERSIONS} conversions lie between these times")
    return _summed((credit for _, found in newest.values() for credit in found), unreadable)


def _credits(data: Mapping[str, Any], query: AttributionQuery) -> tuple[_Credit, ...]:
    if not data["counted"]:
        return ()
    return tuple(
        (str(credit.get(query.by, UNKNOWN)), float(credit[query.model]), int(credit["value"]))
        for credit in data["credits"]
        if credit[query.model] > 0 and (query.channels is None or credit["channel"] in query.channels)
    )


def _summed(credits_found: Iterable[_Credit], unreadable: int) -> AttributionReport:
    sums: dict[str, list[float]] = {}
    for name, share, value in credits_found:
        row = sums.setdefault(name, [0.0, 0.0, 0])
        row[0] += share
        row[1] += share * value
        row[2] += 1
    rows = [
        CreditRow(name=name, conversions=round(shares, 6), value=round(value), touches=int(touches))
        for name, (shares, value, touches) in sums.items()
    ]
    return AttributionReport(
        rows=tuple(sorted(rows, key=lambda row: (-row.conversions, row.name))),
        conversions=round(sum(shares for shares, _, _ in sums.values()), 6),
        value=round(sum(value for _, value, _ in sums.values())),
        unreadable=unreadable,
    )
