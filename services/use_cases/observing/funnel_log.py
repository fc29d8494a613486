"""What the log says of a period's requests, as columns small enough to be cut by channel and offer at will.

Requests are those decided in the period; an option's responses count whenever they came. Seen is what any response
shows to have been seen, accepted what was accepted or converted: as attribution and volumes count them. Of a period
with more requests than `MOST_REQUESTS` a sample is read, the same one every time: a hash of the decision's id decides.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import orjson
from numpy.typing import NDArray

from decision_engine.outcomes import ContactStatus, Outcome, status_of
from decision_engine.prepared import PreparedStrategy
from services.ports import ShellError
from services.use_cases.observing.funnel_candidates import (
    CandidateTally,
    End,
    Ends,
    EndsUnreadable,
    coded_ends,
    listed_ends,
)
from services.use_cases.wire_time import epoch_ms

Numbers = NDArray[np.int64]
Amounts = NDArray[np.float64]
Flags = NDArray[np.bool_]
StrategyOf = Callable[[str], PreparedStrategy | None]
"""The strategy of a version; None when it is not kept, and then its decisions are counted without their candidates."""

MOST_REQUESTS = 50_000
"""Read within ten to twenty seconds; the interval of a rate over as many is half a percent at most."""
NOT_TOLD = -1


class LogTooLarge(ShellError):
    """The period's part of the archive is too large to be read for a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """One entry a request. `best` is the highest priority offered, minor units (nan: nothing with one); `cause` the
    place of its fallback cause in the log's `causes` (-1: something was offered), `reach` the place in `ends` of how
    far the best candidates came (-1: not told); `member` per segment 1 in it, 0 not, -1 not told."""

    channel: Numbers
    day: Numbers
    customer: Numbers
    best: Amounts
    mandatory: Flags
    cause: Numbers
    reach: Numbers
    member: NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One entry an option offered. `status` are bits of `ContactStatus`; `value` minor units (nan: not known)."""

    channel: Numbers
    day: Numbers
    offer: Numbers
    treatment: Numbers
    status: Numbers
    propensity: Amounts
    value: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelLog:
    """A period's requests. Names are told once and meant by their place. `share` of the requests was read; `unreadable`
    records could not be, `unexplained` ones were read without their candidates; `newest_ms` is the newest moment that
    the archive has of decisions or responses."""

    channels: tuple[str, ...]
    offers: tuple[str, ...]
    treatments: tuple[str, ...]
    causes: tuple[str, ...]
    segments: tuple[str, ...]
    ends: tuple[End, ...]
    requests: Requests
    options: Options
    candidates: tuple[tuple[str, str, End, int], ...]
    """Channel, offer, end, how many."""
    befallen: tuple[tuple[str, End, int], ...]
    """Channel, end, requests in which it befell any candidate."""
    models: tuple[tuple[str, str, str, int], ...]
    """Channel, model, version that scored, requests."""
    share: float = 1.0
    unreadable: int = 0
    unexplained: int = 0
    newest_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is to be read: when each day begins and, last, the period ends (epoch milliseconds), the segments to tell
    apart, and where strategies are found."""

    starts_ms: Sequence[int]
    segments: Mapping[str, str]
    """Segment to the attribute that says who belongs to it."""
    strategy_of: StrategyOf
    share: float = 1.0


def sampled(decision_id: str, share: float) -> bool:
    """Whether the decision belongs to the sample of that share."""
    return share >= 1.0 or crc32(decision_id.encode()) < share * 2**32


@dataclass(slots=True)
class _Places:
    """Names and their places, in the order they came."""

    of: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> int:
        """The name's place, a new one for a new name."""
        return self.of.setdefault(name, len(self.of))

    def names(self) -> tuple[str, ...]:
        """By place."""
        return tuple(self.of)


@dataclass(frozen=True, slots=True)
class _Strategy:
    prepared: PreparedStrategy
    names: tuple[str, ...]
    values: Mapping[str, float]


