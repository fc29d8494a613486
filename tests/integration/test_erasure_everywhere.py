"""A person is erased from store, archive and snapshots, stays erased when the log is read again, and may come back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow.parquet as pq
import pytest

from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId
from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import ALL_TOPICS, CONTROL, PROFILE_UPDATES, STATE_TOPICS, TRANSACTIONS
from models.decision_log.state_snapshots import SnapshotRow, write_states
from services.adapters.parquet_archive import ArchiveReader, ParquetArchive, record_mark
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_erasures import RedisErasures
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_lead_marks import RedisLeadMarks
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_screens import RedisScreens
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.system_clock import SystemClock
from services.api.app import create_app
from services.bootstrap import (
    LoadedStrategy,
    load_strategy,
    load_strategy_at,
    open_api,
    open_event_stream,
    open_publisher,
    open_strategy_versions,
)
from services.commands import topics
from services.commands.attributor import METRICS, attribute_conversions
from services.commands.erase import erasure_lines, print_status
from services.commands.erasing_archive import archive_erasures, archive_teller
from services.commands.export_person import export_person
from services.commands.rebuild_states import ARCHIVE, RebuildOrder, rebuild_states
from services.commands.state_builder import build_states
from services.erasure_wiring import erasure_sweeper, needed_pseudonyms, proofs_on_the_bus
from services.ports import OutgoingEvent
from services.settings import Settings
from services.use_cases.erasure.request_erasure import ErasureUnknown
from services.workers.archiver import Archiver, FlushPolicy

pytestmark = pytest.mark.servers
WAIT_S = 100
GONE, OTHERS = "retail:70", ["retail:7", "retail:700", "corp:70", "retail:x70"]
EVERYBODY = [GONE, *OTHERS]
STRATEGY = """
name: leaving
time_zone: UTC
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: May we write to you?}}
profile:
  - {name: age, type: int, theme: basic, description: {en: Age}}
  - {name: household_id, type: string, theme: basic, description: {en: Household}}
features:
  - {name: posted, source: bank.transaction.posted, aggregate: count, theme: transaction, description: {en: Posted}}
%(more)s
links:
  - {name: household, by: household_id, most: 8}
