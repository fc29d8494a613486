"""What a simulated day says: who gains, who loses, where candidates fall, what volumes and groups come to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from models.errors import EvaluationRefused
from models.evaluation.full_report.fairness import FOUR_FIFTHS
from models.evaluation.intervals import Estimate, normal_estimate
from models.evaluation.off_policy.judgement import JudgingRule, OffPolicyReport, judge_policies
from services.simulation.recorded_day.group_rules import SEGMENT, UNKNOWN
from services.simulation.recorded_day.partition_totals import ChangedDecision
from services.simulation.recorded_day.side_totals import ACCEPTS, ANSWERED, COLUMNS, DECISIONS, OPTIONS, VALUE
from services.simulation.recorded_day.sides import ACTIVE, DRAFT
from services.simulation.recorded_day.simulate import SimulatedDay

Matrix = NDArray[np.float64]
TOP_CHANGES = 20
LEAST_CUSTOMERS = 30
"""Groups of fewer are not judged by the four-fifths rule: their rates say little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFigures:
    """Sums of one side: decisions, those with an option, options, expected acceptances and value (minor units)."""

    decisions: int
    answered: int
    options: int
    accepts: float
    value: float

    @property
    def rate(self) -> float:
        """The share of decisions with an option."""
        return self.answered / self.decisions if self.decisions else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Something on both sides. `customers` where it is a group of them; `change` is the draft's value less the active
    one's, with an interval over customers where there are any."""

    name: str
    active: SideFigures
    draft: SideFigures
    change: Estimate
    customers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelStep:
    """A rule, and the candidates it drops on either side."""

    stage: str
    rule: str
    code: str
    active: int
    draft: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenth:
    """A tenth of the customers by what the draft changes for them; value a customer."""

    number: int
    customers: int
    active: float
    draft: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FairGroup:
    """A group of one attribute: its rate of offers on both sides, over the highest group's, and value a customer."""

    attribute: str
    group: str
    customers: int
    rates: tuple[float, float]
    ratios: tuple[float, float]
    values: tuple[float, float]
    below: tuple[bool, bool]
    """Whether the ratio is below four fifths; never said of a few customers or of those whose group is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeUsed:
    """A volume: its amount a period and the units each side used; None where a side does not have it."""

    volume: str
    amounts: tuple[int | None, int | None]
    used: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFindings:
    """Everything a report shows. `gained`, `lost` and `equal` count customers; `off_policy` is by reward (`accepted`,
    `value`), or says in words why there is none."""

    day: SimulatedDay
    whole: Beside
    gained: int
    lost: int
    equal: int
    tenths: tuple[Tenth, ...]
    offers: tuple[Beside, ...]
    groups: tuple[Beside, ...]
    channels: tuple[Beside, ...]
    segments: tuple[Beside, ...]
    funnel: tuple[FunnelStep, ...]
    candidates: tuple[int, int]
    fallbacks: tuple[int, int]
    volumes: tuple[VolumeUsed, ...]
    fairness: tuple[FairGroup, ...]
    changes: tuple[tuple[str | None, str | None, int], ...]
    examples: tuple[ChangedDecision, ...]
    off_policy: Mapping[str, OffPolicyReport | str]
    rule: JudgingRule


def find(day: SimulatedDay, rule: JudgingRule) -> DayFindings:
    """Works out all figures; `rule` is how policies are judged, its seed included."""
    totals = day.totals
    active, draft = totals.sides[ACTIVE], totals.sides[DRAFT]
    names = sorted(active.customers)
    tables = tuple(np.array([side.customers[name] for name in names]) for side in (active, draft))
    change = tables[1][:, VALUE] - tables[0][:, VALUE]
    moved = np.abs(change) > 1e-9 * np.maximum(1.0, np.abs(tables[0][:, VALUE]))
    members = _members(day, names)
    return DayFindings(
        day=day,
        whole=_group("all customers", tables, np.arange(len(names))),
        gained=int((moved & (change > 0)).sum()),
        lost=int((moved & (change < 0)).sum()),
        equal=int((~moved).sum()),
        tenths=tuple(_tenths(tables, change)),
        offers=_by_value(_offer(n, active.offers.get(n), draft.offers.get(n)) for n in {*active.offers, *draft.offers}),
        groups=_by_value(_offer_groups(day)),
        channels=_by_value(_channels(active.channels, draft.channels)),
        segments=_by_value(_group(g, tables, at) for (kind, g), at in members.items() if kind == SEGMENT),
        funnel=_funnel(day),
        candidates=(active.candidates, draft.candidates),
        fallbacks=(active.fallbacks, draft.fallbacks),
        volumes=tuple(_volumes(day)),
        fairness=tuple(_fairness(members, tables)),
        changes=tuple((a or None, b or None, n) for (a, b), n in _ordered_changes(day)),
        examples=tuple(sorted(totals.examples, key=lambda each: each.decision_id)[:TOP_CHANGES]),
        off_policy={name: _judged(day, rule, value=name == "value") for name in ("accepted", "value")},
        rule=rule,
    )


def _members(day: SimulatedDay, names: Sequence[str]) -> dict[tuple[str, str], NDArray[np.intp]]:
    found: dict[tuple[str, str], list[int]] = {}
    for place, name in enumerate(names):
        for label in day.totals.labels.get(name, ()):
            found.setdefault(label, []).append(place)
    return {label: np.array(places, np.intp) for label, places in sorted(found.items())}


def _group(name: str, tables: Sequence[Matrix], at: NDArray[np.intp]) -> Beside:
    mine = [table[at] for table in tables]
    change = mine[1][:, VALUE] - mine[0][:, VALUE]
    return Beside(
        name=name,
        active=_figures(mine[0].sum(axis=0)),
        draft=_figures(mine[1].sum(axis=0)),
        change=_sum_estimate(change),
        customers=len(at),
    )


def _sum_estimate(changes: Matrix) -> Estimate:
    """The sum over customers drawn at random, by the normal approximation."""
    total, count = float(changes.sum()), len(changes)
    error = sqrt(count) * float(changes.std(ddof=1)) if count > 1 else 0.0
    return normal_estimate(total, error)


def _figures(row: Sequence[float] | Matrix) -> SideFigures:
    return SideFigures(
        decisions=round(row[DECISIONS]),
        answered=round(row[ANSWERED]),
        options=round(row[OPTIONS]),
        accepts=float(row[ACCEPTS]),
        value=float(row[VALUE]),
    )


def _tenths(tables: Sequence[Matrix], change: Matrix) -> Iterator[Tenth]:
    """From those who lose most to those who gain most; ties in the order of the names."""
    for number, at in enumerate(np.array_split(np.argsort(change, kind="stable"), 10), 1):
        if len(at):
            means = [float(table[at, VALUE].mean()) for table in tables]
            yield Tenth(number=number, customers=len(at), active=means[0], draft=means[1])


def _offer(name: str, active: Sequence[float] | None, draft: Sequence[float] | None) -> Beside:
    """Of an offer, decisions are those in which it stands first."""
    rows = [[0.0] * 4 if row is None else row for row in (active, draft)]
    sides = [
        SideFigures(
            decisions=round(row[1]), answered=round(row[1]), options=round(row[0]), accepts=row[2], value=row[3]
        )
        for row in rows
    ]
    change = sides[1].value - sides[0].value
    return Beside(name=name, active=sides[0], draft=sides[1], change=Estimate(value=change, low=change, high=change))


def _offer_groups(day: SimulatedDay) -> Iterator[Beside]:
    sides = [day.totals.sides[name] for name in (ACTIVE, DRAFT)]
    sums: dict[str, list[list[float]]] = {}
    for place, side in enumerate(sides):
        for offer, row in side.offers.items():
            rows = sums.setdefault(side.groups[offer], [[0.0] * 4, [0.0] * 4])
            rows[place] = [a + b for a, b in zip(rows[place], row, strict=True)]
    yield from (_offer(name, *rows) for name, rows in sums.items())


def _channels(active: Mapping[str, Sequence[float]], draft: Mapping[str, Sequence[float]]) -> Iterator[Beside]:
    for name in active:
        sides = [_figures(side.get(name, [0.0] * COLUMNS)) for side in (active, draft)]
        change = sides[1].value - sides[0].value
        yield Beside(name=name, active=sides[0], draft=sides[1], change=Estimate(value=change, low=change, high=change))


def _by_value(found: Iterable[Beside]) -> tuple[Beside, ...]:
    """What changes most first."""
    return tuple(sorted(found, key=lambda each: (-abs(each.change.value), each.name)))


def _funnel(day: SimulatedDay) -> tuple[FunnelStep, ...]:
    dropped = [day.totals.sides[name].dropped for name in (ACTIVE, DRAFT)]
    steps = [
        FunnelStep(stage=s, rule=r, code=c, active=dropped[0][s, r, c], draft=dropped[1][s, r, c])
        for s, r, c in {*dropped[0], *dropped[1]}
    ]
    order = {stage: place for place, stage in enumerate(STAGES)}
    return tuple(sorted(steps, key=lambda each: (order.get(each.stage, 99), -max(each.active, each.draft), each.rule)))


STAGES = (
    "availability",
    "consent",
    "eligibility",
    "applicability",
    "suitability",
    "contact_policy",
    "volume",
    "experiment",
    "slate",
)
"""In the order in which candidates meet them."""


def _volumes(day: SimulatedDay) -> Iterator[VolumeUsed]:
    sides = [day.volumes.get(name, {}) for name in (ACTIVE, DRAFT)]
    for name in sorted({*sides[0], *sides[1]}):
        found = [side.get(name, (None, None)) for side in sides]
        yield VolumeUsed(volume=name, amounts=(found[0][0], found[1][0]), used=(found[0][1], found[1][1]))


def _fairness(members: Mapping[tuple[str, str], NDArray[np.intp]], tables: Sequence[Matrix]) -> Iterator[FairGroup]:
    for attribute in sorted({kind for kind, _ in members if kind != SEGMENT}):
        mine = {group: at for (kind, group), at in members.items() if kind == attribute}
        rates = {group: tuple(_rate(table[at]) for table in tables) for group, at in mine.items()}
        judged = [g for g, at in mine.items() if g != UNKNOWN and len(at) >= LEAST_CUSTOMERS]
        highest = [max((rates[group][side] for group in judged), default=0.0) for side in (0, 1)]
        for group, at in mine.items():
            ratios = [rates[group][side] / highest[side] if highest[side] else 1.0 for side in (0, 1)]
            below = [group in judged and ratio < FOUR_FIFTHS for ratio in ratios]
            yield FairGroup(
                attribute=attribute,
                group=group,
                customers=len(at),
                rates=(rates[group][0], rates[group][1]),
                ratios=(ratios[0], ratios[1]),
                values=(float(tables[0][at, VALUE].mean()), float(tables[1][at, VALUE].mean())),
                below=(below[0], below[1]),
            )


def _rate(table: Matrix) -> float:
    return float(table[:, ANSWERED].sum() / table[:, DECISIONS].sum())


def _ordered_changes(day: SimulatedDay) -> list[tuple[tuple[str, str], int]]:
    return sorted(day.totals.changes.items(), key=lambda each: (-each[1], each[0]))[:TOP_CHANGES]


def _judged(day: SimulatedDay, rule: JudgingRule, *, value: bool) -> OffPolicyReport | str:
    rows = day.totals.choices
    if not rows.logged:
        return "no decision of the day can be judged by its responses"
    policies = {name: rows.policy(name, value=value) for name in (ACTIVE, DRAFT)}
    try:
        return judge_policies(rows.recorded(value=value), policies, rule)
    except EvaluationRefused as error:
        return str(error)
