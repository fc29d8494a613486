"""The scarcity comparison of `kairos simulate scarcity`: run over several seeds, printed with intervals."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from services.simulation.scarcity import (
    DUAL_PRICES,
    FIRST_COME,
    HINDSIGHT,
    PLAIN_PACING,
    ScarcityRun,
    gain,
    run_scarcity,
    shares_of_optimum,
)

CUSTOMERS, DAYS, SEEDS = 4_000, 5, 6


def compare_scarcity(
    customers: int, days: int, seeds: Sequence[int], progress: Callable[[str], None]
) -> list[ScarcityRun]:
    """Every seed's run; seeds side by side on the processors there are."""
    workers = min(len(seeds), os.cpu_count() or 1)
    runs = []
    with ProcessPoolExecutor(max_workers=workers) as pool:
        for run in pool.map(partial(run_scarcity, customers, days), seeds):
            runs.append(run)
            progress(f"seed {run.seed}: {run.values[DUAL_PRICES] / run.values[HINDSIGHT]:.1%} of hindsight")
    return runs


def print_scarcity(runs: Sequence[ScarcityRun]) -> None:
    """Shares of the hindsight optimum, what prices gain over the others, and how far each volume was used."""
    visits = sum(run.visits for run in runs) // len(runs)
    print(f"{len(runs)} banks of about {visits:,} visits; realised true expected value as a share of the optimum")
    print("of the linear programme in hindsight, 95 % interval of the mean by bootstrap over seeds\n")
    print(f"{'policy':<20}{'share':>9}{'low':>9}{'high':>9}")
    for row in shares_of_optimum(runs):
        print(f"{row.policy:<20}{row.mean:>9.2%}{row.low:>9.2%}{row.high:>9.2%}")
    print()
    for over in (PLAIN_PACING, FIRST_COME):
        row = gain(runs, DUAL_PRICES, over)
        print(f"{row.policy}: {row.mean:+.1%} [{row.low:+.1%}, {row.high:+.1%}]")
    print(f"\n{'used of each volume':<20}" + "".join(f"{policy:>20}" for policy in runs[0].used))
    for name in sorted(runs[0].used[HINDSIGHT]):
        shares = [sum(run.used[policy][name] for run in runs) / len(runs) for policy in runs[0].used]
        print(f"{name:<20}" + "".join(f"{share:>20.1%}" for share in shares))
