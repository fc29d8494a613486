"""Timers are looked at customer by customer: whose state cannot be read is left for later and stops nobody else."""

from collections.abc import Sequence
from types import SimpleNamespace

from decision_engine.customer import CustomerSnapshot
from decision_engine.errors import StateUnreadable
from decision_engine.features.definitions import AttributeType
from decision_engine.identifiers import CustomerId
from decision_engine.triggers.firing import Overtaken
from decision_engine.triggers.matching import pending
from services.ports import DueCustomer, MemoryWrite
from services.use_cases.firing_cases import Watched
from services.workers.due_timers import UNREADABLE_MS, DueTimers, LookPace
from services.workers.firing_worker import FiringWorker

DAMAGED, SOUND = CustomerId("retail:1"), CustomerId("retail:2")
UNREADABLE_STATE = b"damaged"


class Store:
    """Both customers have the same memory; one of them a state that cannot be read."""

    def __init__(self, memory: bytes | None) -> None:
        self.memories = {DAMAGED: memory, SOUND: memory}
        self.due_ms = {DAMAGED: 1, SOUND: 1}

    async def load_watched(
        self, customer_ids: Sequence[CustomerId], watched: Sequence[CustomerId]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        states = [UNREADABLE_STATE if name == DAMAGED else None for name in customer_ids]
        return states, [self.memories[name] for name in watched]

    async def remember(self, writes: Sequence[MemoryWrite]) -> list[CustomerId]:
        self.memories.update({write.customer_id: write.value for write in writes})
        return []

    async def due(self, partition: int, until_ms: int, most: int) -> list[DueCustomer]:
        found = [DueCustomer(name, due_ms) for name, due_ms in self.due_ms.items() if due_ms <= until_ms]
        return found[:most]

    async def begun(self, now_ms: int) -> int:
        return 0

    async def postpone(self, partition: int, moved: Sequence[tuple[DueCustomer, int | None]]) -> None:
        self.due_ms.update({entry.customer_id: due_ms for entry, due_ms in moved if due_ms is not None})


class Log:
    def assigned(self) -> set[tuple[str, int]]:
        return {("bank.channel.v1", 0)}

    async def caught_up(self) -> set[tuple[str, int]]:
        return self.assigned()


def read(state: bytes | None, _: int) -> CustomerSnapshot:
    if state == UNREADABLE_STATE:
        raise StateUnreadable("the stored state is cut short or damaged")
    return CustomerSnapshot(known=True, attributes={"age": 40})


async def nothing(_: Sequence[Watched]) -> None:
    return None


async def no_withdrawal(_: CustomerId, __: Sequence[Overtaken]) -> None:
    return None


async def test_a_state_that_cannot_be_read_stops_nobody_elses_timers(triggers: SimpleNamespace) -> None:
    abandoned = triggers.abandoned(when="age > 18")
    person = triggers.customer(abandoned, age=AttributeType.INT)
    person.happens(triggers.OPENED, form_id="f")
    store, now_ms = Store(person.memory), person.now_ms + triggers.HOUR
    worker = FiringWorker(nothing, no_withdrawal)
    timers = DueTimers(
        triggers=person.triggers,
        store=store,
        worker=worker,
        read=read,
        clock=SimpleNamespace(now_ms=lambda: now_ms),
        stream=Log(),
        pace=LookPace(0.0),
    )
    await timers.look()
    assert worker.is_busy(SOUND) and not worker.is_busy(DAMAGED)
    assert len(pending(person.triggers, store.memories[SOUND])) == 1
    assert store.memories[DAMAGED] == person.memory, "it still waits, for when the state is repaired"
    assert store.due_ms[DAMAGED] == now_ms + UNREADABLE_MS
