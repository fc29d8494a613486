"""What grows with what: the engine with offers, states with events, decisions with connections and with customers.

python -m loadtests.cost_curves                        all curves (about four minutes)
python -m loadtests.cost_curves --only offers,states   those

offers       processor time of decide and settle over 10 to 10,000 offers, without model and I/O, where about twenty
             pass the rules and where one in five does
states       bytes of a state and time to fold one more event into it, after 1 to 10,000 events in ninety days
connections  requests a second, latency and processor time a decision, 1 to 128 connections in a closed loop
customers    memory of the store, its processor time and the API's a decision, with 2,000 to 200,000 customers in it
ingest       processor time an event with 1,000 to 200,000 customers among whom the events fall

Points of one curve are measured in rounds that go around them, so that the machine's moods fall on all; medians.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

from decision_engine.features.fold import fold
from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import topic_index, update_from_plain
from event_schemas.plain import decode_plain
from event_schemas.topics import TRANSACTIONS
from loadtests.bench_engine import Case
from loadtests.bench_ingest import measure
from loadtests.capacity_measured import PATIENTLY, server_of
from loadtests.ingest_contestants import store_seconds
from loadtests.ingest_log import features_of, transactions
from loadtests.open_loop.product import Product, own_product
from loadtests.results import Line, Plot, Result, Table, Verdict, describe
from loadtests.server_processes import Round, closed_loop_round, middle_round
from loadtests.stored_customers import put, states, used_bytes
from loadtests.telling_results import tell
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.bootstrap import load_strategy
from services.commands.state_builder import PATIENT
from services.settings import read_settings

OFFERS = (10, 30, 100, 300, 1_000, 3_000, 10_000)
PASSING = 20
EVENTS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128)
CUSTOMERS = (2_000, 20_000, 200_000)
INGEST_CUSTOMERS = (1_000, 5_000, 20_000, 100_000, 200_000)
MOST_GROWTH = 3.0
"""Ten times the offers are to cost at most so many times as much, from 1,000 to 10,000."""
_ROUNDS = 3
_INGEST_EVENTS = 100_000
_SECONDS = 2.0


def main() -> int:
    """Exit status 1 where a curve rises more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CURVES), help=f"any of {', '.join(CURVES)}")
    names = parser.parse_args().only.split(",")
    if unknown := set(names) - set(CURVES):
        parser.error(f"unknown curves: {', '.join(sorted(unknown))}; known: {', '.join(CURVES)}")
    held = [tell(CURVES[name]()) for name in names]
    return 0 if all(held) else 1


def by_offers(rounds: int = 300) -> Result:
    """Two lines of cases, measured around."""
    few = [Case.of(offers, 1, 1, min(1.0, PASSING / offers)) for offers in OFFERS]
    many = [Case.of(offers, 1, 1, 0.2) for offers in OFFERS]
    lines = [
        Line(name, list(zip(OFFERS, medians(cases, rounds), strict=True)))
        for name, cases in ((f"about {PASSING} pass", few), ("one in five passes", many))
    ]
    growth = lines[0].points[-1][1] / dict(lines[0].points)[1_000]
    return describe(
        "cost-offers",
        "What a decision takes of the engine, by offers",
        figures={"us_10_offers": lines[0].points[0][1], "us_10000_offers": lines[0].points[-1][1]},
        plots=[Plot("Engine by offers", "offers", "us of processor", lines, log_x=True, log_y=True)],
        tables=[_table("offers", lines, "us")],
        verdicts=[
            Verdict(
                claim="ten times the offers, where as many pass",
                target=f"at most {MOST_GROWTH:g} times the time",
                measured=f"{growth:.2f} times from 1,000 to 10,000",
                holds=growth <= MOST_GROWTH,
            )
        ],
    )


