"""Do the intervals of off-policy values hold what they promise? The simulated bank knows.

For every seed a bank of its own lives for some days; the engine decides every visit with exploration, customers answer
by the known truth. From that log alone three other policies are estimated: arbitration without exploration, any
eligible offer with equal chance, and the oracle, which no log agrees with much. Their true values are known. Counted is
in how many of the seeds the 95 % interval holds the truth: on the decisions of that log, which is what an off-policy
value is about, and over all banks together, which is harder, as then a log is only a sample of people and moments.

`python -m loadtests.off_policy_coverage` prints the table and exits with 1 where an estimator that makes the claim
covers the truth of its own log in fewer than nine seeds of ten. Judged are visits that asked for one option and where
every eligible offer had a chance.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from decision_engine.outcomes import Outcome
from decision_engine.strategy import Exploration, Strategy
from models.evaluation.off_policy.estimators import Estimator
from models.evaluation.off_policy.judgement import JudgingRule, judge_policies
from models.evaluation.off_policy.recorded_choices import JudgedPolicy, Predictions, RecordedChoices
from services.adapters.file_strategy_source import load_strategy_file
from services.settings import read_settings
from services.simulation.bank import BankConfig, BankStream
from services.simulation.hours import hour_of
from services.simulation.served_decisions import Counter, Served
from services.simulation.truth import Exposures, Moment, ResponseModel
from services.simulation.visits import Visit

Floats = NDArray[np.float64]

SEEDS, CUSTOMERS, HISTORY_DAYS, DAYS = 100, 300, 3, 14
EPSILON, TRUTH_SEED, FIRST_DAY = 0.5, 1, date(2026, 3, 1)
POLICIES = ("arbitration", "any eligible", "oracle")
CLAIMED = (Estimator.IPS, Estimator.SNIPS, Estimator.DR, Estimator.SNDR)
"""DM is as good as its predictions, which are marketers' base rates here; it promises nothing."""
LEAST_COVERED = 0.9


@dataclass(slots=True)
class Row:
    """A judged decision: by policy its chance of the shown offer, the prediction and the truth under the policy."""

    customer: int
    logged: float
    reward: float
    predicted: float
    chances: tuple[float, ...]
    expected: tuple[float, ...]
    truths: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One bank: by policy and estimator value, low and high; by policy the truth on its own decisions."""

    seed: int
    decisions: int
    accepted: int
    intervals: dict[tuple[str, Estimator], tuple[float, float, float]]
    truths: tuple[float, ...]
    refused: tuple[str, ...]


def run_seed(strategy: Strategy, customers: int, days: int, seed: int) -> SeedResult:
    """One bank, its log, and what is estimated from it."""
    rows = logged_rows(strategy, customers, days, seed)
    choices = RecordedChoices(
        rewards=np.array([row.reward for row in rows]),
        logged=np.array([row.logged for row in rows]),
        clusters=np.array([row.customer for row in rows], np.intp),
    )
    predicted = np.array([row.predicted for row in rows])
    policies = {
        name: JudgedPolicy(
            chances=np.array([row.chances[place] for row in rows]),
            predictions=Predictions(chosen=predicted, expected=np.array([row.expected[place] for row in rows])),
        )
        for place, name in enumerate(POLICIES)
    }
    report = judge_policies(choices, policies, JudgingRule(seed=seed, replicates=1_000))
    return SeedResult(
        seed,
        len(rows),
        int(choices.rewards.sum()),
        {
            (policy.name, kind): (found.value, found.low, found.high)
            for policy in report.policies
            for kind, found in policy.estimates.items()
        },
        tuple(float(np.mean([row.truths[place] for row in rows])) for place in range(len(POLICIES))),
        tuple(policy.name for policy in report.policies if policy.refusals),
    )


def logged_rows(strategy: Strategy, customers: int, days: int, seed: int) -> list[Row]:
    """The log of one bank. Banks differ in people, life and draws; what people like is the same truth in all."""
    stream = BankStream(BankConfig(seed=seed, customers=customers, start=FIRST_DAY))
    counter = Counter(strategy, stream.people, seed)
    counter.truth = ResponseModel(strategy.offers, TRUTH_SEED)
    zone, exposures, rows = ZoneInfo(strategy.time_zone), Exposures(), []
    for day in range(HISTORY_DAYS + days):
        lived = stream.next_day()
        counter.states.add(lived.events)
        for visit in lived.visits if day >= HISTORY_DAYS else ():
            served = counter.serve(visit, {})
            if served is None:
                continue
            moment = Moment(channel=visit.channel, hour=hour_of(visit.at_ms, zone), page=visit.page)
            rows += _judged(
                _Truth(counter.truth, stream.people.traits[visit.customer], exposures), served, visit, moment
            )
            for option in (option for placement in served.decision.placements for option in placement.options[:1]):
                exposures.note(str(visit.customer), str(option.candidate.offer), visit.at_ms)
    return rows


@dataclass(frozen=True, slots=True)
class _Truth:
    """What nobody but the judge may know of a visitor."""

    model: ResponseModel
    traits: Floats
    exposures: Exposures

    def probabilities(self, names: Sequence[str], visit: Visit, moment: Moment) -> Floats:
        seen = [self.exposures.count(str(visit.customer), name, visit.at_ms) for name in names]
        return self.model.probabilities(self.traits, moment, [self.model.index[name] for name in names], seen)


def _judged(truths: _Truth, served: Served, visit: Visit, moment: Moment) -> list[Row]:
    """The row of a decision, none where there was nothing to choose or to learn."""
    placement = served.decision.placements[0]
    if served.request.placements[0].count != 1 or not placement.options or placement.options[0].mandatory:
        return []
    candidates = [c for c in served.decision.candidates if c.selection_probability is not None]
    names = list(dict.fromkeys(str(c.offer) for c in candidates))
    logged = {name: sum(c.selection_probability or 0.0 for c in candidates if c.offer == name) for name in names}
    if min(logged.values()) <= 0.0 or abs(sum(logged.values()) - 1.0) > 1e-6:
        return []
    truth = truths.probabilities(names, visit, moment)
    best = {c.offer: c for c in sorted(candidates, key=lambda c: c.priority or 0.0)}
    propensity = np.array([best[name].propensity or 0.0 for name in names])
    priority = np.array([best[name].priority or 0.0 for name in names])
    policies = (_only(int(priority.argmax()), len(names)), np.full(len(names), 1 / len(names)),
                _only(int(truth.argmax()), len(names)))  # fmt: skip
    shown = names.index(str(placement.options[0].candidate.offer))
    return [
        Row(
            visit.customer,
            min(1.0, logged[names[shown]]),
            float(any(response.outcome is Outcome.ACCEPT for response in served.responses)),
            float(propensity[shown]),
            tuple(float(policy[shown]) for policy in policies),
            tuple(float(policy @ propensity) for policy in policies),
            tuple(float(policy @ truth) for policy in policies),
        )
    ]


def _only(place: int, size: int) -> Floats:
    chances = np.zeros(size)
    chances[place] = 1.0
    return chances


def exploring_strategy(epsilon: float = EPSILON) -> Strategy:
    """The demo bank's own, exploring enough to learn from so few customers."""
    strategy = load_strategy_file(read_settings({}).strategy_path)
    return replace(strategy, exploration=Exploration(kind="epsilon_greedy", epsilon=epsilon))


