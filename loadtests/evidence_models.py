"""The claims of the models."""

import os
from functools import cache
from pathlib import Path

from loadtests.evidence import Claim, Measured
from loadtests.evidence_engine import claim
from loadtests.off_policy_coverage import (
    CLAIMED,
    SEEDS,
    Coverage,
    coverage,
    holds_on_own_log,
    holds_over_all_banks,
    run_seeds,
)
from loadtests.open_bandit import (
    AGREEMENT,
    PUBLISHED,
    PUBLISHED_WITHIN,
    THOMPSON,
    OpenBandit,
    largest_difference,
    open_bandit,
    thompson_report,
)
from loadtests.starbucks_policies import BEST_SINGLE, UNIFORM, judge_wave, read_log
from loadtests.starbucks_policies import PUBLISHED as LATER_WAVES
from models.evaluation.off_policy.estimators import Estimator

_OBP = Path(os.environ.get("OBP_PYTHON", Path(__file__).parents[1] / ".venv-obp" / "bin" / "python"))


@cache
def _bandit() -> OpenBandit:
    return open_bandit(_OBP)


def thompson_value() -> Measured:
    """The published estimate, with what its weights are worth."""
    policy = thompson_report(_bandit()).policy(THOMPSON)
    found = policy.estimates[Estimator.IPS]
    text = f"IPS {found.value:.6f} [{found.low:.5f}, {found.high:.5f}], {policy.health.effective:,.0f} effective of "
    text += f"{policy.health.choices:,}; " + "; ".join(policy.warnings)
    warned = bool(policy.warnings) and policy.health.effective > 0
    return Measured(text, warned and abs(found.value - PUBLISHED) <= PUBLISHED_WITHIN)


def agreement_with_obp() -> Measured:
    """Every estimator, clipped ones and those of slates included, on the same arrays."""
    worst, lines = largest_difference(_bandit())
    return Measured(f"{len(lines)} estimates, largest difference {worst:.1e}", worst <= AGREEMENT)


@cache
def _coverage() -> tuple[Coverage, ...]:
    return tuple(coverage(run_seeds(range(1, 1 + SEEDS))))


def truth_on_own_log() -> Measured:
    """In how many seeds the interval holds what the policy would truly have earned on the log's decisions."""
    rows = [row for row in _coverage() if row.estimator in CLAIMED]
    texts = [f"{row.policy} {row.estimator.value} {row.own}" for row in rows]
    return Measured(f"of {rows[0].seeds}: {', '.join(texts)}", holds_on_own_log(rows))


def truth_over_all_banks() -> Measured:
    """The same against the value over all banks."""
    rows = [row for row in _coverage() if row.estimator in CLAIMED]
    texts = [f"{row.policy} {row.estimator.value} {row.overall}" for row in rows]
    return Measured(f"of {rows[0].seeds}: {', '.join(texts)}", holds_over_all_banks(rows))


def randomised_waves() -> Measured:
    """Uniform and best single offer on the wave that has run out and on the last one, cut off after three days."""
    log = read_log()
    texts, holds = [], True
    for number in (1, 2):
        report = judge_wave(log, number)
        shown = [
            f"{name} {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
            for name in (UNIFORM, BEST_SINGLE)
            for found in [report.policy(name).estimates[Estimator.DR]]
        ]
        texts.append(f"hour {log.waves[number].hour}: {', '.join(shown)}")
        holds &= report.conclusive and report.difference(BEST_SINGLE, UNIFORM).low > 0
    later = ", ".join(f"{name} {value}" for name, value in LATER_WAVES.items())
    return Measured("; ".join([*texts, f"published for waves after this log: {later}"]), holds)


CLAIMS = (
    claim(
        "50 candidates x 500 trees in one call, beside Booster.predict",
        "5 times as fast compiled, twice without a compiler, equal bit for bit",
        ["loadtests.bench_models", "--rows", "50", "--trees", "500"],
        timeout=900,
    ),
    claim(
        "every form of a model exact or dropped; swaps, challengers and shadows keep no decision waiting",
        "all pass",
        [
            "pytest",
            "-q",
            "tests/properties/test_models_exact_forms.py",
            "tests/integration/test_model_role_swaps.py",
            "tests/integration/test_models_command.py",
            "tests/unit/use_cases/test_model_roles.py",
        ],
        timeout=600,
    ),
    Claim(
        name="Open Bandit: the Thompson policy from the random log",
        target="inverse propensity 0.00455 within 0.0001; effective sample size and warning printed",
        command="make setup-obp; python -m loadtests.open_bandit",
        measure=thompson_value,
    ),
    Claim(
        name="Open Bandit: every estimator as obp's own",
        target="on the same log and slates to 1e-9",
        command="make setup-obp; python -m loadtests.open_bandit",
        measure=agreement_with_obp,
    ),
    Claim(
        name="off-policy intervals hold the known truth of the simulated bank",
        target="in at least 90 of 100 seeds at the 95 % level, on the log's decisions, by every estimator but DM",
        command="python -m loadtests.off_policy_coverage",
        measure=truth_on_own_log,
        quick=False,
    ),
    Claim(
        name="the same over all simulated banks, each log a sample of people and moments",
        target="in at least 90 of 100 seeds, the oracle included",
        command="python -m loadtests.off_policy_coverage",
        measure=truth_over_all_banks,
        quick=False,
    ),
    Claim(
        name="Starbucks, randomised log: uniform policy and best single offer",
        target="the best single offer of earlier waves above the uniform policy, interval of the difference above 0",
        command="python -m loadtests.starbucks_policies",
        measure=randomised_waves,
    ),
)
