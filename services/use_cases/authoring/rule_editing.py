"""What the rule editor asks while somebody writes: what may come next, what is wrong, what it says in words.

Beside rules it knows what triggers are written in: conditions on an event's fields, and guards, which may name both.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from decision_engine.conditions.check import CheckedExpression, checked_condition
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.names import rule_types
from decision_engine.conditions.reading import Words
from decision_engine.conditions.typing_rules import FUNCTIONS, Kind, kind_of
from decision_engine.features.definitions import AttributeType
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.strategy import Strategy
from decision_engine.triggers.guards import EVENT_PREFIX, guard_types
from services.use_cases.authoring.event_words import LOCALES, with_event
from services.use_cases.authoring.rule_words import read_rule, words_of

MOST_SUGGESTIONS = 12
_WORD = re.compile(r"[A-Za-z_\u4e00-\u9fff][A-Za-z0-9_.\u4e00-\u9fff]*$")
_OPEN_TEXT = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)\s*(?:==|!=|in)\s*(?:\[[^\]\"]*(?:\"[^\"]*\"[^\]\"]*)*)?\"([^\"]*)$")
_OPEN_PRODUCT = re.compile(r"has_product\(\s*\"([^\"]*)$")
_METHODS = frozenset({"startsWith", "endsWith", "contains"})
_TEMPLATES = {"has": "has()", "has_product": 'has_product("")', "timestamp": 'timestamp("")',
              "duration": 'duration("")'}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Something that may stand here. `insert` replaces the text from `start`; the cursor goes `back` characters from
    its end. `group` is a theme, or `function`, `context`, `value`, `product`."""

    insert: str
    start: int
    back: int
    group: str
    type: str
    said: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionFault:
    """A fault; `position` counts characters from 0."""

    message: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCondition:
    """A condition as it stands: its faults, or what it says by locale and which attributes it reads."""

    faults: tuple[ConditionFault, ...]
    said: Mapping[str, str]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What conditions may name, of which types, what it is called by locale, and the values it can have. `of_customers`
    where they are about customers, who hold products, at a moment."""

    types: Mapping[str, AttributeType]
    words: Mapping[str, Words]
    values: Mapping[str, Sequence[str]]
    of_customers: bool = True

    @classmethod
    def of_rules(cls, strategy: Strategy) -> "Names":
        """Those of a strategy's rules."""
        declared = strategy.declarations
        return cls(
            types=rule_types(strategy.dictionary, declared.context),
            words={locale: words_of(strategy, locale) for locale in LOCALES},
            values={each.name: each.values for each in declared.profile if each.values}
            | {each.name: each.values for each in declared.features if each.values},
        )


