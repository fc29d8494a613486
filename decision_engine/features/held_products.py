"""Attributes of the products held, now and earlier: read from the openings and closings the record keeps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from decision_engine.features.calendar_units import Now
from decision_engine.features.definitions import Aggregate, FeatureDefinition, Value
from decision_engine.features.dictionary import attribute_names
from decision_engine.features.local_days import DAY_MS
from decision_engine.features.record import ANY_ACCOUNT
from decision_engine.features.shapes import OF_PRODUCTS

Accounts = Mapping[str, Sequence[int]]
"""Account to the times it was last opened and last closed, in epoch milliseconds, 0 for never."""
Holdings = Mapping[str, Accounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldReading:
    """An attribute read from the products; `days_ago` is 0 for now."""

    name: str
    aggregate: Aggregate
    products: frozenset[str]
    days_ago: int


def plan_held(features: tuple[FeatureDefinition, ...]) -> tuple[HeldReading, ...]:
    """Those of all features."""
    return tuple(
        HeldReading(name=name, aggregate=feature.aggregate, products=frozenset(feature.products), days_ago=days)
        for feature in features
        if feature.aggregate in OF_PRODUCTS
        for (name, _), days in zip(
            attribute_names(feature), [window.length for window in feature.windows] or [0], strict=True
        )
    )


def read_held(
    readings: tuple[HeldReading, ...],
    holdings: Holdings,
    now: Now,
    day_of: Callable[[int], int],
    attributes: dict[str, Value],
) -> None:
    """Sets the attributes; those of nothing held are left as they are."""
    spans = [span for product, accounts in holdings.items() for span in _spans(product, accounts)]
    if not spans:
        return
    for reading in readings:
        products = reading.products
        chosen = [span for span in spans if span[0] in products] if products else spans
        value = _value(reading, chosen, now, day_of)
        if value is not None:
            attributes[reading.name] = value


Span = tuple[str, int, int | None]
"""Product, when an account of it was opened, and when it was closed after that, None for not at all."""


def _spans(product: str, accounts: Accounts) -> Iterator[Span]:
    """From when to when each account was held, as far as the newest opening and the newest closings tell."""
    closed_all = accounts.get(ANY_ACCOUNT, (0, 0))[1]
    for opened, closed in accounts.values():
        if opened:
            ends = [end for end in (closed, closed_all) if end >= opened]
            yield product, opened, min(ends) if ends else None


def _value(reading: HeldReading, spans: Sequence[Span], now: Now, day_of: Callable[[int], int]) -> int | None:
    if reading.aggregate is Aggregate.HELD_DAYS:
        opened = [since for _, since, end in spans if end is None]
        return max(0, now.day - day_of(min(opened))) if opened else None
    held = len({product for product, _, end in spans if end is None})
    if not reading.days_ago:
        return held or None
    then_ms = now.time_ms - reading.days_ago * DAY_MS
    then = len({product for product, since, end in spans if since <= then_ms and (end is None or end > then_ms)})
    return (then if reading.aggregate is Aggregate.HELD else held - then) or None
