"""A real bank's telephone offers, 2008 to 2010: what refitting is worth, and when the drift alarm fires.

Everything is forward in time: a call is scored by a model of calls before it. Compared are a model frozen on the first
70 % of the calls, judged on the rest, and one refitted every 1,000 calls on the newest 20,000, judged on all calls it
scored (pooled, from the 20,001st on) and on the same rest. All are fitted by the product's own training. How many trees
and which half-life were chosen on the first 70 % alone: of the grid that `--choose` prints again, the pair with the
least log loss over refits within them. The frozen model is one that is made once: as many trees, all calls counting
alike. Beside it stand the training's defaults (early stopping, calibrated on the newest part, all alike too), and the
refitted model's own settings frozen, which do much better than either, as a burst of acceptances happened to lie right
before the cut. `duration` is never read.

The drift alarm is the product's: each block of 1,000 calls is compared with the reference of the version in service,
made of what came before it, from the first block for which there are as many rows and acceptances as the learner asks
for before a first fit. The same is shown for versions that are kept until the alarm fires and only then made anew.

    python -m loadtests.bank_marketing                      # prints the report
    python -m loadtests.bank_marketing --out var/reports    # and writes it as JSON and Markdown
    python -m loadtests.bank_marketing --choose             # the grid the settings were chosen from
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtests.bank_calls import ARCHIVE, CALENDAR, Calls, read_calls
from models.drift.findings import DriftLimits, DriftReport, drift_report
from models.drift.reference import REFERENCE_FILE, decode_reference
from models.evaluation.calibration_error import calibration_error, predicted_to_observed
from models.evaluation.discrimination import auc_estimate
from models.evaluation.full_report.lift_curve import lift_curve
from models.evaluation.log_loss import log_loss
from models.evaluation.report import aligned
from models.training.fit import FittedModel, fit_model
from models.training.settings import FitSettings
from services.settings import Settings

Vector = NDArray[np.float64]

FROZEN_SHARE, WINDOW, STEP = 0.7, 20_000, 1_000
QUIET_CALLS, DRIFT_YEAR = 10_000, 2009
AUC_TARGET, ALIFT_TARGET, ERROR_TARGET = 0.74, 0.70, 1 / 3
ROUNDS, HALF_LIFE = 100, 1_250
"""The least log loss of GRID on the first 70 %; see `--choose`."""
ALL_ALIKE = 1_000_000_000
"""A half-life that leaves all weights at 1."""
GRID = tuple(product((40, 100, 200), (10_000, 5_000, 2_500, 1_250)))
SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How scores did on calls: AUC and log loss with 95 % intervals, the area under the lift curve, calibration."""

    name: str
    calls: int
    positives: int
    auc: tuple[float, float, float]
    alift: float
    log_loss: tuple[float, float, float]
    calibration_error: float
    predicted_to_observed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One look at one block: where it began, and what alarmed or warned."""

    start: int
    year: int
    made_of: int
    observed_to_predicted: float
    alarms: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BankReport:
    """All figures. `watched` is the version refitted before every block, `kept` those refitted only after an alarm."""

    frozen: Figures
    frozen_defaults: Figures
    frozen_recent: Figures
    refitted_rest: Figures
    refitted: Figures
    watched: tuple[Block, ...]
    kept: tuple[Block, ...]

    @property
    def error_ratio(self) -> float:
        """The refitted model's calibration error over the frozen one's, on the same calls."""
        return self.error_beside(self.frozen)

    def error_beside(self, other: Figures) -> float:
        """The same beside another."""
        return self.refitted_rest.calibration_error / other.calibration_error

    @property
    def drift_holds(self) -> bool:
        """Whether the alarm fired in the year of the shift and not in the quiet calls, refitted or kept."""
        return all(
            any(block.alarms and block.year == DRIFT_YEAR for block in blocks)
            and not any(block.alarms and block.start < QUIET_CALLS for block in blocks)
            for blocks in (self.watched, self.kept)
        )


def settings(rounds: int = ROUNDS, half_life: int = HALF_LIFE) -> FitSettings:
    """The product's training, newer calls counting more."""
    return FitSettings(seed=SEED, rounds=rounds, half_life_rows=half_life)