class RuleEditing:
    """Answers for one strategy; to be kept for as long as it is the one at hand."""

    def __init__(self, strategy: Strategy, names: Names | None = None) -> None:
        self._strategy = strategy
        self._known = names or Names.of_rules(strategy)
        self._types, self._words, self._values = self._known.types, self._known.words, self._known.values

    def about_event(self, source: str) -> "RuleEditing":
        """Answers about conditions on the fields of that type of event."""
        words = {locale: with_event(self._words[locale], source, "") for locale in LOCALES}
        names = Names(types=EVENT_FIELDS.get(source, {}), words=words, values={}, of_customers=False)
        return RuleEditing(self._strategy, names)

    def about_guard(self, source: str) -> "RuleEditing":
        """Answers about guards of a trigger that such an event completes: the customer's own attributes, and
        `event.<field>`."""
        linked = {attribute.name for attribute in self._strategy.linked}
        own = {name: info for name, info in self._strategy.dictionary.items() if name not in linked}
        words = {locale: with_event(self._words[locale], source, EVENT_PREFIX) for locale in LOCALES}
        types = guard_types(own, EVENT_FIELDS.get(source, {}))
        return RuleEditing(self._strategy, replace(self._known, types=types, words=words))

    def check(self, when: str) -> CheckedCondition:
        """Names, types and texts are checked as when a strategy is loaded."""
        if not when.strip():
            return CheckedCondition(faults=(), said={}, names=())
        try:
            checked = checked_condition(when, self._types)
        except ConditionError as error:
            faults = tuple(ConditionFault(message=p.message, position=p.position) for p in error.problems)
            return CheckedCondition(faults=faults, said={}, names=())
        said = {locale: text for locale in self._words if (text := self.said(when, locale)) is not None}
        return CheckedCondition(faults=(), said=said, names=tuple(sorted(checked.names)))

    def said(self, when: str, locale: str) -> str | None:
        """The condition in plain words; None if it cannot be read."""
        return read_rule(when, self._words["zh-CN" if locale.startswith("zh") else "en"])

    def checked(self, when: str) -> CheckedExpression:
        """The condition ready to be compiled. Raises ConditionError."""
        return checked_condition(when, self._types)

    def complete(self, text: str, cursor: int, locale: str) -> list[Suggestion]:
        """What may stand at the cursor, the likeliest first."""
        before = text[: max(0, min(cursor, len(text)))]
        if (product := _OPEN_PRODUCT.search(before)) is not None:
            return self._products(product.group(1), len(before) - len(product.group(1)), locale)
        if (opened := _OPEN_TEXT.search(before)) is not None:
            return self._texts(opened.group(1), opened.group(2), len(before) - len(opened.group(2)))
        if before.count('"') % 2:
            return []
        word = _WORD.search(before)
        typed = word.group() if word else ""
        return self._named(typed, len(before) - len(typed), locale)

    def _named(self, typed: str, start: int, locale: str) -> list[Suggestion]:
        wanted = typed.lower()
        ranked = sorted(
            ((rank, name) for name, said in self._names(locale) if (rank := _rank(wanted, name, said)) is not None)
        )
        return [self._suggestion(name, start, locale) for _, name in ranked[:MOST_SUGGESTIONS]]

    def _names(self, locale: str) -> Iterator[tuple[str, str]]:
        words = self._words["zh-CN" if locale.startswith("zh") else "en"]
        for name in self._types:
            yield name, words.facts.get(name, "")
        if self._known.of_customers:
            yield "now", ""
        for function in (*FUNCTIONS, "has", "has_product", "timestamp", "duration"):
            if function not in _METHODS and (self._known.of_customers or function != "has_product"):
                yield f"{function}(", ""

    def _suggestion(self, name: str, start: int, locale: str) -> Suggestion:
        if name.endswith("("):
            function = name[:-1]
            insert = _TEMPLATES.get(function, f"{function}()")
            back = 2 if insert.endswith('")') else 1
            known = FUNCTIONS.get(function)
            said = known.takes if known is not None else ""
            return Suggestion(insert=insert, start=start, back=back, group="function", type="", said=said)
        words = self._words["zh-CN" if locale.startswith("zh") else "en"]
        info = self._strategy.dictionary.get(name)
        kind = kind_of(self._types.get(name, AttributeType.TIMESTAMP))
        return Suggestion(
            insert=name,
            start=start,
            back=0,
            group=info.theme if info is not None else "context",
            type=kind.value,
            said=words.facts.get(name, ""),
            values=tuple(self._values.get(name, ())[:8]),
        )

    def _texts(self, name: str, typed: str, start: int) -> list[Suggestion]:
        values = [value for value in self._values.get(name, ()) if value.lower().startswith(typed.lower())]
        return [_value(value, start, "value", "") for value in values[:MOST_SUGGESTIONS]]

    def _products(self, typed: str, start: int, locale: str) -> list[Suggestion]:
        products = self._words["zh-CN" if locale.startswith("zh") else "en"].products
        found = sorted(name for name in products if typed.lower() in name.lower())
        return [_value(name, start, "product", products[name]) for name in found[:MOST_SUGGESTIONS]]


def _value(value: str, start: int, group: str, said: str) -> Suggestion:
    return Suggestion(insert=value, start=start, back=0, group=group, type=Kind.STRING.value, said=said)


def _rank(wanted: str, name: str, said: str) -> tuple[int, int] | None:
    """The smaller the better: names that begin so, that have a part that does, that contain it, whose words do."""
    low = name.lower()
    if low.startswith(wanted):
        return (0, len(name))
    if any(part.startswith(wanted) for part in re.split(r"[_.]", low)):
        return (1, len(name))
    if len(wanted) >= 2 and wanted in low:
        return (2, len(name))
    if len(wanted) >= 2 and wanted in said.lower():
        return (3, len(name))
    return None


def all_of(conditions: Sequence[str]) -> str:
    """One condition that holds if all of them do."""
    return " && ".join(f"({condition})" for condition in conditions)
