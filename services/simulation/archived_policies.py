"""Judges archived decisions of the simulated bank by the truth: what was served, against what could have been."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from zoneinfo import ZoneInfo

from decision_engine.strategy import Strategy
from models.decision_log.examples import LoggedCandidate, LoggedDecision
from services.simulation.hours import hour_of
from services.simulation.policy_value import JudgedDecision
from services.simulation.population import Population
from services.simulation.served_decisions import SERVED
from services.simulation.truth import Exposures, Moment, ResponseModel

ARBITRATION = "arbitration"


class ArchiveJudge:
    """Knows the truth about one bank (`people`, `seed`) and one strategy. Exposures are taken from the decisions
    themselves: whatever stood first was shown."""

    def __init__(self, strategy: Strategy, people: Population, seed: int) -> None:
        self._truth = ResponseModel(strategy.offers, seed)
        self._people = people
        self._zone = ZoneInfo(strategy.time_zone)

    def judge(self, decisions: Iterable[LoggedDecision]) -> list[JudgedDecision]:
        """Every placement that had a choice; mandatory messages and unknown customers are left out."""
        exposures = Exposures()
        judged: list[JudgedDecision] = []
        for decision in sorted(decisions, key=lambda d: (d.decided_ms, d.decision_id)):
            position = self._position(decision.customer_id)
            if position is None:
                continue
            firsts = {option.placement: option for option in decision.options if option.rank == 1}
            by_placement = sorted(decision.candidates, key=lambda candidate: candidate.placement)
            for placement, group in groupby(by_placement, key=lambda candidate: candidate.placement):
                first = firsts.get(placement)
                candidates = [c for c in group if c.offer in self._truth.index]
                if candidates and not (first and first.mandatory):
                    served = first.offer if first else None
                    judged.append(self._judged(decision, position, candidates, (served, exposures)))
            for option in firsts.values():
                exposures.note(str(position), option.offer, decision.decided_ms)
        return judged

    def _judged(
        self,
        decision: LoggedDecision,
        position: int,
        candidates: Sequence[LoggedCandidate],
        history: tuple[str | None, Exposures],
    ) -> JudgedDecision:
        served, exposures = history
        names = list(dict.fromkeys(candidate.offer for candidate in candidates))
        page = decision.context.get("page")
        moment = Moment(
            channel=decision.channel,
            hour=hour_of(decision.decided_ms, self._zone),
            page=page if isinstance(page, str) else None,
        )
        values = self._truth.expected_values(
            self._people.traits[position],
            moment,
            [self._truth.index[name] for name in names],
            [exposures.count(str(position), name, decision.decided_ms) for name in names],
        )
        best = min(candidates, key=lambda c: (c.cost - c.propensity * c.boost, c.offer))
        return JudgedDecision(
            customer_id=decision.customer_id,
            expected=dict(zip(names, values.tolist(), strict=True)),
            chosen={SERVED: served, ARBITRATION: best.offer},
        )

    def _position(self, customer_id: str) -> int | None:
        kind, _, number = customer_id.partition(":")
        if kind != "retail" or not number.isdigit() or not 1 <= int(number) <= self._people.size:
            return None
        return int(number) - 1
