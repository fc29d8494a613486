"""What came of a period's requests: by offer, group, treatment or channel, day by day, and who was offered little."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from services.use_cases.observing.funnel import Part, Steps, chosen, in_channels, steps_by
from services.use_cases.observing.funnel_candidates import End
from services.use_cases.observing.funnel_log import Flags, FunnelLog, Numbers
from services.use_cases.observing.results_rates import Rate, wilson

WEAK_PART = 0.25
"""Of the median best priority: what counts as weak unless somebody says otherwise."""
_REACHES_MOST = 12


class RowsBy(StrEnum):
    """What a row of the breakdown is about."""

    OFFER = "offer"
    GROUP = "group"
    TREATMENT = "treatment"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One offer, group, treatment or channel."""

    name: str
    steps: Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of the period, by its number: requests, and what became of what was offered that day."""

    number: int
    requests: int
    steps: Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of some requests, or of some customers, something holds for; `name` says of which."""

    name: str
    rate: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far the best candidates of requests without an offer came, and what refused most of them there."""

    end: End
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """Requests that were offered nothing, or nothing of worth. `weak_below` in minor units of priority (None: nothing
    was offered at all, so there is nothing to go by). `customers` were offered nothing of worth in any request of the
    period. Weak are requests whose best option is worth less; mandatory options are never weak."""

    requests: int
    nothing: Rate
    weak: Rate
    customers: Rate
    weak_below: float | None
    causes: tuple[Share, ...]
    reaches: tuple[Reach, ...]
    segments: tuple[Share, ...]
    """Of the requests of whoever is in the segment, those that were offered nothing of worth."""


def breakdown(log: FunnelLog, part: Part, by: RowsBy, groups: Mapping[str, str]) -> tuple[Row, ...]:
    """A row each, what was offered most often first. `groups` has the group of every offer."""
    mine = chosen(log, part)
    column, names = _column(log, by, groups)
    steps = steps_by(log, mine, column, len(names))
    found = [Row(name=name, steps=each) for name, each in zip(names, steps, strict=True) if each.offered]
    return tuple(sorted(found, key=lambda row: (-row.steps.offered, row.name)))


def _column(log: FunnelLog, by: RowsBy, groups: Mapping[str, str]) -> tuple[Numbers, tuple[str, ...]]:
    options = log.options
    match by:
        case RowsBy.OFFER:
            return options.offer, log.offers
        case RowsBy.TREATMENT:
            return options.treatment, log.treatments
        case RowsBy.CHANNEL:
            return options.channel, log.channels
        case RowsBy.GROUP:
            of_offer = [groups.get(offer, offer) for offer in log.offers]
            names = tuple(sorted(set(of_offer)))
            return np.array([names.index(name) for name in of_offer], np.int64)[options.offer], names


def by_day(log: FunnelLog, part: Part, days: int) -> tuple[Day, ...]:
    """Every day of the period, also those on which nobody asked."""
    mine, asked = chosen(log, part), in_channels(log, log.requests.channel, part.channels)
    requests = np.bincount(log.requests.day[asked], minlength=days)
    steps = steps_by(log, mine, log.options.day, days)
    return tuple(Day(number=n, requests=int(requests[n]), steps=each) for n, each in enumerate(steps))


def lacking(log: FunnelLog, part: Part, weak_below: float | None = None) -> Lacking:
    """Who was offered little or nothing in the part's channels; its offers are of no matter here. Without `weak_below`
    weak is what is below a quarter of the median."""
    asked = in_channels(log, log.requests.channel, part.channels)
    nothing = asked & (log.requests.cause >= 0)
    limit = _limit(log, asked) if weak_below is None else weak_below
    weak = asked & ~nothing & ~log.requests.mandatory
    weak &= (log.requests.best < limit) if limit is not None else False
    poor = nothing | weak
    total = int(asked.sum())
    return Lacking(
        requests=total,
        nothing=wilson(int(nothing.sum()), total),
        weak=wilson(int(weak.sum()), total),
        customers=_customers(log.requests.customer, asked, poor),
        weak_below=limit,
        causes=_causes(log, nothing, total),
        reaches=_reaches(log, nothing),
        segments=_segments(log, asked, poor),
    )


def _limit(log: FunnelLog, asked: Flags) -> float | None:
    best = log.requests.best[asked & ~log.requests.mandatory]
    known = best[np.isfinite(best)]
    return None if not known.size else float(np.median(known)) * WEAK_PART


def _customers(customer: Numbers, asked: Flags, poor: Flags) -> Rate:
    everybody, served = np.unique(customer[asked]).size, np.unique(customer[asked & ~poor]).size
    return wilson(int(everybody - served), int(everybody))


def _causes(log: FunnelLog, nothing: Flags, total: int) -> tuple[Share, ...]:
    found = _counted(log.requests.cause[nothing], lambda place: log.causes[place])
    return tuple(Share(name=name, rate=wilson(number, total)) for name, number in found)


def _reaches(log: FunnelLog, nothing: Flags) -> tuple[Reach, ...]:
    reach = log.requests.reach[nothing]
    places, numbers = np.unique(reach[reach >= 0], return_counts=True)
    found = [
        Reach(end=log.ends[place], requests=number)
        for place, number in zip(places.tolist(), numbers.tolist(), strict=True)
    ]
    return tuple(sorted(found, key=lambda each: (-each.requests, each.end)))[:_REACHES_MOST]


def _segments(log: FunnelLog, asked: Flags, poor: Flags) -> tuple[Share, ...]:
    found = []
    for place, name in enumerate(log.segments):
        inside = asked & (log.requests.member[:, place] == 1)
        if inside.any():
            found.append(Share(name=name, rate=wilson(int((inside & poor).sum()), int(inside.sum()))))
    return tuple(sorted(found, key=lambda share: (-share.rate.value, share.name)))


def _counted(column: Numbers, name_of: Callable[[int], str]) -> list[tuple[str, int]]:
    places, numbers = np.unique(column, return_counts=True)
    found = [(name_of(place), number) for place, number in zip(places.tolist(), numbers.tolist(), strict=True)]
    return sorted(found, key=lambda each: (-each[1], each[0]))
