"""How many bytes a customer's state takes: the Berka bank replayed to its end, and a year of the simulated bank.

    python -m loadtests.state_size --data ../shared/data/berka

Method. All events are folded in the order of their time, as a state builder folds them, and the stored states are
measured at the end; a customer counts as active whose newest event lies within the longest window (90 days). Customers
of the simulated bank are drawn one by one from the same distributions whatever their number, so a bank of a thousand
is a simple random sample of a bank of a million: the million's total is the sample's mean times a million, and its
interval is 1.96 standard errors of the mean. Bytes are those of the value; the store adds its own for each key.
"""

import argparse
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.fold import fold
from decision_engine.features.state import NEVER, Sections
from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import EVENT_FIELDS, topic_index, update_from_plain
from event_schemas.plain import decode_plain
from loadtests.bench_features import DAY_MS, declarations
from loadtests.ingest_log import features_of
from services.adapters.file_strategy_source import load_strategy_file
from services.simulation.bank import BankConfig, BankStream
from services.simulation.berka_events import berka_events
from services.simulation.cloud_events import TimedEvent

TARGET_BYTES = 2_048
"""Mean of the active customers."""
POPULATION = 1_000_000
START = date(2025, 1, 1)
_AT_A_TIME = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes of the states of active customers, in order of size, where they lie, and what they were folded from."""

    bank: str
    events: int
    customers: int
    active: Sequence[int]
    parts: Mapping[str, float]
    """Mean bytes of each part of a state."""

    @property
    def mean(self) -> float:
        """Bytes an active customer."""
        return statistics.fmean(self.active)

    def quantile(self, share: float) -> int:
        """The size that so many of them do not exceed."""
        return self.active[min(len(self.active) - 1, int(share * len(self.active)))]

    @property
    def error(self) -> float:
        """1.96 standard errors of the mean."""
        return 1.96 * statistics.stdev(self.active) / len(self.active) ** 0.5 if len(self.active) > 1 else 0.0

    def lines(self) -> list[str]:
        """The figures in words."""
        share = len(self.active) / self.customers
        low, high = (POPULATION * share * (self.mean + side * self.error) / 1e9 for side in (-1, 1))
        return [
            f"{self.bank}: {self.events:,} events, {len(self.active):,} of {self.customers:,} customers active",
            f"  mean {self.mean:,.0f} bytes (± {self.error:,.0f}), median {self.quantile(0.5):,}, "
            f"95 % up to {self.quantile(0.95):,}, largest {self.active[-1]:,}",
            "  of the mean: " + ", ".join(f"{part} {size:,.0f}" for part, size in self.parts.items()),
            f"  a million customers, {share:.1%} of them active: {low:.2f} to {high:.2f} GB of active states",
        ]


def measured(bank: str, features: CompiledFeatures, events: Iterable[TimedEvent]) -> Sizes:
    """Folds events in the order of time, fifty thousand at once, and measures the states at the end."""
    states: dict[str, bytes] = {}
    waiting: dict[str, list[PositionedUpdate]] = {}
    number = newest_ms = 0
    for number, timed in enumerate(events, 1):
        event = decode_plain(timed.event.value)
        positioned = PositionedUpdate(topic_index(timed.event.topic), number, update_from_plain(event))
        waiting.setdefault(event.subject, []).append(positioned)
        newest_ms = max(newest_ms, event.time_ms)
        if not number % _AT_A_TIME:
            _fold_all(features, states, waiting)
    _fold_all(features, states, waiting)
    oldest_ms = newest_ms - features.late_days * DAY_MS
    active = [state for state in states.values() if _newest_ms(features, state) > oldest_ms]
    if not active:
        raise ValueError(f"{bank}: no customer is active")
    parts: Counter[str] = Counter()
    for state in active:
        parts.update(_parts(features, state))
    return Sizes(
        bank=bank,
        events=number,
        customers=len(states),
        active=sorted(map(len, active)),
        parts={part: size / len(active) for part, size in parts.most_common()},
    )


def _parts(features: CompiledFeatures, state: bytes) -> dict[str, int]:
    """The bytes of each part of one state."""
    at = Sections(state, features.layout_bytes)
    return {
        "header and positions": at.memory_at,
        "event keys": at.distinct_at - at.memory_at,
        "distinct values": at.first_at - at.distinct_at,
        "whole life": at.x_lowest_at - at.first_at + at.signatures_at - at.slots_at,
        "extremes": at.sums_at - at.x_lowest_at + at.counts_at - at.x_keys_at,
        "rows": at.x_keys_at - at.sums_at + at.slots_at - at.counts_at,
        "signatures": at.record_at - at.signatures_at,
        "profile and products": at.remembered_at - at.record_at,
        "texts": at.tallies_at - at.remembered_at,
        "tallies": len(state) - at.tallies_at,
    }


def _fold_all(features: CompiledFeatures, states: dict[str, bytes], waiting: dict[str, list[PositionedUpdate]]) -> None:
    for customer, updates in waiting.items():
        states[customer] = fold(features, states.get(customer), updates).value
    waiting.clear()


def _newest_ms(features: CompiledFeatures, state: bytes) -> int:
    newest_ms = Sections(state, features.layout_bytes).newest_ms
    return 0 if newest_ms == NEVER else newest_ms


def measure(features: CompiledFeatures, data: Path | None, customers: int, days: int) -> list[Sizes]:
    """Berka where its data is given, then the simulated year."""
    found = [] if data is None else [measured("Berka", features, berka_events(data))]
    stream = BankStream(BankConfig(seed=1, customers=customers, start=START))
    events = stream.events(START + timedelta(days=days - 1))
    return [*found, measured(f"simulated bank, {days} days", features, events)]


def feature_sets(strategy: Path | None) -> dict[str, CompiledFeatures]:
    """Those of the strategy, or more and then 100 windowed aggregates up to 90 days, which the target is about."""
    if strategy is not None:
        return {str(strategy): compile_features(load_strategy_file(strategy).declarations, EVENT_FIELDS)}
    return {
        "251 attributes": features_of_bench(),
        "120 windowed aggregates": features_of("windowed"),
        "100 windowed aggregates": features_of("hundred"),
    }


def features_of_bench() -> CompiledFeatures:
    """What `loadtests.bench_features` times."""
    return compile_features(declarations(), EVENT_FIELDS)


def main() -> int:
    """Prints the figures; 1 if the mean of a bank is above the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the Berka data; default: berka in KAIROS_DATA")
    parser.add_argument("--customers", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--strategy", type=Path, help="its features instead of the benchmark's")
    args = parser.parse_args()
    data = args.data or (Path(os.environ["KAIROS_DATA"]) / "berka" if "KAIROS_DATA" in os.environ else None)
    if data is None:
        print("Berka is skipped: give --data or KAIROS_DATA", file=sys.stderr)
    missed = False
    for name, features in feature_sets(args.strategy).items():
        print(f"# {name} ({len(features.names)} attributes, {len(features.stored.streams)} streams)", flush=True)
        found = measure(features, data, args.customers, args.days)
        missed = any(sizes.mean > TARGET_BYTES for sizes in found)
        print("\n".join(line for sizes in found for line in sizes.lines()), flush=True)
    print(f"at most {TARGET_BYTES:,} bytes an active customer with the last: {'MISSED' if missed else 'ok'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
