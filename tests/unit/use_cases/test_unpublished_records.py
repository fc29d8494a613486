"""What a node takes off the note of its unpublished records, whatever the store does meanwhile; what it recovers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from decision_engine.identifiers import DecisionId
from services.ports import OutgoingEvent, StoreUnavailable
from services.use_cases import unpublished_records
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.use_cases.record_keeping import LATE_SECONDS, RecordKeeper
from services.use_cases.unpublished_records import AGAIN_SECONDS, OwnRecords, RecoverRecords


@dataclass
class NotedInMemory:
    """Notes of a node in memory; `away` while the store cannot be asked."""

    taken_off: list[list[str]] = field(default_factory=list)
    lived: int = 0
    left: bool = False
    away: bool = False
    stuck: asyncio.Event | None = None

    async def live(self, node: str) -> None:
        self._reach()
        self.lived += 1

    async def take_off(self, node: str, decision_ids: Sequence[DecisionId]) -> None:
        self._reach()
        if self.stuck is not None:
            self.stuck.set()
            await asyncio.Event().wait()
        self.taken_off.append(list(decision_ids))

    async def leave(self, node: str) -> None:
        self._reach()
        self.left = True

    async def dead(self) -> list[str]:
        self._reach()
        return ["dead"]

    async def claim(self, node: str, by: str, seconds: int) -> bool:
        return True

    async def unpublished(self, node: str, most: int, seconds: int) -> list[tuple[DecisionId, bytes | None]]:
        raise AssertionError

    async def forget(self, node: str) -> None:
        raise AssertionError

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


@pytest.fixture
def noted() -> NotedInMemory:
    return NotedInMemory()


@pytest.fixture
def own(noted: NotedInMemory) -> OwnRecords:
    return OwnRecords(noted, "node")


def events(*decision_ids: str) -> list[OutgoingEvent]:
    return [OutgoingEvent(topic="t", key="k", value=b"", record_of=DecisionId(id_)) for id_ in decision_ids]


async def test_only_records_of_decisions_are_taken_off_and_many_at_once(noted: NotedInMemory, own: OwnRecords) -> None:
    await own.take_off()
    own.acknowledged([*events("1", "2"), OutgoingEvent(topic="t", key="k", value=b"")])
    own.acknowledged(events("3"))
    await own.take_off()
    await own.take_off()
    assert noted.taken_off == [["1", "2", "3"]]


def test_late_saves_are_over_when_a_decision_is_taken_off_once_more() -> None:
    assert AGAIN_SECONDS > LATE_SECONDS + 2


async def test_what_a_store_that_is_away_did_not_take_off_is_taken_off_later(
    noted: NotedInMemory, own: OwnRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpublished_records, "AGAIN_SECONDS", 0.0)
    own.acknowledged(events("1"))
    await own.take_off()
    noted.away = True
    own.acknowledged(events("2"))
    with pytest.raises(StoreUnavailable):
        await own.take_off()
    noted.away = False
    own.acknowledged(events("3"))
    await own.take_off()
    await own.take_off()
    await own.take_off()
    assert noted.taken_off == [["1"], ["2", "3", "1"], ["2", "3"]]


async def test_what_waits_for_a_store_that_is_away_is_bounded(
    noted: NotedInMemory, own: OwnRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpublished_records, "MOST_KEPT", 3)
    bounded = OwnRecords(noted, "node")
    bounded.acknowledged(events("1", "2"))
    noted.away = True
    for _ in range(2):
        bounded.acknowledged(events("3", "4"))
        with pytest.raises(StoreUnavailable):
            await bounded.take_off()
    noted.away = False
    await bounded.take_off()
    assert noted.taken_off == [["4", "3", "4"]]


async def test_a_stop_takes_off_everything_also_what_was_under_way(
    noted: NotedInMemory, own: OwnRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpublished_records, "TAKE_OFF_SECONDS", 0.0)
    monkeypatch.setattr(unpublished_records, "MOST_TAKEN_OFF", 2)
    noted.stuck = asyncio.Event()
    async with own.kept():
        own.acknowledged(events("1", "2", "3"))
        await asyncio.wait_for(noted.stuck.wait(), 10)
        noted.stuck = None
    assert {id_ for ids in noted.taken_off for id_ in ids} == {"1", "2", "3"}
    assert noted.left


async def test_a_node_says_that_it_lives_though_the_store_was_away(
    noted: NotedInMemory, own: OwnRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpublished_records, "TAKE_OFF_SECONDS", 0.0)
    monkeypatch.setattr(unpublished_records, "SAY_SECONDS", 0.0)
    noted.away = True
    async with asyncio.timeout(10), own.kept():
        noted.away = False
        while not noted.lived:
            await asyncio.sleep(0)
        noted.away = True
    assert not noted.left, "a store that is away holds up no stop"


async def test_looking_goes_on_whatever_is_away(
    noted: NotedInMemory, bank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpublished_records, "LOOK_SECONDS", 0.0)
    looked, noted.away = asyncio.Event(), True

    async def unpublished(*_: Any) -> list[Any]:
        looked.set()
        raise StoreUnavailable("away")

    monkeypatch.setattr(noted, "unpublished", unpublished)
    async with asyncio.timeout(10), RecoverRecords(noted, bank.bus, bank.metrics, "node").running():
        await asyncio.sleep(0)
        noted.away = False
        await looked.wait()
        looked.clear()
        await looked.wait()
    assert bank.bus.events == []


@pytest.fixture
def withdrawn() -> list[str]:
    return []


@pytest.fixture
def make(bank: Any, withdrawn: list[str]) -> MakeDecision:
    keeper = RecordKeeper(bank.metrics, 0.01, withdrawn.append)
    return MakeDecision(
        DecisionPorts(
            live=lambda: bank.live, store=bank.store, ledger=bank.store, publisher=bank.bus, clock=bank.clock,
            ids=bank.ids, metrics=bank.metrics, keeper=keeper,
        )
    )  # fmt: skip


async def test_an_event_says_whose_record_it_is(bank: Any, make: MakeDecision, command: Any) -> None:
    answer = orjson.loads(await make(command()))
    assert [event.record_of for event in bank.bus.events] == [answer["decision_id"]]


@pytest.mark.parametrize("request_id", [None, "r1"])
async def test_a_record_of_offers_that_were_not_handed_out_is_not_left_to_be_published(
    bank: Any, make: MakeDecision, command: Any, withdrawn: list[str], request_id: str | None
) -> None:
    """Its save goes on being tried, and may come to pass after its answer went without offers."""
    bank.bus.gone = True
    delayed = orjson.loads(await make(command(request_id=request_id)))
    assert (delayed["degraded_causes"], withdrawn) == (["publish_delayed"], [])
    bank.store.fail.add("save")
    unaudited = orjson.loads(await make(command(request_id=None if request_id is None else "r2")))
    assert "unaudited" in unaudited["degraded_causes"]
    assert withdrawn == [unaudited["decision_id"]]
    await make.keeper.drain(1.0)
