"""Derived attributes: expressions over the other attributes, computed in the order of their dependencies."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from decision_engine.conditions.check import CheckedExpression, checked_expression
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import parse
from decision_engine.conditions.straight_line import Assignment, Compute, compile_assignments
from decision_engine.conditions.typing_rules import Kind, kind_of
from decision_engine.errors import DecisionEngineError
from decision_engine.features.definitions import AttributeType, DerivedFeature, FeatureDeclarations
from decision_engine.features.types_by_use import types_by_use


def compile_derived(
    declarations: FeatureDeclarations, types: Mapping[str, AttributeType], untold: frozenset[str] = frozenset()
) -> Compute:
    """Sets the derived attributes, each after those it reads. `types` names every attribute of the dictionary; those in
    `untold` may be of any type, and are taken to be of the one their use asks for.

    Raises DecisionEngineError for an expression that cannot be read, is of another type than declared, or depends
    on itself.
    """
    checked = {feature.name: _checked(feature, types, untold) for feature in declarations.derived}
    sorter = TopologicalSorter({
        name: sorted(other for other in expression.names if other in checked) for name, expression in checked.items()
    })  # fmt: skip
    try:
        order = tuple(sorter.static_order())
    except CycleError as cause:
        raise DecisionEngineError(f"derived features depend on each other: {' -> '.join(cause.args[1])}") from cause
    wanted = {feature.name: feature.type for feature in declarations.derived}
    return compile_assignments(
        [Assignment(name, checked[name], as_double=wanted[name] is AttributeType.DOUBLE) for name in order]
    )


def _checked(feature: DerivedFeature, types: Mapping[str, AttributeType], untold: frozenset[str]) -> CheckedExpression:
    try:
        if untold:
            by_use = types_by_use(parse(feature.expression), feature.type)
            types = {**types, **{name: kind for name, kind in by_use.items() if name in untold}}
        checked = checked_expression(feature.expression, types)
    except ConditionError as cause:
        raise DecisionEngineError(f"derived feature {feature.name}: {cause}") from cause
    wanted = kind_of(feature.type)
    if checked.type is not wanted and (checked.type, wanted) != (Kind.INT, Kind.DOUBLE):
        raise DecisionEngineError(
            f"derived feature {feature.name}: declared as {feature.type}, but the expression gives a {checked.type}"
        )
    return checked
