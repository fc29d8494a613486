"""The drill of docs/operations.md on embedded servers, with a stopwatch: everything is lost but a backup and the mirror
of the bank's topics, and comes back until the same customer is decided on as before.

`python -m loadtests.disaster_drill [--customers 2000]`; status 1 where something does not come back.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson

from event_schemas.topics import STATE_TOPICS
from services.adapters.backup_folder import read_backup
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.api.app import create_app
from services.bootstrap import load_strategy, open_api, open_event_stream, open_publisher
from services.commands import audit, doctor_servers, topics
from services.commands.backup import back_up
from services.commands.doctor_findings import Level, lines
from services.commands.governance_connections import chain_records, open_governance
from services.commands.restore import restore
from services.commands.state_builder import build_states
from services.ports import OutgoingEvent
from services.settings import Settings

ROOT = Path(__file__).parents[1]
STRATEGY = ROOT / "deploy" / "strategies" / "demo_bank"
PATIENCE_SECONDS = 120
QUIET_POLLS = 5


class DrillFailed(Exception):
    """Something did not come back."""


class Stopwatch:
    """Prints each step with the seconds it took."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def step(self, what: str) -> None:
        """The step is done."""
        now = time.monotonic()
        print(f"{now - self._began:7.1f} s  +{now - self._last:5.1f} s  {what}", flush=True)
        self._last = now


async def drill(customers: int) -> None:
    """Raises DrillFailed."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="kairos-drill-") as name:
        folder = Path(name)
        async with EmbeddedServers.start(folder / "before") as lost, EmbeddedServers.start(folder / "after") as found:
            before, after = _settings(lost, folder / "before"), _settings(found, folder / "after")
            await topics.create(before)
            await _live(before, customers)
            async with _states(before):
                wanted = await _decide(before)
            made = await back_up(before, folder / "backup")
            head = made.chain.hash
            watch.step(f"a bank of {customers} customers lives, acts, and is backed up; then all is lost")
            await restore(after, read_backup(made.folder))
            wrong, _ = audit.verified(await chain_records(after), None, head)
            if wrong:
                raise DrillFailed("; ".join(wrong))
            watch.step("control topic, models and strategies are back; the chain holds the head that was noted")
            mirrored = await _mirror(before, after)
            watch.step(f"{mirrored} records of the bank's topics are back from the mirror")
            async with _states(after):
                watch.step("states are whole")
                bad = [f for f in await doctor_servers.topics(after) if f.level is Level.FAIL]
                bad += [f for f in [await doctor_servers.chain(after)] if f.level is Level.FAIL]
                if bad:
                    raise DrillFailed("\n".join(lines(bad)))
                got = await _decide(after)
            if got != wanted:
                raise DrillFailed(f"before the customer was offered {wanted}, and now {got}")
            watch.step(f"the same customer is offered the same: {', '.join(got) or 'nothing'}")
            async with open_governance(after) as opened:
                await opened.desk.stop("offer", "gold_card", actor="drill", comment="a drill")
                await opened.desk.release("offer", "gold_card", actor="drill", comment="a drill")
            watch.step("a kill switch was thrown and released")


def _settings(servers: EmbeddedServers, folder: Path) -> Settings:
    return Settings(
        kafka_bootstrap_servers=servers.bootstrap_servers, kafka_idempotence=False, kafka_session_timeout_ms=6000,
        kafka_partitions=2, redis_url=servers.redis_url, strategy_path=STRATEGY,
        strategy_archive=folder / "strategies", model_path=folder / "models", archive_path=folder / "archive",
        snapshot_path=folder / "snapshots",
    )  # fmt: skip


async def _live(settings: Settings, customers: int) -> None:
    """Profiles arrive, and somebody acts."""
    async with open_publisher(settings) as publisher:
        for number in range(1, customers + 1):
            publisher.enqueue(_profile(number))
        await publisher.flush()
    async with open_governance(settings) as opened:
        await opened.desk.stop("offer", "gold_card", actor="anna", comment="out of stock")
        await opened.desk.release("offer", "gold_card", actor="anna", comment="in stock")


def _profile(number: int) -> OutgoingEvent:
    customer = f"retail:{number}"
    event = {
        "specversion": "1.0", "id": f"profile-{number}", "type": "bank.profile.updated", "source": "drill",
        "subject": customer, "time": "2026-01-01T09:30:00Z", "data": {"attributes": {"age": 20 + number % 50}},
    }  # fmt: skip
    return OutgoingEvent(topic="bank.profile-updates.v1", key=customer, value=orjson.dumps(event))


@asynccontextmanager
async def _states(settings: Settings) -> AsyncIterator[None]:
    """A state builder runs; entered once the states are whole. Raises DrillFailed."""
    stop, loaded = asyncio.Event(), load_strategy(settings)
    building = asyncio.create_task(build_states(settings, loaded.features, PrometheusMetrics(), stop))
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while (found := (await doctor_servers.store(settings, loaded))[-1]).level is not Level.OK:
            if building.done() or time.monotonic() > deadline:
                raise DrillFailed(f"{found.about}: {found.said}")
            await asyncio.sleep(0.1)
        yield
    finally:
        stop.set()
        await building


async def _decide(settings: Settings) -> list[str]:
    """What a customer is offered, without anything being kept."""
    body = {
        "customer_id": "retail:17", "channel": "mobile", "placements": [{"id": "home_banner", "count": 3}],
        "timeout_ms": 1000, "dry_run": True,
    }  # fmt: skip
    async with open_api(settings) as runtime:
        transport = httpx.ASGITransport(app=create_app(runtime))
        async with httpx.AsyncClient(transport=transport, base_url="http://kairos") as client:
            answer = (await client.post("/v1/decisions", json=body)).json()
    if answer.get("degraded") is not False:
        raise DrillFailed(f"decided without all that is needed: {answer.get('degraded_causes', answer)}")
    return [option["offer"] for option in answer["placements"][0].get("options", [])]


async def _mirror(source: Settings, target: Settings) -> int:
    """Copies the bank's topics as a mirroring tool does."""
    copied, quiet = 0, 0
    async with open_event_stream(source, STATE_TOPICS) as stream, open_publisher(target) as publisher:
        while quiet < QUIET_POLLS:
            records = await stream.poll(5_000, 0.2)
            quiet = 0 if records else quiet + 1
            for record in records:
                key, value = (record.key or b"").decode(), record.value or b""
                publisher.enqueue(OutgoingEvent(topic=record.topic, key=key, value=value, partition=record.partition))
            copied += len(records)
        await publisher.flush()
    return copied


def main() -> int:
    """Plays it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=2_000)
    args = parser.parse_args()
    try:
        asyncio.run(drill(args.customers))
    except DrillFailed as failed:
        print(f"FAILED: {failed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
