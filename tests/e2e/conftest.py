"""One running deployment for the whole end-to-end suite: embedded servers, a state builder and an API, over HTTP."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from decision_engine.experiment import Arm, assign_arm
from decision_engine.identifiers import CustomerId
from decision_engine.prepared import prepare
from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.role_processes import RoleProcess
from services.commands import topics
from services.settings import read_settings
from tests.e2e.deployed import until_ready

ROOT = Path(__file__).parents[2]
STRATEGY = ROOT / "deploy/strategies/demo_bank"
PATIENCE_SECONDS = 20.0
READY_SECONDS = 60.0


class Bank:
    """What a bank does with the product: send events, ask, answer, look. Customers are numbered apart by test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=10.0)
        self._numbers = itertools.count(1)
        self._prepared = prepare(load_strategy_file(STRATEGY))

    def new_customer(self, arm: Arm = Arm.FULL) -> str:
        """A customer nobody has heard of, in that arm of the standing experiment."""
        while True:
            customer = f"retail:{int(time.time() * 1000) % 10**9}{next(self._numbers)}"
            if assign_arm(self._prepared.strategy.experiment.salt, self._prepared.arms, CustomerId(customer)) is arm:
                return customer

    def send(
        self, customer: str, event_type: str, data: dict, at: datetime | None = None, event_id: str | None = None
    ) -> None:
        """One event through the API, acknowledged by the bus."""
        moment = at or datetime.now(UTC)
        number = next(self._numbers)
        event = {
            "specversion": "1.0",
            "id": event_id or f"{customer}-{number}",
            "type": event_type,
            "source": "scenario",
            "subject": customer,
            "time": moment.isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "dataschema": f"https://kairos.example/schemas/{event_type}/1",
            "data": data,
        }
        answer = self.http.post("/v1/events", json=event)
        assert answer.status_code == 202, answer.text
        assert answer.json()["rejected"] == [], answer.text

    def decide(self, customer: str, placement: str = "home_banner", channel: str = "mobile", **more: object) -> dict:
        """The placement's answer, with the decision around it under `decision`. Who is `patient` comes again when told
        to, as often as it takes."""
        count, patient = more.pop("count", 3), more.pop("patient", False)
        body = {
            "request_id": f"r-{customer}-{next(self._numbers)}",
            "customer_id": customer,
            "channel": channel,
            "placements": [{"id": placement, "count": count}],
            "timeout_ms": 1000,
            **more,
        }
        answer = self.http.post("/v1/decisions", json=body)
        while patient and answer.status_code == 503 and "retry-after" in answer.headers:
            time.sleep(0.05)
            answer = self.http.post("/v1/decisions", json=body)
        assert answer.status_code == 200, answer.text
        decision = answer.json()
        return {**decision["placements"][0], "decision": decision}

    def respond(self, option: dict, outcome: str, channel: str = "mobile") -> dict:
        body = {
            "response_id": f"{option['tracking_id']}-{outcome}",
            "tracking_id": option["tracking_id"],
            "outcome": outcome,
            "channel": channel,
            "detail": {},
        }
        answer = self.http.post("/v1/responses", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def explain(self, placement: dict) -> dict:
        answer = self.http.get(f"/v1/decisions/{placement['decision']['decision_id']}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fate(self, placement: dict, offer: str) -> dict:
        """What became of an offer in a decision, in any of its treatments."""
        record = self.explain(placement)
        data = record.get("data", record)
        found = [c for c in data["candidates"] if c["offer"] == offer]
        assert found, f"{offer} was no candidate among {sorted({c['offer'] for c in data['candidates']})}"
        return found[0]

    def until(self, condition: Callable[[], object], what: str) -> object:
        """Waits for what events bring about; state follows the bus within moments."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if result := condition():
                return result
            time.sleep(0.02)
        raise AssertionError(f"never came about: {what}")

    def attribute(self, customer: str, name: str) -> object:
        """An attribute as of now, None where it is missing or the customer unknown."""
        answer = self.http.get(f"/v1/customers/{customer}")
        if answer.status_code == 404:
            return None
        for attributes in answer.json()["attributes"].values():
            for attribute in attributes:
                if attribute["name"] == name:
                    return attribute["value"]
        return None


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """The demo bank, served."""
    folder = tmp_path_factory.mktemp("bank")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="bank", daemon=True)
    thread.start()
    stop, ready = asyncio.Event(), threading.Event()
    found: list[str] = []
    running = asyncio.run_coroutine_threadsafe(serve(folder, found, ready, stop), loop)
    while not ready.wait(0.05):
        if running.done():
            running.result()
    client = Bank(found[0])
    yield client
    client.http.close()
    loop.call_soon_threadsafe(stop.set)
    running.result(timeout=60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def serve(folder: Path, found: list[str], ready: threading.Event, stop: asyncio.Event) -> None:
    async with EmbeddedServers.start(folder / "servers") as servers:
        environment = {
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
            "KAIROS_KAFKA_PARTITIONS": "2",
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_STRATEGY_PATH": str(STRATEGY),
            "KAIROS_MODEL_PATH": str(folder / "models"),
            "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
            "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
            "KAIROS_PORT": str(free_port()),
        }
        settings = read_settings(environment)
        await topics.create(settings)
        roles = [
            RoleProcess(arguments=[role], environment=environment, log=folder / f"{role}.log")
            for role in ("state-builder", "api")
        ]
        for role in roles:
            await role.start()
        try:
            url = f"http://127.0.0.1:{settings.port}"
            await until_ready(url, roles, READY_SECONDS)
            found.append(url)
            ready.set()
            await stop.wait()
        finally:
            for role in reversed(roles):
                await role.stop()


@pytest.fixture(scope="session")
def ago() -> Callable[[float], datetime]:
    """The moment so many days before now."""
    return days_ago
