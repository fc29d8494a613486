"""A trigger memory knows how far it has been held against the log, and a builder how far triggers have seen it."""

from collections.abc import Iterable, Mapping
from types import SimpleNamespace

from decision_engine.customer import CustomerSnapshot
from decision_engine.features.update import Update
from decision_engine.triggers.definitions import Shape
from decision_engine.triggers.firing import Advanced
from decision_engine.triggers.matching import Step, match
from decision_engine.triggers.memory_codec import decode_memory
from services.use_cases.event_batches import Unmatched
from services.workers.trigger_progress import Partition, TriggerProgress

A, B = ("bank.transactions.v1", 0), ("bank.transactions.v1", 1)


def posted(triggers: SimpleNamespace, key: int, place: tuple[int, int]) -> Step:
    update = Update(event_key=key, source=triggers.POSTED, time_ms=triggers.START + key)
    return Step(update=update, before=_nobody, after=_nobody, place=place)


def _nobody() -> CustomerSnapshot:
    return CustomerSnapshot(known=True)


def test_an_event_the_memory_is_past_moves_nothing_though_its_match_is_used_up(triggers: SimpleNamespace) -> None:
    pair = triggers.trigger("pair", triggers.pattern(Shape.COUNT, triggers.POSTED, at_least=2, within_ms=triggers.HOUR))
    compiled, now_ms = triggers.compiled(pair), triggers.START + triggers.MINUTE

    def taken(memory: bytes | None, *steps: Step) -> Advanced:
        return match(compiled, triggers.CUSTOMER, memory, steps, now_ms)

    first = taken(None, *(posted(triggers, key, (0, key)) for key in (1, 2, 3)))
    assert len(first.fired) == 1
    again = taken(first.value, posted(triggers, 2, (0, 2)), posted(triggers, 3, (0, 3)))
    assert (again.changed, again.fired) == (False, ())
    after = taken(first.value, posted(triggers, 3, (0, 3)), posted(triggers, 4, (0, 4)))
    assert len(after.fired) == 1, "the third and the fourth are the next pair"
    other = taken(first.value, posted(triggers, 5, (1, 0)))
    assert len(other.fired) == 1, "topics are counted apart"
    assert decode_memory(other.value or b"").positions == {0: 3, 1: 0}


def test_a_memory_is_not_written_for_its_position_alone(triggers: SimpleNamespace) -> None:
    compiled = triggers.compiled(triggers.trigger(when="1 == 2"), triggers.abandoned())
    opened = Update(event_key=1, source=triggers.OPENED, time_ms=triggers.START, fields={"form_id": "f"})
    armed = match(
        compiled, triggers.CUSTOMER, None, [Step(update=opened, before=_nobody, after=_nobody)], triggers.START
    )
    passed = match(compiled, triggers.CUSTOMER, armed.value, [posted(triggers, 2, (0, 9))], triggers.START)
    assert armed.changed
    assert not passed.changed


class Store:
    """What builders of all layouts note."""

    def __init__(self) -> None:
        self.seen: dict[Partition, int] = {}
        self.unseen: dict[Partition, int] = {}

    async def record_progress(self, positions: Mapping[Partition, int]) -> None:
        return None

    async def record_matched(self, positions: Mapping[Partition, int]) -> None:
        self.seen |= positions

    begin_matching = record_matched

    async def mark_unmatched(self, positions: Mapping[Partition, int]) -> None:
        self.unseen |= positions

    async def matched(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        return {partition: self.seen.get(partition) for partition in partitions}

    async def unmatched(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        return {partition: self.unseen.get(partition) for partition in partitions}


async def test_what_a_rebuild_folded_is_read_again_from_where_triggers_have_come() -> None:
    store = Store()
    builder, rebuild = TriggerProgress(store, serving=True), TriggerProgress(store, serving=False)
    await builder.record({A: 100, B: 100})
    await rebuild.take_over({A: 40})
    await rebuild.begin({A: 130})
    await rebuild.record({A: 130})
    coming = TriggerProgress(store, serving=True)
    assert await coming.take_over({A: 130, B: 90}) == {A: 100}
    assert coming.spans == {A: Unmatched(100, 130), B: Unmatched(100, 0)}, "of the other they are ahead"
    coming.forget({A})
    assert coming.spans == {B: Unmatched(100, 0)}


async def test_a_partition_nobody_ever_matched_begins_with_what_comes_now() -> None:
    store = Store()
    await TriggerProgress(store, serving=False).begin({A: 50})
    coming = TriggerProgress(store, serving=True)
    assert await coming.take_over({A: 50, B: 0}) == {}
    assert store.seen == {A: 50}
    assert await coming.are_at({A: 50, B: 0})
    assert not await coming.are_at({A: 51})


async def test_a_store_that_lost_its_memories_is_matched_from_where_it_is_read_again() -> None:
    store = Store()
    await store.record_matched({A: 100})
    await store.mark_unmatched({A: 120})
    coming = TriggerProgress(store, serving=True)
    await coming.take_over({A: 120})
    coming.lost({A: 30})
    assert coming.spans == {A: Unmatched(30, 0)}