models: [{name: m}]
issues: [{name: grow}]
groups: [{name: notices, issue: grow, model: m}]
offers:
  - {name: umbrella, group: notices, title: {en: Umbrella}, value: 100, base_rate: 0.1,
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
placements: [{id: tablet, channel: branch, max_count: 2, fallback: {treatment: none, content: {en: {title: x}}}}]
attribution: {window: 30d, conversions: [{response: accept}]}
triggers:
  - name: form_left
    title: {en: Form left}
    on: {absence: {event: bank.channel.form_submitted}, after: {event: bank.channel.form_opened}, within: 6h}
    offers: {groups: [notices]}
    contact: {placement: tablet, count: 1}
"""
MORE = (
    "  - {name: spend, source: bank.transaction.posted, aggregate: sum, field: amount, theme: t, description: {en: S}}"
)
_numbers = count()


@dataclass
class Bank:
    """Real servers, the roles that own data, and the API."""

    settings: Settings
    client: RedisClient
    http: httpx.AsyncClient
    loaded: LoadedStrategy
    folder: Path
    publish: Callable[[list[OutgoingEvent]], Awaitable[Any]]
    metrics: PrometheusMetrics
    """The state builder's."""
    builder: "asyncio.Task[None] | None" = None
    stops: list[asyncio.Event] = field(default_factory=list)

    async def post(self, customer: str, event_type: str, data: dict[str, object], at_ms: int | None = None) -> None:
        number, now_ms = next(_numbers), SystemClock().now_ms()
        header: Any = {
            "id": f"e{number}",
            "source": "core",
            "subject": customer,
            "time": from_epoch_ms(now_ms if at_ms is None else at_ms),
        }
        topic = {"bank.transaction.posted": TRANSACTIONS, "bank.channel.form_opened": STATE_TOPICS[1]}
        value = encode_trusted(event_type, header, data)
        await self.publish([OutgoingEvent(topic=topic.get(event_type, PROFILE_UPDATES), key=customer, value=value)])

    async def spend(self, customer: str, at_ms: int | None = None) -> None:
        data = {"account_id": "a", "direction": "debit", "amount": 500, "currency": "CNY", "kind": "card"}
        await self.post(customer, "bank.transaction.posted", data, at_ms)

    async def consent(self, customer: str) -> None:
        await self.post(customer, "bank.consent.changed", {"purpose": "marketing", "granted": True, "proof_id": "p1"})

    async def live(self, customer: str) -> dict[str, Any]:
        """Everything a customer leaves behind: events, a decision, an answer, a lead."""
        await self.post(customer, "bank.profile.updated", {"attributes": {"age": 40, "household_id": "h1"}})
        await self.consent(customer)
        await self.spend(customer)
        await self.post(customer, "bank.channel.form_opened", {"form": "loan"})
        await self.until_known(customer, posted=1)
        return await self.decide(customer)

    async def decide(self, customer: str) -> dict[str, Any]:
        question = {
            "request_id": f"r{next(_numbers)}",
            "customer_id": customer,
            "channel": "branch",
            "placements": [{"id": "tablet", "count": 1}],
            "locale": "en",
            "timeout_ms": 1000,
        }
        answer = (await self.http.post("/v1/decisions", json=question)).json()
        assert answer["placements"][0].get("options"), answer
        for option in answer["placements"][0].get("options", ()):
            response = {"response_id": f"a{next(_numbers)}", "tracking_id": option["tracking_id"], "outcome": "accept",
                        "time": from_epoch_ms(SystemClock().now_ms()).isoformat(), "channel": "branch"}  # fmt: skip
            taken = await self.http.post("/v1/responses", json=response)
            assert taken.status_code == 202, taken.text
        return answer  # type: ignore[no-any-return]

    async def view(self, customer: str) -> dict[str, Any]:
        return (await self.http.get(f"/v1/customers/{customer}")).json()  # type: ignore[no-any-return]

    async def until_known(self, customer: str, *, posted: int | None) -> None:
        async with asyncio.timeout(WAIT_S):
            while self._posted(await self.view(customer)) != posted:
                await asyncio.sleep(0.02)

    @staticmethod
    def _posted(view: dict[str, Any]) -> int | None:
        found = [a["value"] for a in view["attributes"].get("transaction", ()) if a["name"] == "posted"]
        return found[0] if found else None

    async def erase(self, customer: str) -> str:
        answer = await self.http.delete(f"/v1/customers/{customer}")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["erasure_id"])

    async def until_refused(self) -> None:
        """The state builder has refused an event of somebody who was erased."""
        async with asyncio.timeout(WAIT_S):
            while b"kairos_events_refused_total{" not in self.metrics.exposition()[0]:
                await asyncio.sleep(0.02)

    async def queued(self) -> None:
        """The state builder has taken the erasure in."""
        async with asyncio.timeout(WAIT_S):
            while not await RedisErasures(self.client, self.settings.namespace).queued():
                await asyncio.sleep(0.02)

    async def sweep(self) -> int:
        async with open_publisher(self.settings) as publisher:
            sweeper = erasure_sweeper(self.settings, self.client, publisher, SystemClock(), "test", settle_s=0.0)
            return await sweeper.look()

    async def archive(self) -> None:
        """Takes what the log holds into the archive, erasures included, and tells."""
        erasures = archive_erasures(self.settings, self.settings.archive_path)
        assert erasures is not None
        names = [topic.name for topic in ALL_TOPICS]
        with ParquetArchive(self.settings.archive_path, erasures=erasures) as kept:
            async with (
                open_event_stream(self.settings, names) as stream,
                archive_teller(self.settings, erasures) as tell,
            ):
                archiver = Archiver(stream, kept, FlushPolicy(rows=1, seconds=0.0), record_mark)
                archiver.resume()
                silent = 0
                while silent < 2:
                    before = archiver.archived
                    await archiver.step()
                    silent = silent + 1 if archiver.archived == before else 0
                await tell()

    async def store_mentions(self, customer: str) -> list[str]:
        """Every key whose name or value holds the id: an independent look, type by type."""
        found = []
        for name in await self._keys():
            parts = [name, *await self._content(name)]
            if any(_mentions(part, customer) for part in parts):
                found.append(name.decode())
        return found

    async def content_of(self, customer: str) -> dict[bytes, list[bytes]]:
        """All keys whose names hold the id, with their values."""
        return {name: await self._content(name) for name in await self._keys() if _mentions(name, customer)}

    async def _keys(self) -> list[bytes]:
        return sorted({name async for some in self.client.walk("*", 1_000, 5.0) for name in some})

    async def _content(self, name: bytes) -> list[bytes]:
        kind = await self.client.execute("TYPE", name)
        ask: dict[object, tuple[Any, ...]] = {
            "string": ("GET", name), "hash": ("HGETALL", name), "zset": ("ZRANGE", name, 0, -1, "WITHSCORES"),
            "list": ("LRANGE", name, 0, -1), "set": ("SMEMBERS", name),
        }  # fmt: skip
        reply = await self.client.execute(*ask[kind.decode() if isinstance(kind, bytes) else kind])
        parts = reply if isinstance(reply, list) else [reply]
        return [part for part in parts if isinstance(part, bytes)]

    def file_mentions(self, customer: str) -> list[str]:
        """Every Parquet file with a cell that holds the id, and every other file whose bytes do."""
        found = []
        for root in (self.settings.archive_path, self.settings.snapshot_path, self.settings.model_path):
            for path in sorted(root.rglob("*")) if root.is_dir() else ():
                if path.suffix == ".parquet":
                    table = pq.read_table(path, partitioning=None)
                    cells = [str(cell).encode() for column in table.columns for cell in column.to_pylist()]
                else:
                    cells = [path.read_bytes()] if path.is_file() else []
                if any(_mentions(cell, customer) for cell in cells):
                    found.append(str(path))
        return found