def run_seeds(seeds: Sequence[int], customers: int = CUSTOMERS, days: int = DAYS, workers: int = 2) -> list[SeedResult]:
    """All banks, in parallel."""
    work = partial(run_seed, exploring_strategy(), customers, days)
    results = []
    with ProcessPoolExecutor(workers) as pool:
        for result in pool.map(work, seeds):
            results.append(result)
            print(f"  seed {result.seed}: {result.decisions:,} decisions, {result.accepted} accepted", file=sys.stderr,
                  flush=True)  # fmt: skip
    return results


@dataclass(frozen=True, slots=True)
class Coverage:
    """In how many seeds the interval held the truth on the log's own decisions, and over all banks."""

    policy: str
    estimator: Estimator
    seeds: int
    own: int
    overall: int
    truth: float
    mean_estimate: float
    mean_width: float
    refused: int


def coverage(results: Sequence[SeedResult]) -> list[Coverage]:
    """Counted over the seeds, refused ones included: their intervals are printed too."""
    weights = np.array([result.decisions for result in results], float)
    rows = []
    for place, policy in enumerate(POLICIES):
        truth = float(np.average([result.truths[place] for result in results], weights=weights))
        for kind in dict.fromkeys(kind for _, kind in results[0].intervals):
            found = np.array([result.intervals[policy, kind] for result in results])
            own = np.array([result.truths[place] for result in results])
            rows.append(
                Coverage(
                    policy, kind, len(results),
                    int(((found[:, 1] <= own) & (own <= found[:, 2])).sum()),
                    int(((found[:, 1] <= truth) & (truth <= found[:, 2])).sum()),
                    truth, float(found[:, 0].mean()), float((found[:, 2] - found[:, 1]).mean()),
                    sum(policy in result.refused for result in results),
                )
            )  # fmt: skip
    return rows


def holds_on_own_log(rows: Sequence[Coverage]) -> bool:
    """Whether every estimator that claims to covers the truth on its log's decisions in nine seeds of ten."""
    return all(row.own >= LEAST_COVERED * row.seeds for row in rows if row.estimator in CLAIMED)


def holds_over_all_banks(rows: Sequence[Coverage]) -> bool:
    """The same over all banks together."""
    return all(row.overall >= LEAST_COVERED * row.seeds for row in rows if row.estimator in CLAIMED)


def print_coverage(rows: Sequence[Coverage]) -> None:
    """The table."""
    head = ("truth", "estimate", "width", "own log", "all banks", "refused")
    print(f"{'policy':<14}{'estimator':<10}" + "".join(f"{title:>10}" for title in head))
    for row in rows:
        covered = f"{f'{row.own}/{row.seeds}':>10}{f'{row.overall}/{row.seeds}':>10}{row.refused:>10}"
        figures = f"{row.truth:>10.4f}{row.mean_estimate:>10.4f}{row.mean_width:>10.4f}"
        print(f"{row.policy:<14}{row.estimator.value:<10}{figures}{covered}")


def main() -> int:
    """Runs the banks and judges the intervals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    results = run_seeds(range(1, 1 + args.seeds), args.customers, args.days, args.workers)
    decisions = np.mean([result.decisions for result in results])
    accepted = np.mean([result.accepted for result in results])
    print(
        f"{len(results)} banks of {args.customers} customers, {args.days} days, epsilon {EPSILON}: "
        f"{decisions:,.0f} judged decisions and {accepted:.0f} acceptances each"
    )
    rows = coverage(results)
    print_coverage(rows)
    return 0 if holds_on_own_log(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
