"""The simulated bank turns, and the product's own learner answers: alarm, fit on recent rows, checks, promotion.

Some days on base rates, then the learner (the role's own class, on a Parquet archive and a registry) fits and promotes
a first version, which serves. After quiet days tastes change (every offer's level and affinities, as in the regret
measurement). Once a simulated day the learner looks, and what it promotes serves from the next day. Reported: looks
with an alarm before the turn, days from the turn to alarm and promotion, and calibration before and after it.

`python -m loadtests.drift_bank` prints it; two to four minutes.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from decision_engine.propensity import Scorers
from decision_engine.strategy import Strategy
from event_schemas.codec import decode
from event_schemas.control import ModelPromoted
from loadtests.simulated_archive import FIRST_DAY, WINDOW_SECONDS, ArchiveWriter, KeptStates, live
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import offer_facts, unlearnable_attributes
from models.drift.findings import DriftKind, DriftReport
from models.registry import ModelRegistry
from services.adapters.file_strategy_source import load_strategy_file
from services.commands.learner import promoted_by_checks
from services.ports import OutgoingEvent
from services.simulation.bank import BankConfig, BankStream
from services.simulation.served_decisions import Counter
from services.simulation.truth import ResponseModel, TasteShift
from services.workers.drift_watch import DriftSchedule, DriftWatch
from services.workers.learner import Learner
from services.workers.learner_tools import LearnerTools
from services.workers.learning_schedule import LearningSchedule

STRATEGY = Path(__file__).parent / "regret_bank.yaml"
SHIFT_OFFERS, SHIFT_AFFINITIES = 1.0, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """How large and how long: days without offers, on base rates, served before the turn, and after it."""

    strategy: Strategy
    model: str
    customers: int = 600
    history_days: int = 3
    learning_days: int = 14
    quiet_days: int = 7
    turned_days: int = 14
    seed: int = 1
    least_rows: int = 1_500


@dataclass(slots=True)
class Answer:
    """What the learner did. Days count from the first of the turn; None: it did not."""

    quiet_alarms: int = 0
    alarm_day: int | None = None
    promoted_day: int | None = None
    reason: str | None = None
    ratio_at_alarm: float = float("nan")
    ratio_after: float = float("nan")
    """Observed over predicted, at the alarm by the old version, and on all later rows by the one that drift made."""
    versions: list[str] = field(default_factory=list)


class _Bus:
    """Keeps the promotions."""

    def __init__(self) -> None:
        self.promotions: list[ModelPromoted] = []

    async def publish(self, events: list[OutgoingEvent]) -> None:
        """Takes them."""
        self.promotions += [e for e in (decode(event.value) for event in events) if isinstance(e, ModelPromoted)]

    def enqueue(self, event: OutgoingEvent) -> None:
        """Promotions are acknowledged, never queued."""
        raise AssertionError(event)


class _Life:
    """The bank, its archive, and the learner beside it."""

    def __init__(self, turn: Turn, folder: Path) -> None:
        self.turn, self.bus, self.registry = turn, _Bus(), ModelRegistry(folder / "models")
        self.stream = BankStream(BankConfig(seed=turn.seed, customers=turn.customers, start=FIRST_DAY))
        self.counter = Counter(turn.strategy, self.stream.people, turn.seed)
        self.states = KeptStates(self.counter.features, turn.strategy)
        self.states.kept, self.counter.states = [], self.states
        self.writer = ArchiveWriter(turn.strategy, folder / "archive")
        self.now = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC)
        self.query = LogQuery(
            model=turn.model,
            archive=folder / "archive",
            offers=offer_facts(turn.strategy),
            zone=ZoneInfo(turn.strategy.time_zone),
            attribution_seconds=WINDOW_SECONDS,
            excluded=unlearnable_attributes(turn.strategy),
        )
        self.reports: list[DriftReport] = []
        self.learner = self._learner()
        for _ in range(turn.history_days):
            self.states.add(self.stream.next_day().events)
            self.now += timedelta(days=1)

    def _learner(self) -> Learner:
        drift = DriftWatch(
            registry=self.registry,
            schedule=DriftSchedule(every_seconds=60, refit_rows=self.turn.least_rows, rest_seconds=12 * 3600),
            now=lambda: self.now,
            on_report=lambda _, report: self.reports.append(report),
        )
        ids = iter(range(1_000_000))
        tools = LearnerTools(
            registry=self.registry,
            publisher=self.bus,
            new_id=lambda: f"E{next(ids)}",
            now=lambda: self.now,
            put_forward=promoted_by_checks,
            replay=True,
            drift=drift,
        )
        # Rows alone start the first fit: every later one is drift's.
        schedule = LearningSchedule(
            least_rows=self.turn.least_rows, least_positives=50, step_rows=10_000_000, poll_seconds=60
        )
        return Learner([self.query], schedule, tools)

    def day(self) -> None:
        """A day of the bank with what serves now, and what it leaves in the archive."""
        live(1, self.stream, self.counter, self._serving(), self.writer)
        self.writer.flush(self.states.kept)
        self.now += timedelta(days=1)

    async def look(self) -> bool:
        """Two looks a quarter of an hour apart; whether something was promoted."""
        before = len(self.bus.promotions)
        for _ in range(2):
            self.now += timedelta(minutes=15)
            await self.learner.look(self.query)
        return len(self.bus.promotions) > before

    def turned(self) -> None:
        """Tastes are others from now on."""
        shift = TasteShift(seed=self.turn.seed, offers=SHIFT_OFFERS, affinities=SHIFT_AFFINITIES)
        self.counter.truth = ResponseModel(self.turn.strategy.offers, self.turn.seed, shift)

    def _serving(self) -> Scorers:
        if not self.bus.promotions:
            return {}
        return {self.turn.model: self.registry.load(self.bus.promotions[-1].data.version)}


async def answer(turn: Turn, folder: Path, progress: Callable[[str], None]) -> Answer:
    """Lives through it."""
    life, found = _Life(turn, folder), Answer()
    for _ in range(turn.learning_days):
        life.day()
    await life.look()
    progress(f"{life.writer.decisions:,} decisions on base rates, {len(life.bus.promotions)} version promoted")
    for _ in range(turn.quiet_days):
        life.day()
        await life.look()
    found.quiet_alarms = sum(bool(report.alarms) for report in life.reports)
    progress(f"{len(life.reports)} looks before the turn, {found.quiet_alarms} with an alarm")
    life.turned()
    for day in range(1, turn.turned_days + 1):
        life.day()
        promoted = await life.look()
        _note(found, life, day, promoted=promoted)
    found.versions = [event.data.version for event in life.bus.promotions]
    return found


def _note(found: Answer, life: _Life, day: int, *, promoted: bool) -> None:
    report = life.reports[-1] if life.reports else None
    if report is not None and report.alarms and found.alarm_day is None:
        found.alarm_day, found.ratio_at_alarm = day, _ratio(report)
    if promoted and found.promoted_day is None:
        found.promoted_day, found.reason = day, life.bus.promotions[-1].data.reason
    elif report is not None and found.promoted_day is not None:
        found.ratio_after = _ratio(report)


def _ratio(report: DriftReport) -> float:
    return next((f.value for f in report.figures if f.kind is DriftKind.CALIBRATION), float("nan"))


def report_lines(found: Answer) -> list[str]:
    """What came of it, for people."""
    return [
        f"alarms before the turn          {found.quiet_alarms}",
        f"days from the turn to the alarm {found.alarm_day}",
        f"observed over predicted then    {found.ratio_at_alarm:.2f}",
        f"days to the promotion           {found.promoted_day} ({found.reason})",
        f"observed over predicted after   {found.ratio_after:.2f}",
        f"versions promoted               {len(found.versions)}",
    ]


def holds(found: Answer) -> bool:
    """No alarm before the turn, one after it, and a version promoted because of it."""
    return found.quiet_alarms == 0 and found.alarm_day is not None and (found.reason or "").startswith("drift:")


def regret_turn(seed: int = 1) -> Turn:
    """The bank that regret is measured on."""
    strategy = load_strategy_file(STRATEGY)
    return Turn(strategy=strategy, model=next(iter(strategy.models)), seed=seed)


def main() -> int:
    """Prints one life."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--customers", type=int, default=600)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder:
        turn = replace(regret_turn(args.seed), customers=args.customers)
        found = asyncio.run(answer(turn, Path(folder), lambda line: print(line, file=sys.stderr, flush=True)))
    print("\n".join(report_lines(found)))
    return 0 if holds(found) else 1


if __name__ == "__main__":
    sys.exit(main())
