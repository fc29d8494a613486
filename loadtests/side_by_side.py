"""Kairos beside other systems in one run on the same work: decisions over HTTP, ingest, rules.

python -m loadtests.side_by_side                            all three parts (make setup-peers comes first)
python -m loadtests.side_by_side --parts decisions --rounds 5

Decisions: one customer's 60 features from the store, 50 offers scored by 200 trees, the best three. The others do just
that; Kairos does its whole work besides (rules, consent, caps with an atomic reservation, reasons, record, publish),
once over those 50 offers, and once over 1,000 of which the rules leave the same 50. Every server is one process on one
processor, the client is on the other. Before the clock starts the others must name the same offers with the same
scores.
Ingest: `loadtests.bench_ingest` on Apache Kafka where java and Maven are there. Rules: `loadtests.bench_rules`.
Rounds go around the contestants, each round beginning with another one; figures are medians over rounds.
"""

import argparse
import asyncio
import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtests.bench_world import (
    ATTRIBUTES,
    World,
    build_world,
    candidate_rows,
    fill_store,
    offer_names,
    promote_model,
)
from loadtests.kairos_process import environment_of, kairos
from loadtests.peers_installed import Peer, installed_peer
from loadtests.results import Result, Table, Verdict, describe
from loadtests.server_processes import Round, Server, closed_loop_round, middle_round, running
from loadtests.telling_results import tell
from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.adapters.redis_client import RedisClient
from services.bootstrap import load_strategy, open_publisher
from services.commands import topics
from services.settings import read_settings

