"""What one would write first: a Kafka consumer that adds every event to hashes in Redis, one pipeline a batch.

Each customer and hour has a count and a sum. Offsets are committed after the pipeline, so a crash in between counts the
batch twice; nothing is checked, and nothing tells a repeated event. `python -m loadtests.plain_consumer EVENTS RUN`
prints the wall and processor seconds from its first batch to its last commit."""

import json
import os
import sys
import time

import orjson
import redis.asyncio
import uvloop
from aiokafka import AIOKafkaConsumer

from event_schemas.topics import TRANSACTIONS
from services.settings import read_settings

BATCH = 4_000


async def consume(events: int, run: str) -> tuple[float, float, int]:
    """Wall seconds, processor seconds, and how many events came in them."""
    settings = read_settings(os.environ)
    consumer = AIOKafkaConsumer(
        TRANSACTIONS,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=f"plain-{run}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=settings.kafka_session_timeout_ms,
        max_partition_fetch_bytes=4 * 1_048_576,
        fetch_max_wait_ms=100,
    )
    store = redis.asyncio.Redis.from_url(settings.redis_url)
    await consumer.start()
    first = done = 0
    began, spent = 0.0, 0.0
    while done < events:
        batches = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        pipeline = store.pipeline(transaction=False)
        for records in batches.values():
            done += len(records)
            for record in records:
                event = orjson.loads(record.value)
                key, hour = f"hours:{run}:{event['subject']}", event["time"][:13]
                pipeline.hincrby(key, f"{hour} count", 1)
                pipeline.hincrby(key, f"{hour} sum", event["data"]["amount"])
        await pipeline.execute()
        await consumer.commit()
        if not first and done:
            first, began, spent = done, time.perf_counter(), time.process_time()
    measured = time.perf_counter() - began, time.process_time() - spent, done - first
    await consumer.stop()
    await store.aclose()
    return measured


def main() -> int:
    """Prints one line of JSON."""
    wall, processor, events = uvloop.run(consume(int(sys.argv[1]), sys.argv[2]))
    print(json.dumps({"wall": wall, "processor": processor, "events": events}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
