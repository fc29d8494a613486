"""Reads derived features: expressions over other attributes, put in the order they can be computed in."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from decision_engine.conditions.check import NOW, CheckedExpression
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import parse
from decision_engine.conditions.syntax import names_in
from decision_engine.conditions.typing_rules import Kind, kind_of
from decision_engine.features.definitions import AttributeType, DerivedFeature
from decision_engine.strategy_loading.conditions import Vocabulary, read_expression
from decision_engine.strategy_loading.labels import as_derived
from decision_engine.strategy_loading.section import Section, distinct
from decision_engine.tags import Segment


def read_derived(
    root: Section, locales: Sequence[str], vocabulary: Vocabulary, segments: Sequence[tuple[Section, Segment]] = ()
) -> tuple[tuple[DerivedFeature, ...], frozenset[str]]:
    """The derived features, segments among them, each after those it reads, and the names of those with faults.
    `vocabulary` holds the attributes that are not derived."""
    sections = list(root.sections("derived"))
    declared = [_declaration(section, locales) for section in sections]
    distinct(sections, [feature.name for feature in declared], "name")
    keys = ["expression"] * len(sections) + ["when"] * len(segments)
    sections += [section for section, _ in segments]
    declared += [as_derived(segment) for _, segment in segments]
    doubtful: set[str] = set()
    for section, feature in zip(sections, declared, strict=True):
        if feature.name in vocabulary.types:
            section.problem(f"the attribute {feature.name} is declared already", "name")
    derived = {feature.name: feature.type for feature in declared if feature.name}
    everything = replace(vocabulary, types={**vocabulary.types, **derived})
    for section, feature, key in zip(sections, declared, keys, strict=True):
        _, checked = read_expression(section, key, everything)
        if checked is None or not _gives(section, checked, feature.type):
            doubtful.add(feature.name)
        section.finish()
    by_name = {feature.name: feature for feature in declared if feature.name}
    order = _order({section: feature for section, feature in zip(sections, declared, strict=True) if feature.name})
    return tuple(by_name[name] for name in order), frozenset(doubtful)


def _declaration(section: Section, locales: Sequence[str]) -> DerivedFeature:
    name = section.name("name")
    if name == NOW:
        section.problem("now has a meaning of its own in conditions; choose another name", "name")
    return DerivedFeature(
        name=name,
        expression=section.text("expression").strip(),
        type=AttributeType(section.choice("type", tuple(AttributeType)) or AttributeType.DOUBLE),
        theme=section.text("theme"),
        description=section.local_text("description", locales),
    )


def _gives(section: Section, checked: CheckedExpression, declared: AttributeType) -> bool:
    wanted = kind_of(declared)
    if checked.type is wanted or (checked.type, wanted) == (Kind.INT, Kind.DOUBLE):
        return True
    section.problem(f"declared as {declared}, but the expression gives a {checked.type}", "type")
    return False


def _order(features: Mapping[Section, DerivedFeature]) -> tuple[str, ...]:
    """Names such that each comes after those it reads; a circle is noted, and then the order is by name."""
    names = {feature.name for feature in features.values()}
    reads = {feature.name: sorted(names & _names_of(feature.expression)) for feature in features.values()}
    try:
        return tuple(TopologicalSorter({name: reads[name] for name in sorted(reads)}).static_order())
    except CycleError as error:
        circle: list[str] = error.args[1]
        first = next(section for section, feature in features.items() if feature.name in circle)
        first.problem(f"derived features depend on each other: {' -> '.join(circle)}", "expression")
        return tuple(sorted(reads))


def _names_of(text: str) -> frozenset[str]:
    try:
        return frozenset(names_in(parse(text))) if text else frozenset()
    except ConditionError:
        return frozenset()
