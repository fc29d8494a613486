"""The decision API as a process of its own under measurement, over the world of `loadtests.bench_world`."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from loadtests.bench_world import PLACEMENT, World
from loadtests.server_processes import Server, running
from services.adapters.embedded_servers import EmbeddedServers, free_port

BODY = json.dumps(
    {
        "request_id": "r-%d",
        "customer_id": "retail:%d",
        "channel": "mobile",
        "placements": [{"id": PLACEMENT, "count": 3}],
    }
)
"""A request, with places for a running number and a customer's number."""


@contextmanager
def kairos(name: str, environment: Mapping[str, str]) -> Iterator[Server]:
    """One API process, ready. Raises RuntimeError where it does not come up."""
    port = int(environment["KAIROS_PORT"])
    command = [sys.executable, "-m", "services", "api"]
    with running(command, environment, f"http://127.0.0.1:{port}/readyz") as pid:
        yield Server(name=name, port=port, path="/v1/decisions", body=BODY, pid=pid)


def environment_of(servers: EmbeddedServers, world: World, strategy: Path | None = None) -> dict[str, str]:
    """Of an API process in this world, on a free port; with another strategy over the same attributes where one is
    given."""
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_PARTITIONS": "4",
        "KAIROS_REDIS_URL": servers.redis_url,
        "KAIROS_STRATEGY_PATH": str(strategy or world.strategy),
        "KAIROS_MODEL_PATH": str(world.model_root),
        "KAIROS_PORT": str(free_port()),
        "KAIROS_LOG_LEVEL": "WARNING",
        "KAIROS_DECISION_TIMEOUT_MS": "1000",
    }
