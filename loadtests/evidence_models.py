"""The claims of the models."""

import os
from functools import cache
from pathlib import Path

from loadtests.bank_calls import read_calls
from loadtests.bank_marketing import ALIFT_TARGET, AUC_TARGET, ERROR_TARGET, BankReport, bank_report
from loadtests.evidence import Claim, Measured
from loadtests.evidence_engine import claim
from loadtests.model_families import FamilyFigures, churn_family, offer_families
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
from loadtests.regret import HALF, RegretReport, measure_regret
from loadtests.regret import SEEDS as REGRET_SEEDS
from loadtests.regret_launches import FAIR, FIRST_SHOWN, LaunchReport, measure_launches
from loadtests.regret_lives import CUSTOMERS as REGRET_CUSTOMERS
from loadtests.regret_lives import Kind
from loadtests.starbucks_policies import BEST_SINGLE, UNIFORM, judge_wave, read_log
from loadtests.starbucks_policies import PUBLISHED as LATER_WAVES
from loadtests.starbucks_service import measure_service
from models.evaluation.off_policy.estimators import Estimator
from models.evaluation.promotion_checks import promotion_problems

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


def starbucks_service() -> Measured:
    """The whole service on the randomised log, counts of all parts included."""
    run = measure_service()
    counts = ", ".join(f"{title} {held:,} of {sent:,}" for title, (sent, held) in run.folded.items())
    archived = f"archived {sum(run.archived.values()):,} of {sum(run.published.values()):,}"
    text = f"{run.value.figures()}; folded: {counts}; {archived}"
    return Measured(text, run.sound and run.value.holds)


@cache
def _bank() -> BankReport:
    return bank_report(read_calls())


def refitted_ranking() -> Measured:
    """Frozen on the first 70 % and refitted every 1,000 calls, pooled."""
    frozen, pooled = _bank().frozen, _bank().refitted
    text = f"frozen AUC {frozen.auc[0]:.4f} [{frozen.auc[1]:.3f}, {frozen.auc[2]:.3f}] on the rest; refitted, pooled "
    text += f"over {pooled.calls:,}: AUC {pooled.auc[0]:.4f} [{pooled.auc[1]:.3f}, {pooled.auc[2]:.3f}], "
    text += f"ALIFT {pooled.alift:.4f}; on the same rest {_bank().refitted_rest.auc[0]:.4f}"
    return Measured(text, pooled.auc[0] >= AUC_TARGET and pooled.alift >= ALIFT_TARGET)


def refitted_calibration() -> Measured:
    """Calibration errors on the same last 30 %."""
    bank = _bank()
    mine, frozen = bank.refitted_rest.calibration_error, bank.frozen.calibration_error
    text = f"{mine:.4f} beside {frozen:.4f}: {bank.error_ratio:.2f}; "
    text += f"beside the training's defaults frozen {bank.error_beside(bank.frozen_defaults):.2f}"
    text += f", beside the refitted one's recency weights frozen {bank.error_beside(bank.frozen_recent):.2f}"
    return Measured(text, bank.error_ratio <= ERROR_TARGET)


def bank_drift_alarm() -> Measured:
    """When the alarm fired, for versions refitted before every block and for versions kept until it fires."""
    texts = []
    for name, blocks in (("refitted every block", _bank().watched), ("kept until it fires", _bank().kept)):
        fired = ", ".join(f"{block.start:,} ({block.year})" for block in blocks if block.alarms)
        texts.append(f"{name}: alarms at calls {fired}")
    return Measured(f"{'; '.join(texts)}; first look at call {_bank().watched[0].start:,}", _bank().drift_holds)


@cache
def _regret() -> RegretReport:
    return measure_regret(REGRET_SEEDS, REGRET_CUSTOMERS)


@cache
def _launches() -> LaunchReport:
    return measure_launches(_regret().favourites, REGRET_CUSTOMERS)


def regret_after_a_shift() -> Measured:
    """The product over its first version alone, fitted once before the shift; beside it each half of what it does."""
    report, days = _regret(), _regret().last_days
    whole, fits = report.at_the_end(), report.fits[Kind.PRODUCT]
    text = f"seeds {', '.join(map(str, REGRET_SEEDS))}: {whole} of the tree's; a decision "
    text += f"{report.mean(Kind.PRODUCT, *days):,.0f} beside {report.mean(Kind.TREE, *days):,.0f}; online learning "
    text += f"without refits {report.at_the_end(Kind.ONLINE)}, refits without online learning "
    text += f"{report.at_the_end(Kind.REFITS)}; last days over the first two after the shift {report.fallen_to}; "
    text += f"{fits.made} fits, {fits.promoted} passed their checks and served, {fits.by_drift} started by drift"
    text += "".join(f"; seed {seed}: first version refused by its checks" for seed in report.refused)
    return Measured(text, whole.value <= HALF and report.fallen_to.high < 1)


def share_of_a_new_offer() -> Measured:
    """An offer no log and no tree has seen, once it has been shown 250 times until it was 500 times."""
    report = _launches()
    shown = ", ".join(f"{launch.offer} {launch.impressions}" for launch in report.launches)
    stuck = f"; not: {', '.join(report.stuck)}" if report.stuck else ""
    text = f"{report.fair} of the fair share where shown so often; impressions in all: {shown}{stuck}"
    return Measured(text, not report.stuck)


