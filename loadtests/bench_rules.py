"""Compares the predicate index with plain closures and with rule engines: microseconds to answer all rules for one
customer.

Run: python -m loadtests.bench_rules [--repeats 25]
Rules are random but fixed by a seed: six tests each over eighty attributes, as a bank's strategy has them. The first
table is over customers of whom some attributes are unknown; the second over fully known ones, as the other engines
have no notion of unknown. Every engine must give the same answers before it is timed.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from random import Random
from types import ModuleType

from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.evaluation import Facts, compile_expression
from decision_engine.conditions.predicate_index import PredicateIndex
from decision_engine.features.definitions import AttributeType, Value
from loadtests.results import Result, Table, Verdict, describe
from loadtests.rule_engines import ENGINES, RuleEngine

ATTRIBUTES = 80
CONDITIONS = 6
CUSTOMERS = 50
SIZES = (200, 1_000)
OURS = "predicate index"
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
    print("\nbeside rule engines of the Python registry, nothing unknown; microseconds a customer")
    print(f"{'':<40} " + " ".join(f"{f'{size:,} rules':>12}" for size in SIZES))
    for name, figures in _beside_others(types, repeats):
        print(f"{name:<40} " + " ".join(f"{figure:>12}" for figure in figures))
    return 0


def rules_result(repeats: int) -> Result:
    """The same comparison as a result: every rule answered alike by all, microseconds a customer."""
    found = dict(_beside_others(_types(), repeats))
    times = {name: [float(figure.replace(",", "")) for figure in figures] for name, figures in found.items()
             if all(figure[0].isdigit() for figure in figures)}  # fmt: skip
    others = [us[-1] for name, us in times.items() if name != OURS]
    nearest = min(others) / times[OURS][-1] if others else 0.0
    return describe(
        "side-by-side-rules",
        "Rules beside rule engines",
        figures={f"us_{size}_rules": us for size, us in zip(SIZES, times[OURS], strict=True)},
        tables=[
            Table(
                f"Microseconds a customer, {CONDITIONS} tests a rule, nothing unknown",
                ("engine", *(f"{size:,} rules" for size in SIZES)),
                [[name, *figures] for name, figures in found.items()],
            )
        ],
        verdicts=[
            Verdict(
                claim=f"{SIZES[-1]:,} rules beside the fastest other engine",
                target="faster",
                measured=f"{nearest:.1f} times as fast",
                holds=nearest > 1,
            )
        ],
        notes=[
            f"{engine.name}: {metadata.version(engine.distribution)}"
            for engine in ENGINES
            if engine.imported() is not None
        ],
    )


def _beside_others(types: dict[str, AttributeType], repeats: int) -> Iterator[tuple[str, list[str]]]:
    ours = RuleEngine(OURS, "decision_engine.conditions.predicate_index", _index, distribution="kairos")
    for engine in (ours, *ENGINES):
        module = engine.imported()
        if module is None:
            yield engine.name, ["not installed"] * len(SIZES)
            continue
        yield engine.name, [_figure(engine, module, size, types, repeats) for size in SIZES]


def _figure(engine: RuleEngine, module: ModuleType, size: int, types: dict[str, AttributeType], repeats: int) -> str:
    random = Random(size)
    texts = [_rule(random, types) for _ in range(size)]
    customers = [_facts(random, types, unknown=0.0) for _ in range(CUSTOMERS)]
    index = PredicateIndex.build([checked_condition(text, types) for text in texts])
    answer = engine.prepare(module, texts, types)
    asked = customers[:5] if engine.slow else customers
    if any(answer(facts) != index.evaluate(facts) for facts in asked):
        return "disagrees"
    return f"{_median_us(answer, asked, 5 if engine.slow else repeats):,.1f}"


def _index(_: ModuleType, rules: Sequence[str], types: Mapping[str, AttributeType]) -> Callable[[Facts], int]:
    return PredicateIndex.build([checked_condition(rule, types) for rule in rules]).evaluate


def _row(size: int, types: dict[str, AttributeType], repeats: int) -> str:
    random = Random(size)
    rules = [checked_condition(_rule(random, types), types) for _ in range(size)]
    customers = [_facts(random, types, unknown=0.05) for _ in range(CUSTOMERS)]
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


def _rule(random: Random, types: dict[str, AttributeType]) -> str:
    names = random.sample(sorted(types), CONDITIONS)
    return " && ".join(_test(random, name, types[name]) for name in names)


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


def _facts(random: Random, types: dict[str, AttributeType], *, unknown: float) -> Facts:
    values: dict[str, Value] = {}
    for name, kind in types.items():
        if random.random() < unknown:
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
