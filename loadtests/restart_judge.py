"""What the log says beside what the deployment holds: an independent fold of every record, compared key by key.

Attributes are computed again from the raw events by `feature_oracle`, contacts from the records of decisions and
responses as plain JSON; of the engine nothing but the reading of its stored bytes is used.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from decision_engine.contact_ledger import decode_records
from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId, TrackingId
from decision_engine.outcomes import ContactStatus
from decision_engine.reservation import tracking_key
from event_schemas.topics import DECISIONS, RESPONSES, STATE_TOPICS
from loadtests.feature_oracle import FeatureOracle
from loadtests.restart_load import Acknowledged
from loadtests.served_moments import equal
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import RedisStateStore
from services.bootstrap import LoadedStrategy, open_event_stream
from services.ports import Delivery, StoreUnavailable
from services.settings import Settings
from services.use_cases.running_beside import running_beside

Partition = tuple[str, int]
LoggedEvent = Mapping[str, Any]
"""A record of the log as plain JSON."""
CATCH_UP_SECONDS = 60.0
QUIET_SECONDS = 3.0
"""After so long without a record the log is taken to be whole: everybody who writes has stopped by then."""
_STATUS = {status.name: int(status) for status in ContactStatus if status.name}


@dataclass(slots=True)
class LogCopy:
    """Every record of the topics, read by somebody who is in no group."""

    records: list[Delivery] = field(default_factory=list)
    ends: dict[Partition, int] = field(default_factory=dict)
    newest_s: float = 0.0

    @classmethod
    @asynccontextmanager
    async def following(cls, settings: Settings) -> AsyncIterator["LogCopy"]:
        """Copies while the context lasts."""
        copy = cls()
        async with (
            open_event_stream(settings, [*STATE_TOPICS, DECISIONS]) as stream,
            running_beside(copy._follow(stream), "log-copy"),
        ):
            yield copy

    async def until_quiet(self) -> None:
        """Returns when nothing has come for a while."""
        while time.monotonic() - self.newest_s < QUIET_SECONDS:  # noqa: ASYNC110 - the log has no event for its end
            await asyncio.sleep(0.1)

    async def _follow(self, stream: KafkaEventStream) -> None:
        while True:
            for record in await stream.poll(5_000, 0.2):
                self.records.append(record)
                self.ends[record.topic, record.partition] = record.offset + 1
                self.newest_s = time.monotonic()


@dataclass(slots=True)
class Verdict:
    """What the comparison found."""

    log_events: int = 0
    """Different events in the log."""
    repeats: int = 0
    """Records of the log that say again what another said."""
    customers: int = 0
    compared: int = 0
    lost: list[str] = field(default_factory=list)
    """Acknowledged and not in the log, or in the log and less in what is held."""
    doubled: list[str] = field(default_factory=list)
    """More in what is held than in the log, or two decisions for one request."""

    @property
    def holds(self) -> bool:
        """Nothing lost, nothing doubled, and something compared."""
        return not self.lost and not self.doubled and self.compared > 0


class Judge:
    """Compares the store with a log."""

    def __init__(self, settings: Settings, loaded: LoadedStrategy, client: RedisClient) -> None:
        self._loaded, self._client = loaded, client
        self._keys = RedisKeys(settings.namespace, loaded.features.layout)
        self._oracle = FeatureOracle(settings.strategy_path)

    async def until_applied(self, ends: Mapping[Partition, int]) -> None:
        """Returns when the states hold what the log has up to these ends. Raises TimeoutError."""
        behind = {place: end for place, end in ends.items() if place[0] in STATE_TOPICS}
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while behind:
                with suppress(StoreUnavailable):
                    fields = [f"{topic}/{number}" for topic, number in behind]
                    held = await self._client.execute("HMGET", self._keys.progress, *fields)
                    assert isinstance(held, list)
                    at = [int(value) if isinstance(value, bytes) else 0 for value in held]
                    behind = {
                        place: end for (place, end), reached in zip(behind.items(), at, strict=True) if reached < end
                    }
                await asyncio.sleep(0.05)

    async def verdict(self, records: Sequence[Delivery], taken: Acknowledged) -> Verdict:
        """Of everything in the log."""
        found = Verdict()
        events = [(record, json.loads(record.value or b"")) for record in records]
        ids = Counter(f"{event['source']}/{event['id']}" for _, event in events)
        found.log_events, found.repeats = len(ids), ids.total() - len(ids)
        found.lost += [f"event {event}: acknowledged, not in the log" for event in taken.events if event not in ids]
        raw: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
        for record, event in events:
            if record.topic in STATE_TOPICS:
                raw[event["subject"]].append((record.value or b"", 0))
        await self._judge_states(raw, found)
        decisions = {event["data"]["decision_id"]: event for record, event in events if record.topic == DECISIONS}
        responses = {event["id"]: event for record, event in events if record.topic == RESPONSES}
        judge_requests(decisions, responses, taken, found)
        await self._judge_contacts(decisions.values(), responses.values(), found)
        return found

    async def _judge_states(self, raw: Mapping[str, Sequence[tuple[bytes, int]]], found: Verdict) -> None:
        """Every attribute of every customer, as of now."""
        store, now_ms = RedisStateStore(self._client, self._keys), time.time_ns() // 1_000_000
        customers = sorted(raw)
        found.customers = len(customers)
        states = await store.load_many([CustomerId(customer) for customer in customers])
        for customer, state in zip(customers, states, strict=True):
            served: Mapping[str, object] = read_snapshot(self._loaded.features, state, now_ms).attributes
            expected: Mapping[str, object] = self._oracle.attributes(
                self._oracle.history(raw[customer]), now_ms, now_ms
            )
            found.compared += len(served.keys() | expected.keys())
            for name in sorted(served.keys() | expected.keys()):
                if not equal(served.get(name), expected.get(name)):
                    blame(found, f"{customer} {name}", served.get(name), expected.get(name))

    async def _judge_contacts(
        self, decisions: Iterable[LoggedEvent], responses: Iterable[LoggedEvent], found: Verdict
    ) -> None:
        """Every option reserved once, with what was answered and nothing else. A decision that says it went without the
        ledger may have reserved or not; answers to it stand there in any case."""
        expected: dict[str, dict[bytes, int]] = defaultdict(dict)
        unsure: set[bytes] = set()
        for event in decisions:
            for placement in event["data"]["placements"]:
                keys = [tracking_key(TrackingId(option["tracking_id"])) for option in placement.get("options", ())]
                if any(cause.startswith("ledger_") for cause in event["data"].get("degraded_causes", ())):
                    unsure.update(keys)
                else:
                    expected[event["subject"]] |= dict.fromkeys(keys, 0)
        for event in responses:
            key = tracking_key(TrackingId(event["data"]["tracking_id"]))
            bits = expected[event["subject"]].get(key, 0)
            expected[event["subject"]][key] = bits | _STATUS[event["data"]["outcome"].upper()]
        ledger = RedisContactLedger(self._client, self._keys)
        for customer, contacts in expected.items():
            held = decode_records(await ledger.read(CustomerId(customer)) or b"")
            counted = Counter(record.tracking for record in held)
            bits_of = {record.tracking: record.status & int(ContactStatus.ANY_RESPONSE) for record in held}
            for key in (contacts.keys() | counted.keys()) - (unsure - contacts.keys()):
                found.compared += 1
                blame(found, f"{customer} contact {key.hex()}", counted[key], int(key in contacts))
                if key in contacts and key in bits_of:
                    blame(found, f"{customer} answers to {key.hex()}", bits_of[key], contacts[key])


def judge_requests(
    decisions: Mapping[str, LoggedEvent], responses: Mapping[str, LoggedEvent], taken: Acknowledged, found: Verdict
) -> None:
    """What was answered is in the log, and each request was decided on once."""
    logged = Counter(str(event["data"].get("request_id")) for event in decisions.values())
    for request, answers in taken.decisions.items():
        found.compared += 1
        if not answers <= decisions.keys():
            found.lost.append(f"decision for {request}: answered, not in the log")
        if len(answers) > 1 or logged[request] > 1:
            found.doubled.append(f"request {request}: {max(len(answers), logged[request])} decisions")
    for response in taken.responses:
        found.compared += 1
        if response not in responses:
            found.lost.append(f"response {response}: acknowledged, not in the log")


def blame(found: Verdict, what: str, held: object, expected: object) -> None:
    """Less than the log says is lost, anything else that differs is doubled."""
    if held == expected:
        return
    less = held is None or (isinstance(held, int | float) and isinstance(expected, int | float) and held < expected)
    (found.lost if less else found.doubled).append(f"{what}: held {held!r}, by the log {expected!r}")
