"""What the caller of a decision gets: the chosen treatments with content in the caller's language."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from decision_engine.candidate_coding import CandidateCoding
from decision_engine.decision import Candidate, Decision, Option, PlacementAnswer
from decision_engine.model_training import Newcomers, newcomers_of
from decision_engine.offers import Offer, Treatment
from decision_engine.strategy import Strategy
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.wire_time import rfc3339

SCORE_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """A strategy's treatments and placements by name, with their content ready for the wire in every locale."""

    locales: tuple[str, ...]
    treatments: Mapping[str, tuple[Offer, Treatment]]
    contents: Mapping[tuple[str, str], orjson.Fragment]
    """By treatment (or placement, for its fallback) and locale."""
    attributes: Mapping[str, orjson.Fragment]
    """By treatment: what it tells the channel beside its words, such as the reward or the size of type."""
    fallbacks: Mapping[str, str]
    """Placement to its fallback treatment."""
    coder: CandidateCoding
    """Writes candidates into records."""
    outbound: frozenset[str] = frozenset()
    """Channels in which the bank comes to the customer."""
    newcomers: tuple[Newcomers, ...] = ()
    """The groups whose newcomers have a model of their own."""

    def model_of(self, offer: Offer, decision: Decision) -> str:
        """The name of the model that scored the offer in a decision."""
        return next(
            (
                group.model
                for group in self.newcomers
                if group.group == offer.group
                and group.model in decision.models
                and group.products.isdisjoint(decision.holdings)
            ),
            offer.model,
        )

    def locale(self, wanted: str | None) -> str:
        """The strategy's locale nearest to the one wanted: itself, then one of its language, then the first."""
        if wanted is None or wanted in self.locales:
            return wanted or self.locales[0]
        language = wanted.partition("-")[0]
        return next((name for name in self.locales if name.partition("-")[0] == language), self.locales[0])


def word(strategy: Strategy) -> Wording:
    """Prepares a strategy's words once, when it goes live."""
    treatments: dict[str, tuple[Offer, Treatment]] = {
        treatment.name: (offer, treatment) for offer in strategy.offers for treatment in offer.treatments
    }
    contents: dict[tuple[str, str], orjson.Fragment] = {
        (name, locale): _fragment(treatment.content, locale, strategy.locales)
        for name, (_, treatment) in treatments.items()
        for locale in strategy.locales
    }
    for placement in strategy.placements.values():
        for locale in strategy.locales:
            fragment = _fragment(placement.fallback_content, locale, strategy.locales)
            contents[placement.id, locale] = fragment
    return Wording(
        locales=strategy.locales,
        treatments=treatments,
        contents=contents,
        attributes={
            name: orjson.Fragment(orjson.dumps(dict(treatment.attributes or {})))
            for name, (_, treatment) in treatments.items()
        },
        fallbacks={placement.id: placement.fallback_treatment for placement in strategy.placements.values()},
        outbound=frozenset(strategy.outbound_channels),
        newcomers=newcomers_of(strategy.trainings, strategy.offers),
        coder=CandidateCoding(),
    )


def render_answer(
    command: DecisionCommand,
    decision: Decision,
    wording: Wording,
    elapsed_ms: Callable[[], float],
    late_causes: Sequence[str] = (),
) -> bytes:
    """The answer's JSON. `late_causes` are what went wrong after the decision was recorded."""
    causes = (*decision.degraded_causes, *late_causes)
    answer: dict[str, object] = {
        "decision_id": decision.decision_id,
        "request_id": command.request_id,
        "customer_id": decision.customer_id,
        "time": rfc3339(decision.now_ms),
        "placements": [_placement(placement, wording, command.locale) for placement in decision.placements],
        "strategy_version": decision.strategy_version,
        "models": decision.models,
        "arm": decision.arm,
        "personalised": decision.personalised,
        "degraded": bool(causes),
        "degraded_causes": causes,
        "feature_age_ms": None if decision.feature_age_ms is None else max(0, decision.feature_age_ms),
        "took_ms": round(elapsed_ms(), 3),
    }
    if command.dry_run:
        answer["trace"] = [candidate_fields(candidate) for candidate in decision.candidates]
    return orjson.dumps(answer)


def candidate_fields(candidate: Candidate) -> dict[str, object]:
    """A candidate as records and traces show it; what was never reached is left out."""
    fields: dict[str, object] = {
        "placement": candidate.placement,
        "offer": candidate.offer,
        "treatment": candidate.treatment,
        "outcome": candidate.fate,
    }
    if candidate.stage is not None:
        fields["stage"] = candidate.stage
        fields["rule"] = candidate.rule
        fields["reason"] = candidate.code
    if candidate.propensity is not None:
        fields["propensity"] = candidate.propensity
        fields["context_weight"] = candidate.context_weight
        fields["value"] = candidate.value
        fields["lever"] = candidate.lever
        fields["resource_cost"] = candidate.resource_cost
        fields["priority"] = candidate.priority
    if candidate.selection_probability is not None:
        fields["selection_probability"] = candidate.selection_probability
    return fields


def _placement(answer: PlacementAnswer, wording: Wording, locale: str) -> dict[str, object]:
    if answer.options:
        return {"id": answer.id, "options": [_option(option, wording, locale) for option in answer.options]}
    return {
        "id": answer.id,
        "fallback": {"treatment": wording.fallbacks[answer.id], "content": wording.contents[answer.id, locale]},
        "fallback_cause": answer.fallback_cause,
    }


def _option(option: Option, wording: Wording, locale: str) -> dict[str, object]:
    candidate = option.candidate
    offer, treatment = wording.treatments[candidate.treatment]
    disclosure = treatment.disclosure or offer.disclosure
    return {
        "rank": option.rank,
        "offer": candidate.offer,
        "treatment": candidate.treatment,
        "tracking_id": option.tracking_id,
        "score": 0.0 if candidate.priority is None else round(candidate.priority, SCORE_DIGITS),
        "propensity": candidate.propensity,
        "mandatory": option.mandatory,
        "expires_at": rfc3339(option.expires_ms),
        "content": wording.contents[candidate.treatment, locale],
        "attributes": wording.attributes[candidate.treatment],
        "script": None if treatment.script is None else _in_locale(treatment.script, locale, wording.locales),
        "reasons": [{"code": code, "text": text} for code, text in option.reasons],
        "disclosure": None if disclosure is None else _in_locale(disclosure, locale, wording.locales),
    }


def _in_locale(texts: Mapping[str, str], locale: str, locales: Sequence[str]) -> str | None:
    return next((texts[name] for name in (locale, *locales) if name in texts), None)


def _fragment(contents: Mapping[str, Mapping[str, str]], locale: str, locales: Sequence[str]) -> orjson.Fragment:
    chosen = next((contents[name] for name in (locale, *locales) if name in contents), {})
    return orjson.Fragment(orjson.dumps(dict(chosen)))
