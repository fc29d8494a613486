"""What the names of a strategy's rules are called in a locale, and its rules read out in plain words."""

import re
from collections.abc import Iterator, Mapping

from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import parse
from decision_engine.conditions.reading import Words, is_money, read_out
from decision_engine.features.definitions import Aggregate, AttributeType, FeatureDefinition, Window
from decision_engine.features.dictionary import attribute_names
from decision_engine.offers import LocalText
from decision_engine.strategy import Strategy

_AMOUNTS = frozenset({"amount", "balance_after"})
"""Fields of the bank's events that are money."""
_OF_AMOUNTS = frozenset(
    {Aggregate.SUM, Aggregate.MEAN, Aggregate.MIN, Aggregate.MAX, Aggregate.LAST, Aggregate.FIRST, Aggregate.DECAYED}
)
_UNIT_NOTE = re.compile(r"（分）|, minor units$")
"""How descriptions mark amounts of money; not said, as they are read out in units of the currency."""
_UNITS = {
    "en": {"m": ("minute", "minutes"), "h": ("hour", "hours"), "d": ("day", "days"), "w": ("week", "weeks"),
           "mo": ("month", "months")},
    "zh-CN": {"m": ("分钟", "分钟"), "h": ("小时", "小时"), "d": ("天", "天"), "w": ("周", "周"),
              "mo": ("个月", "个月")},
}  # fmt: skip


def words_of(strategy: Strategy, locale: str) -> Words:
    """The words of the strategy's names; a name without any in the locale stands for itself."""
    facts = {name: _said(info.description, locale, name) for name, info in strategy.dictionary.items()}
    facts |= dict(_windowed(strategy, locale))
    for fact in strategy.declarations.context:
        facts[f"context.{fact.name}"] = _said(fact.description, locale, fact.name)
    facts["channel"] = {"zh-CN": "渠道"}.get(locale, "Channel")
    for segment in strategy.segments:
        facts[segment.attribute] = f"“{_said(segment.title, locale, segment.name)}”"
    products = {
        offer.product: f"“{_said(offer.title, locale, offer.product)}”" for offer in strategy.offers if offer.product
    }
    return Words(
        locale=locale,
        facts=facts,
        products=products,
        memberships=frozenset(segment.attribute for segment in strategy.segments),
        money=money_names(strategy),
        currency=_currency(strategy.currency, locale),
    )


def read_rule(when: str, words: Words) -> str | None:
    """The condition in plain words; None if it cannot be parsed."""
    try:
        said = read_out(parse(when), words)
    except ConditionError:
        return None
    return said[:1].upper() + said[1:]


def money_names(strategy: Strategy) -> frozenset[str]:
    """The attributes and context facts that are amounts in minor units."""
    declared = strategy.declarations
    found = {
        name
        for feature in declared.features
        if feature.field in _AMOUNTS and feature.aggregate in _OF_AMOUNTS
        for name, _ in attribute_names(feature)
    }
    found |= {attribute.name for attribute in declared.profile if _is_marked(attribute.description)}
    found |= {f"context.{fact.name}" for fact in declared.context if _is_marked(fact.description)}
    for derived in declared.derived:
        if derived.type in (AttributeType.INT, AttributeType.DOUBLE) and _is_amount(
            derived.expression, frozenset(found)
        ):
            found.add(derived.name)
    return frozenset(found)


def _is_amount(expression: str, money: frozenset[str]) -> bool:
    try:
        return is_money(parse(expression), money)
    except ConditionError:
        return False


def _is_marked(description: LocalText) -> bool:
    return any(_UNIT_NOTE.search(text) for text in description.values())


def _windowed(strategy: Strategy, locale: str) -> Iterator[tuple[str, str]]:
    for feature in strategy.declarations.features:
        said = _said(feature.description, locale, feature.name)
        names = [name for name, _ in attribute_names(feature)]
        for name, window in zip(names, _windows(feature, locale), strict=False):
            yield name, _within(said, window, locale)


def _windows(feature: FeatureDefinition, locale: str) -> Iterator[str]:
    if feature.aggregate is Aggregate.RATIO:
        for short, long in feature.window_pairs:
            against = "比" if locale.startswith("zh") else " against "
            yield f"{_span(short, locale)}{against}{_span(long, locale)}"
    else:
        for window in feature.windows:
            yield _span(window, locale)


def _within(said: str, window: str, locale: str) -> str:
    return f"近{window}{said}" if locale.startswith("zh") else f"{said} within {window}"


def _span(window: Window, locale: str) -> str:
    one, many = _UNITS["zh-CN" if locale.startswith("zh") else "en"][window.unit]
    word = one if window.length == 1 else many
    return f"{window.length}{word}" if locale.startswith("zh") else f"{window.length} {word}"


def _said(text: Mapping[str, str], locale: str, name: str) -> str:
    return _UNIT_NOTE.sub("", text.get(locale) or next(iter(text.values()), name))


def _currency(currency: str, locale: str) -> str:
    return "元" if currency == "CNY" and locale.startswith("zh") else currency
