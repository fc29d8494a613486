"""The funnel of a part of the log: from requests over candidates to conversions."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from decision_engine.outcomes import Fate
from services.use_cases.observing.funnel_candidates import STAGES
from services.use_cases.observing.funnel_log import (
    ACCEPTED,
    CLICKED,
    CONVERTED,
    REFUSED,
    SEEN,
    Flags,
    FunnelLog,
    Numbers,
)
from services.use_cases.observing.results_rates import Rate, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What of the log is looked at: these channels and these offers; None is all."""

    channels: frozenset[str] | None = None
    offers: frozenset[str] | None = None

    def has(self, channel: str, offer: str) -> bool:
        """Whether an offer in a channel belongs to it."""
        return (self.channels is None or channel in self.channels) and (self.offers is None or offer in self.offers)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStep:
    """One stage: the candidates that came to it, those it refused, and those that went on."""

    stage: str
    came: int
    refused: int

    @property
    def left(self) -> int:
        """Those that went on."""
        return self.came - self.refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Options offered, and of these those seen, clicked, accepted, converted, and refused by the customer. With what
    the models expected of those seen: acceptances, and their value in minor units."""

    offered: int
    seen: int
    clicked: int
    accepted: int
    converted: int
    refused: int
    expected: float
    expected_value: float

    @property
    def acceptance(self) -> Rate:
        """Accepted of those seen."""
        return wilson(self.accepted, self.seen)

    @property
    def conversion(self) -> Rate:
        """Converted of those seen."""
        return wilson(self.converted, self.seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """`requests` of the channels, of which `answered` had anything offered; `candidates` by `stages`; of those that
    passed all, `ranked_lower` lost their place to better ones; and what became of what was offered."""

    requests: int
    answered: int
    candidates: int
    stages: tuple[StageStep, ...]
    ranked_lower: int
    steps: Steps


def funnel(log: FunnelLog, part: Part) -> Funnel:
    """The funnel of a part."""
    asked = in_channels(log, log.requests.channel, part.channels)
    refused: Counter[str] = Counter()
    fates: Counter[str] = Counter()
    for channel, offer, end, number in log.candidates:
        if part.has(channel, offer):
            fates[end.fate] += number
            refused[end.stage] += number
    total = sum(fates.values())
    return Funnel(
        requests=int(asked.sum()),
        answered=int((asked & (log.requests.cause < 0)).sum()),
        candidates=total,
        stages=_stages(total, refused),
        ranked_lower=fates[Fate.RANKED_LOWER],
        steps=steps_of(log, chosen(log, part)),
    )


def _stages(total: int, refused: Counter[str]) -> tuple[StageStep, ...]:
    found, came = [], total
    for stage in STAGES:
        found.append(StageStep(stage=stage, came=came, refused=refused[stage]))
        came -= refused[stage]
    return tuple(found)


def in_channels(log: FunnelLog, column: Numbers, channels: Collection[str] | None) -> Flags:
    """Which entries of a column of channels are of these."""
    if channels is None:
        return np.ones(column.size, np.bool_)
    return np.isin(column, [place for place, name in enumerate(log.channels) if name in channels])


def chosen(log: FunnelLog, part: Part) -> Flags:
    """The options of a part."""
    mine = in_channels(log, log.options.channel, part.channels)
    if part.offers is None:
        return mine
    offers = [place for place, name in enumerate(log.offers) if name in part.offers]
    return mine & np.isin(log.options.offer, offers)


def steps_of(log: FunnelLog, mine: Flags) -> Steps:
    """What became of these options."""
    return steps_by(log, mine, np.zeros(mine.size, np.int64), 1)[0]


def steps_by(log: FunnelLog, mine: Flags, column: Numbers, size: int) -> list[Steps]:
    """The same apart for each number below `size` that the column gives options."""
    options, of = log.options, column[mine]
    status = options.status[mine]
    likely = np.nan_to_num(options.propensity[mine])
    worth = likely * np.nan_to_num(options.value[mine])
    seen = (status & SEEN) > 0

    def count(bits: int) -> Numbers:
        return np.bincount(of[(status & bits) > 0], minlength=size)

    columns = (
        np.bincount(of, minlength=size),
        *(count(bits) for bits in (SEEN, CLICKED, ACCEPTED, CONVERTED, REFUSED)),
    )
    sums = tuple(np.bincount(of[seen], weights=part[seen], minlength=size).tolist() for part in (likely, worth))
    return [
        Steps(
            offered=offered,
            seen=shown,
            clicked=clicked,
            accepted=accepted,
            converted=converted,
            refused=refused,
            expected=expected,
            expected_value=value,
        )
        for offered, shown, clicked, accepted, converted, refused, expected, value in zip(
            *(each.tolist() for each in columns), *sums, strict=True
        )
    ]
