"""Champion, challenger and shadow on a node: swapped by reference, made ready off the event loop; in the form that is
there at once, and compiled when that is ready."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from decision_engine.identifiers import CustomerId
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Scorer
from models import fast_scoring
from models.compatibility import AvailableColumns
from models.exact_forms import MarginForm, Vector
from models.fast_scoring import form_of
from models.manifest import Manifest
from models.registry import ModelRegistry
from services.adapters.artifact_model_provider import ArtifactModelProvider, OnlyForm
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.scoring_forms import ScoringForms
from services.use_cases.model_acts import Act, challenge_of, promotion_of, retirement_of, shadowing_of
from services.use_cases.model_traffic import scorers_for

NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)
SCHEMA = FeatureSchema((Column(name="spend", source=ColumnSource.ATTRIBUTE),))
AVAILABLE = AvailableColumns(texts=frozenset(), numbers=frozenset({(ColumnSource.ATTRIBUTE, "spend")}))
ACT = Act(event_id="A", at=NOON, actor="li.wei", approved_by="zhao.min")
CUSTOMERS = [CustomerId(f"retail:{number}") for number in range(400)]


def make_version(registry: ModelRegistry, minute: int, column: str = "spend") -> Manifest:
    """A registered version of `cross_sell`, each minute another."""
    draw = np.random.default_rng(minute)
    matrix = draw.normal(size=(400, 1))
    labels = (matrix[:, 0] + draw.normal(size=400) > 0).astype(float)
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 4}
    booster = lightgbm.train(parameters, lightgbm.Dataset(matrix, labels), 5)
    files = {"model.txt": booster.model_to_string().encode(), "calibration.json": b'{"kind": "identity"}'}
    schema = FeatureSchema((Column(name=column, source=ColumnSource.ATTRIBUTE),))
    draft = Manifest(name="cross_sell", version="", kind="gbdt", schema=schema, files={}, created_at="")
    return registry.save(draft, files, NOON + timedelta(minutes=minute))


def promoted(manifest: Manifest, after: int = 0) -> Any:
    at = NOON + timedelta(minutes=after)
    return promotion_of(manifest, event_id=f"P-{manifest.version}", at=at, actor="li.wei", approved_by="zhao.min")


def retired(role: Any) -> Any:
    return retirement_of("cross_sell", event_id="R", at=NOON, actor="li.wei", role=role)


def served(provider: ArtifactModelProvider) -> dict[str, int]:
    """Customers by the version that serves them."""
    counts: dict[str, int] = {}
    for customer in CUSTOMERS:
        scorer = scorers_for(provider.scorers(), customer).get("cross_sell")
        version = "none" if scorer is None else scorer.version
        counts[version] = counts.get(version, 0) + 1
    return counts


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models")


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def metrics() -> PrometheusMetrics:
    return PrometheusMetrics()


@pytest.fixture
def provider(
    registry: ModelRegistry, failures: list[str], metrics: PrometheusMetrics
) -> Iterator[ArtifactModelProvider]:
    forms = ScoringForms(metrics)
    yield ArtifactModelProvider(registry, AVAILABLE, failures.append, forms)
    forms.close()


async def test_decisions_go_on_while_a_version_is_read_verified_and_warmed(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step waits until the loop has scored with the version before: on the loop it would wait for ever."""
    first, second = make_version(registry, 1), make_version(registry, 2)
    decided, steps, threads = threading.Semaphore(0), list[str](), set[int]()
    provider = ArtifactModelProvider(registry, AVAILABLE)

    def waits(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            if steps is not None and provider.scorers():
                steps.append(name)
                threads.add(threading.get_ident())
                assert decided.acquire(timeout=10), f"{name} kept decisions waiting"
            return step(*args)

        return run

    await provider.on_promoted(promoted(first))
    monkeypatch.setattr(registry, "verify", waits("verify", registry.verify))
    monkeypatch.setattr(registry, "load", waits("load", registry.load))
    warm = "services.adapters.artifact_model_provider._warm_up"
    monkeypatch.setattr(warm, waits("warm", lambda _: None))
    swap = asyncio.create_task(provider.on_promoted(promoted(second)))
    while not swap.done():
        scorer = provider.scorers()["cross_sell"]
        assert scorer.score(np.zeros((3, 1))).shape == (3,)
        assert scorer.version == first.version or swap.done()
        decided.release()
        await asyncio.sleep(0)
    await swap
    assert provider.scorers()["cross_sell"].version == second.version
    assert {"verify", "load", "warm"} <= set(steps) and threading.get_ident() not in threads


async def test_a_version_serves_only_after_its_trial_calls(
    provider: ArtifactModelProvider, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed: list[tuple[str, bool]] = []

    def note(scorer: Scorer) -> None:
        warmed.append((scorer.version, bool(provider.scorers())))

    monkeypatch.setattr("services.adapters.artifact_model_provider._warm_up", note)
    manifest = make_version(registry, 1)
    await provider.on_promoted(promoted(manifest))
    assert warmed == [(manifest.version, False)]


async def test_a_challenger_takes_its_share_and_gives_it_back(
    provider: ArtifactModelProvider, registry: ModelRegistry
) -> None:
    champion, rival = make_version(registry, 1), make_version(registry, 2)
    await provider.on_challenged(challenge_of(rival, ACT, 0.25))
    assert served(provider) == {"none": 400}  # nobody is challenged yet
    await provider.on_promoted(promoted(champion))
    in_use = provider.scorers()
    shares = served(provider)
    assert set(shares) == {champion.version, rival.version} and 60 < shares[rival.version] < 140
    await provider.on_challenged(challenge_of(rival, ACT, 0.5))
    assert served(provider)[rival.version] > shares[rival.version]
    await provider.on_retired(retired("challenger"))
    assert served(provider) == {champion.version: 400}
    assert (
        sum(scorers_for(in_use, c)["cross_sell"].version == rival.version for c in CUSTOMERS) == shares[rival.version]
    )


async def test_a_challenger_that_is_promoted_and_taken_back_has_no_share_left(
    provider: ArtifactModelProvider, registry: ModelRegistry
) -> None:
    champion, rival = make_version(registry, 1), make_version(registry, 2)
    await provider.on_promoted(promoted(champion))
    await provider.on_challenged(challenge_of(rival, ACT, 0.25))
    await provider.on_promoted(promoted(rival, after=1))
    assert served(provider) == {rival.version: 400}
    await provider.on_promoted(promoted(champion, after=2))
    assert served(provider) == {champion.version: 400}


async def test_promoting_the_champion_again_ends_the_challenge(
    provider: ArtifactModelProvider, registry: ModelRegistry
) -> None:
    champion, rival = make_version(registry, 1), make_version(registry, 2)
    await provider.on_promoted(promoted(champion))
    await provider.on_challenged(challenge_of(rival, ACT, 0.25))
    await provider.on_promoted(promoted(champion, after=1))
    assert served(provider) == {champion.version: 400}


async def test_a_version_in_service_is_not_asked_again_in_the_shadow(
    provider: ArtifactModelProvider, registry: ModelRegistry
) -> None:
    version = make_version(registry, 1)
    await provider.on_shadowed(shadowing_of(version, ACT, 1.0))
    assert set(provider.shadows()) == {"cross_sell"}
    await provider.on_promoted(promoted(version))
    assert dict(provider.shadows()) == {}


async def test_a_challenger_that_cannot_serve_leaves_everybody_to_the_champion(
    provider: ArtifactModelProvider, registry: ModelRegistry, failures: list[str]
) -> None:
    champion, rival, unfit = make_version(registry, 1), make_version(registry, 2), make_version(registry, 3, "shoes")
    await provider.on_promoted(promoted(champion))
    await provider.on_challenged(challenge_of(rival, ACT, 0.25))
    await provider.on_challenged(challenge_of(unfit, ACT, 0.25))
    assert served(provider) == {champion.version: 400} and failures == ["cross_sell"]
    await provider.adopt(
        AvailableColumns(texts=frozenset(), numbers=AVAILABLE.numbers | {(ColumnSource.ATTRIBUTE, "shoes")})
    )
    assert set(served(provider)) == {champion.version, unfit.version}


async def test_a_shadow_decides_nothing_and_outlives_a_promotion(
    provider: ArtifactModelProvider, registry: ModelRegistry
) -> None:
    champion, next_one, shadow = (make_version(registry, minute) for minute in (1, 2, 3))
    await provider.on_promoted(promoted(champion))
    await provider.on_shadowed(shadowing_of(shadow, ACT, 0.5))
    await provider.on_promoted(promoted(next_one))
    assert served(provider) == {next_one.version: 400}
    found = provider.shadows()["cross_sell"]
    assert (found.scorer.version, found.sample) == (shadow.version, 0.5)
    await provider.on_retired(retired("shadow"))
    assert dict(provider.shadows()) == {} and served(provider) == {next_one.version: 400}


class Offset:
    """LightGBM's margins, or wrong ones."""

    def __init__(self, name: str, plain: MarginForm, by: float) -> None:
        self.name = name
        self._plain = plain
        self._by = by

    def margins(self, matrix: np.ndarray) -> Vector:
        return self._plain.margins(matrix) + self._by


def shown(metrics: PrometheusMetrics) -> set[str]:
    lines = metrics.exposition()[0].decode().splitlines()
    return {line for line in lines if line.startswith("kairos_model_compiled{")}


async def test_a_compiled_form_takes_over_by_reference_when_it_is_ready(
    provider: ArtifactModelProvider,
    registry: ModelRegistry,
    metrics: PrometheusMetrics,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready, threads = threading.Event(), set[int]()

    def compiled(text: str, model: object, plain: MarginForm, stopping: object) -> MarginForm:
        threads.add(threading.get_ident())
        assert ready.wait(10)
        return Offset("compiled", plain, 0.0)

    monkeypatch.setattr("services.adapters.scoring_forms.lignum_installed", lambda: True)
    monkeypatch.setattr(fast_scoring, "lignum_installed", lambda: True)
    monkeypatch.setattr(fast_scoring, "_interpreter", lambda text, model, plain: Offset("interpreter", plain, 0.0))
    monkeypatch.setattr(fast_scoring, "_compiled", compiled)
    await provider.on_promoted(promoted(make_version(registry, 1)))
    in_use = provider.scorers()
    assert form_of(in_use["cross_sell"]) == "interpreter"
    assert shown(metrics) == {'kairos_model_compiled{form="interpreter",model="cross_sell"} 1.0'}
    ready.set()
    async with asyncio.timeout(10):
        while form_of(provider.scorers()["cross_sell"]) != "compiled":
            await asyncio.sleep(0)
    assert form_of(in_use["cross_sell"]) == "interpreter"  # decisions under way keep what they began with
    assert shown(metrics) == {
        'kairos_model_compiled{form="interpreter",model="cross_sell"} 0.0',
        'kairos_model_compiled{form="compiled",model="cross_sell"} 1.0',
    }
    assert threads and threading.get_ident() not in threads


class Asked(OnlyForm):
    """Notes which versions are to be compiled."""

    def __init__(self) -> None:
        self.versions: list[str] = []

    def later(self, scorer: Scorer, done: Callable[[Scorer], None]) -> None:
        self.versions.append(scorer.version)


async def test_only_what_customers_meet_is_compiled_and_once(registry: ModelRegistry) -> None:
    asked = Asked()
    provider = ArtifactModelProvider(registry, AVAILABLE, pytest.fail, asked)
    first, second = make_version(registry, 1), make_version(registry, 2)
    await provider.on_promoted(promoted(first))
    await provider.on_shadowed(shadowing_of(second, ACT, 1.0))
    assert asked.versions == [first.version]
    await provider.on_challenged(challenge_of(second, ACT, 0.1))
    await provider.on_promoted(promoted(second, after=1))
    assert asked.versions == [first.version, second.version]


async def test_a_broken_form_is_logged_dropped_and_shown(
    provider: ArtifactModelProvider,
    registry: ModelRegistry,
    metrics: PrometheusMetrics,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(fast_scoring, "lignum_installed", lambda: True)
    monkeypatch.setattr(fast_scoring, "_interpreter", lambda text, model, plain: Offset("interpreter", plain, 1e-15))
    manifest = make_version(registry, 1)
    await provider.on_promoted(promoted(manifest))
    assert "interpreter" in caplog.text and "differ" in caplog.text and manifest.version in caplog.text
    assert form_of(provider.scorers()["cross_sell"]) == "masks"
    assert shown(metrics) == {'kairos_model_compiled{form="masks",model="cross_sell"} 1.0'}
    plain = registry.load(manifest.version)
    matrix = np.linspace(-2, 2, 50)[:, None]
    assert provider.scorers()["cross_sell"].score(matrix).tobytes() == plain.score(matrix).tobytes()
