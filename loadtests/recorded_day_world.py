"""A recorded day of the simulated bank, as the service would have archived it: what customers did, what was decided for
them, and how they responded. Decisions are made one by one by the plain engine, on states of the whole layout.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from decision_engine.contact_ledger import encode_records
from decision_engine.decision import Option
from decision_engine.engine import decide, settle
from decision_engine.propensity import Scorers
from decision_engine.strategy import Strategy
from event_schemas.codec import decode
from event_schemas.topics import DECISIONS
from models.decision_log.archive_files import ARCHIVE_SCHEMA, day_folder, file_name
from services.simulation.bank import BankConfig, BankStream
from services.simulation.cloud_events import TimedEvent
from services.simulation.in_process_ledger import InProcessLedger
from services.simulation.served_decisions import Counter, Responded
from services.simulation.visits import Visit
from services.use_cases.decision_answer import word
from services.use_cases.decision_record import DecisionInputs, encode_record

_DAY_MS = 86_400_000
NoScorers: Scorers = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBank:
    """Which bank and how long; `visits` repeats each visit of the recorded day so often, some seconds apart."""

    strategy: Strategy
    customers: int
    history_days: int
    seed: int = 1
    visits: int = 1
    start: date = date(2026, 3, 1)
    switches: tuple[str, ...] = ()
    """Kill switches that are engaged in every other decision of the day."""


@dataclass(frozen=True, slots=True)
class RecordedDay:
    """The day that was recorded, and how many decisions."""

    since_ms: int
    until_ms: int
    decisions: int


def record_day(
    bank: RecordedBank,
    root: Path,
    scorers: Scorers = NoScorers,
    said: Callable[[str], None] = lambda _: None,
) -> RecordedDay:
    """Lives the history, then the day, and writes the archive into `root`."""
    stream = BankStream(BankConfig(seed=bank.seed, customers=bank.customers, start=bank.start))
    counter = _RecordingCounter(bank.strategy, stream, bank.seed, scorers)
    counter.switches = bank.switches
    events: list[TimedEvent] = []
    for number in range(bank.history_days):
        day = stream.next_day()
        counter.states.add(day.events)
        events += day.events
        said(f"{number + 1} of {bank.history_days} days of history")
    day = stream.next_day()
    counter.states.add(day.events)
    events += day.events
    repeated = [
        Visit(visit.customer, visit.at_ms + 20_000 * number, visit.channel, visit.page)
        for visit in day.visits
        for number in range(bank.visits)
    ]
    for visit in sorted(repeated, key=lambda visit: visit.at_ms):
        counter.record(visit, scorers)
    said(f"{len(counter.records):,} decisions recorded")
    _write(root, [*events, *counter.responses], counter.records)
    return RecordedDay(day.start_ms, day.start_ms + _DAY_MS, len(counter.records))


class _RecordingCounter(Counter):
    """Serves as the closed loop does, and keeps the records and responses as they would be published."""

    def __init__(self, strategy: Strategy, stream: BankStream, seed: int, scorers: Scorers) -> None:
        super().__init__(strategy, stream.people, seed)
        self.records: list[bytes] = []
        self.responses: list[TimedEvent] = []
        self.switches: tuple[str, ...] = ()
        self._wording = word(strategy)

    def record(self, visit: Visit, scorers: Scorers) -> None:
        """Decides, records, and lets the customer react."""
        question = self._question(visit)
        if question is None:
            return
        request, snapshot = question
        if self.switches and len(self.records) % 2:
            request = replace(request, switches=self.switches)
        ledger = self._ledgers.setdefault(request.customer_id, InProcessLedger())
        blob = encode_records(ledger.records)
        draft = decide(self._prepared, request, snapshot, ledger.records, scorers)
        decision = settle(self._prepared, draft, ledger.reserve(draft.reservation))
        inputs = DecisionInputs(
            client="bench",
            request_id=None,
            request=request,
            ledger=blob,
            feature_layout=self.features.layout,
            took_ms=1.0,
        )
        self.records.append(encode_record(decision, inputs, self._wording))
        option = next((option for placement in decision.placements for option in placement.options), None)
        if option is not None:
            self._react(visit, ledger, option)

    def _events(self, visit: Visit, option: Option, responses: tuple[Responded, ...]) -> list[TimedEvent]:
        events = super()._events(visit, option, responses)
        self.responses += events
        return events


def _write(root: Path, events: Sequence[TimedEvent], records: Sequence[bytes]) -> None:
    by_topic: dict[str, list[tuple[int, str, bytes]]] = {}
    for timed in events:
        by_topic.setdefault(timed.event.topic, []).append((timed.at_ms, timed.event.key, timed.event.value or b""))
    for record in records:
        event = decode(record)
        by_topic.setdefault(DECISIONS, []).append((event.time_ms, event.subject, record))
    for topic, rows in by_topic.items():
        rows.sort(key=lambda row: row[0])
        days: dict[str, list[Mapping[str, object]]] = {}
        for offset, (at_ms, key, value) in enumerate(rows):
            moment = datetime.fromtimestamp(at_ms / 1000, UTC)
            row = {
                "partition": 0,
                "offset": offset,
                "time": moment,
                "subject": key,
                "key": key,
                "value": value.decode(),
            }
            days.setdefault(f"{moment:%Y-%m-%d}", []).append(row)
        for day, mine in days.items():
            folder = day_folder(root, topic, day)
            folder.mkdir(parents=True, exist_ok=True)
            name = file_name(0, int(str(mine[0]["offset"])), int(str(mine[-1]["offset"])))
            pq.write_table(pa.Table.from_pylist(mine, schema=ARCHIVE_SCHEMA), folder / name)
