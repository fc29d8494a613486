"""Events put onto the bus at a rate laid down beforehand, from as many processes as are wanted: `python -m
loadtests.open_loop.bus_storm FILE` reads a `Storm` on standard input and answers as `worker` does.

The latency is from when an event was meant to be published to the bus's acknowledgement; the outcome is `acknowledged`,
or why not. The addresses are those of the product: KAIROS_KAFKA_….
"""

import asyncio
import itertools
import json
import os
import sys
from pathlib import Path
from time import monotonic

import uvloop

from loadtests.ingest_log import transactions
from loadtests.open_loop.schedule import arrivals
from loadtests.open_loop.sender import Begin, Sent
from loadtests.open_loop.storm import Storm
from loadtests.open_loop.tally import Outcome, Tally
from loadtests.open_loop.worker import bind, hand_over, told_to_begin
from services.bootstrap import open_publisher
from services.ports import BusUnavailable, EventPublisher, OutgoingEvent
from services.settings import read_settings

EVENT = "event"
DEADLINE_MS = 1_000.0
TICK_S = 0.005
"""Events due in the same tick are published as one batch, as a bank's relay does; the wait is in their latency."""


async def blow(storm: Storm, publisher: EventPublisher, begin: Begin) -> Sent:
    """Publishes the storm from the moment that `begin` answers; ends when everything is acknowledged or refused."""
    due = arrivals(storm.phases, storm.spacing, storm.seed).tolist()
    events = [_of_this_run(event, storm.run) for event in transactions(max(1, len(due)), storm.customers)]
    sent = Sent({EVENT: Tally(DEADLINE_MS / 1000)})
    begin_at = max(await begin(), monotonic())
    tasks: set[asyncio.Task[None]] = set()
    done = 0
    for tick in itertools.count(1):
        end = begin_at + tick * TICK_S
        await asyncio.sleep(end - monotonic())
        now = monotonic()
        first = done
        while done < len(due) and begin_at + due[done] <= now:
            done += 1
        for at_s in due[first:done]:
            if at_s >= storm.warm_up_s:
                sent.lag.record(max(0.0, now - max(end, begin_at + at_s)))
        if first < done:
            task = asyncio.create_task(
                _publish(publisher, events[first:done], due[first:done], storm, (sent, begin_at))
            )
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if done == len(due):
            break
    await asyncio.gather(*tasks)
    return sent


async def _publish(
    publisher: EventPublisher, events: list[OutgoingEvent], due: list[float], storm: Storm, into: tuple[Sent, float]
) -> None:
    sent, begin_at = into
    try:
        await publisher.publish(events)
        result = "acknowledged"
    except BusUnavailable:
        result = "bus unavailable"
    now = monotonic()
    accepted = result == "acknowledged"
    for at_s in due:
        if at_s >= storm.warm_up_s:
            latency = now - begin_at - at_s
            outcome = Outcome(result, accepted, degraded=False, retry_after=False, latency_s=latency, service_s=latency)
            sent.tallies[EVENT].count(outcome, int(at_s))


def _of_this_run(event: OutgoingEvent, run: str) -> OutgoingEvent:
    """With an id that no other run's event has: none is a duplicate."""
    marked = event.value.replace(b'"id":"t', f'"id":"{run}-t'.encode(), 1)
    return OutgoingEvent(topic=event.topic, key=event.key, value=marked)


async def _run(storm: Storm) -> Sent:
    async with open_publisher(read_settings(os.environ)) as publisher:
        return await blow(storm, publisher, told_to_begin)


def main() -> int:
    """Runs the storm."""
    storm = Storm.of(json.loads(sys.stdin.readline()))
    bind(storm.processors)
    hand_over(uvloop.run(_run(storm)), Path(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
