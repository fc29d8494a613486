"""What scoring one decision costs, by every form of the trees that is installed here, beside `Booster.predict`.

    python -m loadtests.bench_models
    python -m loadtests.bench_models --trees 500 --rows 50

Rows come in two kinds: `candidates` of one decision, which differ in the columns that offers fill (6 of 60) and share
the customer's, as the product's matrices are; and `independent` rows, which share nothing. All forms are compared bit
for bit before they are measured; forms take turns, so that a busy machine burdens all alike.
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np

from models.exact_forms import FormRefused, MarginForm, probes_of, require_exact
from models.gbdt_scorer import BoosterForm
from models.lignum_form import LignumForm
from models.mask_form import CandidateForm, MaskForm
from models.tree_text import read_trees

COLUMNS, OFFER_COLUMNS, LEAVES = 60, 6, 31
ROWS, TREES = (1, 10, 50, 200), (200, 500)
ROUNDS = 41
SECONDS_A_ROUND = 0.004
JUDGED_ROWS, JUDGED_TREES = 50, 500
COMPILED_TARGET, UNCOMPILED_TARGET = 5.0, 2.0
KINDS = ("candidates", "independent")


@dataclass(frozen=True, slots=True)
class Timing:
    """Median microseconds a call by form, for one shape."""

    kind: str
    rows: int
    trees: int
    microseconds: dict[str, float]

    def gain(self, form: str) -> float:
        """How many times as fast as LightGBM's own call."""
        return self.microseconds["booster"] / self.microseconds[form]


def main() -> int:
    """Status 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--trees", type=int, nargs="*", default=TREES)
    parser.add_argument("--no-compiler", action="store_true", help="leave out the compiled form")
    args = parser.parse_args()
    timings = [t for trees in args.trees for t in measure_forms(trees, args.rows, compiled=not args.no_compiler)]
    print(f"{COLUMNS} columns, {LEAVES} leaves, one thread; median microseconds a call (times as fast as the booster)")
    print("\n".join(table(timings)))
    lines, reached = verdict(timings)
    print("\n" + "\n".join(lines))
    return 0 if reached else 1


def measure_forms(trees: int, rows: Sequence[int], *, compiled: bool) -> list[Timing]:
    """Every form that is there, on both kinds of rows."""
    booster = train(trees)
    forms = exact_forms(booster, compiled=compiled)
    shapes = [(kind, count) for kind in KINDS for count in rows]
    return [Timing(kind, count, trees, measure(forms, make_matrix(kind, count))) for kind, count in shapes]


def train(trees: int) -> lightgbm.Booster:
    """Trees on noise with a signal, so that none is trivial; the offer columns are codes, one in ten values missing."""
    draw = np.random.default_rng(1)
    matrix = _draw_rows(draw, 20_000)
    margin = np.nan_to_num(matrix[:, :5]).sum(axis=1) + (matrix[:, -1] > 3) - 2
    labels = (draw.random(20_000) < 1 / (1 + np.exp(-margin))).astype(float)
    parameters = {"objective": "binary", "num_leaves": LEAVES, "verbose": -1, "num_threads": 2, "seed": 1}
    data = lightgbm.Dataset(matrix, labels, categorical_feature=[COLUMNS - 2, COLUMNS - 1])
    return lightgbm.train(parameters, data, trees)


def exact_forms(booster: lightgbm.Booster, *, compiled: bool) -> list[MarginForm]:
    """LightGBM's own call and every form that agrees with it on every bit."""
    text, plain = booster.model_to_string(), BoosterForm(booster)
    model = read_trees(text)
    probes, masks = probes_of(model), MaskForm(model)
    require_exact(masks, plain, probes)
    found: list[MarginForm] = [plain, CandidateForm(masks, plain)]
    for stopping in (None, threading.Event()) if compiled else (None,):
        started = time.perf_counter()
        try:
            form = LignumForm(text, plain, stopping)
            require_exact(form, plain, probes)
        except FormRefused as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        print(f"{form.name}: {len(model.trees)} trees in {time.perf_counter() - started:.1f} s", file=sys.stderr)
        found.append(form)
    return found


def make_matrix(kind: str, rows: int) -> np.ndarray:
    """Rows as training has them; candidates share all columns but the offers'."""
    draw = np.random.default_rng(2)
    matrix = _draw_rows(draw, rows)
    if kind == "candidates":
        matrix[:, :-OFFER_COLUMNS] = matrix[0, :-OFFER_COLUMNS]
    return matrix


def _draw_rows(draw: np.random.Generator, rows: int) -> np.ndarray:
    matrix = draw.normal(size=(rows, COLUMNS))
    matrix[:, -2] = draw.integers(0, 12, rows)
    matrix[:, -1] = draw.integers(0, 50, rows)
    matrix[draw.random(matrix.shape) < 0.1] = np.nan
    return matrix


def measure(forms: Sequence[MarginForm], matrix: np.ndarray) -> dict[str, float]:
    """Median over rounds of the mean call of each; in every round the forms take turns."""
    calls = {form.name: max(1, round(SECONDS_A_ROUND / _once(form, matrix))) for form in forms}
    taken: dict[str, list[float]] = {form.name: [] for form in forms}
    for _ in range(ROUNDS):
        for form in forms:
            started = time.perf_counter()
            for _ in range(calls[form.name]):
                form.margins(matrix)
            taken[form.name].append((time.perf_counter() - started) / calls[form.name])
    return {name: statistics.median(seconds) * 1e6 for name, seconds in taken.items()}


def _once(form: MarginForm, matrix: np.ndarray) -> float:
    form.margins(matrix)
    started = time.perf_counter()
    form.margins(matrix)
    return time.perf_counter() - started


def table(timings: Sequence[Timing]) -> list[str]:
    """One line a shape, one column a form."""
    names = list(timings[0].microseconds)
    lines = [f"{'rows':24}{'trees':>6}" + "".join(f"{name:>19}" for name in names)]
    for timing in timings:
        cells = (f"{timing.microseconds[name]:8.0f} ({timing.gain(name):5.1f}x)" for name in names)
        shape = f"{timing.rows} {timing.kind}"
        lines.append(f"{shape:24}{timing.trees:6}" + "".join(f"{cell:>19}" for cell in cells))
    return lines


def verdict(timings: Sequence[Timing]) -> tuple[list[str], bool]:
    """The targets for 50 candidates and 500 trees; what was not measured is missed."""
    judged = [t for t in timings if (t.kind, t.rows, t.trees) == ("candidates", JUDGED_ROWS, JUDGED_TREES)]
    if not judged:
        return [], True
    gains = {name: judged[0].gain(name) for name in judged[0].microseconds if name != "booster"}
    without = max((gain for name, gain in gains.items() if name != "compiled"), default=0.0)
    rows = (("compiled", gains.get("compiled", 0.0), COMPILED_TARGET), ("no compiler", without, UNCOMPILED_TARGET))
    lines = [
        f"{JUDGED_ROWS} candidates x {JUDGED_TREES} trees, {name}: {gain:.1f}x Booster.predict, target {target:g}x: "
        + ("reached" if gain >= target else "MISSED")
        for name, gain, target in rows
    ]
    return lines, all(gain >= target for _, gain, target in rows)


if __name__ == "__main__":
    raise SystemExit(main())