def _mentions(text: bytes, customer: str) -> bool:
    """Whether the id stands there whole, and not as a part of another."""
    wanted, letters = customer.encode(), b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
    at = text.find(wanted)
    while at >= 0:
        after = text[at + len(wanted) : at + len(wanted) + 1]
        if after == b"" or after not in letters:
            return True
        at = text.find(wanted, at + 1)
    return False


@asynccontextmanager
async def running_builder(
    settings: Settings, loaded: LoadedStrategy, metrics: PrometheusMetrics
) -> AsyncIterator[None]:
    stop = asyncio.Event()
    work = build_states(settings, loaded.features, metrics, stop, links=loaded.strategy.links, firing_for=loaded)
    roles = [
        asyncio.create_task(work),
        asyncio.create_task(attribute_conversions(settings, loaded.strategy, PrometheusMetrics(METRICS), stop)),
    ]
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*roles)


@pytest.fixture
async def bank(servers: Any, tmp_path: Path) -> AsyncIterator[Bank]:
    (tmp_path / "old.yaml").write_text(STRATEGY % {"more": ""}, encoding="utf-8")
    (tmp_path / "new.yaml").write_text(STRATEGY % {"more": MORE}, encoding="utf-8")
    settings = Settings(
        kafka_bootstrap_servers=servers.bootstrap_servers,
        kafka_idempotence=False,
        kafka_session_timeout_ms=1000,
        kafka_partitions=2,
        redis_url=servers.redis_url,
        strategy_path=tmp_path / "old.yaml",
        strategy_archive=tmp_path / "strategies",
        model_path=tmp_path / "models",
        archive_path=tmp_path / "archive",
        snapshot_path=tmp_path / "snapshots",
        pseudonym_key="a key of the tests, long enough",
        decision_timeout_ms=1000,
    )
    await topics.create(settings)
    loaded, metrics = load_strategy(settings), PrometheusMetrics()
    async with (
        RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY) as client,
        open_publisher(settings) as publisher,
        running_builder(settings, loaded, metrics),
        open_api(settings) as runtime,
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(runtime)), base_url="http://kairos") as http,
    ):
        yield Bank(settings, client, http, loaded, tmp_path, publisher.publish, metrics)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def lived(bank: Bank) -> None:
    """Everybody has left traces everywhere."""
    namespaces, layout = RedisNamespaces(bank.client, bank.settings.namespace), bank.loaded.features.layout
    await until(lambda: namespaces.is_whole(layout))
    for customer in EVERYBODY:
        await bank.live(customer)
        await RedisScreens(bank.client, bank.settings.namespace).opened("agent", customer, SystemClock().now_ms())
        entry = orjson.dumps({"id": "l", "customer_id": customer, "at_ms": SystemClock().now_ms()})
        await RedisLeadMarks(bank.client, bank.settings.namespace).note("manager", entry)
    rows = [
        SnapshotRow(customer_id=c, holdings=frozenset(), personalised=True, attributes={"age": 40}) for c in EVERYBODY
    ]
    write_states(bank.settings.snapshot_path, date(2026, 1, 31), rows)
    for customer in EVERYBODY:
        keys = RedisKeys(bank.settings.namespace, "attribution").divided(bank.client.tags)
        name = keys.state(CustomerId(customer))
        await until(lambda name=name: _exists(bank, name))  # type: ignore[misc]
    await bank.archive()


