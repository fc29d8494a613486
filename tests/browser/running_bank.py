"""A running demo bank for the browser: embedded servers, a state builder, an API and an archiver, with customers."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from decision_engine.experiment import Arm, assign_arm
from decision_engine.identifiers import CustomerId
from decision_engine.prepared import PreparedStrategy, prepare
from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.role_processes import RoleProcess
from services.commands import topics
from services.ports import OutgoingEvent
from services.settings import Settings, read_settings
from services.simulation.bank import BankConfig, BankStream
from tests.e2e.deployed import until_ready

ROOT = Path(__file__).parents[2]
STRATEGY = ROOT / "deploy/strategies/demo_bank"
CUSTOMERS = 200
HISTORY_DAYS = 35
READY_SECONDS = 150.0
PATIENCE_SECONDS = 20.0


class RunningBank:
    """The deployment as tests see it. Customers `retail:1` to `retail:200` have lived for five weeks."""

    def __init__(self, url: str, settings: Settings, servers: EmbeddedServers, http: httpx.AsyncClient) -> None:
        self.url = url
        self.settings = settings
        self.http = http
        self.prepared: PreparedStrategy = prepare(load_strategy_file(STRATEGY))
        self.environment: dict[str, str] = {}
        """What further roles of the deployment are started with."""
        self._servers = servers
        self._numbers = itertools.count(1)
        self._served: set[str] = set()

    def new_customer(self, arm: Arm = Arm.FULL) -> str:
        """A customer nobody has heard of, in that arm of the standing experiment."""
        while True:
            customer = f"retail:{900_000_000 + os.getpid() * 1000 % 90_000_000 + next(self._numbers)}"
            if self.arm_of(customer) is arm:
                return customer

    def arm_of(self, customer: str) -> Arm:
        """The customer's arm of the standing experiment."""
        return assign_arm(self.prepared.strategy.experiment.salt, self.prepared.arms, CustomerId(customer))

    def residents(self, most: int, arm: Arm = Arm.FULL) -> list[str]:
        """Customers with a history, in that arm."""
        everybody = (f"retail:{number}" for number in range(1, CUSTOMERS + 1))
        return list(itertools.islice((name for name in everybody if self.arm_of(name) is arm), most))

    async def customer_with_offers(self, least: int = 3, channel: str = "contact_centre") -> str:
        """A resident with so many offers of the agent's, none of them mandatory; never the same one twice."""
        placement = {"contact_centre": "agent_panel", "branch": "branch_tablet"}[channel]
        for customer in self.residents(CUSTOMERS):
            if customer in self._served:
                continue
            self._served.add(customer)
            asked = {
                "customer_id": customer,
                "channel": channel,
                "placements": [{"id": placement, "count": least}],
                "dry_run": True,
            }
            answer = (await self.http.post("/v1/decisions", json=asked)).json()
            options = answer["placements"][0].get("options", [])
            if len(options) == least and answer["personalised"] and not any(option["mandatory"] for option in options):
                return customer
        raise AssertionError(f"no further customer has {least} offers")

    async def send(self, customer: str, event_type: str, data: dict[str, object], at: datetime | None = None) -> None:
        """One event through the API, acknowledged by the bus."""
        moment = (at or datetime.now(UTC)).isoformat().replace("+00:00", "Z")
        event = {
            "specversion": "1.0",
            "id": f"browser-{os.getpid()}-{next(self._numbers)}",
            "type": event_type,
            "source": "browser-tests",
            "subject": customer,
            "time": moment,
            "datacontenttype": "application/json",
            "dataschema": f"https://kairos.example/schemas/{event_type}/1",
            "data": data,
        }
        answer = await self.http.post("/v1/events", json=event)
        assert answer.status_code == 202, answer.text
        assert answer.json()["rejected"] == [], answer.text

    async def customer(self, customer: str) -> dict[str, object]:
        """The 360 view."""
        answer = await self.http.get(f"/v1/customers/{customer}")
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    async def until(self, condition: Callable[[], object], what: str) -> object:
        """Waits for what events bring about; `condition` may be asynchronous."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                result = condition()
                if asyncio.iscoroutine(result):
                    result = await result
                if result:
                    return result
                await asyncio.sleep(0.03)
        raise AssertionError(f"never came about: {what}")

    @asynccontextmanager
    async def bus_down(self) -> AsyncIterator[None]:
        """The broker does not answer while the context lasts; it has lost nothing afterwards."""
        os.kill(self._servers.broker.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._servers.broker.pid, signal.SIGCONT)

    @asynccontextmanager
    async def store_down(self) -> AsyncIterator[None]:
        """The store does not answer while the context lasts."""
        os.kill(self._servers.valkey.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._servers.valkey.pid, signal.SIGCONT)


@asynccontextmanager
async def running_bank(folder: Path) -> AsyncIterator[RunningBank]:
    """Started, filled with the past, and stopped on leaving."""
    async with EmbeddedServers.start(folder / "servers") as servers:
        environment = _environment(servers, folder)
        settings = read_settings(environment)
        await topics.create(settings)
        await _live_through_history(settings)
        roles = [
            RoleProcess(arguments=[role], environment=environment, log=folder / f"{role}.log")
            for role in ("state-builder", "api", "archiver")
        ]
        for role in roles:
            await role.start()
        try:
            url = f"http://127.0.0.1:{settings.port}"
            await until_ready(url, roles, READY_SECONDS)
            async with httpx.AsyncClient(base_url=url, timeout=10.0, trust_env=False) as http:
                bank = RunningBank(url, settings, servers, http)
                bank.environment = environment
                yield bank
        finally:
            for role in reversed(roles):
                await role.stop()


async def _live_through_history(settings: Settings) -> None:
    """The simulated bank's days up to yesterday, onto the bus."""
    from services.bootstrap import open_publisher

    start = datetime.now(UTC).date() - timedelta(days=HISTORY_DAYS)
    stream = BankStream(BankConfig(seed=1, customers=CUSTOMERS, companies=20, start=start))
    async with open_publisher(settings) as publisher:
        for _ in range(HISTORY_DAYS):
            events: list[OutgoingEvent] = [timed.event for timed in stream.next_day().events]
            await publisher.publish(events)


def _environment(servers: EmbeddedServers, folder: Path) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
        "KAIROS_KAFKA_PARTITIONS": "2",
        "KAIROS_REDIS_URL": servers.redis_url,
        "KAIROS_STRATEGY_PATH": str(STRATEGY),
        "KAIROS_MODEL_PATH": str(folder / "models"),
        "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
        "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
        "KAIROS_SNAPSHOT_PATH": str(folder / "snapshots"),
        "KAIROS_ARCHIVE_FLUSH_SECONDS": "1",
        "KAIROS_PORT": str(free_port()),
        "KAIROS_DECISION_TIMEOUT_MS": "1000",
    }
