"""A log of acts in memory, with desks that follow it as nodes do, and strategies that are one line each.

Loaded by the fixture `governance_bench`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from decision_engine.errors import Problem, StrategyInvalid
from services.ports import BusPosition, Delivery, OutgoingEvent, StrategyUnknown
from services.use_cases.governance.desk import CheckedFiles, DeskTerms, GovernanceDesk
from services.use_cases.governance.log import GovernanceLog
from services.use_cases.governance.strategy_diff import StrategyDiff, strategy_diff
from services.use_cases.governance.writer import ChainWriter
from services.use_cases.live_strategy import SwitchRefused

BEGAN = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


@dataclass
class Bench:
    """The log, and the nodes that read it. With `held` records wait for `flow`, as on a bus that is slow."""

    nodes: list[GovernanceLog] = field(default_factory=list)
    records: list[Delivery] = field(default_factory=list)
    waiting: list[OutgoingEvent] = field(default_factory=list)
    unready: set[str] = field(default_factory=set)
    seconds: "count[int]" = field(default_factory=count)
    ids: "count[int]" = field(default_factory=lambda: count(1))
    kept: dict[str, dict[str, str]] = field(default_factory=dict)
    serving: str = "bank-0"

    def __post_init__(self) -> None:
        self.kept["bank-0"] = self.files("bank-0")

    async def publish(self, events: Sequence[OutgoingEvent]) -> Sequence[BusPosition]:
        for event in events:
            record = Delivery(event.topic, event.partition or 0, len(self.records), event.key.encode(), event.value, ())
            self.records.append(record)
            for node in self.nodes:
                await node.on_record(record)
        return [(event.topic, 0, len(self.records)) for event in events]

    def enqueue(self, event: OutgoingEvent) -> None:
        self.waiting.append(event)

    def new_id(self) -> str:
        return f"act-{next(self.ids)}"

    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=next(self.seconds))

    async def node(self) -> GovernanceLog:
        """One more node, which has read what there is."""
        log = GovernanceLog()
        for record in self.records:
            await log.on_record(record)
        self.nodes.append(log)
        return log

    async def desk(self, *, requires_simulation: bool = False) -> GovernanceDesk:
        """The desk of one more node."""
        log = await self.node()
        writer = ChainWriter(log=log, publisher=self, ids=self, read_back_s=0.2, now=self.now)
        terms = DeskTerms(serving=lambda: self.serving, requires_simulation=requires_simulation, now=self.now)
        return GovernanceDesk(log, writer, self, self._ready, terms)

    async def check(self, files: Mapping[str, str]) -> CheckedFiles:
        """The version is what the file says."""
        text = files.get("strategy.yaml", "")
        if "name" not in text:
            raise StrategyInvalid([Problem(file="strategy.yaml", line=1, path="name", message="is missing")])
        version = text.partition("version: ")[2].split("\n")[0]
        errors = ("rule never holds",) if "wrong" in text else ()
        return CheckedFiles(version=version, name="bank", layout="l", errors=errors)

    async def of(self, version: str) -> Mapping[str, str]:
        if version not in self.kept:
            raise StrategyUnknown(version)
        return self.kept[version]

    async def compare(self, before: Mapping[str, str], after: Mapping[str, str]) -> StrategyDiff:
        return strategy_diff(before, after)

    async def _ready(self, version: str) -> None:
        if version in self.unready:
            raise SwitchRefused(f"{version}: its states are not whole")

    @staticmethod
    def files(version: str, further: str = "") -> dict[str, str]:
        """A strategy of that version."""
        return {"strategy.yaml": f"name: bank\nversion: {version}\n{further}", "offers.yaml": "offers: []\n"}
