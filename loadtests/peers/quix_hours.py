"""Count and sum per customer and hour with Quix Streams, in an environment of its own (requirements.txt beside this).

python quix_hours.py BOOTSTRAP TOPIC EVENTS RUN GUARANTEE

GUARANTEE is `exactly-once` (needs a broker with transactions) or `at-least-once`. State is in RocksDB with a changelog
topic, as Quix has it by default. Prints the wall and processor seconds from the first event to the last, as JSON."""

import json
import sys
import tempfile
import time
from datetime import datetime, timedelta

from quixstreams import Application
from quixstreams.dataframe.windows.aggregations import Count, Sum


def main() -> int:
    """Runs until all events have been taken."""
    bootstrap, topic_name, events, run, guarantee = sys.argv[1:]
    seen, began, spent, wall, processor = 0, 0.0, 0.0, 0.0, 0.0

    def taken(_topic: str, _partition: int, _offset: int) -> None:
        nonlocal seen, began, spent, wall, processor
        seen += 1
        if seen == 1:
            began, spent = time.perf_counter(), time.process_time()
        elif seen == int(events):
            wall, processor = time.perf_counter() - began, time.process_time() - spent
            app.stop()

    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=bootstrap,
            consumer_group=f"quix-{run}",
            auto_offset_reset="earliest",
            state_dir=folder,
            processing_guarantee=guarantee,
            consumer_extra_config={"session.timeout.ms": 6_000},  # the embedded broker waits half of it for a join
            producer_extra_config={} if guarantee == "exactly-once" else {"enable.idempotence": False},
            on_message_processed=taken,
            loglevel="WARNING",
        )
        topic = app.topic(
            topic_name,
            value_deserializer="json",
            key_deserializer="str",
            timestamp_extractor=lambda value, *_: int(datetime.fromisoformat(value["time"]).timestamp() * 1000),
        )
        hours = app.dataframe(topic).apply(lambda value: value["data"]).tumbling_window(timedelta(hours=1))
        hours.agg(count=Count(), sum=Sum("amount")).final()
        app.run()
    print(json.dumps({"wall": wall, "processor": processor, "events": seen}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
