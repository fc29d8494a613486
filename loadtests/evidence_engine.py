"""The claims of the decision engine. Each is a command that judges itself: its exit status is the verdict."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from loadtests.evidence import Claim, Measured
from services.commands.scarcity_report import CUSTOMERS, DAYS, SEEDS, compare_scarcity
from services.simulation.scarcity import DUAL_PRICES, FIRST_COME, PLAIN_PACING, gain, shares_of_optimum

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable
SHOWN_LINES = 6
SHARE_OF_OPTIMUM = 0.97


def judged_by(command: Sequence[str], timeout: float, shown: int = SHOWN_LINES) -> Callable[[], Measured]:
    """Runs a command; its last lines are what was measured, exit status 0 is the claim holding."""

    def measure() -> Measured:
        done = subprocess.run(
            [PYTHON, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout
        )
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        if not lines:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return Measured(" / ".join(lines[-shown:]), done.returncode == 0)

    return measure


def scarce_stock() -> Measured:
    """By the same functions as `kairos simulate scarcity`, judged by the intervals rather than the means."""
    runs = compare_scarcity(CUSTOMERS, DAYS, range(1, 1 + SEEDS), lambda line: print(line, file=sys.stderr, flush=True))
    shares = {row.policy: row for row in shares_of_optimum(runs)}
    gains = [gain(runs, DUAL_PRICES, over) for over in (PLAIN_PACING, FIRST_COME)]
    texts = [f"{row.policy} {row.mean:.1%} [{row.low:.1%}, {row.high:.1%}]" for row in shares.values()]
    texts += [f"{row.policy} {row.mean:+.1%} [{row.low:+.1%}, {row.high:+.1%}]" for row in gains]
    return Measured(
        "; ".join(texts), shares[DUAL_PRICES].mean >= SHARE_OF_OPTIMUM and all(row.low > 0 for row in gains)
    )


def claim(name: str, target: str, command: Sequence[str], *, timeout: float = 600, quick: bool = True) -> Claim:
    """A claim whose command is also what a reader types."""
    shown = shlex.join(command)
    typed = f"kairos {shlex.join(command[1:])}" if command[0] == "services" else f"python -m {shown}"
    return Claim(name=name, target=target, command=typed, measure=judged_by(command, timeout), quick=quick)


CLAIMS = (
    claim(
        "zero overshoot",
        "16 processes, 200,000 decisions, crashes: no cap, no volume exceeded; at least 97 % of each volume used",
        ["loadtests.volume_overshoot"],
        timeout=1800,
        quick=False,
    ),
    claim(
        "properties of every decision",
        "gates, determinism, monotone priority, exact logged chances, duplicates change nothing",
        ["pytest", "-q", "tests/properties", "tests/unit/engine"],
        timeout=900,
    ),
    claim(
        "conditions agree with the reference",
        "100,000 generated pairs, 0 disagreements",
        ["loadtests.conditions_agreement", "--pairs", "100000"],
        timeout=900,
    ),
    claim(
        "engine at full size, without model and I/O",
        "1,000 offers x 5 treatments under 300 us; ten times the offers at most three times the time",
        ["loadtests.bench_engine"],
        timeout=600,
    ),
    Claim(
        name="scarce stock and budgets by dual prices",
        target="at least 97 % of the hindsight optimum, above plain pacing and first-come",
        command="kairos simulate scarcity",
        measure=scarce_stock,
        quick=False,
    ),
    claim(
        "golden cases, records under 20 KB, byte-identical replay",
        "at least 60 cases; every decision of a day replays across restarts and strategy changes",
        [
            "pytest",
            "-q",
            "tests/golden",
            "tests/unit/use_cases",
            "tests/integration",
            "-k",
            "golden or replay or record",
        ],
        timeout=900,
    ),
    claim(
        "scenarios S2, S4, S7, S12, S13, S15, S16 end to end",
        "all pass over bus, state, API",
        ["pytest", "-q", "tests/e2e/test_scenarios_engine.py"],
        timeout=600,
    ),
)
