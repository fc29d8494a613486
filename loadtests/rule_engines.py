"""Rule engines of the Python registry, each answering the same rules in the way that suits it best.

Only what is installed takes part: cel-expr-python is among the development requirements, zen-engine and rule-engine
join when they can be imported.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from decision_engine.conditions.evaluation import Facts
from decision_engine.features.definitions import AttributeType

Answer = Callable[[Facts], int]
"""The rules that are true, as a bit mask."""


@dataclass(frozen=True, slots=True)
class RuleEngine:
    """An engine, the module it needs, and how it is given all rules; `slow` ones are asked for fewer customers."""

    name: str
    module: str
    prepare: Callable[[ModuleType, Sequence[str], Mapping[str, AttributeType]], Answer]
    slow: bool = False
    distribution: str = ""
    """The package whose version is told."""

    def imported(self) -> ModuleType | None:
        """Its module, or None if it is not installed."""
        try:
            return importlib.import_module(self.module)
        except ImportError:
            return None


def _cel_one_by_one(module: ModuleType, rules: Sequence[str], types: Mapping[str, AttributeType]) -> Answer:
    environment: Any = _cel_environment(module, types)
    compiled = [environment.compile(rule) for rule in rules]

    def answer(facts: Facts) -> int:
        activation = environment.Activation(dict(facts.values))
        return sum(1 << bit for bit, rule in enumerate(compiled) if rule.eval(activation).value() is True)

    return answer


def _cel_in_one_list(module: ModuleType, rules: Sequence[str], types: Mapping[str, AttributeType]) -> Answer:
    environment: Any = _cel_environment(module, types)
    compiled = environment.compile(f"[{', '.join(rules)}]")

    def answer(facts: Facts) -> int:
        truths = compiled.eval(data=dict(facts.values)).value()
        return _mask([truth.value() for truth in truths])

    return answer


def _cel_environment(module: ModuleType, types: Mapping[str, AttributeType]) -> Any:
    return module.NewEnv(variables={name: getattr(module.Type, kind.name) for name, kind in types.items()})


def _zen_in_one_list(module: ModuleType, rules: Sequence[str], _: Mapping[str, AttributeType]) -> Answer:
    compiled: Any = module.compile_expression(f"[{', '.join(f'({_in_words(rule)})' for rule in rules)}]")
    return lambda facts: _mask(compiled.evaluate(dict(facts.values)))


def _rule_engine(module: ModuleType, rules: Sequence[str], _: Mapping[str, AttributeType]) -> Answer:
    compiled = [module.Rule(_in_words(rule)) for rule in rules]

    def answer(facts: Facts) -> int:
        return sum(1 << bit for bit, rule in enumerate(compiled) if rule.matches(facts.values))

    return answer


def _in_words(rule: str) -> str:
    """`and` and `not` in place of their signs, as both other languages write them."""
    return rule.replace("&&", "and").replace("!=", "<>").replace("!", "not ").replace("<>", "!=")


def _mask(truths: Sequence[object]) -> int:
    return sum(1 << bit for bit, truth in enumerate(truths) if truth is True)


ENGINES = (
    RuleEngine(
        "cel-expr-python, a rule at a time",
        "cel_expr_python.cel",
        _cel_one_by_one,
        slow=True,
        distribution="cel-expr-python",
    ),
    RuleEngine(
        "cel-expr-python, one list of all rules",
        "cel_expr_python.cel",
        _cel_in_one_list,
        distribution="cel-expr-python",
    ),
    RuleEngine("zen-engine, one list of all rules", "zen", _zen_in_one_list, distribution="zen-engine"),
    RuleEngine("rule-engine, a rule at a time", "rule_engine", _rule_engine, slow=True, distribution="rule-engine"),
)