def fitted_on(calls: Calls, start: int, stop: int, how: FitSettings) -> FittedModel:
    """The product's fit on these calls."""
    return fit_model("term_deposit", calls.between(start, stop), 0, how, _quiet)


def refitted_scores(calls: Calls, stop: int, how: FitSettings, window: int = WINDOW, step: int = STEP) -> Vector:
    """Scores of the calls from the window's end to `stop`, NaN before: each block by a model of the window before."""
    scores = np.full(stop, np.nan)
    for start in range(window, stop, step):
        end = min(start + step, stop)
        model = fitted_on(calls, start - window, start, how)
        scores[start:end] = model.scorer.score(calls.examples.matrix[start:end])
    return scores


def figures(name: str, labels: Vector, scores: Vector) -> Figures:
    """All measures of these scores."""
    ranking, loss = auc_estimate(labels, scores), log_loss(labels, scores)
    return Figures(
        name=name,
        calls=int(labels.size),
        positives=int(labels.sum()),
        auc=(ranking.value, ranking.low, ranking.high),
        alift=lift_curve(labels, scores).area,
        log_loss=(loss.value, loss.low, loss.high),
        calibration_error=calibration_error(labels, scores),
        predicted_to_observed=predicted_to_observed(labels, scores),
    )


def first_look(calls: Calls, step: int = STEP) -> int:
    """The first block before which there is as much as the learner asks for by default."""
    least = Settings()
    positives = np.cumsum(calls.examples.labels)
    enough = (np.arange(len(calls)) + 1 >= least.learner_min_rows) & (positives >= least.learner_min_positives)
    return -(-(int(np.argmax(enough)) + 1) // step) * step


def watch(calls: Calls, *, refit_always: bool, window: int = WINDOW, step: int = STEP) -> tuple[Block, ...]:
    """Looks at block after block; a version is kept until its alarm, or refitted before every block."""
    blocks: list[Block] = []
    made_of, model = 0, None
    for start in range(first_look(calls, step), len(calls), step):
        if model is None or refit_always or blocks[-1].alarms:
            made_of, model = start, fitted_on(calls, max(0, start - window), start, settings())
        end = min(start + step, len(calls))
        report = _look(calls, model, slice(made_of, end))
        blocks.append(_block(report, start, made_of, int(calls.years[start])))
    return tuple(blocks)


def bank_report(calls: Calls) -> BankReport:
    """Fits and judges everything."""
    cut, labels = round(FROZEN_SHARE * len(calls)), calls.examples.labels
    rest = calls.examples.matrix[cut:]
    scores = refitted_scores(calls, len(calls), settings())

    def frozen(name: str, how: FitSettings) -> Figures:
        return figures(name, labels[cut:], fitted_on(calls, 0, cut, how).scorer.score(rest))

    return BankReport(
        frozen=frozen("frozen on the first 70 %, on the rest", settings(half_life=ALL_ALIKE)),
        frozen_defaults=frozen("frozen by the training's defaults", FitSettings(seed=SEED)),
        frozen_recent=frozen("frozen with the refitted one's settings", settings()),
        refitted_rest=figures("refitted every 1,000 calls, on the rest", labels[cut:], scores[cut:]),
        refitted=figures("refitted, pooled over all calls it scored", labels[WINDOW:], scores[WINDOW:]),
        watched=watch(calls, refit_always=True),
        kept=watch(calls, refit_always=False),
    )


def choice_lines(calls: Calls) -> list[str]:
    """The grid on the first 70 %: refits within it, scored calls pooled."""
    cut, labels = round(FROZEN_SHARE * len(calls)), calls.examples.labels
    table = [("trees", "half-life", "log loss", "AUC")]
    for rounds, half_life in GRID:
        scores = refitted_scores(calls, cut, settings(rounds, half_life))[WINDOW:]
        found = figures("", labels[WINDOW:cut], scores)
        table.append((f"{rounds}", f"{half_life:,}", f"{found.log_loss[0]:.5f}", f"{found.auc[0]:.4f}"))
    return aligned(table)


def report_lines(report: BankReport) -> list[str]:
    """The report for people."""
    rows = [("", "calls", "taken", "AUC", "95 % interval", "ALIFT", "log loss", "cal. error", "pred./obs.")]
    rows += [_cells(found) for found in _all_figures(report)]
    return [
        *aligned(rows),
        "",
        f"calibration error of the refitted over the frozen, same calls: {report.error_ratio:.3f} (at most a third); "
        f"over the defaults' {report.error_beside(report.frozen_defaults):.3f}, "
        f"over its own settings' frozen {report.error_beside(report.frozen_recent):.3f}",
        "",
        "drift alarm, versions refitted before every block of 1,000 calls:",
        *_alarm_lines(report.watched),
        "drift alarm, versions kept until it fires:",
        *_alarm_lines(report.kept),
    ]


def _all_figures(report: BankReport) -> tuple[Figures, ...]:
    frozen = (report.frozen, report.frozen_defaults, report.frozen_recent)
    return (*frozen, report.refitted_rest, report.refitted)


def _cells(found: Figures) -> tuple[str, str, str, str, str, str, str, str, str]:
    return (
        *(found.name, f"{found.calls:,}", f"{found.positives:,}", f"{found.auc[0]:.4f}"),
        *(f"{found.auc[1]:.4f} .. {found.auc[2]:.4f}", f"{found.alift:.4f}", f"{found.log_loss[0]:.4f}"),
        *(f"{found.calibration_error:.4f}", f"{found.predicted_to_observed:.3f}"),
    )


def _alarm_lines(blocks: Sequence[Block]) -> list[str]:
    alarms = [block for block in blocks if block.alarms]
    early = [block for block in blocks if block.start < QUIET_CALLS]
    lines = [
        f"  calls {b.start:,} to {b.start + STEP:,} ({b.year}), version of the first {b.made_of:,}: "
        f"{b.observed_to_predicted:.2f} times as many as predicted"
        for b in alarms
    ]
    silent = f"  {len(early)} looks in the first {QUIET_CALLS:,} calls, {sum(bool(b.alarms) for b in early)} alarms; "
    return [
        *lines,
        silent + f"warnings (inputs, scores, rates) in {sum(bool(b.warnings) for b in blocks)} looks of all",
    ]


def _look(calls: Calls, model: FittedModel, rows: slice) -> DriftReport:
    examples = calls.between(rows.start, rows.stop)
    limits = DriftLimits(recent_rows=STEP, calendar=CALENDAR)
    scores = model.scorer.score(examples.matrix)
    return drift_report("term_deposit", decode_reference(model.files[REFERENCE_FILE]), examples, scores, limits)


def _block(report: DriftReport, start: int, made_of: int, year: int) -> Block:
    calibration = next(figure for figure in report.figures if figure.kind.value == "calibration")
    return Block(
        start=start,
        year=year,
        made_of=made_of,
        observed_to_predicted=calibration.value,
        alarms=tuple(figure.kind.value for figure in report.alarms),
        warnings=tuple(f"{figure.kind.value} {figure.name}" for figure in report.warnings),
    )


def _write(folder: Path, report: BankReport, lines: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    body = {**asdict(report), "error_ratio": report.error_ratio, "drift_holds": report.drift_holds, "seed": SEED}
    (folder / "bank_marketing.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    text = "# Bank marketing: frozen and refitted, and the drift alarm\n\n```\n" + "\n".join(lines) + "\n```\n"
    (folder / "bank_marketing.md").write_text(text, encoding="utf-8")
    print(f"\nwritten: {folder / 'bank_marketing.json'}, {folder / 'bank_marketing.md'}")


def _quiet(_: str) -> None:
    """Forty fits have nothing to say each."""


def main() -> int:
    """Prints the report, or the grid the settings were chosen from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder to write bank_marketing.json and .md to")
    parser.add_argument("--choose", action="store_true", help="print the grid on the first 70 %% instead")
    args = parser.parse_args()
    if not ARCHIVE.is_file():
        print(f"{ARCHIVE} is not there: KAIROS_DATA says where the data are", file=sys.stderr)
        return 1
    calls = read_calls()
    if args.choose:
        print("\n".join(choice_lines(calls)))
        return 0
    report = bank_report(calls)
    lines = report_lines(report)
    print("\n".join(lines))
    if args.out is not None:
        _write(args.out, report, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
