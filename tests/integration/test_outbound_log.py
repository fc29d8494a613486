"""Whether a contact stands on the outbound topic already: found wherever one looks, with bounded memory."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from event_schemas.codec import encode_trusted
from event_schemas.topics import ALL_TOPICS, OUTBOUND
from services.adapters.embedded_servers import embedded_broker
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_outbound_log import KafkaOutboundLog
from services.adapters.kafka_topics import ensure_topics
from services.ports import OutgoingEvent

pytestmark = pytest.mark.servers
TIME = "2026-11-20T10:00:00Z"


def contact(name: str) -> OutgoingEvent:
    data = {"decision_id": f"D-{name}", "customer_id": "retail:1", "options": [{"offer": "fund"}]}
    header = {"id": name, "source": "kairos", "subject": "retail:1", "time": TIME}
    return OutgoingEvent(topic=OUTBOUND, key="retail:1", value=encode_trusted("nbo.outbound.offered", header, data))


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[KafkaOutboundLog]:
    async with embedded_broker(tmp_path) as broker:
        address = f"127.0.0.1:{broker.port}"
        await ensure_topics(address, ALL_TOPICS, partitions=1, replication=1)
        async with KafkaEventPublisher(address, idempotence=False) as publisher:
            yield KafkaOutboundLog(address, publisher, most_contacts=5)


async def test_contacts_are_found_also_before_what_was_forgotten(log: KafkaOutboundLog) -> None:
    await log.publish([contact(f"f{number}") for number in range(10)])
    assert set(await log.find(0, 0, ["f0", "f9", "never"])) == {"f0", "f9"}
    # Many are held by now: whoever asks for the last ones lets go of the others, while somebody still looks for one.
    early, late = await asyncio.gather(log.find(0, 0, ["f1"]), log.find(0, 8, ["f1", "f8"]))
    assert set(early) == {"f1"} and set(late) == {"f8"}
    assert set(await log.find(0, 2, ["f2"])) == {"f2"}
    assert (await log.find(0, 8, ["f8"]))["f8"] == {"decision_id": "D-f8", "options": [{"offer": "fund"}]}
