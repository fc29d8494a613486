"""Creates the topics, once, alike for all: the same number of partitions, so one consumer owns a customer."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from event_schemas.topics import TopicSpec
from services.adapters.kafka_security import PLAINTEXT, KafkaSecurity
from services.ports import BusUnavailable

_LED_SECONDS = 30.0
"""How long a partition just made may be without a leader."""
_LED_POLL_SECONDS = 0.05


async def ensure_topics(
    bootstrap_servers: str,
    topics: Sequence[TopicSpec],
    *,
    partitions: int,
    replication: int,
    security: KafkaSecurity = PLAINTEXT,
) -> list[str]:
    """Creates those that are missing, waits until the brokers can serve all, and answers the names of the created.
    Raises BusUnavailable."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, **security.options())
    try:
        await admin.start()
        try:
            existing = set(await admin.list_topics())
            missing = [topic for topic in topics if topic.name not in existing]
            created = await _create(admin, missing, partitions, replication) if missing else []
            await _until_led(admin, [topic.name for topic in topics])
            return created
        finally:
            await admin.close()
    except KafkaError as error:
        raise BusUnavailable(f"topics could not be created at {bootstrap_servers}: {error!r}") from error


async def _create(
    admin: AIOKafkaAdminClient, topics: Sequence[TopicSpec], partitions: int, replication: int
) -> list[str]:
    """The names created; another process may have been quicker with some."""
    answer = await admin.create_topics(
        [NewTopic(topic.name, partitions, replication, topic_configs=_configs(topic)) for topic in topics]
    )
    created = []
    for name, code, *_ in answer.topic_errors:
        if not code:
            created.append(name)
        elif (error := for_code(code)) is not TopicAlreadyExistsError:
            raise BusUnavailable(f"topic {name} could not be created: {error.__name__}")
    return created


async def _until_led(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Waits until every partition has a leader. A group whose leader does not know a topic yet would assign nothing of
    it, and a producer would be refused."""
    deadline = asyncio.get_running_loop().time() + _LED_SECONDS
    while waiting := _without_leader(await admin.describe_topics(list(names))):
        if asyncio.get_running_loop().time() > deadline:
            raise BusUnavailable(f"topics without a leader after {_LED_SECONDS:.0f} s: {', '.join(waiting)}")
        await asyncio.sleep(_LED_POLL_SECONDS)


def _without_leader(described: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(
        topic["topic"]
        for topic in described
        if topic["error_code"] or any(p["error_code"] or p["leader"] < 0 for p in topic["partitions"])
    )


def _configs(topic: TopicSpec) -> dict[str, str]:
    retention = -1 if topic.retention_ms is None else topic.retention_ms
    return {"cleanup.policy": "compact" if topic.compacted else "delete", "retention.ms": str(retention)}
