"""Customers put into the store as state builders leave them there, to see what they take."""

import random
from collections.abc import Sequence
from pathlib import Path

from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.fold import fold
from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import topic_index, update_from_plain
from decision_engine.identifiers import CustomerId
from event_schemas.plain import decode_plain
from event_schemas.topics import TRANSACTIONS
from loadtests.ingest_log import features_of, transactions
from services.adapters.embedded_servers import embedded_valkey
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.commands.state_builder import PATIENT

DIFFERENT = 500
"""So many different states are folded; customers take them in turn."""
EVENTS = 90
"""Of a customer, in ninety days."""
_AT_A_TIME = 1_000


def states(features: CompiledFeatures, events: int, different: int = DIFFERENT) -> list[bytes]:
    """States of customers with so many transactions in ninety days each."""
    found: dict[str, list[PositionedUpdate]] = {}
    draw = random.Random(5)
    for number, outgoing in enumerate(transactions(events * different, different), 1):
        update = update_from_plain(decode_plain(outgoing.value))
        at = PositionedUpdate(topic_index(TRANSACTIONS), number, update)
        found.setdefault(outgoing.key or str(draw.random()), []).append(at)
    return [fold(features, None, updates).value for updates in found.values()]


async def put(client: RedisClient, features: CompiledFeatures, customers: range, different: Sequence[bytes]) -> None:
    """Writes their states under the keys the product reads."""
    keys = RedisKeys("kairos", features.layout)
    for start in range(customers.start, customers.stop, _AT_A_TIME):
        portion = range(start, min(start + _AT_A_TIME, customers.stop))
        commands = [
            ("SET", keys.state(CustomerId(f"retail:{number}")), different[number % len(different)])
            for number in portion
        ]
        await client.execute_many(commands, timeout_s=10.0)


async def bytes_a_customer(folder: Path, customers: int = 20_000) -> float:
    """Memory of the store for each customer with 100 aggregates and ninety events in ninety days, key and all."""
    features = features_of("hundred")
    async with (
        embedded_valkey(folder) as server,
        RedisClient.open(f"redis://127.0.0.1:{server.port}/0", limits=PATIENT) as client,
    ):
        before = await used_bytes(client)
        await put(client, features, range(1, 1 + customers), states(features, EVENTS))
        return (await used_bytes(client) - before) / customers


async def used_bytes(client: RedisClient) -> int:
    """What the store uses for data."""
    told = await client.execute("INFO", "memory")
    assert isinstance(told, bytes)
    return int(next(line for line in told.decode().splitlines() if line.startswith("used_memory:"))[12:])