class FunnelFold:
    """Takes decisions, then responses, as published; in any order within each, with any repeats."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._starts = np.array(reading.starts_ms, np.int64)
        self._strategies: dict[str, _Strategy | None] = {}
        self._seen: set[str] = set()
        self._channels, self._offers, self._treatments = _Places(), _Places(), _Places()
        self._causes, self._customers = _Places(), _Places()
        self._ends: dict[End, int] = {}
        self._rows: list[tuple[int, int, int, float, bool, int, int]] = []
        self._members: list[list[int]] = []
        self._options: list[tuple[int, int, int, int, float, float]] = []
        self._status: list[int] = []
        self._place_of: dict[str, int] = {}
        self._tally = CandidateTally()
        self._models: dict[tuple[str, str, str], int] = {}
        self._unreadable = self._unexplained = self._newest_ms = 0

    def add_decision(self, value: bytes) -> None:
        """Counts a decision of the period."""
        try:
            data: Mapping[str, Any] = orjson.loads(value)["data"]
            decision_id, at_ms = str(data["decision_id"]), epoch_ms(str(data["time"]))
            self._newest_ms = max(self._newest_ms, at_ms)
            if decision_id in self._seen or not self._starts[0] <= at_ms < self._starts[-1]:
                return
            if sampled(decision_id, self._reading.share):
                self._add(data, at_ms)
                self._seen.add(decision_id)
        except (ValueError, KeyError, TypeError, AttributeError):
            self._unreadable += 1

    def add_response(self, value: bytes) -> None:
        """Counts a response to an option of the period; any other is passed over."""
        try:
            data = orjson.loads(value)["data"]
            place, bit = self._place_of.get(str(data["tracking_id"])), status_of(Outcome(str(data["outcome"])))
            self._newest_ms = max(self._newest_ms, epoch_ms(str(data["time"])))
            if place is not None:
                self._status[place] |= int(bit)
        except (ValueError, KeyError, TypeError, AttributeError):
            self._unreadable += 1

    def log(self) -> FunnelLog:
        """All that was added."""
        self._tally.settle()
        return FunnelLog(
            channels=self._channels.names(),
            offers=self._offers.names(),
            treatments=self._treatments.names(),
            causes=self._causes.names(),
            segments=tuple(self._reading.segments),
            ends=tuple(self._ends),
            requests=self._request_columns(),
            options=self._option_columns(),
            candidates=tuple((*key, number) for key, number in sorted(self._tally.candidates.items())),
            befallen=tuple((*key, number) for key, number in sorted(self._tally.requests.items())),
            models=tuple((*key, number) for key, number in sorted(self._models.items())),
            share=self._reading.share,
            unreadable=self._unreadable,
            unexplained=self._unexplained,
            newest_ms=self._newest_ms,
        )

    def _add(self, data: Mapping[str, Any], at_ms: int) -> None:
        # All that can be wrong is read before anything is counted: a record counts whole or not at all.
        channel_name, customer = str(data["channel"]), str(data["customer_id"])
        strategy = self._strategy(str(data["strategy_version"]))
        offered = [_option(option, strategy) for placed in data["placements"] for option in placed.get("options", ())]
        cause = next((str(p["fallback_cause"]) for p in data["placements"] if p.get("fallback_cause")), "UNKNOWN")
        attributes, ends = data.get("attributes", {}), self._ends_of(data, strategy)
        member = [_member(attributes.get(name)) for name in self._reading.segments.values()]
        models = [(channel_name, str(name), str(version)) for name, version in data.get("models", {}).items()]

        channel = self._channels.place(channel_name)
        day = int(np.searchsorted(self._starts, at_ms, "right")) - 1
        best = max((o.priority for o in offered if o.priority is not None), default=float("nan"))
        nothing = NOT_TOLD if offered else self._causes.place(cause)
        reach = NOT_TOLD if offered else self._reach(ends)
        mandatory = any(option.mandatory for option in offered)
        self._rows.append((channel, day, self._customers.place(customer), best, mandatory, nothing, reach))
        self._members.append(member)
        for option in offered:
            self._place_of[option.tracking_id] = len(self._options)
            offer, treatment = self._offers.place(option.offer), self._treatments.place(option.treatment)
            self._options.append((channel, day, offer, treatment, option.propensity, option.value))
            self._status.append(0)
        for key in models:
            self._models[key] = self._models.get(key, 0) + 1
        if ends is None:
            self._unexplained += 1
        else:
            self._tally.add(channel_name, ends)

    def _strategy(self, version: str) -> _Strategy | None:
        if version not in self._strategies:
            prepared = self._reading.strategy_of(version)
            self._strategies[version] = None if prepared is None else _strategy(prepared)
        return self._strategies[version]

    def _ends_of(self, data: Mapping[str, Any], strategy: _Strategy | None) -> Ends | None:
        coded = data.get("coded_candidates")
        try:
            if coded is None:
                return listed_ends(data.get("candidates", ()))
            return None if strategy is None else coded_ends(coded, strategy.prepared, strategy.names)
        except EndsUnreadable:
            return None

    def _reach(self, ends: Ends | None) -> int:
        furthest = None if ends is None else ends.furthest()
        return NOT_TOLD if furthest is None else self._ends.setdefault(furthest, len(self._ends))

    def _request_columns(self) -> Requests:
        columns = list(zip(*self._rows, strict=True)) or [()] * 7
        channel, day, customer, best, mandatory, cause, reach = columns
        return Requests(
            channel=np.array(channel, np.int64),
            day=np.array(day, np.int64),
            customer=np.array(customer, np.int64),
            best=np.array(best, np.float64),
            mandatory=np.array(mandatory, np.bool_),
            cause=np.array(cause, np.int64),
            reach=np.array(reach, np.int64),
            member=np.array(self._members, np.int8).reshape(len(self._rows), len(self._reading.segments)),
        )

    def _option_columns(self) -> Options:
        channel, day, offer, treatment, propensity, value = list(zip(*self._options, strict=True)) or [()] * 6
        return Options(
            channel=np.array(channel, np.int64),
            day=np.array(day, np.int64),
            offer=np.array(offer, np.int64),
            treatment=np.array(treatment, np.int64),
            status=np.array(self._status, np.int64),
            propensity=np.array(propensity, np.float64),
            value=np.array(value, np.float64),
        )


@dataclass(frozen=True, slots=True)
class _Offered:
    tracking_id: str
    offer: str
    treatment: str
    priority: float | None
    propensity: float
    value: float
    mandatory: bool


def _option(option: Mapping[str, Any], strategy: _Strategy | None) -> _Offered:
    offer, priority, propensity = str(option["offer"]), option.get("priority"), option.get("propensity")
    return _Offered(
        tracking_id=str(option["tracking_id"]),
        offer=offer,
        treatment=str(option["treatment"]),
        priority=None if priority is None else float(priority),
        propensity=float("nan") if propensity is None else float(propensity),
        value=float("nan") if strategy is None else strategy.values.get(offer, float("nan")),
        mandatory=bool(option.get("mandatory", False)),
    )


def _strategy(prepared: PreparedStrategy) -> _Strategy:
    return _Strategy(
        prepared,
        tuple(str(offer.name) for offer in prepared.offers),
        {str(offer.name): float(offer.value) for offer in prepared.offers},
    )


def _member(told: object) -> int:
    return int(told) if isinstance(told, bool) else NOT_TOLD


def fold_log(reading: Reading, decisions: Iterable[bytes], responses: Iterable[bytes]) -> FunnelLog:
    """All decisions, then all responses."""
    fold = FunnelFold(reading)
    for value in decisions:
        fold.add_decision(value)
    for value in responses:
        fold.add_response(value)
    return fold.log()


SEEN = int(ContactStatus.ANY_RESPONSE)
CLICKED = int(ContactStatus.CLICK)
ACCEPTED = int(ContactStatus.ACCEPT | ContactStatus.CONVERT)
CONVERTED = int(ContactStatus.CONVERT)
REFUSED = int(ContactStatus.REJECT | ContactStatus.DISMISS)
