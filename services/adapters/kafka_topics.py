"""Creates the topics, once, alike for all: the same number of partitions, so one consumer owns a customer."""

from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from event_schemas.topics import TopicSpec
from services.ports import BusUnavailable


async def ensure_topics(
    bootstrap_servers: str, topics: Sequence[TopicSpec], *, partitions: int, replication: int
) -> list[str]:
    """Creates those that are missing and answers their names. Raises BusUnavailable."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        try:
            existing = set(await admin.list_topics())
            missing = [topic for topic in topics if topic.name not in existing]
            return await _create(admin, missing, partitions, replication) if missing else []
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


def _configs(topic: TopicSpec) -> dict[str, str]:
    retention = -1 if topic.retention_ms is None else topic.retention_ms
    return {"cleanup.policy": "compact" if topic.compacted else "delete", "retention.ms": str(retention)}
