"""Recent decisions as the linear programme sees them: what could have been shown, what it was worth, what it takes."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from zoneinfo import ZoneInfo

from decision_engine.calendar_windows import DAY_MS, local_time
from decision_engine.candidate_coding import CodedCandidatesUnreadable, decode_candidates
from decision_engine.decision import Candidate
from decision_engine.outcomes import Stage
from decision_engine.pacing import EVEN_HOURS, HOURS, HourShares
from decision_engine.prepared import PreparedStrategy
from decision_engine.volume import use_of_offer
from event_schemas.decisions import DecisionRecord
from event_schemas.envelope import epoch_ms
from models.dual_prices import Opportunity, ScarceOption

KEPT_MS = 3 * DAY_MS
"""How far back traffic counts as recent: a day of the week more than yesterday, and not last week's campaign."""
SAMPLE = 2_000
"""Decisions a programme is solved over; more move the prices by less than the next minutes do."""
_LEAST_PER_HOUR = 1.0
"""Added to every hour's count: an hour that nobody was seen in is not one in which nobody comes."""


@dataclass(frozen=True, slots=True)
class _Seen:
    at_ms: int
    opportunity: Opportunity


@dataclass(slots=True)
class RecentTraffic:
    """A uniform sample of the recent decisions of one strategy, and how many there were by hour of the bank's day."""

    prepared: PreparedStrategy
    zone: ZoneInfo
    draws: Random
    _sample: list[_Seen] = field(default_factory=list)
    _moments: deque[int] = field(default_factory=deque)
    _worths: dict[str, tuple[float, int]] = field(default_factory=dict)

    def note(self, record: DecisionRecord) -> None:
        """Counts a decision. Only those drawn into the sample are looked into."""
        at_ms = epoch_ms(record.time)
        self._moments.append(at_ms)
        while self._moments and self._moments[0] < at_ms - KEPT_MS:
            self._moments.popleft()
        # Reservoir sampling (Vitter's algorithm R) over those that count.
        place = len(self._sample) if len(self._sample) < SAMPLE else self.draws.randrange(len(self._moments))
        if place < SAMPLE and (seen := self._seen(record, at_ms)) is not None:
            self._sample[place : place + 1] = [seen]

    def sample(self, now_ms: int) -> list[Opportunity]:
        """The sampled decisions that are still recent."""
        self._sample = [seen for seen in self._sample if seen.at_ms >= now_ms - KEPT_MS]
        return [seen.opportunity for seen in self._sample]

    def a_day(self) -> float:
        """Decisions a day, as of late."""
        if not self._moments:
            return 0.0
        return len(self._moments) * DAY_MS / max(DAY_MS, self._moments[-1] - self._moments[0])

    def hours(self) -> HourShares:
        """The share of each hour of the bank's day; even until a whole day was seen."""
        if not self._moments or self._moments[-1] - self._moments[0] < DAY_MS:
            return EVEN_HOURS
        counts = [_LEAST_PER_HOUR] * HOURS
        step = max(1, len(self._moments) // SAMPLE)
        for at_ms in list(self._moments)[::step]:
            counts[local_time(at_ms, self.zone).hour] += 1
        return tuple(count / sum(counts) for count in counts)

    def _seen(self, record: DecisionRecord, at_ms: int) -> _Seen | None:
        coded = record.coded_candidates
        if record.strategy_version != self.prepared.strategy.version or coded is None:
            return None
        try:
            candidates = decode_candidates(coded.model_dump(mode="json", exclude_unset=True), self.prepared)
        except CodedCandidatesUnreadable:
            return None
        options = self._options(candidates, record.channel)
        places = sum(asked.count for asked in record.placements_asked)
        return _Seen(at_ms, Opportunity(tuple(options.values()), places)) if options else None

    def _options(self, candidates: Sequence[Candidate], channel: str) -> dict[str, ScarceOption]:
        """An option an offer: what passed the gates at its worth, what was used up at the worth it mostly has."""
        options: dict[str, ScarceOption] = {}
        for candidate in candidates:
            if candidate.offer in options:
                continue
            worth = self._worth(candidate)
            if worth is not None:
                uses = self._uses(candidate, channel)
                options[candidate.offer] = ScarceOption(worth, uses)
        return options

    def _worth(self, candidate: Candidate) -> float | None:
        if candidate.priority is not None:
            worth = candidate.priority + (candidate.resource_cost or 0.0)
            total, count = self._worths.get(candidate.offer, (0.0, 0))
            self._worths[candidate.offer] = (total + worth, count + 1)
            return worth
        if candidate.stage is not Stage.VOLUME:
            return None
        total, count = self._worths.get(candidate.offer, (0.0, 0))
        return total / count if count else self._guess(candidate)

    def _guess(self, candidate: Candidate) -> float:
        offer = self.prepared.strategy.offer(candidate.offer)
        return 0.0 if offer is None else offer.base_rate * offer.value * (1 + offer.lever / 100)

    def _uses(self, candidate: Candidate, channel: str) -> Mapping[str, float]:
        taken = use_of_offer(self.prepared.volumes, candidate.offer, channel)
        return {
            volume.id: taken[volume.id] * (candidate.propensity or 1.0 if volume.charged_on == "accept" else 1.0)
            for volume in self.prepared.volumes.volumes
            if volume.id in taken
        }
