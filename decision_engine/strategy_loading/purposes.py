"""Reads `purposes`: what attributes may be used for, and whether the strategy keeps to it.

Marketing may use an attribute to choose and weigh offers, to explain them, to time them and to learn from. Rules of
eligibility and suitability, and `service_first`, keep offers away from people: they may look at everything.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import parse
from decision_engine.conditions.syntax import names_in
from decision_engine.features.definitions import AttributeInfo
from decision_engine.features.dictionary import attribute_names
from decision_engine.purposes import MARKETING, Purpose
from decision_engine.strategy import Strategy
from decision_engine.strategy_loading.section import Section, distinct, suggestion


def read_purposes(root: Section, strategy: Strategy) -> Strategy:
    """The strategy with its purposes, and with those of every attribute in the dictionary."""
    sections = root.sections("purposes")
    if not sections:
        return strategy
    known = _names(strategy)
    purposes = tuple(_purpose(section, strategy, known) for section in sections)
    distinct(sections, [purpose.name for purpose in purposes], "name")
    allowed = _Allowed(strategy, purposes, known)
    dictionary = {
        name: replace(info, purposes=tuple(sorted(allowed.of(name)))) for name, info in strategy.dictionary.items()
    }
    declared = replace(strategy, purposes=purposes, dictionary=dictionary)
    if any(purpose.name == MARKETING for purpose in purposes):
        _check_marketing(root, declared)
    return declared


def _names(strategy: Strategy) -> dict[str, tuple[str, ...]]:
    """What can be named: attributes, and features for all of theirs."""
    features = {f.name: tuple(name for name, _ in attribute_names(f)) for f in strategy.declarations.features}
    return features | {name: (name,) for name in strategy.dictionary}


def _purpose(section: Section, strategy: Strategy, known: Mapping[str, tuple[str, ...]]) -> Purpose:
    themes = {info.theme for info in strategy.dictionary.values()}
    purpose = Purpose(
        name=section.name("name"),
        title=section.local_text("title", strategy.locales),
        themes=section.texts("themes"),
        attributes=section.texts("attributes"),
    )
    for theme in purpose.themes:
        if theme not in themes:
            section.problem(f"no attribute has the theme {theme}{suggestion(theme, sorted(themes))}", "themes")
    for name in purpose.attributes:
        if name not in known:
            section.problem(f"unknown attribute {name}{suggestion(name, sorted(known))}", "attributes")
    section.finish()
    return purpose


class _Allowed:
    """Purposes by attribute; what is made of others may be used for what all of them may."""

    def __init__(self, strategy: Strategy, purposes: Sequence[Purpose], known: Mapping[str, tuple[str, ...]]) -> None:
        self._dictionary = strategy.dictionary
        self._purposes = purposes
        self._named: dict[str, set[str]] = {}
        for purpose in purposes:
            for name in purpose.attributes:
                for attribute in known.get(name, ()):
                    self._named.setdefault(attribute, set()).add(purpose.name)
        derived = {one.name: _names_of(one.expression) for one in strategy.declarations.derived}
        linked = {one.name: (one.attribute,) if one.attribute else () for one in strategy.linked}
        self._made_of: Mapping[str, Iterable[str]] = {**derived, **linked}
        self._found: dict[str, frozenset[str]] = {}

    def of(self, name: str) -> frozenset[str]:
        """Those of the attribute."""
        if name not in self._found:
            self._found[name] = self._own(name)  # first, so that a circle, which is reported elsewhere, ends here
            for part in self._made_of.get(name, ()):
                if part in self._dictionary:
                    self._found[name] &= self.of(part)
        return self._found[name]

    def _own(self, name: str) -> frozenset[str]:
        if name in self._named:
            return frozenset(self._named[name])
        theme = self._dictionary[name].theme
        if name in self._made_of and not any(theme in purpose.themes for purpose in self._purposes):
            return frozenset(purpose.name for purpose in self._purposes)
        return frozenset(purpose.name for purpose in self._purposes if theme in purpose.themes)


def _names_of(condition: str) -> tuple[str, ...]:
    """The names in a condition; one that cannot be read is reported where it stands."""
    try:
        return tuple(dict.fromkeys(names_in(parse(condition))))
    except ConditionError:
        return ()


def _check_marketing(root: Section, strategy: Strategy) -> None:
    reported: set[tuple[str, str]] = set()
    for user, name in _uses(strategy):
        info: AttributeInfo | None = strategy.dictionary.get(name)
        if info is not None and MARKETING not in info.purposes and (user, name) not in reported:
            reported.add((user, name))
            root.problem(f"{user} uses {name}, which may not be used for {MARKETING}", "purposes")


def _uses(strategy: Strategy) -> Iterator[tuple[str, str]]:
    """Who uses which attribute for marketing."""
    for offer in strategy.offers:
        if offer.purpose != MARKETING:
            continue
        conditions = [(f"offer {offer.name}: rule {rule.id}", rule.when) for rule in offer.applicability]
        conditions += [(f"offer {offer.name}: reason {reason.code}", reason.when) for reason in offer.reasons]
        conditions += [(f"offer {offer.name}: context weight", weight.when) for weight in offer.context_weights]
        for user, condition in conditions:
            yield from ((user, name) for name in _names_of(condition))
    for training in strategy.trainings:
        read = (*training.learns_from, *training.rising, *training.falling, *training.calibrate_by)
        yield from ((f"model {training.name}", name) for name in read)
    for trigger in strategy.triggers:
        for guard in (trigger.when, trigger.before):
            yield from ((f"trigger {trigger.name}", name) for name in _names_of(guard or "true"))