async def _exists(bank: Bank, name: str) -> bool:
    return await bank.client.execute("EXISTS", name) == 1


@pytest.mark.parametrize("servers", ["one server", "cluster"], indirect=True)
async def test_nothing_of_an_erased_person_is_left_anywhere_and_nobody_else_is_touched(
    bank: Bank, capsys: pytest.CaptureFixture[str]
) -> None:
    await lived(bank)
    await assert_a_person_gets_everything_that_is_held_on_them_and_nothing_of_others(bank)
    await assert_the_chain_of_governance_names_no_customer(bank)
    await assert_an_erasure_that_nobody_asked_for_is_unknown(bank)
    await assert_without_a_key_erasure_is_refused_and_says_why(bank)
    before = {customer: await bank.content_of(customer) for customer in OTHERS}
    archived = {c: ArchiveReader(bank.settings.archive_path).of_person(c) for c in EVERYBODY}
    assert archived[GONE]
    assert len(bank.file_mentions(GONE)) >= 4
    assert len(await bank.store_mentions(GONE)) >= 8

    erasure = await bank.erase(GONE)
    await bank.queued()
    assert await bank.sweep() == 1
    await bank.archive()

    assert await bank.store_mentions(GONE) == []
    assert bank.file_mentions(GONE) == []
    assert {customer: await bank.content_of(customer) for customer in OTHERS} == before
    for customer in OTHERS:
        assert ArchiveReader(bank.settings.archive_path).of_person(customer) == archived[customer]
        assert bank.file_mentions(customer)
    status = (await bank.http.get(f"/v1/erasures/{erasure}")).json()
    assert status["status"] == "done", status
    assert {place["place"]: place["status"] for place in status["places"]} == dict.fromkeys(
        ("store", "archive", "snapshots"), "done"
    )
    removed = {place["place"]: place["removed"] for place in status["places"]}
    assert removed["archive"]["records"] == len(archived[GONE])
    assert removed["snapshots"] == {"files": 1, "records": 1}
    assert removed["store"]["decisions"] == 1
    assert removed["store"].get("tracked_options") == 1, removed
    assert GONE not in orjson.dumps(status).decode()
    known = (await proofs_on_the_bus(bank.settings))[needed_pseudonyms(bank.settings).of(GONE)]
    assert known.done
    assert known.places["archive"].removed == removed["archive"]
    assert erasure_lines(erasure, known)[0].endswith("done")
    assert await print_status(bank.settings, CustomerId(GONE)) == 0
    assert "nothing left" in capsys.readouterr().out
    with pytest.raises(ErasureUnknown):
        await print_status(bank.settings, CustomerId(OTHERS[0]))
    assert not (await bank.view(GONE))["known"]
    await assert_who_comes_back_is_a_new_customer(bank)


async def test_reading_the_log_and_the_archive_again_brings_nobody_back(bank: Bank) -> None:
    await lived(bank)
    await bank.erase(GONE)
    await bank.queued()
    await bank.sweep()
    await bank.archive()
    await bank.spend(GONE, SystemClock().now_ms() - 3_600_000)  # of before, and late: nobody folds it or keeps it
    new = load_strategy_at(bank.folder / "new.yaml")
    open_strategy_versions(bank.settings).register(new.strategy.version, bank.folder / "new.yaml")
    order = RebuildOrder(loaded=new, source=ARCHIVE, switch=False, rest=0.0, niceness=0, spill=bank.folder / "spill")
    async with asyncio.timeout(WAIT_S):
        assert await rebuild_states(bank.settings, order, asyncio.Event())
    await bank.archive()
    states = RedisStateStore(bank.client, RedisKeys(bank.settings.namespace, new.features.layout))
    (other,) = await states.load_many([CustomerId(OTHERS[0])])
    assert read_snapshot(new.features, other, SystemClock().now_ms()).attributes["spend"] == 500
    assert await bank.store_mentions(GONE) == []
    assert bank.file_mentions(GONE) == []


