"""Online learning at decision time: what is believed about each treatment now, read from plain arrays by reference.

A belief is a multiplier on the odds of the model's propensity p, known to a gamma distribution's shape:

    p' = m p / (1 - p + m p)

which stays in (0, 1) and leaves p as it is for m = 1. Only the four rules of arithmetic enter, so that any processor
gets the same bits. An offer's propensity is the mean over its treatments in the channel, as one of them is drawn with
equal chances. How multipliers are learnt says `models.online`; the engine only looks them up: per decision one segment,
one pair of arrays by model version, one index a candidate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from decision_engine.identifiers import OfferName, TreatmentName
from decision_engine.offers import Offer
from decision_engine.rejections import Indexes, Mask

Numbers = NDArray[np.float64]

EVERYBODY = ""
"""The segment of those who belong to none of the strategy's."""
UNKNOWN_SHAPE = 1.0
"""The shape of a belief nobody has said anything about: the multiplier may as well be half or double."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineLearning:
    """How a strategy learns between two fits of its models.

    An impression counts as 2**(-age/half_life). Its outcome is open until `window_seconds` after it; `steps` are the
    ages in seconds, ascending and ending with the window, at which it begins to count, a part at each. Customers are
    told apart by the first of `segments` they belong to. `prior_strength` is how many acceptances the tree's own level
    counts as.
    """

    half_life_seconds: int
    window_seconds: int
    steps: tuple[int, ...]
    segments: tuple[str, ...] = ()
    prior_strength: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """Beliefs about the treatments of one model version in one segment, in the order of the table."""

    multipliers: Numbers
    shapes: Numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnlineTable:
    """What is believed now; replaced whole, never changed. `rows` by model version and segment; `unseen` for a version
    that nothing is known of. `as_of_ms` is the newest moment it learnt from (epoch milliseconds; 0: none)."""

    treatments: tuple[TreatmentName, ...]
    unseen: Row
    rows: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    as_of_ms: int = 0

    def row(self, version: str, segment: str) -> Row:
        """The beliefs about that version's propensities in that segment."""
        return self.rows.get((version, segment), self.unseen)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlinePlan:
    """The treatments of a strategy, numbered by offer and name; for each its offer and its share among the offer's
    treatments in its channel. `segments` are the places of their conditions' bits."""

    terms: OnlineLearning
    treatments: tuple[TreatmentName, ...]
    numbers: Mapping[TreatmentName, int]
    offer_of: Indexes
    shares: Numbers
    in_channel: Mapping[str, Indexes]
    segments: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnlineUse:
    """What one decision took from the table: the segment, and by treatment number what it used, model versions taken
    into account. `base` is the propensity before, by offer; `concerned` the treatments it was used for; version
    `versions[model_of[i]]` scored offer i."""

    plan: OnlinePlan
    segment: str
    as_of_ms: int
    concerned: Indexes
    multipliers: Numbers
    shapes: Numbers
    base: Numbers
    versions: Sequence[str]
    model_of: Indexes

    def odds(self, treatments: Indexes) -> Numbers:
        """The models' own odds of these treatments' offers."""
        base = np.minimum(self.base[self.plan.offer_of[treatments]], MOST)
        return np.asarray(base / (1.0 - base), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedBeliefs:
    """What a decision keeps in its record, so that it can be made again and learnt from: treatments with the
    multipliers and shapes used, and by offer that is offered the model's own propensity and its version."""

    segment: str
    as_of_ms: int
    treatments: tuple[TreatmentName, ...]
    multipliers: tuple[float, ...]
    shapes: tuple[float, ...]
    base: Mapping[OfferName, float]
    versions: Mapping[OfferName, str]


MOST = 1.0 - 1e-12
"""The most a propensity counts as, as certainty has no odds."""


def segment_condition(segment: str) -> str:
    """The condition that tells whether a customer belongs to a segment."""
    return f"segment_{segment}"


def plan_online(terms: OnlineLearning | None, offers: Sequence[Offer], places: Mapping[str, int]) -> OnlinePlan | None:
    """Numbers the treatments; None for a strategy that does not learn online."""
    if terms is None:
        return None
    found = [
        (number, treatment)
        for number, offer in enumerate(offers)
        for treatment in sorted(offer.treatments, key=lambda treatment: treatment.name)
    ]
    beside: dict[tuple[int, str], int] = {}
    for number, treatment in found:
        beside[number, treatment.channel] = beside.get((number, treatment.channel), 0) + 1
    channels = sorted({treatment.channel for _, treatment in found})
    return OnlinePlan(
        terms=terms,
        treatments=tuple(treatment.name for _, treatment in found),
        numbers={treatment.name: place for place, (_, treatment) in enumerate(found)},
        offer_of=np.array([number for number, _ in found], np.intp),
        shares=np.array([1.0 / beside[number, treatment.channel] for number, treatment in found]),
        in_channel={
            channel: np.array([place for place, (_, t) in enumerate(found) if t.channel == channel], np.intp)
            for channel in channels
        },
        segments=tuple((name, places[segment_condition(name)]) for name in terms.segments),
    )


def unknown_table(plan: OnlinePlan) -> OnlineTable:
    """Nothing is believed yet: the models' propensities as they are."""
    return OnlineTable(treatments=plan.treatments, unseen=_unknown(len(plan.treatments)))


def look_up(plan: OnlinePlan, table: OnlineTable, segment: str, versions: Sequence[str], version_of: Indexes) -> Row:
    """The beliefs by treatment of the plan, each about the model version that scores it: `versions[version_of[i]]`
    scores treatment i."""
    distinct = list(dict.fromkeys(versions))
    rows = [_aligned(plan, table, table.row(version, segment)) for version in distinct]
    if len(rows) == 1:
        return rows[0]
    which = np.array([distinct.index(version) for version in versions], np.intp)[version_of]
    treatments = np.arange(len(version_of))
    return Row(
        multipliers=np.stack([row.multipliers for row in rows])[which, treatments],
        shapes=np.stack([row.shapes for row in rows])[which, treatments],
    )


def segment_of(plan: OnlinePlan, truth: Mask) -> str:
    """The first segment whose condition holds."""
    return next((name for name, place in plan.segments if truth[place]), EVERYBODY)


def believed(base: Numbers, multipliers: Numbers) -> Numbers:
    """The propensities with the multipliers on their odds."""
    raised = base * multipliers
    return np.asarray(raised / (1.0 - base + raised), np.float64)


def believed_by_offer(plan: OnlinePlan, concerned: Indexes, base: Numbers, multipliers: Numbers) -> Numbers:
    """Propensities by offer: the mean over its concerned treatments; offers without one keep theirs."""
    offers = plan.offer_of[concerned]
    parts = believed(np.minimum(base[offers], MOST), multipliers[concerned]) * plan.shares[concerned]
    sums = np.bincount(offers, parts, len(base))
    propensity = base.copy()
    propensity[offers] = sums[offers]
    return np.minimum(propensity, 1.0)


def used_beliefs(use: OnlineUse, offered: Sequence[OfferName], offer_numbers: Mapping[OfferName, int]) -> UsedBeliefs:
    """What the record keeps; `offered` are the offers that are offered."""
    concerned = use.concerned
    numbers = {name: offer_numbers[name] for name in dict.fromkeys(offered)}
    return UsedBeliefs(
        segment=use.segment,
        as_of_ms=use.as_of_ms,
        treatments=tuple(use.plan.treatments[number] for number in concerned.tolist()),
        multipliers=tuple(use.multipliers[concerned].tolist()),
        shapes=tuple(use.shapes[concerned].tolist()),
        base={name: use.base.item(number) for name, number in numbers.items()},
        versions={name: use.versions[use.model_of.item(number)] for name, number in numbers.items()},
    )


def recorded_table(used: UsedBeliefs) -> OnlineTable:
    """The table a decision is made again with: what it used then, whatever the version and segment."""
    row = Row(multipliers=np.array(used.multipliers, np.float64), shapes=np.array(used.shapes, np.float64))
    return OnlineTable(treatments=used.treatments, unseen=row, as_of_ms=used.as_of_ms)


def _unknown(size: int) -> Row:
    return Row(multipliers=np.ones(size), shapes=np.full(size, UNKNOWN_SHAPE))


def _aligned(plan: OnlinePlan, table: OnlineTable, row: Row) -> Row:
    """The row by treatment of the plan, also where the table was made for another strategy or from a record."""
    if table.treatments is plan.treatments or table.treatments == plan.treatments:
        return row
    there = [(plan.numbers[name], place) for place, name in enumerate(table.treatments) if name in plan.numbers]
    aligned = _unknown(len(plan.treatments))
    for number, place in there:
        aligned.multipliers[number], aligned.shapes[number] = row.multipliers[place], row.shapes[place]
    return aligned
