"""How soon a kill switch acts: two API nodes under load, from the acknowledgement of `POST /v1/kill-switches` at one of
them to the last answer of either that still offers what was stopped.

`python -m loadtests.kill_switch_latency` prints the median and the worst of 20 switches; its exit status says whether
the worst is under a second.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from time import monotonic

import httpx
import orjson

from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.adapters.role_processes import RoleProcess
from services.commands import topics
from services.settings import read_settings

SWITCHES = 20
ASKING = 4
"""Callers of each node, each asking again as soon as it is answered."""
TARGET_S = 1.0
WATCHED_S = 1.5
"""How long after the acknowledgement answers are looked at."""
READY_S = 60.0
CUSTOMERS = 50_000
STRATEGY = """
name: stopped_bank
time_zone: UTC
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: Marketing}}
profile:
  - {name: age, type: int, theme: basic, description: {en: Age}}
models: [{name: m}]
issues: [{name: serve}]
groups: [{name: rain, issue: serve, model: m}, {name: sun, issue: serve, model: m}]
offers:
  - {name: umbrella, group: rain, title: {en: Umbrella}, value: 200, base_rate: 0.1, purpose: service,
     treatments: [{name: main, channel: mobile, placements: [home_banner], content: {en: {title: Umbrella}}}]}
  - {name: parasol, group: sun, title: {en: Parasol}, value: 100, base_rate: 0.1, purpose: service,
     treatments: [{name: main, channel: mobile, placements: [home_banner], content: {en: {title: Parasol}}}]}
placements:
  - {id: home_banner, channel: mobile, max_count: 1, fallback: {treatment: none, content: {en: {title: Welcome}}}}
"""
KILLED = (("offer", "umbrella"), ("group", "rain"))
TARGET = "umbrella"


@dataclass(slots=True)
class Answers:
    """When each node was answered with what, and whether that was the target."""

    numbers: "count[int]" = field(default_factory=lambda: count(1))
    last_offered: dict[str, float] = field(default_factory=dict)
    newest: dict[str, bool] = field(default_factory=dict)
    total: int = 0

    async def ask(self, url: str, client: httpx.AsyncClient) -> None:
        """Asks one node again and again."""
        while True:
            body = {
                "customer_id": f"retail:{next(self.numbers) % CUSTOMERS}",
                "channel": "mobile",
                "placements": [{"id": "home_banner", "count": 1}],
                "timeout_ms": 500,
            }
            answer = (await client.post(f"{url}/v1/decisions", content=orjson.dumps(body))).json()
            (place,) = answer["placements"]
            offered = any(option["offer"] == TARGET for option in place.get("options", ()))
            self.total += 1
            self.newest[url] = offered
            if offered:
                self.last_offered[url] = monotonic()


async def measure(switches: int) -> tuple[list[float], int]:
    """Seconds for each switch, and how many decisions were made meanwhile."""
    with tempfile.TemporaryDirectory(prefix="kairos-kill-") as name:
        async with nodes(Path(name)) as urls, httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            answers = Answers()
            asking = [asyncio.create_task(answers.ask(url, client)) for url in urls for _ in range(ASKING)]
            try:
                taken = [await _one(number, urls, client, answers) for number in range(switches)]
            finally:
                for task in asking:
                    task.cancel()
                await asyncio.gather(*asking, return_exceptions=True)
            return taken, answers.total


async def _one(number: int, urls: Sequence[str], client: httpx.AsyncClient, answers: Answers) -> float:
    """Stops and releases once; answers the seconds until the last offer of what was stopped."""
    await _until(lambda: len(answers.newest) == len(urls) and all(answers.newest.values()))
    kind, name = KILLED[number % len(KILLED)]
    url = urls[number % len(urls)]
    body = {"kind": kind, "name": name, "engaged": True, "actor": "measurement", "comment": "how soon?"}
    (await client.post(f"{url}/v1/kill-switches", json=body)).raise_for_status()
    acknowledged = monotonic()
    await asyncio.sleep(WATCHED_S)
    seconds = max(0.0, *(at - acknowledged for at in answers.last_offered.values()))
    if any(answers.newest.values()):
        raise RuntimeError(f"{kind} {name} is still offered {WATCHED_S} s after it was stopped")
    (await client.post(f"{url}/v1/kill-switches", json={**body, "engaged": False})).raise_for_status()
    return seconds


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(READY_S):
        while not condition():  # noqa: ASYNC110 - what is waited for comes by HTTP
            await asyncio.sleep(0.01)


@asynccontextmanager
async def nodes(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Two API processes and a state builder on servers of their own."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(EmbeddedServers.start(folder / "servers"))
        strategy = folder / "strategy.yaml"
        strategy.write_text(STRATEGY, encoding="utf-8")
        environment = {
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
            "KAIROS_KAFKA_PARTITIONS": "2",
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_STRATEGY_PATH": str(strategy),
            "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
            "KAIROS_MODEL_PATH": str(folder / "models"),
            "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
        }
        await topics.create(read_settings(environment))
        ports = [free_port(), free_port()]
        roles = [("state-builder", environment)]
        roles += [("api", {**environment, "KAIROS_PORT": str(port)}) for port in ports]
        for number, (role, settings) in enumerate(roles):
            process = RoleProcess(arguments=[role], environment=settings, log=folder / f"{number}-{role}.log")
            await process.start()
            stack.push_async_callback(process.stop)
        urls = (f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
        for url in urls:
            await _until_ready(url)
        yield urls


async def _until_ready(url: str) -> None:
    body = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner", "count": 1}]}
    async with asyncio.timeout(READY_S), httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                ready = (await client.get(f"{url}/readyz")).status_code == 200
                dry = {**body, "dry_run": True, "timeout_ms": 1000}
                if ready and not (await client.post(f"{url}/v1/decisions", json=dry)).json()["degraded"]:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.kill_switch_latency", description=__doc__)
    parser.add_argument("--switches", type=int, default=SWITCHES)
    taken, decisions = asyncio.run(measure(parser.parse_args().switches))
    rounded = [round(seconds * 1000) for seconds in taken]
    print(
        f"{len(taken)} switches on two API nodes under load ({decisions:,} decisions): last offer after the "
        f"acknowledgement, median {median(rounded):.0f} ms, worst {max(rounded)} ms"
    )
    return 0 if max(taken) < TARGET_S else 1


if __name__ == "__main__":
    sys.exit(main())