@pytest.mark.parametrize("servers", ["one server", "cluster"], indirect=True)
async def test_a_store_that_lost_everything_learns_from_the_bus_who_was_erased(bank: Bank) -> None:
    await lived(bank)
    erasure = await bank.erase(GONE)
    await bank.queued()
    await bank.sweep()
    names = [name async for some in bank.client.walk(f"{bank.settings.namespace}:*eras*", 1_000, 5.0) for name in some]
    await bank.client.execute("DEL", *names)
    await bank.spend(GONE, SystemClock().now_ms() - 3_600_000)
    await bank.spend(OTHERS[0])
    await bank.until_known(OTHERS[0], posted=2)
    mark = RedisKeys(bank.settings.namespace, "").divided(bank.client.tags).erased(erasure)
    await until(lambda: _exists(bank, mark))
    assert await bank.store_mentions(GONE) == []


async def assert_who_comes_back_is_a_new_customer(bank: Bank) -> None:
    await bank.spend(GONE)  # nobody agreed to anything yet
    await bank.until_refused()
    await bank.consent(GONE)
    await bank.until_known(GONE, posted=0)
    await bank.spend(GONE)
    await bank.until_known(GONE, posted=1)
    assert (await bank.decide(GONE))["placements"][0]["options"]
    await bank.archive()
    kinds = [orjson.loads(value)["type"] for _, value in ArchiveReader(bank.settings.archive_path).of_person(GONE)]
    assert kinds.count("bank.transaction.posted") == 1
    assert "nbo.decision.made" in kinds
    await bank.sweep()
    assert (await bank.view(GONE))["known"]


async def assert_the_chain_of_governance_names_no_customer(bank: Bank) -> None:
    async with open_event_stream(bank.settings, [CONTROL]) as log:
        found = [delivery for _ in range(3) for delivery in await log.poll(1000, 0.3)]
    assert found
    for customer in EVERYBODY:
        assert not any(_mentions(delivery.value or b"", customer) for delivery in found)


async def assert_an_erasure_that_nobody_asked_for_is_unknown(bank: Bank) -> None:
    answer = await bank.http.get(f"/v1/erasures/{'0' * 32}")
    assert answer.status_code == 404


async def assert_without_a_key_erasure_is_refused_and_says_why(bank: Bank) -> None:
    settings = replace(bank.settings, pseudonym_key="")
    async with (
        open_api(settings) as runtime,
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(runtime)), base_url="http://kairos") as http,
    ):
        answer = await http.delete(f"/v1/customers/{GONE}")
    assert answer.status_code == 503
    assert "key of pseudonyms" in answer.json()["detail"]


async def assert_a_person_gets_everything_that_is_held_on_them_and_nothing_of_others(bank: Bank) -> None:
    document = (await bank.http.get(f"/v1/customers/{GONE}/export")).json()
    assert document["known"]
    age = next(attribute for attribute in document["attributes"] if attribute["name"] == "age")
    assert (age["value"], age["source"], age["title"]) == (40, "bank.profile.updated", {"en": "Age"})
    (marketing,) = document["consents"]
    (receipt,) = marketing["history"]
    assert marketing["by"] == receipt["receipt_id"]
    assert (receipt["source"], receipt["proof_id"], receipt["granted"]) == ("core", "p1", True)
    assert receipt["said"] == {"en": "May we write to you?"}
    assert {"nbo.decisions.v1", "nbo.responses.v1", PROFILE_UPDATES, TRANSACTIONS} <= set(document["archived"])
    assert len(document["contacts"]) == 1
    text = orjson.dumps(document)
    assert not any(_mentions(text, customer) for customer in OTHERS)
    receipts = (await bank.http.get(f"/v1/customers/{GONE}/consents")).json()
    assert receipts["consents"] == document["consents"]
    assert set(await export_person(bank.settings, CustomerId(GONE))) == set(document)
