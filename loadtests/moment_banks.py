"""The banks that `loadtests.served_moments` replays: a real one in the order of time, and a simulated one whose events
arrive as networks bring them."""

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from services.simulation.bank import BankConfig, BankStream
from services.simulation.berka_events import berka_events
from services.simulation.cloud_events import TimedEvent

ROOT = Path(__file__).parents[1]
EVERY_AGGREGATE = ROOT / "loadtests" / "every_aggregate"
BANK_START = date(2025, 1, 1)
DELAY_MS = 600_000
"""How late an event may arrive, and its repetition after it."""
DELAYED_SHARE, REPEATED_SHARE = 0.1, 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """What is replayed: the strategy's files, and the events by the time they arrive."""

    name: str
    strategy: Path
    extra: tuple[str, ...]
    events: Sequence[TimedEvent]


def berka_folder() -> Path:
    """Where the Berka data lies: KAIROS_DATA, or beside the checkout. Raises FileNotFoundError."""
    folder = Path(os.environ.get("KAIROS_DATA", ROOT.parent / "shared" / "data")) / "berka"
    if not folder.is_dir():
        raise FileNotFoundError(f"the Berka data is not at {folder}; set KAIROS_DATA")
    return folder


def berka_bank(data: Path) -> Bank:
    """The real bank, in the order of time."""
    return Bank(
        name="Berka",
        strategy=ROOT / "deploy" / "strategies" / "berka",
        extra=("postings.yaml",),
        events=berka_events(data),
    )


def demo_bank(customers: int, days: int, seed: int = 1) -> Bank:
    """The simulated bank, its events arriving as a network brings them."""
    stream = BankStream(BankConfig(seed=seed, customers=customers, start=BANK_START, companies=max(1, customers // 10)))
    events = stream.events(BANK_START + timedelta(days=days - 1))
    return Bank(
        name="simulated bank",
        strategy=ROOT / "deploy" / "strategies" / "demo_bank",
        extra=("postings.yaml", "visits.yaml"),
        events=disturbed(events, random.Random(seed)),
    )


def disturbed(events: Iterator[TimedEvent], draw: random.Random) -> list[TimedEvent]:
    """The same events by the time they arrive: some late, and some twice."""
    arrivals: list[TimedEvent] = []
    for timed in events:
        late_ms = draw.randrange(DELAY_MS) if draw.random() < DELAYED_SHARE else 0
        arrivals.append(TimedEvent(timed.at_ms + late_ms, timed.event))
        if draw.random() < REPEATED_SHARE:
            arrivals.append(TimedEvent(timed.at_ms + late_ms + draw.randrange(60_000), timed.event))
    return sorted(arrivals, key=lambda timed: timed.at_ms)


def with_every_aggregate(bank: Bank, folder: Path) -> Path:
    """A copy of the strategy with the further features."""
    strategy = folder / bank.strategy.name
    shutil.copytree(bank.strategy, strategy)
    for name in bank.extra:
        shutil.copy(EVERY_AGGREGATE / name, strategy / f"features_every_{name}")
    return strategy
