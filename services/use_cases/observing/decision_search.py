"""Recorded decisions by what is known of them: the newest first, a page at a time, within bounds that are told.

The archive holds whole records by day, not an index of them. A search looks back from the end of its period until it
has a page, the period ends, or its time is up; how far it came is part of its answer, so that nobody takes "none found"
for "none there".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

import orjson

from decision_engine.identifiers import CustomerId
from services.ports import ShellError
from services.use_cases.decision_record import RecordUnreadable, record_data
from services.use_cases.wire_time import epoch_ms, rfc3339

PAGE = 50
"""Decisions a page."""
MOST_DAYS = 31
"""The longest period of one search."""
DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
"""Whole days are an hour longer where clocks are put back."""
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_TRACKING = re.compile(r"([0-7][0-9A-HJKMNP-TV-Z]{25})\.(\d{1,4})")
_CUSTOMER = re.compile(r"(retail|corp):[A-Za-z0-9_-]{1,64}")
_NUMBER = re.compile(r"\d{1,18}")
_REQUEST = re.compile(r"[!-~]{1,128}")
"""As clients may name their requests."""


class SearchInvalid(ShellError):
    """A search that cannot be made. `field` is at fault, `code` says how."""

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.code = code


class Asked(StrEnum):
    """What the text of a search box names."""

    NOTHING = "nothing"
    DECISION = "decision"
    TRACKING = "tracking"
    CUSTOMER = "customer"
    REQUEST = "request"


class Place(NamedTuple):
    """Where a decision stands in the order of a search: its moment, then its id."""

    at_ms: int
    decision_id: str

    def __str__(self) -> str:
        return f"{self.at_ms}.{self.decision_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionQuery:
    """Decisions from `since_ms` until `until_ms` (epoch milliseconds, exclusive) that are all of what is given; empty
    is anything. `channels` are those the asker may know of (None: all). `before` is where the page before ended."""

    since_ms: int
    until_ms: int
    customer_id: str = ""
    request_id: str = ""
    channel: str = ""
    offer: str = ""
    arm: str = ""
    strategy_version: str = ""
    degraded: bool = False
    fallback: bool = False
    channels: frozenset[str] | None = None
    before: Place | None = None
    most: int = PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundOption:
    """An option that was offered."""

    offer: str
    treatment: str
    tracking_id: str
    placement: str
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDecision:
    """A decision in a list. `fallbacks` are the causes of the placements that had nothing to offer."""

    decision_id: str
    time: str
    customer_id: str
    channel: str
    client: str | None
    request_id: str | None
    strategy_version: str
    arm: str
    personalised: bool
    degraded_causes: tuple[str, ...]
    options: tuple[FoundOption, ...]
    fallbacks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogScan:
    """What to look for in the log of decisions: newest first, of a customer where one is named, with all of these
    texts somewhere in the record (JSON strings with their quotes, patterns in RE2); `take` has the last word, and makes
    of a record what is wanted, or None."""

    since_ms: int
    until_ms: int
    subject: str
    texts: tuple[str, ...]
    patterns: tuple[str, ...]
    take: Callable[[bytes], FoundDecision | None]
    before: Place | None
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanAnswer:
    """What was found, the newest first. Nothing newer than `complete_since_ms` is missing (None: nothing at all is).
    `reaches_ms` is the moment of the newest record there is in the period, if any; `looked_at` counts records."""

    found: tuple[FoundDecision, ...]
    more: bool
    looked_at: int
    complete_since_ms: int | None
    reaches_ms: int | None


class DecisionLog(Protocol):
    """The archive, searched within a time and beside decisions. Raises ArchiveBusy."""

    async def newest(self, scan: LogScan) -> ScanAnswer:
        """The newest records that the scan takes."""
        ...

    async def responses(self, decision_id: str, since_ms: int, until_ms: int) -> tuple[Sequence[bytes], bool]:
        """The response events to a decision's options, and whether these are all of the period."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDecisions:
    """A page of a search. `older` is where the next one begins (None: there is none); for the rest see ScanAnswer."""

    decisions: tuple[FoundDecision, ...]
    older: Place | None
    looked_at: int
    complete_since_ms: int | None
    reaches_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchDecisions:
    """Searches the archive."""

    log: DecisionLog

    async def __call__(self, query: DecisionQuery) -> FoundDecisions:
        """A page. Raises SearchInvalid, ArchiveBusy."""
        require_sound(query)
        tokens = (query.request_id, query.channel, query.offer, query.arm, query.strategy_version)
        needed = ("fallback_cause",) * query.fallback
        scan = LogScan(
            since_ms=query.since_ms,
            until_ms=query.until_ms if query.before is None else min(query.until_ms, query.before.at_ms + 1),
            subject=query.customer_id,
            texts=tuple(orjson.dumps(token).decode() for token in (*tokens, *needed) if token),
            patterns=(r'"degraded_causes":\s*\[\s*"',) * query.degraded,
            take=lambda record: _taken(record, query),
            before=query.before,
            most=query.most,
        )
        answer = await self.log.newest(scan)
        last = answer.found[-1] if answer.found else None
        return FoundDecisions(
            decisions=answer.found,
            older=Place(epoch_ms(last.time), last.decision_id) if last is not None and answer.more else None,
            looked_at=answer.looked_at,
            complete_since_ms=answer.complete_since_ms,
            reaches_ms=answer.reaches_ms,
        )


