"""What scoring one decision costs: one call for all candidates against a call for each.

python -m loadtests.bench_models --candidates 50 --columns 60 --trees 200
"""

import argparse
import statistics
import time
from collections.abc import Callable

import lightgbm
import numpy as np

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.calibration import IdentityCalibration, fit_isotonic
from models.gbdt_scorer import GbdtScorer

REPEATS = 9
SECONDS_A_REPEAT = 0.15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--columns", type=int, default=60)
    parser.add_argument("--trees", type=int, default=200)
    args = parser.parse_args()
    scorer, matrix = make_scorer(args.columns, args.trees), make_matrix(args.candidates, args.columns)
    booster = scorer._booster  # noqa: SLF001 - the library as it is, for comparison
    ways: list[tuple[str, Callable[[], object]]] = [
        ("one call, one thread, calibrated (the product)", lambda: scorer.score(matrix)),
        ("one call, one thread, trees alone", lambda: scorer.margins(matrix)),
        ("one call, the library's own threads", lambda: booster.predict(matrix, raw_score=True)),
        ("a call for each candidate", lambda: [scorer.score(matrix[i : i + 1]) for i in range(len(matrix))]),
    ]
    print(
        f"{args.candidates} candidates x {args.columns} columns, {args.trees} trees of 31 leaves, median of {REPEATS}"
    )
    print(f"{'way':50} {'us':>9} {'CPU us':>9} {'worst us':>9} {'ratio':>7}")
    first = None
    for title, call in ways:
        wall, cpu, worst = measure(call)
        first = first or wall
        print(f"{title:50} {wall:9.0f} {cpu:9.0f} {worst:9.0f} {wall / first:6.1f}x")
    return 0


def make_scorer(columns: int, trees: int) -> GbdtScorer:
    """Trees of 31 leaves on noise with a signal, so that none is trivial."""
    draw = np.random.default_rng(1)
    matrix = draw.normal(size=(20_000, columns))
    margin = matrix[:, :5].sum(axis=1) - 2
    labels = (draw.random(20_000) < 1 / (1 + np.exp(-margin))).astype(float)
    parameters = {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 2, "seed": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(matrix, labels), trees)
    schema = FeatureSchema(tuple(Column(name=f"c{number}", source=ColumnSource.ATTRIBUTE) for number in range(columns)))
    plain = GbdtScorer(version="bench", schema=schema, booster=booster, calibration=IdentityCalibration())
    calibration = fit_isotonic(plain.margins(matrix), labels)
    return GbdtScorer(version="bench", schema=schema, booster=booster, calibration=calibration)


def make_matrix(rows: int, columns: int) -> np.ndarray:
    """Candidates with one value in ten missing."""
    draw = np.random.default_rng(2)
    matrix = draw.normal(size=(rows, columns))
    matrix[draw.random(matrix.shape) < 0.1] = np.nan
    return matrix


def measure(call: Callable[[], object]) -> tuple[float, float, float]:
    """Microseconds a call: wall clock and processor time (medians over repeats), and the slowest single call."""
    call()
    walls, cpus, worst = [], [], 0.0
    for _ in range(REPEATS):
        calls, started, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < SECONDS_A_REPEAT:
            before = time.perf_counter()
            call()
            worst = max(worst, time.perf_counter() - before)
            calls += 1
        walls.append((time.perf_counter() - started) / calls)
        cpus.append((time.process_time() - cpu) / calls)
    return statistics.median(walls) * 1e6, statistics.median(cpus) * 1e6, worst * 1e6


if __name__ == "__main__":
    raise SystemExit(main())
