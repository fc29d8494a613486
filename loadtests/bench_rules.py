"""Compares the predicate index with plain closures: microseconds to answer all rules for one customer.

Run: python -m loadtests.bench_rules [--repeats 25]
Rules are random but fixed by a seed: six tests each over eighty attributes, as a bank's strategy has them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from random import Random

from decision_engine.conditions.check import CheckedExpression, checked_condition
from decision_engine.conditions.evaluation import Facts, compile_expression
from decision_engine.conditions.predicate_index import PredicateIndex
from decision_engine.features.definitions import AttributeType, Value

ATTRIBUTES = 80
CONDITIONS = 6
CUSTOMERS = 50
SIZES = (200, 1_000)
TEXTS = tuple(f"t{number}" for number in range(12))


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=25)
    repeats = parser.parse_args().repeats
    types = _types()
    print(f"{CONDITIONS} tests a rule, {ATTRIBUTES} attributes; median of {repeats} repeats, microseconds a customer")
    print(f"{'rules':>6} {'index':>8} {'closures':>9} {'ratio':>6} {'build ms':>9} {'true':>6}")
    for size in SIZES:
        print(_row(size, types, repeats))
    return 0


def _row(size: int, types: dict[str, AttributeType], repeats: int) -> str:
    random = Random(size)
    rules = [_rule(random, types) for _ in range(size)]
    customers = [_facts(random, types) for _ in range(CUSTOMERS)]
    began = time.perf_counter()
    index = PredicateIndex.build(rules)
    built = time.perf_counter() - began
    closures = [compile_expression(rule) for rule in rules]

    def by_closures(facts: Facts) -> int:
        return sum(1 << bit for bit, closure in enumerate(closures) if closure(facts) is True)

    for facts in customers:
        if index.evaluate(facts) != by_closures(facts):
            raise SystemExit("index and closures disagree")
    true = statistics.mean(index.evaluate(facts).bit_count() for facts in customers)
    fast, plain = (_median_us(way, customers, repeats) for way in (index.evaluate, by_closures))
    return f"{size:>6} {fast:>8.1f} {plain:>9.1f} {plain / fast:>5.1f}x {built * 1_000:>9.0f} {true:>6.1f}"


def _median_us(evaluate: Callable[[Facts], int], customers: list[Facts], repeats: int) -> float:
    samples = []
    for _ in range(repeats):
        began = time.perf_counter()
        for facts in customers:
            evaluate(facts)
        samples.append((time.perf_counter() - began) / len(customers))
    return statistics.median(samples) * 1e6


def _types() -> dict[str, AttributeType]:
    kinds = (AttributeType.INT, AttributeType.DOUBLE, AttributeType.STRING, AttributeType.BOOL)
    return {f"a{number}": kinds[number % 4] for number in range(ATTRIBUTES)}


def _rule(random: Random, types: dict[str, AttributeType]) -> CheckedExpression:
    names = random.sample(sorted(types), CONDITIONS)
    return checked_condition(" && ".join(_test(random, name, types[name]) for name in names), types)


def _test(random: Random, name: str, kind: AttributeType) -> str:
    match kind:
        case AttributeType.INT:
            return (
                f"{name} >= {random.randrange(60)}"
                if random.random() < 0.5
                else f"{name} < {random.randrange(40, 100)}"
            )
        case AttributeType.DOUBLE:
            return (
                f"{name} > {random.uniform(0, 0.6):.3f}"
                if random.random() < 0.5
                else f"{name} <= {random.uniform(0.4, 1):.3f}"
            )
        case AttributeType.STRING:
            if random.random() < 0.5:
                return f'{name} != "{random.choice(TEXTS)}"'
            return f"{name} in [{', '.join(chr(34) + text + chr(34) for text in random.sample(TEXTS, 6))}]"
        case _:
            return name if random.random() < 0.5 else f"!{name}"


def _facts(random: Random, types: dict[str, AttributeType]) -> Facts:
    values: dict[str, Value] = {}
    for name, kind in types.items():
        if random.random() < 0.05:
            continue
        match kind:
            case AttributeType.INT:
                values[name] = random.randrange(100)
            case AttributeType.DOUBLE:
                values[name] = random.random()
            case AttributeType.STRING:
                values[name] = random.choice(TEXTS)
            case _:
                values[name] = random.random() < 0.5
    return Facts(values, frozenset({"card"}), 0)


if __name__ == "__main__":
    raise SystemExit(main())
