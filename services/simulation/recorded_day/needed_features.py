"""Features cut down to what a strategy, its models and its levers can read: less to fold, less to read.

An attribute is computed from its own feature alone, so leaving others out changes no value; what makes an event too
late for the windows stays that of all features.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from decision_engine.conditions.parser import parse
from decision_engine.conditions.syntax import names_in
from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.dictionary import attribute_names
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import FeatureSchema
from decision_engine.replay import attributes_used
from decision_engine.strategy import Strategy


def needed_attributes(
    prepared: PreparedStrategy, schemas: Iterable[FeatureSchema], further: Collection[str] = ()
) -> frozenset[str]:
    """The attributes that decide, those `further`, those that they are made of, and those that link to others."""
    strategy = prepared.strategy
    wanted = {*attributes_used(prepared, schemas), *further}
    wanted.update(link.attribute for link in strategy.links)
    return frozenset(_with_sources(strategy, wanted))


def needed_of_members(strategy: Strategy, needed: Collection[str]) -> frozenset[str]:
    """What has to be known of the members of a customer's household or company for the needed attributes; nothing
    where none of these is one of theirs."""
    linked = [each for each in strategy.linked if each.name in needed]
    wanted = {link.attribute for link in strategy.links} if linked else set()
    wanted.update(each.attribute for each in linked if each.attribute is not None)
    return frozenset(_with_sources(strategy, wanted))


def cut_features(strategy: Strategy, needed: Collection[str]) -> CompiledFeatures:
    """The features that give the needed attributes, compiled. Raises DecisionEngineError."""
    declared = strategy.declarations
    whole = compile_features(declared, EVENT_FIELDS)
    cut = replace(
        declared,
        profile=tuple(attribute for attribute in declared.profile if attribute.name in needed),
        features=tuple(f for f in declared.features if any(name in needed for name, _ in attribute_names(f))),
        derived=tuple(derived for derived in declared.derived if derived.name in needed),
    )
    return replace(compile_features(cut, EVENT_FIELDS), late_days=whole.late_days)


def _with_sources(strategy: Strategy, wanted: set[str]) -> set[str]:
    derived = {each.name: each.expression for each in strategy.declarations.derived}
    found, waiting = set(wanted), [name for name in wanted if name in derived]
    while waiting:
        new = _names(derived[waiting.pop()]) - found
        found |= new
        waiting += [name for name in new if name in derived]
    return found


def _names(expression: str) -> set[str]:
    return set(names_in(parse(expression)))
