"""A strategy and its dictionary as documents."""

from collections.abc import Mapping
from dataclasses import asdict

import orjson

from decision_engine.strategy import Strategy
from services.use_cases.live_strategy import PendingVersion


def pending_view(pending: PendingVersion) -> dict[str, object]:
    """A version that is active for the bank and does not decide on this node yet."""
    return {"version": pending.version, "status": "activating", "reason": pending.refusal}


def strategy_summary(strategy: Strategy, layout: str) -> dict[str, object]:
    """One line of the list of strategies; `layout` names the namespace its states are read from."""
    return {
        "version": strategy.version,
        "name": strategy.name,
        "status": "active",
        "feature_layout": layout,
        "offers": len(strategy.offers),
        "treatments": sum(len(offer.treatments) for offer in strategy.offers),
        "attributes": len(strategy.dictionary),
        "placements": [
            {"id": placement.id, "channel": placement.channel, "max_count": placement.max_count}
            for placement in strategy.placements.values()
        ],
        "locales": strategy.locales,
        "models": strategy.models,
    }


def strategy_view(strategy: Strategy) -> bytes:
    """The whole strategy as JSON: offers, rules, limits, features."""
    return orjson.dumps(strategy, default=_plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS)


def dictionary_view(strategy: Strategy) -> dict[str, object]:
    """Every attribute of a customer and every fact of a request that conditions may name."""
    return {
        "strategy_version": strategy.version,
        "attributes": [asdict(info) for info in strategy.dictionary.values()],
        "context": [asdict(attribute) for attribute in strategy.declarations.context],
    }


def _plain(value: object) -> object:
    """What the JSON encoder does not know by itself."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    raise TypeError(type(value).__name__)
