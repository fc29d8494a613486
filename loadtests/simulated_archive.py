"""An archive of the simulated bank: what the archiver would have kept of some weeks, made in one process.

Decisions are the engine's own, in the records the service publishes; responses come from the known truth; the bank's
profile and product events are beside them. Some weeks on base rates are learnt from with the product's own training,
then that version serves. Everything follows from the seed.

`python -m loadtests.simulated_archive --out var/simulated` writes `archive` and `models` there, ready for
`kairos evaluate report --archive var/simulated/archive --models var/simulated/models --model cross_sell`.
"""

import argparse
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from decision_engine.features.compiled import compile_features
from decision_engine.propensity import Scorers
from decision_engine.strategy import Strategy
from event_schemas.topics import DECISIONS, PROFILE_UPDATES, RESPONSES
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import offer_facts, unlearnable_attributes
from models.registry import ModelRegistry
from models.training.fit import FitSettings
from models.training.pipeline import train_version
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.parquet_archive import ParquetArchive
from services.ports import Delivery
from services.settings import read_settings
from services.simulation.bank import BankConfig, BankStream
from services.simulation.cloud_events import TimedEvent
from services.simulation.in_process_states import InProcessStates
from services.simulation.served_decisions import Counter, Served
from services.use_cases.decision_answer import word
from services.use_cases.decision_record import DecisionInputs, encode_record

FIRST_DAY = date(2026, 3, 2)
WINDOW_SECONDS = 3600
"""Simulated customers answer within seconds."""
_KEPT = frozenset({PROFILE_UPDATES, RESPONSES})


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedBank:
    """How large and how long: days without offers, days on base rates, days with the model that was learnt then."""

    strategy: Strategy
    customers: int = 1_000
    history_days: int = 7
    learning_days: int = 21
    served_days: int = 21
    seed: int = 1


class KeptStates(InProcessStates):
    """States that also note what the archiver would keep."""

    kept: list[TimedEvent]

    def add(self, events: Iterable[TimedEvent]) -> None:
        taken = list(events)
        self.kept += [timed for timed in taken if timed.event.topic in _KEPT]
        super().add(taken)

    def copied(self) -> "KeptStates":
        """The same states, and nothing kept yet."""
        other = KeptStates(self._features, self._strategy)
        other.take_over(self._states, self._waiting, self._members)
        other.folded, other.kept = self.folded, []
        return other


def write_archive(bank: ArchivedBank, archive: Path, models: Path, progress: Callable[[str], None]) -> str:
    """Writes the archive, registers the version that served in the later days, and answers its id. Raises
    TrainingRefused where there was too little to learn from."""
    stream = BankStream(BankConfig(seed=bank.seed, customers=bank.customers, start=FIRST_DAY))
    counter = Counter(bank.strategy, stream.people, bank.seed)
    states = KeptStates(counter.features, bank.strategy)
    states.kept, counter.states = [], states
    writer = ArchiveWriter(bank.strategy, archive)
    for _ in range(bank.history_days):
        states.add(stream.next_day().events)
    live(bank.learning_days, stream, counter, {}, writer)
    writer.flush(states.kept)
    progress(f"{writer.decisions:,} decisions on base rates")
    registry = ModelRegistry(models)
    version, scorers = _learn(bank, archive, registry, progress)
    live(bank.served_days, stream, counter, scorers, writer)
    writer.flush(states.kept)
    progress(f"{writer.decisions:,} decisions in all")
    return version


def live(days: int, stream: BankStream, counter: Counter, scorers: Scorers, writer: "ArchiveWriter") -> None:
    """Days of the bank with these scorers; decisions are noted."""
    for _ in range(days):
        day = stream.next_day()
        counter.states.add(day.events)
        for visit in day.visits:
            served = counter.serve(visit, scorers)
            if served is not None:
                writer.note(served)


def _learn(
    bank: ArchivedBank, archive: Path, registry: ModelRegistry, progress: Callable[[str], None]
) -> tuple[str, Scorers]:
    name = "cross_sell"
    query = LogQuery(
        model=name,
        archive=archive,
        offers=offer_facts(bank.strategy),
        zone=ZoneInfo(bank.strategy.time_zone),
        attribution_seconds=WINDOW_SECONDS,
        excluded=unlearnable_attributes(bank.strategy),
    )
    created = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC)
    manifest = train_version(query, FitSettings(seed=bank.seed), registry, created, progress)
    return manifest.version, {name: registry.load(manifest.version)}


class ArchiveWriter:
    """Collects records and writes them as the archiver does, in order of offset."""

    def __init__(self, strategy: Strategy, root: Path) -> None:
        self._strategy = strategy
        self._wording = word(strategy)
        self._layout = compile_features(strategy.declarations).layout
        self._root = root
        self._records: list[tuple[str, bytes]] = []
        self._offsets = {DECISIONS: 0, PROFILE_UPDATES: 0, RESPONSES: 0}
        self.decisions = 0

    def continued(self, root: Path) -> "ArchiveWriter":
        """Goes on in a copy of the archive; this one is left as it is."""
        shutil.copytree(self._root, root)
        other = ArchiveWriter(self._strategy, root)
        other._records, other._offsets, other.decisions = list(self._records), dict(self._offsets), self.decisions
        return other

    def note(self, served: Served) -> None:
        """Keeps a decision."""
        inputs = DecisionInputs(
            client="simulation",
            request_id=None,
            request=served.request,
            ledger=None,
            feature_layout=self._layout,
            took_ms=0.0,
        )
        self._records.append((served.decision.customer_id, encode_record(served.decision, inputs, self._wording)))
        self.decisions += 1

    def flush(self, events: list[TimedEvent]) -> None:
        """Writes what was collected since the last time."""
        values: dict[str, list[tuple[str, bytes]]] = {DECISIONS: self._records, PROFILE_UPDATES: [], RESPONSES: []}
        for timed in events:
            values[timed.event.topic].append((timed.event.key, timed.event.value))
        with ParquetArchive(self._root) as archive:
            for topic, records in values.items():
                first = self._offsets[topic]
                archive.append(
                    [
                        Delivery(topic, 0, first + place, key.encode(), value, ())
                        for place, (key, value) in enumerate(records)
                    ]
                )
                self._offsets[topic] += len(records)
        self._records = []
        events.clear()


def exploring(strategy: Strategy, holdout: float) -> Strategy:
    """The strategy with a larger holdout, for a bank of few customers."""
    shares = {**strategy.experiment.shares, "holdout": holdout}
    return replace(strategy, experiment=replace(strategy.experiment, shares=shares))


def main() -> None:
    """Writes an archive of the demo bank."""
    parser = argparse.ArgumentParser(description="write an archive of the simulated bank")
    parser.add_argument("--out", type=Path, default=Path("var/simulated"))
    parser.add_argument("--customers", type=int, default=600)
    parser.add_argument("--holdout", type=float, default=0.15, help="share of customers that are offered nothing")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    strategy = exploring(load_strategy_file(read_settings({}).strategy_path), args.holdout)
    bank = ArchivedBank(strategy=strategy, customers=args.customers, seed=args.seed)
    print(write_archive(bank, args.out / "archive", args.out / "models", print))


if __name__ == "__main__":
    main()