def medians(cases: Sequence[Case], rounds: int) -> list[float]:
    """Microseconds of each case; every round asks each once."""
    times = [[case.microseconds(number) for case in cases] for number in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def by_events(different: int = 10) -> Result:
    """States of customers with ever more events in the same ninety days."""
    lines, folds = [], []
    for what in ("hundred", "windowed"):
        features = features_of(what)
        sizes: list[tuple[float, float]] = []
        times: list[tuple[float, float]] = []
        for events in EVENTS:
            held = states(features, events, different)
            sizes.append((events, statistics.fmean(map(len, held))))
            times.append((events, _fold_us(held, what)))
        lines.append(Line(f"{len(features.names)} aggregates", sizes))
        folds.append(Line(f"{len(features.names)} aggregates", times))
    return describe(
        "cost-events",
        "A state by the events in it",
        figures={"bytes_100_events": dict(lines[0].points)[100], "bytes_10000_events": lines[0].points[-1][1]},
        plots=[
            Plot("Bytes of a state", "events in 90 days", "bytes", lines, log_x=True, log_y=True),
            Plot("One more event", "events in 90 days", "us to decode, fold and encode", folds, log_x=True),
        ],
        tables=[_table("events", lines, "bytes"), _table("events", folds, "us a fold")],
    )


def _fold_us(held: Sequence[bytes], what: str) -> float:
    """Decode, fold of one event, encode."""
    features = features_of(what)
    event = update_from_plain(decode_plain(next(transactions(1, 1)).value))
    update = [PositionedUpdate(topic_index(TRANSACTIONS), 10**9, event)]
    samples = []
    for _ in range(30):
        began = time.thread_time()
        for state in held:
            fold(features, state, update)
        samples.append((time.thread_time() - began) / len(held) * 1e6)
    return statistics.median(samples)


def by_connections() -> Result:
    """One API process in a closed loop."""
    found = asyncio.run(_connections())
    rounds = {count: middle_round(found[count]) for count in CONNECTIONS}

    def line(name: str, of: Callable[[Round], float]) -> Line:
        return Line(name, [(count, of(one)) for count, one in rounds.items()])

    latency = [line("p50 ms", lambda one: one.p50_ms), line("p99 ms", lambda one: one.p99_ms)]
    cpu = [line("processor ms a decision", lambda one: one.cpu_ms)]
    rate = [line("decisions/s", lambda one: one.requests_per_s)]
    refused = [line("refused %", lambda one: one.refused * 100)]
    return describe(
        "cost-connections",
        "Decisions by connections, 1,000 offers, one API process",
        figures={f"cpu_ms_{count}": one.cpu_ms for count, one in rounds.items()},
        plots=[
            Plot("Latency", "connections", "ms", latency, log_x=True, log_y=True),
            Plot("Processor time a decision", "connections", "ms", cpu, log_x=True),
            Plot("Decisions a second", "connections", "decisions/s", rate, log_x=True),
        ],
        tables=[_table("connections", [*latency, *cpu, *rate, *refused], "")],
    )


async def _connections() -> dict[int, list[Round]]:
    async with own_product(settings=PATIENTLY) as product:
        found: dict[int, list[Round]] = {count: [] for count in CONNECTIONS}
        for _ in range(_ROUNDS):
            for count in CONNECTIONS:
                found[count].append(await _asked(product, count, product.customers))
        return found


async def _asked(product: Product, connections: int, customers: int) -> Round:
    return await asyncio.to_thread(
        closed_loop_round,
        server_of(product),
        connections=connections,
        seconds=_SECONDS,
        customers=customers,
        may_refuse=True,
    )


def by_customers() -> Result:
    """The same API, the store ever fuller."""
    found = asyncio.run(_customers())
    cpu = [Line("API, 16 connections", [(count, one.cpu_ms) for count, (_, one, _) in found.items()])]
    store = [Line("store", [(count, spent) for count, (_, _, spent) in found.items()])]
    memory = [Line("store", [(count, held / 2**20) for count, (held, _, _) in found.items()])]
    points = memory[0].points
    slope = (points[-1][1] - points[0][1]) * 2**20 / (points[-1][0] - points[0][0])
    return describe(
        "cost-customers",
        "Decisions by customers in the store",
        figures={"store_bytes_a_customer": slope},
        plots=[
            Plot("Processor time a decision", "customers", "ms", cpu, log_x=True),
            Plot("Processor time of the store a decision", "customers", "us", store, log_x=True),
            Plot("Memory of the store", "customers", "MiB", memory, log_x=True, log_y=True),
        ],
        tables=[_table("customers", cpu, "ms"), _table("customers", store, "us"), _table("customers", memory, "MiB")],
    )


async def _customers() -> dict[int, tuple[int, Round, float]]:
    """Memory before any decision at that size, the middle round, microseconds of the store a decision."""
    async with (
        own_product(settings=PATIENTLY) as product,
        RedisClient.open(product.environment["KAIROS_REDIS_URL"], limits=PATIENT) as client,
    ):
        features = load_strategy(read_settings(product.environment)).features
        keys = RedisKeys("kairos", features.layout)
        there = [await client.execute("GET", f"kairos:{{retail:{number}}}:state:{keys.layout}") for number in (1, 2, 3)]
        different = [state for state in there if isinstance(state, bytes)]
        found: dict[int, tuple[int, Round, float]] = {}
        for before, customers in pairwise((product.customers, *CUSTOMERS)):
            await put(client, features, range(before + 1, customers + 1), different)
            held, rounds, spent = await used_bytes(client), [], []
            for _ in range(_ROUNDS):
                began = await store_seconds(client)
                rounds.append(await _asked(product, 16, customers))
                made = rounds[-1].requests_per_s * (_SECONDS + 1)  # the warm-up's second is asked too
                spent.append((await store_seconds(client) - began) / made * 1e6)
            found[customers] = held, middle_round(rounds), statistics.median(spent)
        return found


def by_ingest_customers() -> Result:
    """The same number of events among ever more customers: fewer of a batch are of the same one."""
    points = []
    for customers in INGEST_CUSTOMERS:
        rate = asyncio.run(measure(_INGEST_EVENTS, customers, 1, only="Kairos: 100"))["hundred"]
        points.append((customers, rate.processor_us, rate.store_us))
    lines = [
        Line("state builder", [(customers, us) for customers, us, _ in points]),
        Line("store", [(customers, us) for customers, _, us in points]),
    ]
    return describe(
        "cost-ingest-customers",
        "An event, by the customers events fall on",
        figures={f"us_an_event_{customers}_customers": us for customers, us, _ in points},
        plots=[Plot("Processor time an event", "customers", "us", lines, log_x=True)],
        tables=[_table("customers", lines, "us")],
    )


def _table(x: str, lines: Sequence[Line], unit: str) -> Table:
    """The lines' points side by side; all have the same x. Without a unit the names say it."""
    rows: list[list[str | float]] = [
        [f"{at:,.0f}", *(line.points[place][1] for line in lines)] for place, (at, _) in enumerate(lines[0].points)
    ]
    return Table(f"By {x}", (x, *(f"{line.name} {unit}".strip() for line in lines)), rows)


CURVES: dict[str, Callable[[], Result]] = {
    "offers": by_offers,
    "states": by_events,
    "connections": by_connections,
    "customers": by_customers,
    "ingest": by_ingest_customers,
}


if __name__ == "__main__":
    sys.exit(main())