@cache
def _offers() -> dict[str, FamilyFigures]:
    return offer_families()


def family_of_offers(name: str) -> Measured:
    """A family fitted on the simulated bank's own log: it passes the checks of a promotion, and its card says so."""
    figures = _offers()[name]
    return _family(figures)


def family_of_churn() -> Measured:
    """Churn from snapshots of the simulated bank."""
    return _family(churn_family())


def _family(figures: FamilyFigures) -> Measured:
    metrics, data = figures.fitted.draft.metrics, figures.fitted.draft.data
    auc, gain = metrics["auc"], metrics["log_loss_gain"]
    text = f"{data.rows if data else 0:,} rows, {data.positives if data else 0:,} positive; AUC {auc.value:.3f} "
    text += f"[{auc.low or 0:.3f}, {auc.high or 1:.3f}], log loss gained {gain.value:.5f} [{gain.low or 0:.5f}, "
    text += f"{gain.high or 0:.5f}], calibration error {metrics['calibration_error'].value:.4f}; "
    return Measured(text + "; ".join(figures.notes), not promotion_problems(figures.fitted.draft))


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
    claim(
        "online learning: right while responses are pending, exactly once whatever is killed, replay byte by byte",
        "all pass",
        [
            "pytest",
            "-q",
            "tests/unit/models/test_online_posterior.py",
            "tests/unit/models/test_online_book.py",
            "tests/properties/test_online_delays_unbiased.py",
            "tests/unit/engine/test_engine_online.py",
            "tests/unit/use_cases/test_online_records.py",
            "tests/integration/test_online_learner_exactness.py",
        ],
        timeout=600,
    ),
    Claim(
        name="simulated bank, known truth: regret after a shift in taste, the product (online learning, refits) "
        "beside its first tree model alone, fitted once; held-out seeds",
        target=f"falls over time, ends at most {HALF:.0%} of the tree's",
        command="python -m loadtests.regret",
        measure=regret_after_a_shift,
        quick=False,
    ),
    Claim(
        name="simulated bank, known truth: a new offer without data",
        target=f"{FAIR:.0%} of its fair share within {FIRST_SHOWN} impressions, every one launched",
        command="python -m loadtests.regret",
        measure=share_of_a_new_offer,
        quick=False,
    ),
    Claim(
        name="bank marketing, no duration: refitted every 1,000 calls on the newest 20,000",
        target=f"pooled AUC at least {AUC_TARGET}, ALIFT at least {ALIFT_TARGET}",
        command="python -m loadtests.bank_marketing",
        measure=refitted_ranking,
    ),
    Claim(
        name="bank marketing: calibration error of the refitted model beside that of one made once, same calls",
        target="at most a third",
        command="python -m loadtests.bank_marketing",
        measure=refitted_calibration,
    ),
    Claim(
        name="bank marketing: the drift alarm, block by block, by versions of what came before",
        target="fires in 2009 and not in the first 10,000 calls",
        command="python -m loadtests.bank_marketing",
        measure=bank_drift_alarm,
    ),
    claim(
        "simulated bank: tastes turn, the learner's drift alarm starts a fit, and that version is promoted (one seed)",
        "no alarm before the turn, one after it, a promotion with its reason",
        ["loadtests.drift_bank"],
        timeout=600,
    ),
    Claim(
        name="Starbucks, randomised log: uniform policy and best single offer",
        target="the best single offer of earlier waves above the uniform policy, interval of the difference above 0",
        command="python -m loadtests.starbucks_policies",
        measure=randomised_waves,
    ),
    Claim(
        name="Starbucks: the service replays the log, learns from hours 0 to 335, and decides wave 336",
        target="off-policy value above the best single offer, the interval of the difference above 0; all counts equal",
        command="python -m loadtests.starbucks_service",
        measure=starbucks_service,
        quick=False,
    ),
    claim(
        "a draft over a recorded day: decisions as the log has them, and how fast",
        "every decision of the log comes out as recorded; at least 5,000 decisions per second of one core",
        ["loadtests.bench_simulation_day", "--customers", "4000", "--days", "8"],
        timeout=900,
        quick=False,
    ),
    Claim(
        name="cross-sell on the simulated bank, calibrated by offer group and channel",
        target="AUC above 0.5 and log loss below that of the base rates beyond doubt",
        command="python -m loadtests.model_families offers",
        measure=lambda: family_of_offers("cross_sell"),
        quick=False,
    ),
    Claim(
        name="acquisition on the simulated bank: newcomers to cards and loans",
        target="the same, on newcomers' rows",
        command="python -m loadtests.model_families offers",
        measure=lambda: family_of_offers("acquisition"),
        quick=False,
    ),
    Claim(
        name="churn on the simulated bank, from snapshots, 20 days ahead",
        target="the same, against the rate of the days before",
        command="python -m loadtests.model_families churn",
        measure=family_of_churn,
        quick=False,
    ),
)
