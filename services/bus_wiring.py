"""What the settings say of the bus: how brokers are greeted, and how long topics keep what they carry."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from secrets import token_hex

from event_schemas.topics import ALL_TOPICS, TopicSpec
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_security import KafkaSecurity
from services.adapters.redis_client import RedisClient
from services.adapters.redis_unpublished_records import RedisUnpublishedRecords
from services.ports import Metrics, SettingsInvalid
from services.settings import Settings
from services.use_cases.unpublished_records import OwnRecords, RecoverRecords

_DAY_MS = 86_400_000


def bus_security(settings: Settings) -> KafkaSecurity:
    """How the brokers are greeted."""
    return KafkaSecurity(
        protocol=settings.kafka_security_protocol,
        mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password,
        ca=settings.kafka_ca,
        cert=settings.kafka_cert,
        key=settings.kafka_key,
    )


@asynccontextmanager
async def publishing_noted(
    settings: Settings, client: RedisClient, publisher: KafkaEventPublisher, metrics: Metrics
) -> AsyncIterator[OwnRecords]:
    """Enters the way onto the bus for a node that notes in the store what it has still to publish, and publishes what
    dead ones left. To be left after the last record is kept, and before the store is closed."""
    store = RedisUnpublishedRecords(client, settings.namespace, record_s=settings.record_seconds)
    own = OwnRecords(store, token_hex(8))
    publisher.on_acknowledged = own.acknowledged
    async with own.kept(), publisher, RecoverRecords(store, publisher, metrics, own.node).running():
        yield own


def wanted_topics(settings: Settings) -> tuple[TopicSpec, ...]:
    """Every topic with the retention this bank wants. Raises SettingsInvalid for a topic there is not, a compacted one,
    or no number of days."""
    wanted: dict[str, int | None] = {}
    known = {topic.name: topic for topic in ALL_TOPICS}
    for part in filter(None, (part.strip() for part in settings.kafka_retention.split(","))):
        name, _, days = (piece.strip() for piece in part.partition("="))
        if name not in known or known[name].compacted:
            raise SettingsInvalid(f"KAIROS_KAFKA_RETENTION: {name!r} is no topic whose retention can be set")
        if not days.isdecimal():
            raise SettingsInvalid(f"KAIROS_KAFKA_RETENTION: {part!r}: write {name}=90, days or 0 for ever")
        wanted[name] = int(days) * _DAY_MS or None
    return tuple(replace(t, retention_ms=wanted[t.name]) if t.name in wanted else t for t in ALL_TOPICS)
