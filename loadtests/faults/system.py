"""The one running system of a campaign: servers behind the proxy, the roles, and what its judge reads of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path

import httpx

from decision_engine.contact_ledger import decode_records
from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId, TrackingId
from decision_engine.outcomes import Outcome, status_of
from decision_engine.reservation import tracking_key
from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import (
    ALL_TOPICS,
    CONVERSIONS,
    DEAD_LETTERS,
    DECISIONS,
    PROFILE_UPDATES,
    STATE_TOPICS,
    TRANSACTIONS,
)
from loadtests.faults.bank import PARTITIONS, strategy_text
from loadtests.faults.nursery import Nursery
from loadtests.faults.processes import Role
from loadtests.faults.proxy import ProxyProcess
from loadtests.faults.reconciliation import Known, LogFold
from loadtests.faults.servers import PATIENT, Broker, Store, mend
from services.adapters.embedded_servers import free_port
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.adapters.redis_client import RedisClient, Reply
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.bootstrap import LoadedStrategy, load_strategy, open_publisher
from services.ports import BusPosition, BusUnavailable, OutgoingEvent, StoreUnavailable
from services.settings import Settings, read_settings

RECOVERY_S = 90.0
READY_S = 120.0
_POLL_S = 0.03
_TOPICS = (*STATE_TOPICS, DECISIONS, DEAD_LETTERS, CONVERSIONS)
_QUIET_POLLS = 3
ROLES = ("api-0", "api-1", "builder-0", "builder-1", "pacer", "archiver", "attributor")
_COMMANDS = {"api": "api", "builder": "state-builder"}


class NotRecovered(Exception):
    """The system did not come back in its time; the message says what was missing."""


@dataclass(slots=True, kw_only=True)
class System:
    """Everything that runs, open."""

    folder: Path
    settings: Settings
    loaded: LoadedStrategy
    proxy: ProxyProcess
    store: Store
    broker: Broker
    roles: Mapping[str, Role]
    urls: Mapping[str, str]
    publisher: KafkaEventPublisher
    client: RedisClient
    http: httpx.AsyncClient
    reader: KafkaEventStream
    fold: LogFold = field(default_factory=LogFold)
    acknowledged: dict[tuple[str, int], int] = field(default_factory=dict)
    """By topic and partition the next offset after what the bus acknowledged to the bank."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def keys(self) -> RedisKeys:
        """Of this bank's store."""
        return RedisKeys(self.settings.namespace, self.loaded.features.layout)

    @property
    def nodes(self) -> list[str]:
        """The API nodes."""
        return sorted(self.urls)

    def number(self) -> int:
        """Another one each time."""
        return next(self._numbers)

    def event(
        self, event_type: str, topic: str, customer: str, data: Mapping[str, object], at_ms: int | None = None
    ) -> OutgoingEvent:
        """An event of the bank, as of now or of that moment."""
        moment = from_epoch_ms(time.time_ns() // 1_000_000 if at_ms is None else at_ms)
        header: dict[str, str | datetime] = {
            "id": f"e{self.number()}",
            "source": "core",
            "subject": customer,
            "time": moment,
        }
        return OutgoingEvent(topic=topic, key=customer, value=encode_trusted(event_type, header, data))

    def transaction(self, customer: str, amount: int = 100, at_ms: int | None = None) -> OutgoingEvent:
        """Money moved."""
        data = {"account_id": "a", "direction": "debit", "amount": amount, "currency": "CNY", "kind": "card"}
        return self.event("bank.transaction.posted", TRANSACTIONS, customer, data, at_ms)

    def note(self, customer: str, value: int, at_ms: int | None = None) -> OutgoingEvent:
        """The profile says something new."""
        data = {"attributes": {"note": value}}
        return self.event("bank.profile.updated", PROFILE_UPDATES, customer, data, at_ms)

    def consent(self, customer: str, granted: bool, at_ms: int | None = None) -> OutgoingEvent:
        """The customer allows marketing, or does not."""
        data = {"purpose": "marketing", "granted": granted}
        return self.event("bank.consent.changed", PROFILE_UPDATES, customer, data, at_ms)

    async def post(self, events: Sequence[OutgoingEvent]) -> list[BusPosition]:
        """Publishes as a bank does: the same again until the bus has acknowledged."""
        while True:
            try:
                positions = await self.publisher.publish(events)
            except BusUnavailable:
                await asyncio.sleep(0.2)
                continue
            for topic, partition, offset in positions:
                if topic in _TOPICS:
                    place = topic, partition
                    self.acknowledged[place] = max(self.acknowledged.get(place, 0), offset + 1)
            return positions

    async def recovered(self, within_s: float = RECOVERY_S) -> None:
        """Returns once what comes in now is in the states, and every node decides undegraded, records and all. Raises
        NotRecovered."""
        missing = "the bus takes no events"
        try:
            async with asyncio.timeout(within_s):
                number = self.number()
                await self.post([self.transaction(f"retail:marker-{number}-{part}") for part in range(3 * PARTITIONS)])
                missing = f"states do not reach {self.acknowledged}"
                await self.until_applied(self.acknowledged)
                for node in self.nodes:
                    missing = f"{node} does not answer"
                    while (said := await self._decides(node)) is not True:
                        missing = f"{node} does not decide undegraded: {said}"
                        await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise NotRecovered(missing) from None

    async def until_applied(self, ends: Mapping[tuple[str, int], int]) -> None:
        """Waits until the states hold everything before these offsets."""
        wanted = {place: end for place, end in ends.items() if place[0] in STATE_TOPICS}
        while not await self._is_applied(wanted):  # noqa: ASYNC110 - the store is only asked
            await asyncio.sleep(_POLL_S)

    async def _is_applied(self, ends: Mapping[tuple[str, int], int]) -> bool:
        try:
            reply = await self.client.execute("HMGET", self.keys.progress, *(f"{t}/{p}" for t, p in ends))
        except StoreUnavailable:
            return False
        held = [int(v) if isinstance(v, bytes) else 0 for v in _items(reply)]
        return all(at >= end for at, end in zip(held, ends.values(), strict=True))

    async def _decides(self, node: str) -> bool | str:
        """True, or what is amiss."""
        body = decision_body(f"retail:probe-{self.number()}", timeout_ms=1000)
        try:
            answer = await self.http.post(f"{self.urls[node]}/v1/decisions", json=body, timeout=5.0)
        except httpx.HTTPError as error:
            return type(error).__name__
        if answer.status_code != httpx.codes.OK:
            return str(answer.status_code)
        causes: list[str] = answer.json()["degraded_causes"]
        return ", ".join(causes) or True

    async def read_log(self) -> None:
        """Folds what is new on the log, to its end. Raises NotRecovered when the log does not reach what was
        acknowledged."""
        quiet, deadline = 0, asyncio.get_running_loop().time() + RECOVERY_S
        while quiet < _QUIET_POLLS or not self._has_read_acknowledged():
            if asyncio.get_running_loop().time() > deadline:
                raise NotRecovered(f"the log ends at {self.fold.next}, acknowledged was {self.acknowledged}")
            try:
                deliveries = await self.reader.poll(5_000, 0.1)
            except BusUnavailable:
                await asyncio.sleep(0.2)
                continue
            quiet = 0 if deliveries else quiet + 1
            for one in deliveries:
                self.fold.take(one.topic, one.partition, one.offset, one.key, one.value)

    def _has_read_acknowledged(self) -> bool:
        return all(self.fold.next.get(place, 0) >= end for place, end in self.acknowledged.items())

    async def states(self, customers: Sequence[str]) -> dict[str, Known]:
        """What the store holds of these customers. Raises StoreUnavailable."""
        found: dict[str, Known] = {}
        now_ms = time.time_ns() // 1_000_000
        for at in range(0, len(customers), 200):
            some = customers[at : at + 200]
            reply = await self.client.execute("MGET", *(self.keys.state(CustomerId(customer)) for customer in some))
            for customer, value in zip(some, _items(reply), strict=True):
                snapshot = read_snapshot(self.loaded.features, value if isinstance(value, bytes) else None, now_ms)
                told = snapshot.attributes
                note = told.get("note")
                consents = tuple(sorted((purpose, bool(granted)) for purpose, granted in snapshot.consents.items()))
                found[customer] = (
                    *(int(told.get(name) or 0) for name in ("posted", "spent", "answered")),  # type: ignore[assignment]
                    None if note is None else int(note),
                    consents,
                )
        return found

    async def ledgers(self, customers: Sequence[str]) -> dict[str, dict[str, set[str]]]:
        """Of each customer the contacts that the log knows and the ledger holds, with their outcomes."""
        ledger, found = RedisContactLedger(self.client, self.keys), {}
        for customer in customers:
            held = {one.tracking: one.status for one in decode_records(await ledger.read(CustomerId(customer)))}
            known = {t: held[key] for t in self.fold.contacts[customer] if (key := tracking_key(TrackingId(t))) in held}
            found[customer] = {
                tracking: {str(outcome) for outcome in Outcome if status & status_of(outcome)}
                for tracking, status in known.items()
            }
        return found

    async def mend(self) -> None:
        """The network carries as it should again."""
        await mend(self.proxy, self.store.port, self.broker.port)


def decision_body(customer: str, *, placement: str = "banner", count: int = 2, **more: object) -> dict[str, object]:
    """A question of the mobile channel."""
    placements = [{"id": placement, "count": count}]
    return {"customer_id": customer, "channel": "mobile", "placements": placements, "timeout_ms": 500, **more}


def _items(reply: Reply) -> list[Reply]:
    return reply if isinstance(reply, list) else []


@asynccontextmanager
async def running_system(folder: Path, broker_kind: str, roles: Sequence[str] = ROLES) -> AsyncIterator[System]:
    """Starts everything, and waits until it works; ends it all on leaving."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(ProxyProcess.start())
        nursery = await stack.enter_async_context(Nursery.open())
        store, broker = Store(folder, proxy, stack), Broker(broker_kind, folder, proxy, stack)
        await asyncio.gather(store.start(), broker.start())
        path = folder / "strategy.yaml"
        path.write_text(strategy_text(), encoding="utf-8")
        environment = _environment(folder, path, store, broker)
        settings = read_settings(environment)
        await ensure_topics(broker.bootstrap_servers, ALL_TOPICS, partitions=PARTITIONS, replication=1)
        publisher = await stack.enter_async_context(open_publisher(settings))
        client = await stack.enter_async_context(RedisClient.open(store.url, limits=PATIENT, library=FUNCTION_LIBRARY))
        reader = await stack.enter_async_context(KafkaEventStream(broker.bootstrap_servers, _TOPICS))
        limits = httpx.Limits(max_connections=400, max_keepalive_connections=20)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=10.0, trust_env=False, limits=limits))
        made, urls = {}, {}
        for name in roles:
            kind = name.partition("-")[0]
            own = {}
            if kind == "api":
                own = {"KAIROS_PORT": str(free_port())}
                urls[name] = f"http://127.0.0.1:{own['KAIROS_PORT']}"
            made[name] = Role(
                name=name,
                arguments=[_COMMANDS.get(kind, kind)],
                environment={**environment, **own},
                folder=folder,
                nursery=nursery,
            )
            await made[name].start()
            stack.push_async_callback(made[name].stop)
        system = System(
            folder=folder, settings=settings, loaded=load_strategy(settings), proxy=proxy, store=store, broker=broker,
            roles=made, urls=urls, publisher=publisher, client=client, http=http, reader=reader,
        )  # fmt: skip
        try:
            await system.recovered(READY_S)
        except NotRecovered as error:
            tails = "\n".join(f"--- {role.name}\n{role.tail()}" for role in made.values())
            raise NotRecovered(f"the system did not start: {error}\n{tails}") from None
        yield system


def _environment(folder: Path, strategy: Path, store: Store, broker: Broker) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "true" if broker.is_durable else "false",
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
        "KAIROS_KAFKA_PARTITIONS": str(PARTITIONS),
        "KAIROS_REDIS_URL": store.url,
        "KAIROS_STRATEGY_PATH": str(strategy),
        "KAIROS_MODEL_PATH": str(folder / "models"),
        "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
        "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
        "KAIROS_SNAPSHOT_PATH": str(folder / "snapshots"),
        "KAIROS_ARCHIVE_FLUSH_SECONDS": "2",
        "KAIROS_GOVERNANCE_REQUIRES_SIMULATION": "false",
    }
