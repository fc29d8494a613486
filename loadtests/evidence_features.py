"""The claims of features and triggers, each measured on the running product."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.evidence import Claim, Measured
from loadtests.evidence_engine import claim, judged_by

if TYPE_CHECKING:
    from loadtests.bench_features import Line
    from loadtests.bench_ingest import Rate

ROOT = Path(__file__).parents[1]
INGEST_EVENTS, INGEST_CUSTOMERS, INGEST_REPEATS = 200_000, 5_000, 3
PLAIN_TARGET, WINDOWED_TARGET = 40_000, 20_000
"""Events a second of one state builder."""
PEERS = ("plain", "quix")
PROPERTY_TESTS = (
    "tests/properties/test_features_brute_force.py",
    "tests/properties/test_features_language_brute_force.py",
    "tests/properties/test_raw_events_against_oracle.py",
    "tests/properties/test_triggers_brute_force.py",
    "tests/properties/test_attribution_order.py",
)
SNAPSHOT_REPEATS = 300
SCENARIOS = frozenset(range(1, 18))
_SCENARIO = re.compile(r"(?:test_|\[|-)s(\d{1,2})(?![0-9])", re.IGNORECASE)
_PASSED = re.compile(r"^(\S+::\S+.*?)\s+PASSED", re.MULTILINE)


@lru_cache(maxsize=1)
def ingest_rates() -> "Mapping[str, Rate]":
    """All contestants over one log, measured once for the claims about them."""
    from loadtests.bench_ingest import measure

    return asyncio.run(measure(INGEST_EVENTS, INGEST_CUSTOMERS, INGEST_REPEATS))


def plain_ingest() -> Measured:
    """One count and one sum an hour, with both peers beside it."""
    return judged_plain(ingest_rates())


def windowed_ingest() -> Measured:
    """A hundred windowed aggregates and more, by one worker and by two."""
    return judged_windowed(ingest_rates())


def judged_plain(rates: "Mapping[str, Rate]") -> Measured:
    """Without its peers in the same run the claim does not hold, whatever the rate."""
    missing = [peer for peer in PEERS if peer not in rates]
    texts = [_told(rates[what]) for what in ("hourly", *PEERS, "quix_exactly") if what in rates]
    texts += [f"not measured beside it: {', '.join(missing)}"] if missing else []
    return Measured("; ".join(texts), not missing and rates["hourly"].events_a_second >= PLAIN_TARGET)


def judged_windowed(rates: "Mapping[str, Rate]") -> Measured:
    """By one worker; what two do is printed."""
    one, two = rates["windowed"], rates["two"]
    scaling = f"two workers do {two.events_a_second / one.events_a_second:.2f} times one"
    return Measured(f"{_told(one)}; {_told(two)}; {scaling}", one.events_a_second >= WINDOWED_TARGET)


def _told(rate: "Rate") -> str:
    return (
        f"{rate.name} ({rate.guarantee}): {rate.events_a_second:,.0f}/s "
        f"[{rate.lowest:,.0f} to {rate.highest:,.0f}], {rate.processor_us:.1f} us of processor an event"
    )


def state_size() -> Measured:
    """The Berka data must be there: without it only half of the claim would be looked at."""
    from loadtests.moment_banks import berka_folder

    return judged_by(["loadtests.state_size", "--data", str(berka_folder())], timeout=3600, shown=10)()


def snapshot_cost() -> Measured:
    """What has a target among the lines about snapshots; the others are printed."""
    from loadtests.bench_features import measure

    return judged_snapshots(measure(repeats=SNAPSHOT_REPEATS))


def judged_snapshots(lines: "Sequence[Line]") -> Measured:
    """Of the benchmark's table; without a line that has a target nothing holds."""
    shown = [line for line in lines if "snapshot" in line.claim]
    judged = [line.measured <= line.target for line in shown if line.target is not None]
    attributes = [f"{line.measured:.0f} attributes" for line in lines if line.claim == "attributes"]
    texts = [f"{line.claim} {line.measured:.1f} {line.unit}" for line in shown]
    return Measured("; ".join(attributes + texts), bool(judged) and all(judged))


def scenarios() -> Measured:
    """Every scenario must be named by an end-to-end test that passed, and none may have failed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-vv", "--color=no", "tests/e2e"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return judged_scenarios(_PASSED.findall(done.stdout), lines[-1] if lines else done.stderr[-300:], done.returncode)


def judged_scenarios(passed: Iterable[str], last_line: str, status: int) -> Measured:
    """From the names of the tests that passed, such as `test_s9_…` or `…[S9]`."""
    shown = {int(number) for name in passed for number in _SCENARIO.findall(name.rpartition("::")[2])} & SCENARIOS
    missing = ", ".join(f"S{number}" for number in sorted(SCENARIOS - shown))
    text = f"{len(shown)} of {len(SCENARIOS)} scenarios pass" + (f", none for {missing}" if missing else "")
    return Measured(f"{text}; {last_line.strip('= ')}", status == 0 and not missing)


CLAIMS = (
    Claim(
        name="ingest, one count and one sum an hour",
        target="at least 40,000 events/s on one core, exactly once; the peers in the same run",
        command="python -m loadtests.bench_ingest",
        measure=plain_ingest,
    ),
    Claim(
        name="ingest, 100 windowed aggregates a customer",
        target="at least 20,000 events/s on one core, exactly once; scaling with two workers printed",
        command="python -m loadtests.bench_ingest",
        measure=windowed_ingest,
    ),
    claim(
        "online equals offline at 10,000 random moments",
        "Berka replay and simulated bank, every attribute as served against the raw events: 0 differences",
        ["loadtests.served_moments", "--moments", "5000"],
        timeout=7200,
        quick=False,
    ),
    Claim(
        name="online equals offline for any order of events",
        target="generated out-of-order, duplicate, late and malformed events, brute-force models: no counter-example",
        command=f"pytest {' '.join(PROPERTY_TESTS)}",
        measure=judged_by(["pytest", *PROPERTY_TESTS], timeout=1800, shown=1),
    ),
    claim(
        "event to outbound decision on the topic",
        "p99 under 250 ms at 2,000 events/s",
        ["loadtests.bench_triggers", "--rate", "2000", "--seconds", "30"],
    ),
    claim(
        "absence triggers while the state builder is killed",
        "20 kills: each absence fires exactly once",
        ["loadtests.trigger_kills", "--kills", "20"],
        timeout=1800,
        quick=False,
    ),
    Claim(
        name="state of an active customer",
        target="at most 2 KB with 100 windowed aggregates: Berka replay, and a simulated year of a million customers",
        command="python -m loadtests.state_size",
        measure=state_size,
        quick=False,
    ),
    Claim(
        name="state read as of now, as 250 attributes",
        target="under 60 us for a typical customer",
        command="python -m loadtests.bench_features",
        measure=snapshot_cost,
    ),
    claim(
        "a million customers rebuilt from an archive while serving",
        "time, rate and latency printed; no decision fails or goes without its customer's state",
        ["loadtests.rebuild_million"],
        timeout=4 * 3600,
        quick=False,
    ),
    Claim(
        name="scenarios S1 to S17 end to end",
        target="each is shown by a test that passes",
        command="pytest -vv tests/e2e",
        measure=scenarios,
        quick=False,
    ),
)
