"""The bank that the campaign runs: small, and everything in it scarce, so that whatever is lost or doubled shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

OFFER_CAP = 3
CUSTOMER_CAP = 14
ONCE = "once"
"""The offer that a customer may have one contact with."""
PARTITIONS = 2
OFFERS = 6
RESERVATION_SECONDS = 86_400
"""Longer than any campaign: a contact that was reserved counts to its end, so a cap is a plain count."""
VOLUMES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {"v_scarce": ("offer_0", 150), "v_some": ("offer_1", 2_000), "v_ample": ("offer_2", 1_000_000)}
)
"""Volume to the offer that takes from it and its units; the first is used up on the way."""

_OFFER = """  - {{name: {name}, group: cards, title: {{en: {name}}}, value: {value}, base_rate: 0.1,
     treatments: [{{name: main, channel: mobile, placements: [{placement}], content: {{en: {{title: x}}}}}}]}}"""
_VOLUME = "  - {{id: {id}, of: {{offer: {offer}}}, resource: stock, amount: {amount}, per: {{until: 2099-01-01}}}}"
_STRATEGY = """
name: fault_bank
time_zone: UTC
currency: CNY
locales: [en]
duplicate_memory: 200
consents:
  - {{name: marketing, default: granted, text: {{en: Marketing}}}}
  - {{name: personalisation, default: granted, text: {{en: Personalisation}}}}
profile:
  - {{name: note, type: int, theme: basic, description: {{en: Note}}}}
features:
  - {{name: posted, source: bank.transaction.posted, aggregate: count, theme: t, description: {{en: Posted}}}}
  - {{name: spent, source: bank.transaction.posted, aggregate: sum, field: amount, theme: t,
     description: {{en: Spent}}}}
  - {{name: lately, source: bank.transaction.posted, aggregate: sum, field: amount, windows: [60m, 24h], theme: t,
     description: {{en: Spent lately}}}}
  - {{name: answered, source: nbo.response.recorded, aggregate: count, theme: t, description: {{en: Answered}}}}
models: [{{name: cross_sell, required: false}}]
issues: [{{name: acquire, title: {{en: Acquire}}}}]
groups: [{{name: cards, issue: acquire, model: cross_sell, title: {{en: Cards}}}}]
offers:
{offers}
placements:
  - {{id: banner, channel: mobile, max_count: 3, fallback: {{treatment: none, content: {{en: {{title: x}}}}}}}}
  - {{id: single, channel: mobile, max_count: 1, fallback: {{treatment: none_single, content: {{en: {{title: x}}}}}}}}
contact_policy:
  reservation_seconds: {reservation}
  limits:
    - {{id: only_once, scope: offer, of: once, limit: 1, window: 30d, code: CAP_ONCE, text: {{en: cap}}}}
    - {{id: per_offer, scope: offer, limit: {offer_cap}, window: 30d, code: CAP_OFFER, text: {{en: cap}}}}
    - {{id: in_total, scope: all, limit: {customer_cap}, window: 30d, code: CAP_ALL, text: {{en: cap}}}}
volumes:
{volumes}
exploration: {{kind: epsilon_greedy, epsilon: 0.5}}
attribution: {{window: 30d, conversions: [{{response: convert}}]}}
"""


def strategy_text(value: int = 1000) -> str:
    """The strategy file; another `value` makes another version of it."""
    offers = [
        _OFFER.format(name=f"offer_{number}", value=value + 10 * number, placement="banner") for number in range(OFFERS)
    ]
    offers.append(_OFFER.format(name=ONCE, value=value, placement="single"))
    volumes = [_VOLUME.format(id=id_, offer=offer, amount=amount) for id_, (offer, amount) in VOLUMES.items()]
    return _STRATEGY.format(
        offers="\n".join(offers),
        volumes="\n".join(volumes),
        reservation=RESERVATION_SECONDS,
        offer_cap=OFFER_CAP,
        customer_cap=CUSTOMER_CAP,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """What the judge holds the product to."""

    offer_caps: Mapping[str, int]
    customer_cap: int
    volumes: Mapping[str, tuple[str, int]]


def promises() -> Promises:
    """Those of the strategy above."""
    caps = {f"offer_{number}": OFFER_CAP for number in range(OFFERS)} | {ONCE: 1}
    return Promises(offer_caps=caps, customer_cap=CUSTOMER_CAP, volumes=VOLUMES)
