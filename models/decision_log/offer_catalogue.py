"""What the catalogue says of each offer, as a model sees it: from a strategy, or from a JSON file made of one."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace

from decision_engine.features.definitions import AttributeType
from decision_engine.model_training import newcomers_of
from decision_engine.strategy import Strategy
from models.decision_log.examples import OfferFacts
from models.errors import TrainingRefused


def offer_facts(strategy: Strategy) -> dict[str, OfferFacts]:
    """The facts of every offer of the strategy."""
    newcomers = {group.group: group for group in newcomers_of(strategy.trainings, strategy.offers)}
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
            newcomers=newcomers[offer.group].model if offer.group in newcomers else None,
            group_products=tuple(sorted(newcomers[offer.group].products)) if offer.group in newcomers else (),
        )
        for offer in strategy.offers
    }


def offers_of_model(facts: Mapping[str, OfferFacts], model: str) -> dict[str, OfferFacts]:
    """The offers that model scores; those of a newcomers' model are marked as such. Raises TrainingRefused when there
    are none."""
    kept = {name: offer for name, offer in facts.items() if offer.model == model}
    kept |= {name: replace(offer, of_newcomers=True) for name, offer in facts.items() if offer.newcomers == model}
    if not kept:
        names = {offer.model for offer in facts.values()} | {o.newcomers for o in facts.values() if o.newcomers}
        known = ", ".join(sorted(names))
        raise TrainingRefused(f"no offer is scored by a model named {model!r}; the catalogue knows: {known or 'none'}")
    return kept


def unlearnable_attributes(strategy: Strategy) -> frozenset[str]:
    """Attributes no model may see: sensitive ones, what marketing may not use, and moments, which only tell the
    training period apart."""
    unfit = (i.name for i in strategy.dictionary.values() if i.sensitive or i.type is AttributeType.TIMESTAMP)
    return strategy.out_of_marketing | frozenset(unfit)


def encode_catalogue(facts: Mapping[str, OfferFacts]) -> str:
    """The facts as JSON, which `decode_catalogue` reads."""
    return json.dumps([asdict(facts[name]) for name in sorted(facts)], indent=2, ensure_ascii=False)


def decode_catalogue(text: str) -> dict[str, OfferFacts]:
    """The facts of such a file. Raises TrainingRefused."""
    try:
        offers = [_facts(entry) for entry in json.loads(text)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
        newcomers=None if entry.get("newcomers") is None else str(entry["newcomers"]),
        group_products=tuple(map(str, _list(entry.get("group_products")))),
    )


def _list(value: object) -> list[object]:
    if value is not None and not isinstance(value, list):
        raise TypeError("group_products must be a list")
    return value or []
