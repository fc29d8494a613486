"""How fast the simulated bank generates events, on one core: history and ordinary days.

python -m loadtests.bench_simulation --customers 5000 --days 20
"""

import argparse
import sys
from dataclasses import dataclass
from datetime import date
from time import process_time

from services.simulation.bank import BankConfig, BankStream

TARGET_EVENTS_PER_SECOND = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Events made and the processor time they took."""

    events: int
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Events per second of one core."""
        return self.events / self.cpu_seconds


def measure(customers: int = 5_000, days: int = 20, seed: int = 1) -> Generation:
    """Generates whole days as finished CloudEvents bytes; the population is made before the clock starts."""
    stream = BankStream(BankConfig(seed=seed, customers=customers, start=date(2026, 1, 1)))
    started, events = process_time(), 0
    for _ in range(days):
        events += len(stream.next_day().events)
    return Generation(events=events, cpu_seconds=process_time() - started)


def main() -> int:
    """Prints the rate; status 1 below the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--days", type=int, default=20)
    args = parser.parse_args()
    result = measure(args.customers, args.days)
    print(f"{result.events:,} events in {result.cpu_seconds:.2f} s of one core: {result.per_second:,.0f} events/s")
    return 0 if result.per_second >= TARGET_EVENTS_PER_SECOND else 1


if __name__ == "__main__":
    sys.exit(main())
