"""Aggregates per customer with Quix Streams, in an environment of its own (requirements.txt beside this).

python quix_ingest.py BOOTSTRAP TOPIC EVENTS RUN GUARANTEE WORK

GUARANTEE is `exactly-once` (needs a broker with transactions) or `at-least-once`. WORK is
  hourly   count and sum of each hour, by its own tumbling window
  windows  count, sum, mean and lowest of 7, 30 and 90 days, moving by a day, of eight kinds of transactions: 96
           aggregates, by its own hopping windows
  days     count, sum, lowest and highest of each day and kind, by a function of ours: one read and one write of its
           state an event, the least that 7, 30 and 90 days could be read from; nothing is read, or ever forgotten
State is in RocksDB with a changelog topic, as Quix has it by default. Prints the wall and processor seconds from the
first event to the last, as JSON."""

import json
import sys
import tempfile
import time
from datetime import datetime, timedelta

from quixstreams import Application
from quixstreams.dataframe.windows.aggregations import Count, Mean, Min, Sum

KINDS = ("card", "transfer_in", "transfer_out", "salary", "cash_withdrawal", "fee", "qr_payment", "utility")
OFFSET_HOURS = 8
"""Days are the bank's, Asia/Shanghai."""


def day_of(value, state):
    """Adds one transaction to the totals of its day and kind."""
    data = value["data"]
    day = (datetime.fromisoformat(value["time"]) + timedelta(hours=OFFSET_HOURS)).strftime("%y%m%d")
    key, amount = f"{data['kind']}{day}", data["amount"]
    held = state.get(key)
    if held is None:
        state.set(key, [1, amount, amount, amount])
    else:
        count, total, lowest, highest = held
        state.set(key, [count + 1, total + amount, min(lowest, amount), max(highest, amount)])


def add_windows(frame):
    """Each kind a branch, each length a window of it."""
    for kind in KINDS:
        of_kind = frame.apply(lambda value: value["data"]).filter(lambda data, kind=kind: data["kind"] == kind)
        for days in (7, 30, 90):
            windows = of_kind.hopping_window(timedelta(days=days), timedelta(days=1), name=f"{kind}_{days}")
            windows.agg(count=Count(), sum=Sum("amount"), mean=Mean("amount"), min=Min("amount")).final()


def main() -> int:
    """Runs until all events have been taken."""
    bootstrap, topic_name, events, run, guarantee, work = sys.argv[1:]
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
        frame = app.dataframe(topic)
        if work == "hourly":
            hours = frame.apply(lambda value: value["data"]).tumbling_window(timedelta(hours=1))
            hours.agg(count=Count(), sum=Sum("amount")).final()
        elif work == "windows":
            add_windows(frame)
        else:
            frame.update(day_of, stateful=True)
        app.run()
    print(json.dumps({"wall": wall, "processor": processor, "events": seen}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
