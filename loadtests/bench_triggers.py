"""From an event on the bus to the contact on the outbound topic, at a steady rate.

    python -m loadtests.bench_triggers --rate 2000 --seconds 30 --share 0.02

One state builder, a process of its own, folds everything and fires; this process publishes the events, each as of now,
and reads the outbound topic. A contact's time is from just before its event is handed to the producer until its record
is in the hands of the consumer. Events that set nothing off are page views and small inflows, at which the trigger
looks; those that do are large inflows of customers who had none. Prints the rate kept and the percentiles.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadtests.trigger_world import PARTITIONS, OutboundReader, TriggerBank, strategy_text, trigger_bank
from services.ports import OutgoingEvent

TICK_S = 0.01
CUSTOMERS = 20_000
TARGET_MS = 250.0
WARM_UP_FIRINGS = 50


@dataclass(slots=True)
class Times:
    """When events were published and contacts seen, in seconds of one clock, by customer."""

    published: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)

    def milliseconds(self) -> list[float]:
        return [(self.seen[name] - at) * 1000 for name, at in self.published.items() if name in self.seen]


async def measure(bank: TriggerBank, rate: int, seconds: float, share: float) -> tuple[Times, float]:
    """The times, and the rate that was kept."""
    firing = int(rate * seconds * share) + WARM_UP_FIRINGS
    await _make_known(bank, firing)
    builder = await bank.builder_process()
    try:
        async with OutboundReader.open(bank) as channel:
            await bank.until_complete()
            for number in range(WARM_UP_FIRINGS):
                await bank.post(bank.inflow(f"retail:f{number}"))
            await channel.until(WARM_UP_FIRINGS)
            times = Times()
            reading = asyncio.create_task(_read(channel, times))
            kept = await _publish(bank, times, rate, seconds, share)
            await _until_seen(times)
            reading.cancel()
            return times, kept
    finally:
        builder.terminate()
        await builder.wait()


async def _make_known(bank: TriggerBank, firing: int) -> None:
    for start in range(0, firing, 500):
        await bank.post(*(bank.profile(f"retail:f{n}") for n in range(start, min(firing, start + 500))))


def _events(bank: TriggerBank, share: float) -> Iterator[tuple[str | None, OutgoingEvent]]:
    """Endless: who fires, if anybody, and the event."""
    number, fired, owed = 0, WARM_UP_FIRINGS, 0.0
    while True:
        number, owed = number + 1, owed + share
        if owed >= 1.0:
            owed -= 1.0
            customer, fired = f"retail:f{fired}", fired + 1
            yield customer, bank.inflow(customer)
        else:
            customer = f"retail:{number * 7919 % CUSTOMERS}"
            if number % 3:
                yield None, bank.event("bank.channel.page_view", customer, {"page": "home"})
            else:
                yield None, bank.inflow(customer, amount=100)


async def _publish(bank: TriggerBank, times: Times, rate: int, seconds: float, share: float) -> float:
    """Open loop: what is late is not left out. Answers events per second."""
    loop, events, sending = asyncio.get_running_loop(), _events(bank, share), set[asyncio.Task[object]]()
    began, sent, total = loop.time(), 0, int(rate * seconds)
    while sent < total:
        lot = []
        for _ in range(min(total, int((loop.time() - began) * rate)) - sent):
            customer, event = next(events)
            lot.append(event)
            if customer is not None:
                times.published[customer] = loop.time()
        if lot:
            task = asyncio.ensure_future(bank.publisher.publish(lot))
            sending.add(task)
            task.add_done_callback(sending.discard)
            sent += len(lot)
        await asyncio.sleep(TICK_S)
    await asyncio.gather(*sending)
    return sent / (loop.time() - began)


async def _read(channel: OutboundReader, times: Times) -> None:
    loop = asyncio.get_running_loop()
    while True:
        events = await channel.poll(0.05)
        now = loop.time()
        for event in events:
            times.seen.setdefault(event.data.customer_id, now)


async def _until_seen(times: Times) -> None:
    async with asyncio.timeout(60):
        while not times.published.keys() <= times.seen.keys():  # noqa: ASYNC110 - the reader has no event to wait for
            await asyncio.sleep(0.05)


async def _run(rate: int, seconds: float, share: float) -> tuple[Times, float]:
    with tempfile.TemporaryDirectory(prefix="kairos-triggers-") as folder:
        async with trigger_bank(Path(folder), strategy_text(cap=50)) as bank:
            return await measure(bank, rate, seconds, share)


def main() -> int:
    """Exit status 0 if the 99th percentile is within the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=2000, help="events per second (default 2000)")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--share", type=float, default=0.02, help="of the events that set off a contact (default 0.02)")
    arguments = parser.parse_args()
    times, kept = asyncio.run(_run(arguments.rate, arguments.seconds, arguments.share))
    found = times.milliseconds()
    p50, p99 = np.percentile(found, (50, 99))
    print(
        f"{kept:,.0f} events/s over {PARTITIONS} partitions, {len(found)} contacts ({arguments.share:.1%}): "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(found):.1f} ms (target p99 < {TARGET_MS:.0f} ms)"
    )
    return 0 if p99 < TARGET_MS and kept > 0.98 * arguments.rate else 1


if __name__ == "__main__":
    sys.exit(main())
