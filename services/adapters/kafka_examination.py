"""What the brokers say of themselves and of the topics, for `kairos doctor`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from services.adapters.kafka_security import PLAINTEXT, KafkaSecurity
from services.ports import BusUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFound:
    """A topic as it stands. `configs` are those the broker tells; `leaderless` its partitions without a leader."""

    partitions: int
    replicas: int
    leaderless: int
    configs: Mapping[str, str]


async def examine_topics(
    bootstrap_servers: str, names: Sequence[str], security: KafkaSecurity = PLAINTEXT
) -> dict[str, TopicFound]:
    """Those of the names that there are. Raises BusUnavailable."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=10_000, **security.options())
    try:
        await admin.start()
        try:
            existing = set(await admin.list_topics())
            there = [name for name in names if name in existing]
            described = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(there)}
            configs = await _configs(admin, there)
        finally:
            await admin.close()
    except KafkaError as error:
        raise BusUnavailable(f"no broker answers at {bootstrap_servers}: {error!r}") from error
    return {
        name: TopicFound(
            partitions=len(partitions),
            replicas=min((len(partition["replicas"]) for partition in partitions), default=0),
            leaderless=sum(1 for partition in partitions if partition["leader"] < 0),
            configs=configs.get(name, {}),
        )
        for name, partitions in described.items()
    }


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """By topic the settings told; none where the broker does not say (or is the embedded one, which tells a few)."""
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for error_code, _, _, name, entries in answer.resources:
            if not error_code:
                found[str(name)] = {str(entry[0]): str(entry[1]) for entry in entries}
    return found
