"""The log that state builders and their peers are measured on: transactions of ninety days, published beforehand, and
what is counted over them."""

import asyncio
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    FeatureDeclarations,
    FeatureDefinition,
    ProfileAttribute,
    Window,
)
from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import TRANSACTIONS
from services.adapters.file_strategy_source import load_strategy_file
from services.bootstrap import open_publisher
from services.ports import BusPosition, BusUnavailable, EventPublisher, OutgoingEvent
from services.settings import Settings

PARTITIONS = 4
START_MS = 1_767_225_600_000
DAYS = 90
KINDS = ("card", "transfer_in", "transfer_out", "salary", "cash_withdrawal", "fee", "qr_payment", "utility")
CATEGORIES = ("groceries", "travel", "dining", "rent", "fuel", "shopping", "health", "transport")
_AGGREGATES = (Aggregate.COUNT, Aggregate.SUM, Aggregate.MEAN, Aggregate.MIN, Aggregate.MAX)
_AT_A_TIME = 2_000
_ATTEMPTS = 10


def features_of(what: str, run: str = "") -> CompiledFeatures:
    """`hourly`: one count and one sum an hour. `windowed`: 120 windowed aggregates, `hundred`: 100 of them. Otherwise
    those of a strategy, a file or a folder. `run` makes a layout of its own of the same work, so that one log can be
    folded again."""
    if what == "hourly":
        declared = _declared((_feature("count", Aggregate.COUNT), _feature("sum", Aggregate.SUM)), run)
    elif what == "windowed":
        declared = _declared(_windowed(), run)
    elif what == "hundred":
        declared = _declared(_first(_windowed(), 100), run)
    else:
        declared = _marked(load_strategy_file(Path(what)).declarations, run)
    return compile_features(declared)


def _declared(features: tuple[FeatureDefinition, ...], run: str) -> FeatureDeclarations:
    declared = FeatureDeclarations(time_zone="Asia/Shanghai", profile=(), features=features, derived=())
    return _marked(declared, run)


def _marked(declared: FeatureDeclarations, run: str) -> FeatureDeclarations:
    """With one profile attribute more, which nothing sets."""
    mark = ProfileAttribute(name=f"run_{run}", type=AttributeType.INT, theme="basic", description={})
    return replace(declared, profile=(*declared.profile, mark)) if run else declared


def _first(features: tuple[FeatureDefinition, ...], most: int) -> tuple[FeatureDefinition, ...]:
    """So many attributes of them: of all kinds of transactions, but not every aggregate of each."""
    kept: list[FeatureDefinition] = []
    for feature in sorted(features, key=lambda one: _AGGREGATES.index(one.aggregate)):
        left = most - sum(len(one.windows) for one in kept)
        kept += [replace(feature, windows=feature.windows[:left])] if left else []
    return tuple(kept)


def _feature(name: str, aggregate: Aggregate) -> FeatureDefinition:
    """Over the last 24 hours, an hour a bucket."""
    return FeatureDefinition(
        name=name,
        source="bank.transaction.posted",
        aggregate=aggregate,
        field=None if aggregate is Aggregate.COUNT else "amount",
        windows=(Window("h", 24),),
        theme="transaction",
        description={},
    )


def _windowed() -> tuple[FeatureDefinition, ...]:
    """Five aggregates over eight kinds of transactions, three windows each: forty streams."""
    return tuple(
        FeatureDefinition(
            name=f"{kind}_{aggregate}",
            source="bank.transaction.posted",
            aggregate=aggregate,
            where=f'kind == "{kind}"',
            field=None if aggregate is Aggregate.COUNT else "amount",
            windows=tuple(Window("d", days) for days in (7, 30, 90)),
            theme="transaction",
            description={},
        )
        for kind in KINDS
        for aggregate in _AGGREGATES
    )


def transactions(number: int, customers: int) -> Iterator[OutgoingEvent]:
    """In the order of time, customers drawn at random."""
    draw = random.Random(1)
    for i in range(number):
        customer = f"retail:{draw.randrange(customers)}"
        at = from_epoch_ms(START_MS + i * (DAYS * 86_400_000 // number))
        header: dict[str, str | datetime] = {"id": f"t{i}", "source": "core", "subject": customer, "time": at}
        value = encode_trusted("bank.transaction.posted", header, transaction_data(draw, customer[7:]))
        yield OutgoingEvent(topic=TRANSACTIONS, key=customer, value=value)


def transaction_data(draw: random.Random, account_id: str) -> dict[str, str | int]:
    """What one transaction of the account says."""
    return {
        "account_id": account_id,
        "direction": draw.choice(("credit", "debit")),
        "amount": draw.randrange(100, 1_000_000),
        "currency": "CNY",
        "balance_after": draw.randrange(10_000_000),
        "kind": draw.choice(KINDS),
        "category": draw.choice(CATEGORIES),
        "counterparty": f"merchant {draw.randrange(500)}",
        "channel": "mobile",
    }


async def publish(settings: Settings, events: Iterator[OutgoingEvent]) -> dict[int, int]:
    """For each partition the next offset after all events. What is not acknowledged, as by a broker that has just
    begun, is published again: it may then stand there twice. Raises BusUnavailable."""
    ends: dict[int, int] = {}
    async with open_publisher(settings) as publisher:
        while portion := list(islice(events, _AT_A_TIME)):
            for _, partition, offset in await _published(publisher, portion):
                ends[partition] = max(ends.get(partition, 0), offset + 1)
    return ends


async def _published(publisher: EventPublisher, portion: Sequence[OutgoingEvent]) -> Sequence[BusPosition]:
    for _ in range(_ATTEMPTS - 1):
        try:
            return await publisher.publish(portion)
        except BusUnavailable as error:
            print(f"published again, some of it perhaps twice: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(1.0)
    return await publisher.publish(portion)
