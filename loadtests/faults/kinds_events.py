"""Bad inputs over the bus: repeated, out of order, late, from the future, malformed, oversized, hostile."""

import random
from collections.abc import Sequence

import orjson

from event_schemas.topics import CHANNEL_EVENTS, PROFILE_UPDATES, TRANSACTIONS
from loadtests.faults.battle import Battle
from services.ports import OutgoingEvent

MOST_TIMES = 5


async def repeated_events(battle: Battle, draw: random.Random) -> None:
    """Each of some events comes one to five times, in one batch and over several."""
    customers = list(battle.load.customers)
    events = [battle.system.transaction(draw.choice(customers), 11) for _ in range(15)]
    sent = [event for event in events for _ in range(draw.randrange(1, MOST_TIMES + 1))]
    draw.shuffle(sent)
    await battle.load.send(*sent)
    await battle.load.send(*draw.sample(events, k=8))


async def reordered_events(battle: Battle, draw: random.Random) -> None:
    """What the profile and the consents say comes in any order: the newest by its own time counts."""
    customer = draw.choice(battle.load.customers)
    events = []
    for number in range(12):
        at_ms = battle.load.now_ms()
        events.append(battle.system.note(customer, number, at_ms))
        events.append(battle.system.consent(customer, draw.random() < 0.5, at_ms))
    draw.shuffle(events)
    await battle.load.send(*events)


async def late_events(battle: Battle, draw: random.Random) -> None:
    """Events of last year count in whole-life figures, and undo nothing that is newer."""
    customer = draw.choice(battle.load.customers)
    year_ms = 365 * 86_400_000
    await battle.load.send(
        *(battle.system.transaction(customer, 13, battle.load.now_ms() - year_ms) for _ in range(5)),
        battle.system.note(customer, 13, battle.load.now_ms() - year_ms),
        battle.system.consent(customer, True, battle.load.now_ms() - year_ms),
    )


async def future_events(battle: Battle, draw: random.Random) -> None:
    """More than five minutes ahead is set aside, less is taken."""
    customer = draw.choice(battle.load.customers)
    ahead = battle.load.now_ms() + draw.choice((6, 60, 60 * 24 * 400)) * 60_000
    await battle.load.send(battle.system.transaction(customer, 17, battle.load.now_ms() + 240_000))
    await battle.system.post([_poisoned(battle.system.transaction(customer, 17, ahead))])


async def malformed_events(battle: Battle, draw: random.Random) -> None:
    """No JSON, no UTF-8, no envelope, wrong types, wrong topic, wrong key, no value, between sound ones."""
    customer = draw.choice(battle.load.customers)
    sound = [battle.system.transaction(draw.choice(battle.load.customers), 19) for _ in range(6)]
    bad = draw.sample(_malformed(battle, customer), k=5)
    mixed = [*sound, *bad]
    draw.shuffle(mixed)
    battle.load.touched.update(event.key for event in sound)
    battle.load.events += len(sound)
    await battle.system.post(mixed)


async def oversized_events(battle: Battle, draw: random.Random) -> None:
    """Records of hundreds of kilobytes, deep and wide."""
    key = draw.choice(battle.load.customers)
    size = draw.randrange(200_000, 700_000)
    await battle.system.post([
        OutgoingEvent(topic=TRANSACTIONS, key=key, value=b'{"poison": "' + b"x" * size + b'"}'),
        OutgoingEvent(topic=TRANSACTIONS, key=key, value=b'{"poison":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
        OutgoingEvent(topic=PROFILE_UPDATES, key=key, value=_wide()),
    ])  # fmt: skip


async def hostile_events(battle: Battle, draw: random.Random) -> None:
    """Text that means harm to whoever puts it together with code, markup or queries."""
    key, header = draw.choice(battle.load.customers), _header
    texts = ("'; DROP TABLE x; --", "{{7*7}}", "${jndi:ldap://x}", "<script>alert(1)</script>", "\u0000", "\ud7ff" * 50)
    values = [orjson.dumps(header(key) | {"type": "bank.transaction.posted", "data": {"amount": t}}) for t in texts]
    await battle.system.post([OutgoingEvent(topic=TRANSACTIONS, key=key, value=value) for value in values])


def _malformed(battle: Battle, customer: str) -> Sequence[OutgoingEvent]:
    good = battle.system.transaction(customer, 23)
    told = orjson.loads(_poisoned(good).value)

    def altered(topic: str = TRANSACTIONS, key: str = customer, **changes: object) -> OutgoingEvent:
        return OutgoingEvent(topic=topic, key=key, value=orjson.dumps(told | changes))

    return [
        OutgoingEvent(topic=TRANSACTIONS, key=customer, value=b"poison, and no JSON"),
        OutgoingEvent(topic=TRANSACTIONS, key=customer, value=b"\xff\xfe\x00poison"),
        OutgoingEvent(topic=TRANSACTIONS, key=customer, value=b'["poison"]'),
        OutgoingEvent(topic=TRANSACTIONS, key=customer, value=b'{"poison": NaN}'),
        OutgoingEvent(topic=TRANSACTIONS, key="retail:poison-key", value=good.value),
        altered(topic=CHANNEL_EVENTS),
        altered(type="bank.never.heard"),
        altered(data={"amount": -1}),
        altered(data=told["data"] | {"amount": 1e400}),
        altered(data=told["data"] | {"amount": True}),
        altered(time="yesterday"),
        altered(subject="nobody"),
    ]


def _poisoned(event: OutgoingEvent) -> OutgoingEvent:
    """The same with an id that says what it is."""
    told = orjson.loads(event.value)
    value = orjson.dumps(told | {"id": f"poison-{told['id']}"})
    return OutgoingEvent(topic=event.topic, key=event.key, value=value)


def _header(subject: str) -> dict[str, object]:
    return {"specversion": "1.0", "id": "poison", "source": "core", "subject": subject, "time": "2026-01-01T00:00:00Z"}


def _wide() -> bytes:
    header = _header("retail:1") | {"type": "bank.profile.updated"}
    return orjson.dumps(header | {"data": {"attributes": {f"a{number}": number for number in range(20_000)}}})
