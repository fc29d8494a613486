"""Decisions over HTTP at 1, 4 and 16 connections: the product beside the naive application, same model, customers and
processor, in turn.

The server runs on one processor; the client, Valkey and the broker on another. The product does its whole work over
1,000 offers (rules, which leave 50 to score; consent, caps with an atomic reservation, reasons, record, publish); the
naive application looks up features and scores its 50 offers. Medians over rounds. Exit status 1 where the product
answers less than twice the requests a second at 16 connections, since 16 keep a server busy all the time.
"""

import argparse
import asyncio
import json
import statistics
import sys

from loadtests.open_loop.product import API, CUSTOMERS, Product, own_product
from loadtests.open_loop.profiles import PROFILES
from loadtests.open_loop.telling import as_text
from loadtests.results import Result, Table, Verdict, describe, write
from loadtests.server_processes import Round, Server, closed_loop_round

CONNECTIONS = (1, 4, 16)
BUSY = CONNECTIONS[-1]
KAIROS, NAIVE = "kairos", "baseline"
TARGET_RATIO = 2.0
_PLACES = {"id": "r-%d", "customer": "%d"}
PRODUCT_BODY = (PROFILES["decide"].streams[0].steps[0].body or "") % _PLACES
BASELINE_BODY = json.dumps({"request_id": "r-%d", "customer_id": "retail:%d"})
Row = dict[str, float | str]


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each, in turn")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line instead")
    args = parser.parse_args()
    rows = asyncio.run(measure(seconds=args.seconds, rounds=args.rounds))
    result = result_of(rows)
    write(result)
    print(json.dumps(rows) if args.json else as_text(result.tables[0]))
    for each in result.verdicts:
        print(f"{'holds' if each.holds else 'MISSED'}: {each.claim}: {each.measured}", file=sys.stderr)
    return 0 if all(each.holds for each in result.verdicts) else 1


async def measure(*, seconds: float, rounds: int) -> list[Row]:
    """One row for each server and number of connections: medians over rounds."""
    patient = {"KAIROS_DECISION_TIMEOUT_MS": "1000"}  # throughput is measured, not what happens over a deadline
    async with own_product(naive=True, settings=patient) as product:
        pair = _servers(product)
        return [row for connections in CONNECTIONS for row in _rounds(pair, connections, seconds, rounds)]


def result_of(rows: list[Row]) -> Result:
    """The table, with each row's ratio to the naive application in the same rounds, and the verdict."""
    base = {row["connections"]: row for row in rows if row["server"] == NAIVE}
    lines: list[list[str | float]] = []
    for row in rows:
        beside = base[row["connections"]]
        lines.append(
            [
                row["server"],
                row["connections"],
                *(round(float(row[name]), 2) for name in ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms")),
                round(_ratio(row, beside, "requests_per_s"), 2),
                round(_ratio(beside, row, "cpu_ms"), 2),
            ]
        )
    columns = (
        "server", "connections", "requests/s", "p50 ms", "p99 ms", "CPU ms a request", "ratio of requests/s",
        "ratio of requests a CPU second",
    )  # fmt: skip
    busy = next(row for row in rows if row["server"] == KAIROS and row["connections"] == BUSY)
    ratio, by_processor = _ratio(busy, base[BUSY], "requests_per_s"), _ratio(base[BUSY], busy, "cpu_ms")
    text = f"{busy['requests_per_s']:,.0f}/s beside {base[BUSY]['requests_per_s']:,.0f}/s: {ratio:.2f} times"
    verdict = Verdict(
        f"decisions beside the naive application, {BUSY} connections",
        f"at least {TARGET_RATIO:g} times the requests a second",
        f"{text}; by processor time {by_processor:.2f} times",
        ratio >= TARGET_RATIO,
    )
    return describe(
        "http-closed-loop",
        "Decisions over HTTP beside the naive application",
        figures={f"{row['server']}_{row['connections']}_per_s": float(row["requests_per_s"]) for row in rows},
        tables=[Table("One process on one processor; medians over rounds in turn", columns, lines)],
        verdicts=[verdict],
    )


def _ratio(one: Row, other: Row, name: str) -> float:
    return float(one[name]) / float(other[name])


def _servers(product: Product) -> tuple[Server, Server]:
    assert product.naive_port is not None
    return (
        Server(name=KAIROS, port=product.port, path="/v1/decisions", body=PRODUCT_BODY, pid=product.watched[API]),
        Server(name=NAIVE, port=product.naive_port, path="/decide", body=BASELINE_BODY, pid=product.watched["naive"]),
    )


def _rounds(pair: tuple[Server, Server], connections: int, seconds: float, rounds: int) -> list[Row]:
    found: dict[str, list[Round]] = {server.name: [] for server in pair}
    for number in range(rounds):
        for server in pair if number % 2 == 0 else pair[::-1]:
            done = closed_loop_round(server, connections=connections, seconds=seconds, customers=CUSTOMERS)
            found[server.name].append(done)
    return [_medians(name, connections, done) for name, done in found.items()]


def _medians(name: str, connections: int, done: list[Round]) -> Row:
    row: Row = {"server": name, "connections": connections}
    for each in ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms"):
        row[each] = statistics.median(getattr(one, each) for one in done)
    return row


if __name__ == "__main__":
    sys.exit(main())
