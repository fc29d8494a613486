"""What the catalogue says of each offer, as a model sees it: from a strategy, or from a JSON file made of one."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from decision_engine.features.definitions import AttributeType
from decision_engine.strategy import Strategy
from models.decision_log.examples import OfferFacts
from models.errors import TrainingRefused


def offer_facts(strategy: Strategy) -> dict[str, OfferFacts]:
    """The facts of every offer of the strategy."""
    return {
        offer.name: OfferFacts(
            offer=offer.name,
            group=offer.group,
            issue=offer.issue,
            model=offer.model,
            value=float(offer.value),
            base_rate=offer.base_rate,
            attributes={
                name: float(value) for name, value in (offer.attributes or {}).items() if not isinstance(value, str)
            },
        )
        for offer in strategy.offers
    }


def offers_of_model(facts: Mapping[str, OfferFacts], model: str) -> dict[str, OfferFacts]:
    """The offers that model scores. Raises TrainingRefused when there are none."""
    kept = {name: offer for name, offer in facts.items() if offer.model == model}
    if not kept:
        known = ", ".join(sorted({offer.model for offer in facts.values()}))
        raise TrainingRefused(f"no offer is scored by a model named {model!r}; the catalogue knows: {known or 'none'}")
    return kept


def unlearnable_attributes(strategy: Strategy) -> frozenset[str]:
    """Attributes no model may see: sensitive ones, and moments, which only tell the training period apart."""
    return frozenset(
        info.name for info in strategy.dictionary.values() if info.sensitive or info.type is AttributeType.TIMESTAMP
    )


def encode_catalogue(facts: Mapping[str, OfferFacts]) -> str:
    """The facts as JSON, which `decode_catalogue` reads."""
    return json.dumps([asdict(facts[name]) for name in sorted(facts)], indent=2, ensure_ascii=False)


def decode_catalogue(text: str) -> dict[str, OfferFacts]:
    """The facts of such a file. Raises TrainingRefused."""
    try:
        offers = [_facts(entry) for entry in json.loads(text)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingRefused(f"the offer catalogue cannot be read: {type(error).__name__}: {error}") from error
    return {offer.offer: offer for offer in offers}


def _facts(entry: Mapping[str, object]) -> OfferFacts:
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise TypeError("attributes must be an object")
    return OfferFacts(
        offer=str(entry["offer"]),
        group=str(entry["group"]),
        issue=str(entry["issue"]),
        model=str(entry["model"]),
        value=float(str(entry["value"])),
        base_rate=float(str(entry["base_rate"])),
        attributes={str(name): float(value) for name, value in attributes.items()},
    )