PEERS = Path(__file__).parent / "peers"
CONNECTIONS = (1, 16)
CUSTOMERS = 2_000
REFUSED = 950
COMPARED = 20
WARM_SECONDS = 3.0
"""Asked before the clock starts: what is worked out once should not count."""
NAIVE = "naive application"
KAIROS, KAIROS_1000 = "Kairos, 50 offers", "Kairos, 1,000 offers"
FEAST, MLSERVER = "FastAPI and the Feast SDK", "MLServer, custom runtime"
OTHERS = (NAIVE, FEAST, MLSERVER)
TARGET_RATIO = 2.0
PARTS = ("decisions", "ingest", "rules")
PLAIN_BODY = json.dumps({"request_id": "r-%d", "customer_id": "retail:%d"})
MLSERVER_BODY = json.dumps(
    {"id": "r-%d", "inputs": [{"name": "customer", "shape": [1], "datatype": "BYTES", "data": ["retail:%d"]}]}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians of one contestant at one number of connections."""

    name: str
    connections: int
    found: Round


def main() -> int:
    """Exit status 1 below a target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round of decisions")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=200_000)
    args = parser.parse_args()
    if unknown := set(args.parts.split(",")) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    done = [_part(part, args) for part in PARTS if part in args.parts.split(",")]
    return 0 if all(done) else 1


def _part(part: str, args: argparse.Namespace) -> bool:
    print(f"\n## {part}\n", flush=True)
    if part == "decisions":
        return tell(decisions_result(*asyncio.run(measure_decisions(seconds=args.seconds, rounds=args.rounds))))
    if part == "ingest":
        from loadtests.bench_ingest import ingest_result, measure_on_kafka

        return tell(ingest_result(measure_on_kafka(args.events, 5_000, args.rounds)))
    from loadtests.bench_rules import rules_result

    return tell(rules_result(repeats=25))


async def measure_decisions(*, seconds: float, rounds: int) -> tuple[list[Row], dict[str, str]]:
    """One row for each contestant and number of connections, and the versions of the others."""
    with TemporaryDirectory(prefix="kairos-beside-") as name:
        folder = Path(name)
        world = build_world(folder, trees=200, customers=CUSTOMERS)
        (folder / "wide").mkdir()
        wide = build_world(folder / "wide", trees=200, customers=CUSTOMERS, refused=REFUSED)
        async with EmbeddedServers.start(folder / "servers") as servers:
            settings = read_settings(environment_of(servers, world))
            await topics.create(settings)
            await fill_store(servers.redis_url, load_strategy(settings).features, world)
            async with open_publisher(settings) as publisher:
                await promote_model(publisher, world)
            customers = folder / "customers.json"
            customers.write_text(json.dumps(await _stored(servers.redis_url)), "utf-8")
            with ExitStack() as stack:
                contestants = [
                    stack.enter_context(kairos(KAIROS, environment_of(servers, world))),
                    stack.enter_context(kairos(KAIROS_1000, environment_of(servers, world, wide.strategy))),
                    stack.enter_context(_naive(_common(servers, world))),
                ]
                others, versions = _others(stack, _common(servers, world), customers, folder)
                _agree([contestants[-1], *others])
                return measured_rounds([*contestants, *others], seconds, rounds), versions


def measured_rounds(servers: Sequence[Server], seconds: float, rounds: int) -> list[Row]:
    """Every server at every number of connections, in turn, all of them warm; medians over rounds."""
    for server in servers:
        closed_loop_round(server, connections=max(CONNECTIONS), seconds=WARM_SECONDS, customers=CUSTOMERS)
    found: dict[tuple[str, int], list[Round]] = {}
    for number in range(rounds):
        for connections in CONNECTIONS:
            at = number % len(servers)
            for server in (*servers[at:], *servers[:at]):
                done = closed_loop_round(server, connections=connections, seconds=seconds, customers=CUSTOMERS)
                found.setdefault((server.name, connections), []).append(done)
                print(f"… {server.name}, {connections}: {done.requests_per_s:,.0f}/s", file=sys.stderr, flush=True)
    order = [(server.name, connections) for connections in CONNECTIONS for server in servers]
    return [Row(name=name, connections=count, found=middle_round(found[name, count])) for name, count in order]


def decisions_result(rows: Sequence[Row], versions: Mapping[str, str]) -> Result:
    """The table, each contestant's ratio to the naive application in the same rounds, and whether the target holds:
    twice the requests per processor second."""
    naive = {row.connections: row.found for row in rows if row.name == NAIVE}
    lines: list[list[str | float]] = [
        [
            row.name,
            str(row.connections),
            row.found.requests_per_s,
            row.found.p50_ms,
            row.found.p99_ms,
            row.found.cpu_ms,
            row.found.requests_per_s / naive[row.connections].requests_per_s,
            naive[row.connections].cpu_ms / row.found.cpu_ms,
        ]
        for row in rows
    ]
    columns = (
        "system", "connections", "requests/s", "p50 ms", "p99 ms", "CPU ms a request",
        "requests/s beside naive", "requests per CPU second beside naive",
    )  # fmt: skip
    verdicts = [
        Verdict(
            claim=f"{row.name} beside the naive application, {row.connections} connections",
            target=f"at least {TARGET_RATIO:g} times its requests per CPU second",
            measured=f"{naive[row.connections].cpu_ms / row.found.cpu_ms:.2f} times",
            holds=naive[row.connections].cpu_ms / row.found.cpu_ms >= TARGET_RATIO,
        )
        for row in rows
        if row.name == KAIROS_1000 and row.connections == max(CONNECTIONS)
    ]
    return describe(
        "side-by-side-decisions",
        "Decisions beside other systems",
        figures={f"cpu_ms_{row.name}_{row.connections}": row.found.cpu_ms for row in rows},
        tables=[Table("One process on one core, the same model and customers", columns, lines)],
        verdicts=verdicts,
        notes=[f"{name} {version}" for name, version in versions.items()],
    )


@contextmanager
def _naive(common: Mapping[str, object]) -> Iterator[Server]:
    with _uvicorn(NAIVE, sys.executable, "loadtests.baseline_app:app", {"BASELINE": json.dumps(common)}) as server:
        yield server


@contextmanager
def _uvicorn(name: str, python: str, application: str, environment: Mapping[str, str]) -> Iterator[Server]:
    port = free_port()
    command = [python, "-m", "uvicorn", application, "--port", str(port), "--log-level", "warning", "--no-access-log"]
    with running(command, environment, f"http://127.0.0.1:{port}/openapi.json") as pid:
        yield Server(name=name, port=port, path="/decide", body=PLAIN_BODY, pid=pid)


@contextmanager
def _feast(peer: Peer, common: Mapping[str, object], customers: Path, folder: Path) -> Iterator[Server]:
    own = folder / "feast"
    own.mkdir()
    environment = {
        "PEER": json.dumps({**common, "customers": str(customers), "folder": str(own)}),
        "PYTHONPATH": str(PEERS),
        "FEAST_USAGE": "False",
    }
    with _uvicorn(FEAST, peer.python, "feast_app:app", environment) as server:
        yield server


@contextmanager
def _mlserver(peer: Peer, common: Mapping[str, object]) -> Iterator[Server]:
    port = free_port()
    environment = {"PEER": json.dumps({**common, "port": port, "grpc_port": free_port()})}
    health = f"http://127.0.0.1:{port}/v2/health/ready"
    with running([peer.python, str(PEERS / "mlserver_runtime.py")], environment, health) as pid:
        yield Server(name=MLSERVER, port=port, path="/v2/models/offers/infer", body=MLSERVER_BODY, pid=pid)


def _others(
    stack: ExitStack, common: Mapping[str, object], customers: Path, folder: Path
) -> tuple[list[Server], dict[str, str]]:
    """Those that are installed, running; what is not is named with how to get it."""
    found: list[Server] = []
    versions: dict[str, str] = {}
    if (feast := installed_peer("feast", ("feast", "fastapi", "uvicorn", "redis", "lightgbm"))) is not None:
        found.append(stack.enter_context(_feast(feast, common, customers, folder)))
        versions["Feast:"] = feast.told
    if (mlserver := installed_peer("mlserver", ("mlserver", "fastapi", "uvicorn", "redis", "lightgbm"))) is not None:
        found.append(stack.enter_context(_mlserver(mlserver, common)))
        versions["MLServer:"] = mlserver.told
    return found, versions


def _agree(servers: Sequence[Server]) -> None:
    """All name the same offers with the same scores. Raises RuntimeError naming who does not."""
    for number in range(1, 1 + COMPARED):
        answers = {server.name: _best(server, number) for server in servers}
        for name, best in answers.items():
            if best != answers[NAIVE]:
                raise RuntimeError(f"retail:{number}: {name} says {best}, {NAIVE} says {answers[NAIVE]}")


def _best(server: Server, number: int) -> list[tuple[str, float]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{server.path}",
        data=(server.body % (number, number)).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)
    if "outputs" in answer:
        names, scores = (output["data"] for output in answer["outputs"])
        return [(name, round(score, 9)) for name, score in zip(names, scores, strict=True)]
    return [(offer["offer"], round(offer["score"], 9)) for offer in answer["offers"]]


async def _stored(redis_url: str) -> dict[str, list[int]]:
    """The features of every customer as the naive application reads them, in the order of ATTRIBUTES."""
    asked = [f"retail:{number}" for number in range(1, 1 + CUSTOMERS)]
    async with RedisClient.open(redis_url) as client:
        found = await client.execute_many(
            [("HMGET", f"features:{customer}", *ATTRIBUTES) for customer in asked], timeout_s=10.0
        )
    assert isinstance(found, list)
    return {
        customer: [int(value) for value in values if isinstance(value, bytes)]
        for customer, values in zip(asked, found, strict=True)
        if isinstance(values, list)
    }


def _common(servers: EmbeddedServers, world: World) -> dict[str, object]:
    return {
        "redis_url": servers.redis_url,
        "model_file": str(world.model_file),
        "columns": ATTRIBUTES,
        "candidates": candidate_rows(),
        "offers": offer_names(),
    }


if __name__ == "__main__":
    sys.exit(main())
