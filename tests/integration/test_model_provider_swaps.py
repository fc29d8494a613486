"""Promotions reach every node over the control topic; a bad version never replaces a good one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from event_schemas.codec import Event
from event_schemas.control import ModelPromoted
from event_schemas.topics import ALL_TOPICS
from models.compatibility import AvailableColumns
from models.manifest import Manifest
from models.registry import ModelRegistry
from services.adapters.artifact_model_provider import ArtifactModelProvider, promotion_of, retirement_of
from services.adapters.control_topic import ControlTopic, ControlUnread, NodeIdentity, control_event
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.ports import Delivery, OutgoingEvent

NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)
SCHEMA = FeatureSchema(
    (Column(name="spend", source=ColumnSource.ATTRIBUTE), Column(name="hour", source=ColumnSource.CONTEXT))
)
AVAILABLE = AvailableColumns(
    texts=frozenset(),
    numbers=frozenset({(ColumnSource.ATTRIBUTE, "spend"), (ColumnSource.CONTEXT, "hour")}),
)


def make_version(registry: ModelRegistry, minute: int, schema: FeatureSchema = SCHEMA) -> Manifest:
    """A registered version of `cross_sell`, each minute another."""
    draw = np.random.default_rng(minute)
    matrix = draw.normal(size=(400, len(schema.columns)))
    labels = (matrix[:, 0] + draw.normal(size=400) > 0).astype(float)
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 4}
    booster = lightgbm.train(parameters, lightgbm.Dataset(matrix, labels), 5)
    files = {"model.txt": booster.model_to_string().encode(), "calibration.json": b'{"kind": "identity"}'}
    draft = Manifest(name="cross_sell", version="", kind="gbdt", schema=schema, files={}, created_at="")
    return registry.save(draft, files, NOON + timedelta(minutes=minute))


def promoted(manifest: Manifest, number: int = 1) -> ModelPromoted:
    return promotion_of(manifest, event_id=f"P{number}-{manifest.version}", at=NOON, actor="li.wei")


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models")


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def provider(registry: ModelRegistry, failures: list[str]) -> ArtifactModelProvider:
    return ArtifactModelProvider(registry, AVAILABLE, failures.append)


async def test_nothing_serves_before_a_promotion(provider: ArtifactModelProvider) -> None:
    assert dict(provider.scorers()) == {}


async def test_a_swap_leaves_the_mapping_in_use_untouched(
    provider: ArtifactModelProvider, registry: ModelRegistry
) -> None:
    first, second = make_version(registry, 1), make_version(registry, 2)
    await provider.on_promoted(promoted(first))
    in_use = provider.scorers()
    await provider.on_promoted(promoted(second))
    assert in_use["cross_sell"].version == first.version
    assert provider.scorers()["cross_sell"].version == second.version


async def test_promoting_what_serves_already_changes_nothing(
    provider: ArtifactModelProvider, registry: ModelRegistry
) -> None:
    version = make_version(registry, 1)
    await provider.on_promoted(promoted(version))
    before = provider.scorers()
    await provider.on_promoted(promoted(version, 2))
    assert provider.scorers() is before


def corrupt(registry: ModelRegistry, tmp_path: Path) -> ModelPromoted:
    manifest = make_version(registry, 2)
    path = tmp_path / "models" / manifest.version / "model.txt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return promoted(manifest)


def unknown_column(registry: ModelRegistry, tmp_path: Path) -> ModelPromoted:
    wider = FeatureSchema((*SCHEMA.columns, Column(name="shoe_size", source=ColumnSource.ATTRIBUTE)))
    return promoted(make_version(registry, 2, wider))


def text_where_a_number_is(registry: ModelRegistry, tmp_path: Path) -> ModelPromoted:
    texts = FeatureSchema((replace(SCHEMA.columns[0], categories=("a", "b")), SCHEMA.columns[1]))
    return promoted(make_version(registry, 2, texts))


def never_registered(registry: ModelRegistry, tmp_path: Path) -> ModelPromoted:
    return promoted(replace(make_version(registry, 2), version="cross_sell-20260304T120000Z-00000000"))


def another_checksum(registry: ModelRegistry, tmp_path: Path) -> ModelPromoted:
    event = promoted(make_version(registry, 2))
    return event.model_copy(update={"data": event.data.model_copy(update={"checksum": "0" * 64})})


def another_name(registry: ModelRegistry, tmp_path: Path) -> ModelPromoted:
    event = promoted(make_version(registry, 2))
    return event.model_copy(update={"data": event.data.model_copy(update={"name": "churn"})})


@pytest.mark.parametrize(
    "bad", [corrupt, unknown_column, text_where_a_number_is, never_registered, another_checksum, another_name]
)
async def test_a_bad_version_leaves_the_last_good_one_serving(
    provider: ArtifactModelProvider, registry: ModelRegistry, failures: list[str], tmp_path: Path, bad: object
) -> None:
    good = make_version(registry, 1)
    await provider.on_promoted(promoted(good))
    event = bad(registry, tmp_path)  # type: ignore[operator]
    await provider.on_promoted(event)
    assert {name: scorer.version for name, scorer in provider.scorers().items()} == {"cross_sell": good.version}
    assert failures == [event.data.name]


async def test_another_strategy_is_served_by_the_models_it_can_fill(
    provider: ArtifactModelProvider, registry: ModelRegistry, failures: list[str], tmp_path: Path
) -> None:
    """What this strategy could not fill serves the next, and what the next cannot fill comes back with this one."""
    both = AvailableColumns(texts=frozenset(), numbers=AVAILABLE.numbers | {(ColumnSource.ATTRIBUTE, "shoe_size")})
    neither = AvailableColumns(texts=frozenset(), numbers=frozenset())
    good = make_version(registry, 1)
    await provider.on_promoted(promoted(good))
    wider = unknown_column(registry, tmp_path)
    await provider.on_promoted(wider)
    served = []
    for columns in (AVAILABLE, both, neither, AVAILABLE, both):
        await provider.adopt(columns)
        served.append({scorer.version for scorer in provider.scorers().values()})
    assert served == [{good.version}, {wider.data.version}, set(), set(), {wider.data.version}]
    assert set(failures) == {"cross_sell"}


async def test_a_model_that_gives_no_probabilities_is_refused(
    provider: ArtifactModelProvider, registry: ModelRegistry, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.gbdt_scorer.GbdtScorer.score", lambda _, matrix: np.full(len(matrix), np.nan))
    await provider.on_promoted(promoted(make_version(registry, 1)))
    assert dict(provider.scorers()) == {} and failures == ["cross_sell"]


async def test_a_retired_model_serves_no_longer_unless_another_version_was_meant(
    provider: ArtifactModelProvider, registry: ModelRegistry
) -> None:
    version = make_version(registry, 1)
    await provider.on_promoted(promoted(version))
    retired = retirement_of("cross_sell", event_id="X", at=NOON, actor="li.wei")
    older = retired.model_copy(update={"data": retired.data.model_copy(update={"version": "another"})})
    await provider.on_retired(older)
    assert "cross_sell" in provider.scorers()
    await provider.on_retired(retired)
    assert dict(provider.scorers()) == {}


class Echo:
    """A control topic of one partition in memory, whose broker names too early an end, as the embedded one does."""

    def __init__(self, history: list[bytes], named_end: int) -> None:
        self.records = list(history)
        self.named_end = named_end
        self.position = 0
        self.swallow_marker = False

    async def publish(self, events: list[OutgoingEvent]) -> None:
        self.records += [] if self.swallow_marker else [event.value for event in events]

    def enqueue(self, event: OutgoingEvent) -> None:
        raise AssertionError("control events are acknowledged")

    async def beginning_offsets(self) -> dict[tuple[str, int], int]:
        return {("nbo.control.v1", 0): 0}

    async def end_offsets(self) -> dict[tuple[str, int], int]:
        return {("nbo.control.v1", 0): self.named_end}

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]:
        await asyncio.sleep(0)
        found = self.records[self.position : self.position + 2]
        first, self.position = self.position, self.position + len(found)
        return [Delivery("nbo.control.v1", 0, first + i, None, value, ()) for i, value in enumerate(found)]


def identity(number: int = 1) -> NodeIdentity:
    return NodeIdentity(node="api-1", role="api", event_id=f"N{number}", started_at=NOON)


async def test_the_start_ends_only_after_everything_published_before(registry: ModelRegistry) -> None:
    history = [control_event(promoted(make_version(registry, minute), minute)).value for minute in (1, 2, 3)]
    echo = Echo([*history, b"nonsense"], named_end=2)
    seen: list[Event] = []

    async def note(event: Event) -> None:
        seen.append(event)

    control = ControlTopic(echo, echo, identity())
    control.subscribe("nbo.control.model.promoted", note)
    async with control:
        # Of three promotions of one model only the newest is worth loading at the start.
        assert [event.id for event in seen] == [promoted(make_version(registry, 3), 3).id]
        echo.records.append(history[0])
        async with asyncio.timeout(5):
            while len(seen) < 2:
                await asyncio.sleep(0)


async def test_a_topic_that_cannot_be_read_to_its_end_is_named() -> None:
    echo = Echo([], named_end=0)
    echo.swallow_marker = True
    with pytest.raises(ControlUnread, match=r"nbo\.control\.v1"):
        async with ControlTopic(echo, echo, identity(), start_timeout_s=0.1):
            pass


async def test_a_failing_handler_does_not_stop_the_others(registry: ModelRegistry) -> None:
    echo = Echo([control_event(promoted(make_version(registry, 1))).value], named_end=1)
    seen: list[Event] = []

    async def fail(_: Event) -> None:
        raise RuntimeError("a bug")

    async def note(event: Event) -> None:
        seen.append(event)

    control = ControlTopic(echo, echo, identity())
    for handler in (fail, note):
        control.subscribe("nbo.control.model.promoted", handler)
    async with control:
        assert len(seen) == 1


@asynccontextmanager
async def node(
    address: str, publisher: KafkaEventPublisher, provider: ArtifactModelProvider, number: int
) -> AsyncIterator[ControlTopic]:
    async with KafkaEventStream(address, ["nbo.control.v1"]) as stream:
        control = ControlTopic(stream, publisher, replace(identity(number), node=f"api-{number}"))
        control.subscribe("nbo.control.model.promoted", provider.on_promoted)
        control.subscribe("nbo.control.model.retired", provider.on_retired)
        async with control:
            yield control


@pytest.mark.servers
async def test_every_node_serves_what_was_promoted_before_and_after_its_start(
    servers: object, registry: ModelRegistry
) -> None:
    address = str(servers.bootstrap_servers)  # type: ignore[attr-defined]
    await ensure_topics(address, ALL_TOPICS, partitions=4, replication=1)
    first, second = make_version(registry, 1), make_version(registry, 2)
    early, late = (ArtifactModelProvider(registry, AVAILABLE) for _ in range(2))
    async with KafkaEventPublisher(address, idempotence=False) as publisher, node(address, publisher, early, 1):
        # One batch of many: the embedded broker then names an end that is far too early.
        await publisher.publish([control_event(promoted(first, n)) for n in range(40)])
        async with node(address, publisher, late, 2):
            assert late.scorers()["cross_sell"].version == first.version
            await publisher.publish([control_event(promoted(second))])
            async with asyncio.timeout(10):
                while {serving(provider) for provider in (early, late)} != {second.version}:
                    await asyncio.sleep(0.01)


def serving(provider: ArtifactModelProvider) -> str | None:
    scorer = provider.scorers().get("cross_sell")
    return None if scorer is None else scorer.version


def test_the_promotion_names_the_version_and_can_be_checked(registry: ModelRegistry) -> None:
    manifest = make_version(registry, 1)
    event = promoted(manifest)
    assert event.subject == "model:cross_sell"
    assert event.data.path == manifest.version
    assert json.loads(control_event(event).value)["data"]["checksum"] == event.data.checksum
