"""The measured numbers that the capacity model works with, found on this machine in a minute or two.

The work of a decision: one API process over 1,000 offers is asked by one connection, so that nobody waits; the spread
of its latencies around their mean is taken for the spread of the work, whose mean is the processor time a decision
takes; what a latency has beyond that is waiting for the store. What the store spends, and what it keeps for each
decision, is read from the store itself. Events: one state builder over 100 aggregates.
"""

import asyncio
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtests.bench_ingest import measure
from loadtests.capacity_model import Measured
from loadtests.ingest_contestants import store_seconds
from loadtests.kairos_process import BODY
from loadtests.open_loop.product import API, Product, own_product
from loadtests.server_processes import Round, Server, closed_loop_round
from loadtests.stored_customers import bytes_a_customer, used_bytes
from services.adapters.redis_client import RedisClient
from services.commands.state_builder import PATIENT

BURSTS = 4
"""Read state and ledger, reserve, keep the record, answer: three round trips between four pieces of work."""
INGEST = "hundred"
PATIENTLY = {"KAIROS_DECISION_TIMEOUT_MS": "1000"}
"""Whole decisions are to be measured, also where the machine is busy; a closed loop waits for each anyhow."""


def measured(*, seconds: float = 5.0, events: int = 100_000) -> Measured:
    """Runs the measurements one after another."""
    alone, at_work, store_s, kept = asyncio.run(_decisions(seconds))
    rate = asyncio.run(measure(events, 5_000, 1, only="Kairos: 100"))[INGEST]
    work, round_trips = work_and_waiting(alone.latencies_ms, at_work.cpu_ms)
    with TemporaryDirectory(prefix="kairos-stored-") as folder:
        state = asyncio.run(bytes_a_customer(Path(folder)))
    return Measured(
        decision_s=work,
        round_trips_s=round_trips,
        bursts=BURSTS,
        events_per_core_s=rate.events_a_processor_second,
        store_decision_s=store_s,
        store_event_s=rate.store_us / 1e6,
        state_bytes=state,
        decision_bytes=kept,
    )


def work_and_waiting(latencies_ms: Sequence[float], cpu_ms: float) -> tuple[list[float], float]:
    """Work of decisions and what each waits besides, seconds: latencies with nobody else there, moved to the mean that
    the processor time says and never below a tenth of it. Where latencies are the shorter, nothing is waited."""
    mean = statistics.fmean(latencies_ms)
    waited = max(0.0, mean - cpu_ms)
    work = [max(cpu_ms / 10, latency - mean + cpu_ms) / 1000 for latency in latencies_ms]
    return work, waited / 1000


async def _decisions(seconds: float) -> tuple[Round, Round, float, float]:
    """Alone and at 16 connections; the store's processor time and memory a decision."""
    async with (
        own_product(settings=PATIENTLY) as product,
        RedisClient.open(product.environment["KAIROS_REDIS_URL"], limits=PATIENT) as client,
    ):
        server = server_of(product)
        alone = await _round(server, 1, seconds, product.customers)
        spent, held = await store_seconds(client), await _kept(client)
        at_work = await _round(server, 16, seconds, product.customers)
        made, bytes_held = await _kept(client)
        decisions = max(1, made - held[0])
        store_s = (await store_seconds(client) - spent) / decisions
        return alone, at_work, store_s, max(0.0, (bytes_held - held[1]) / decisions)


def server_of(product: Product) -> Server:
    """The product's API as the closed-loop client asks it."""
    return Server(name="Kairos", port=product.port, path="/v1/decisions", body=BODY, pid=product.watched[API])


async def _round(server: Server, connections: int, seconds: float, customers: int) -> Round:
    return await asyncio.to_thread(
        closed_loop_round, server, connections=connections, seconds=seconds, customers=customers
    )


async def _kept(client: RedisClient) -> tuple[int, int]:
    """How many decisions the store holds (its keys of that name), and its memory."""
    keys, cursor = 0, b"0"
    while True:
        found = await client.execute("SCAN", cursor, "MATCH", "kairos:decision:*", "COUNT", "5000", timeout_s=5.0)
        assert isinstance(found, list)
        following, names = found
        assert isinstance(following, bytes)
        assert isinstance(names, list)
        keys, cursor = keys + len(names), following
        if cursor == b"0":
            return keys, await used_bytes(client)
