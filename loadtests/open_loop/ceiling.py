"""How much the generator itself can send: its ceiling, against a server that does nothing.

python -m loadtests.open_loop.ceiling

One process of the generator on the second processor, the small server on the first; the highest rate at which the
generator keeps to its schedule and all is answered. Loads near it need `--workers`. Exit status 1 below 4,000 a second,
which the product's overload tests may ask for.
"""

import subprocess
import sys

from loadtests.open_loop.load import Finding, Load, run_load
from loadtests.open_loop.plan import Plan
from loadtests.open_loop.profiles import PROFILES
from loadtests.open_loop.schedule import phases_of
from loadtests.open_loop.search import NothingHolds, highest_rate
from loadtests.results import Verdict, describe, write
from loadtests.server_processes import processors

SECONDS, WARM_UP_S = 4.0, 1.0
BEGIN_RATE = 2_000.0
LEAST_RATE = 4_000.0


def main() -> int:
    """Prints the ceiling and keeps it for the report."""
    first, second = processors()
    command = [sys.executable, "-m", "loadtests.open_loop.fixed_server", *(str(number) for number in first)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        runs: dict[float, Finding] = {}

        def holds(rate: float) -> bool:
            finding = runs[rate] = run_load(Load(plan=_plan(port, rate, second)))
            late = finding.lag.percentile_ms(99)
            print(f"… {finding.offered:,.0f}/s: late by p99 {late:.2f} ms", file=sys.stderr, flush=True)
            return not finding.invalid and finding.total.in_time == finding.total.sent

        found = highest_rate(holds, BEGIN_RATE, precision=0.1)
    except NothingHolds as error:
        print(f"{error}: this machine is too busy to measure anything on", file=sys.stderr)
        return 1
    finally:
        server.terminate()
        server.wait()
    return _told(found.holds, runs[found.holds])


def _plan(port: int, rate: float, where: list[int]) -> Plan:
    return Plan(
        host="127.0.0.1",
        port=port,
        streams=PROFILES["decide"].streams,
        phases=phases_of(f"{rate:f}x{WARM_UP_S + SECONDS:f}"),
        warm_up_s=WARM_UP_S,
        connections=64,
        processors=where,
    )


def _told(rate: float, finding: Finding) -> int:
    processor_us = finding.processor_ms("generator 1") * 1000
    p50, p99 = finding.lag.percentile_ms(50), finding.lag.percentile_ms(99)
    text = f"{rate:,.0f} a second, late by p50 {p50:.2f} ms, p99 {p99:.2f} ms, {processor_us:.0f} us CPU a request"
    verdict = Verdict("ceiling of the generator", f"at least {LEAST_RATE:,.0f} a second", text, rate >= LEAST_RATE)
    figures = {"ceiling_per_s": rate, "lag_p50_ms": p50, "lag_p99_ms": p99, "cpu_us_per_request": processor_us}
    write(describe("generator-ceiling", "The load generator's own ceiling", figures=figures, verdicts=[verdict]))
    print(f"{'holds' if verdict.holds else 'MISSED'}: one process of the generator: {text}")
    return 0 if verdict.holds else 1


if __name__ == "__main__":
    sys.exit(main())