def require_sound(query: DecisionQuery) -> None:
    """Raises SearchInvalid naming the first field at fault."""
    if query.since_ms >= query.until_ms:
        raise SearchInvalid("from", "order", "must lie before `to`")
    if query.until_ms - query.since_ms > MOST_DAYS * DAY_MS + _HOUR_MS:
        raise SearchInvalid("from", "too_long", f"at most {MOST_DAYS} days before `to`")
    if query.customer_id and not _CUSTOMER.fullmatch(query.customer_id):
        raise SearchInvalid("customer_id", "form", "a kind and a number, such as retail:1787 or corp:12")
    named = {
        "request_id": query.request_id,
        "channel": query.channel,
        "offer": query.offer,
        "arm": query.arm,
        "strategy_version": query.strategy_version,
    }
    for field, text in named.items():
        if text and not _REQUEST.fullmatch(text):
            raise SearchInvalid(field, "form", "1 to 128 visible ASCII characters")


def recognised(text: str) -> tuple[Asked, str]:
    """What a text names: a decision, one of its options, a customer (a bare number is a retail customer's), or
    whatever else a client called its request."""
    text = text.strip()
    if not text:
        return Asked.NOTHING, ""
    if _ULID.fullmatch(text.upper()):
        return Asked.DECISION, text.upper()
    if (tracking := _TRACKING.fullmatch(text.upper())) is not None:
        return Asked.TRACKING, f"{tracking[1]}.{tracking[2]}"
    if _CUSTOMER.fullmatch(text):
        return Asked.CUSTOMER, text
    if _NUMBER.fullmatch(text):
        return Asked.CUSTOMER, CustomerId(f"retail:{text}")
    return Asked.REQUEST, text


def place_of(text: str) -> Place:
    """A place as it was given out. Raises SearchInvalid."""
    at, _, decision_id = text.partition(".")
    if not at.isdecimal() or len(at) > 15 or not _REQUEST.fullmatch(decision_id):
        raise SearchInvalid("before", "form", "not where a page of this search ended")
    return Place(int(at), decision_id)


def _taken(record: bytes, query: DecisionQuery) -> FoundDecision | None:
    try:
        found = found_decision(record_data(record))
    except (RecordUnreadable, KeyError, TypeError, ValueError):
        return None  # a damaged record is no reason to find none of the others
    named = (
        (query.customer_id, found.customer_id),
        (query.request_id, found.request_id),
        (query.channel, found.channel),
        (query.arm, found.arm),
        (query.strategy_version, found.strategy_version),
    )
    fits = all(asked == has for asked, has in named if asked)
    fits = fits and (not query.offer or any(option.offer == query.offer for option in found.options))
    fits = fits and (not query.degraded or bool(found.degraded_causes))
    fits = fits and (not query.fallback or bool(found.fallbacks))
    return found if fits and (query.channels is None or found.channel in query.channels) else None


def found_decision(data: Mapping[str, object]) -> FoundDecision:
    """A record's data as a list shows it. Raises KeyError, TypeError, ValueError."""
    placements = [_mapping(placement) for placement in _sequence(data.get("placements"))]
    return FoundDecision(
        decision_id=str(data["decision_id"]),
        time=rfc3339(epoch_ms(str(data["time"]))),
        customer_id=str(data["customer_id"]),
        channel=str(data["channel"]),
        client=_text(data.get("client")),
        request_id=_text(data.get("request_id")),
        strategy_version=str(data["strategy_version"]),
        arm=str(data["arm"]),
        personalised=bool(data.get("personalised")),
        degraded_causes=tuple(str(cause) for cause in _sequence(data.get("degraded_causes"))),
        options=tuple(
            FoundOption(
                offer=str(option["offer"]),
                treatment=str(option["treatment"]),
                tracking_id=str(option["tracking_id"]),
                placement=str(placement["id"]),
                rank=int(str(option["rank"])),
            )
            for placement in placements
            for option in map(_mapping, _sequence(placement.get("options")))
        ),
        fallbacks=tuple(str(p["fallback_cause"]) for p in placements if p.get("fallback_cause") is not None),
    )


def _text(found: object) -> str | None:
    return None if found is None else str(found)


def _mapping(found: object) -> Mapping[str, object]:
    if not isinstance(found, dict):
        raise TypeError("an object is missing")
    return found


def _sequence(found: object) -> Sequence[object]:
    return found if isinstance(found, list) else ()
