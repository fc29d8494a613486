"""Compares conditions with Google's CEL on random pairs of condition and facts, every value and every unknown.

Run: python -m loadtests.conditions_agreement [--pairs 100000]
Each condition is answered three ways: by its closure, by the predicate index over its batch, and by CEL, whose errors
(an unset variable, an overflow, a division by zero) stand for what is unknown here. Status 1 for any disagreement.
"""

import argparse
import sys
import time
from collections import Counter

from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.evaluation import MISSING, compile_expression
from decision_engine.conditions.predicate_index import PredicateIndex
from loadtests.condition_world import TYPES, batches, cel_environment, cel_result

SHOWN = 10
"""Disagreements printed."""


def main() -> int:
    """Prints the counts; status 1 if anything disagrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    pairs = parser.parse_args().pairs
    began = time.perf_counter()
    results: Counter[str] = Counter()
    conditions: set[str] = set()
    wrong: list[str] = []
    environment = cel_environment()
    for texts, many_facts in batches(pairs, cel=True):
        rules = [checked_condition(text, TYPES) for text in texts]
        index = PredicateIndex.build(rules)
        masks = [index.evaluate(facts) for facts in many_facts]
        conditions.update(texts)
        for bit, (text, rule) in enumerate(zip(texts, rules, strict=True)):
            ours, theirs = compile_expression(rule), environment.compile(text)
            for facts, mask in zip(many_facts, masks, strict=True):
                wanted, given = cel_result(theirs, facts), ours(facts)
                results["unknown" if wanted is MISSING else str(wanted).lower()] += 1
                if given is not wanted or bool(mask >> bit & 1) is not (wanted is True):
                    wrong.append(f"{text}\n    of {facts}\n    CEL {wanted}, here {given}, index {mask >> bit & 1}")
        if sys.stderr.isatty():
            print(f"\r{results.total():,} pairs", end="", file=sys.stderr)
    for line in wrong[:SHOWN]:
        print(line)
    told = ", ".join(f"{count:,} {result}" for result, count in sorted(results.items()))
    print(f"pairs {results.total():,} ({len(conditions):,} different conditions; {told})")
    print(f"disagreements {len(wrong)}")
    print(f"seconds {time.perf_counter() - began:.1f}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
