"""Decisions over HTTP at 1, 16 and 64 connections: the product beside the baseline, same model, candidates and machine.

The server runs on one processor, the client on another; Valkey and the broker run where the client does. The product
does its whole work (rules, consent, caps with an atomic reservation, reasons, record, publish); the baseline looks up
features and scores. Rounds alternate between the two, and the medians over rounds are printed with their ratio.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench_world import (
    ATTRIBUTES,
    PLACEMENT,
    World,
    build_world,
    candidate_rows,
    fill_store,
    offer_names,
    promote_model,
)
from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.bootstrap import load_strategy, open_publisher
from services.commands import topics
from services.settings import read_settings

CONNECTIONS = (1, 16, 64)
CUSTOMERS = 2_000
PRODUCT_BODY = json.dumps(
    {
        "request_id": "r-%d",
        "customer_id": "retail:%d",
        "channel": "mobile",
        "placements": [{"id": PLACEMENT, "count": 3}],
    }
)
BASELINE_BODY = json.dumps({"request_id": "r-%d", "customer_id": "retail:%d"})


@dataclass(frozen=True, slots=True)
class Server:
    """One of the two servers under load."""

    name: str
    port: int
    path: str
    body: str
    pid: int


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each, in turn")
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line instead")
    args = parser.parse_args()
    results = asyncio.run(measure(seconds=args.seconds, rounds=args.rounds, trees=args.trees))
    print(json.dumps(results) if args.json else table(results))
    return 0


async def measure(*, seconds: float, rounds: int, trees: int = 200) -> list[dict[str, float | str]]:
    """One row for each server and number of connections: medians over rounds."""
    with tempfile.TemporaryDirectory(prefix="kairos-bench-") as name:
        folder = Path(name)
        world = build_world(folder, trees=trees, customers=CUSTOMERS)
        async with EmbeddedServers.start(folder / "servers") as servers:
            environment = _environment(servers, world)
            settings = read_settings(environment)
            await topics.create(settings)
            await fill_store(servers.redis_url, load_strategy(settings).features, world)
            async with open_publisher(settings) as publisher:
                await promote_model(publisher, world)
            with _product(environment) as product, _baseline(servers, world) as baseline:
                return [row for c in CONNECTIONS for row in _rounds((product, baseline), c, seconds, rounds)]


def table(rows: list[dict[str, float | str]]) -> str:
    """The figures as a Markdown table, with the product's ratio to the baseline in the same run."""
    lines = [
        "| server | connections | requests/s | p50 ms | p99 ms | CPU ms a request | ratio of requests/s |",
        "|---|---|---|---|---|---|---|",
    ]
    base = {row["connections"]: float(row["requests_per_s"]) for row in rows if row["server"] == "baseline"}
    for row in rows:
        ratio = float(row["requests_per_s"]) / base[row["connections"]]
        lines.append(
            f"| {row['server']} | {row['connections']} | {row['requests_per_s']:.0f} | {row['p50_ms']:.2f} |"
            f" {row['p99_ms']:.2f} | {row['cpu_ms']:.2f} | {ratio:.2f} |"
        )
    return "\n".join(lines)


def _rounds(pair: tuple[Server, Server], connections: int, seconds: float, rounds: int) -> list[dict[str, float | str]]:
    found: dict[str, list[dict[str, float]]] = {server.name: [] for server in pair}
    for _ in range(rounds):
        for server in pair:
            before = _cpu_seconds(server.pid)
            answer = _load(server, connections, seconds)
            answer["cpu_ms"] = (_cpu_seconds(server.pid) - before) * 1000 / max(1, answer["sent"])
            if answer["errors"]:
                raise RuntimeError(
                    f"{server.name}: {answer['errors']:.0f} of {answer['requests']:.0f} answers were not 200"
                )
            found[server.name].append(answer)
    keys = ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms")
    return [
        {"server": name, "connections": connections} | {k: statistics.median(a[k] for a in answers) for k in keys}
        for name, answers in found.items()
    ]


def _load(server: Server, connections: int, seconds: float) -> dict[str, float]:
    load = {
        "port": server.port,
        "path": server.path,
        "body": server.body,
        "connections": connections,
        "seconds": seconds,
        "customers": CUSTOMERS,
        "cpus": _cpus()[1],
    }
    command = [sys.executable, "-m", "loadtests.closed_loop", json.dumps(load)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return dict(json.loads(done.stdout))


def _environment(servers: EmbeddedServers, world: World) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_PARTITIONS": "4",
        "KAIROS_REDIS_URL": servers.redis_url,
        "KAIROS_STRATEGY_PATH": str(world.strategy),
        "KAIROS_MODEL_PATH": str(world.model_root),
        "KAIROS_PORT": str(free_port()),
        "KAIROS_LOG_LEVEL": "WARNING",
        "KAIROS_DECISION_TIMEOUT_MS": "1000",
    }


@contextmanager
def _product(environment: dict[str, str]) -> Iterator[Server]:
    port = int(environment["KAIROS_PORT"])
    with _process([sys.executable, "-m", "services", "api"], environment, f"http://127.0.0.1:{port}/readyz") as pid:
        yield Server("kairos", port, "/v1/decisions", PRODUCT_BODY, pid)


@contextmanager
def _baseline(servers: EmbeddedServers, world: World) -> Iterator[Server]:
    port = free_port()
    baseline = {
        "redis_url": servers.redis_url,
        "model_file": str(world.model_file),
        "columns": ATTRIBUTES,
        "candidates": candidate_rows(),
        "offers": offer_names(),
    }
    command = [sys.executable, "-m", "uvicorn", "loadtests.baseline_app:app", "--port", str(port)]
    command += ["--log-level", "warning", "--no-access-log"]
    with _process(command, {"BASELINE": json.dumps(baseline)}, f"http://127.0.0.1:{port}/openapi.json") as pid:
        yield Server("baseline", port, "/decide", BASELINE_BODY, pid)


@contextmanager
def _process(command: list[str], environment: dict[str, str], health: str) -> Iterator[int]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            preexec_fn=lambda: _pin(_cpus()[0]),  # noqa: PLW1509
        )
        try:
            _until_healthy(process, health)
            yield process.pid
        except Exception:
            log.seek(0)
            print(log.read().decode(errors="replace")[-4000:], file=sys.stderr)
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def _until_healthy(process: "subprocess.Popen[bytes]", url: str) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode} before it answered")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer within 30 s")


def _cpus() -> tuple[list[int], list[int]]:
    """Processors for the server and for everything else; the same where there is only one."""
    if not hasattr(os, "sched_getaffinity"):
        return [], []
    cpus = sorted(os.sched_getaffinity(0))
    return [cpus[0]], cpus[1:2] or [cpus[0]]


def _pin(cpus: list[int]) -> None:
    if cpus:
        os.sched_setaffinity(0, cpus)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
