"""Why these offers and no others: every candidate of a decision in plain words, from its record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from decision_engine.outcomes import Fate
from decision_engine.strategy import Strategy
from services.api.screens.formats import localized
from services.use_cases.explain_decision import Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Fated:
    """One offer and how it ended. `share` is its priority beside the best one's, for a bar."""

    offer: str
    title: str
    fate: str
    stage: str | None
    why: str
    propensity: float | None
    priority: float | None
    share: float


def fates_of(explanation: Explanation, locale: str) -> dict[str, list[Fated]]:
    """By fate: those offered and those ranked lower by priority, those rejected by name."""
    strategy = explanation.prepared.strategy
    candidates = cast("Sequence[Mapping[str, Any]]", explanation.data.get("candidates", ()))
    best = max((c.get("priority") or 0.0 for c in candidates), default=0.0) or 1.0
    found: dict[str, list[Fated]] = {fate.value: [] for fate in Fate}
    for candidate in candidates:
        found[str(candidate["outcome"])].append(_fated(candidate, strategy, locale, best))
    for fate in (Fate.OFFERED, Fate.RANKED_LOWER):
        found[fate].sort(key=lambda one: -(one.priority or 0.0))
    found[Fate.REJECTED].sort(key=lambda one: one.title)
    return found


def _fated(candidate: Mapping[str, Any], strategy: Strategy, locale: str, best: float) -> Fated:
    offer = next((offer for offer in strategy.offers if offer.name == candidate["offer"]), None)
    code = str(candidate.get("reason", ""))
    priority = candidate.get("priority")
    return Fated(
        offer=candidate["offer"],
        title=localized(None if offer is None else offer.title, locale, candidate["offer"]),
        fate=candidate["outcome"],
        stage=candidate.get("stage"),
        why=localized(strategy.texts.get(code), locale, code),
        propensity=candidate.get("propensity"),
        priority=priority,
        share=0.0 if priority is None else max(0.0, min(1.0, priority / best)),
    )
