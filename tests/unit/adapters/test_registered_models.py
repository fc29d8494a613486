"""The registry for those who look back: a chance taken apart adds up to what the model gave, and what it cannot say."""

from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import lightgbm
import numpy as np
import orjson
import pytest

from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.manifest import Manifest
from models.registry import ModelRegistry
from services.adapters.registered_models import RegistryModels
from services.use_cases.decision_replay import ReplayImpossible
from services.use_cases.observing.decision_proof import ScoreUnexplained

SCHEMA = FeatureSchema(
    (
        Column(name="card_spend_sum_30d", source=ColumnSource.ATTRIBUTE),
        Column(name="age", source=ColumnSource.ATTRIBUTE),
        Column(name="hour", source=ColumnSource.CONTEXT),
        Column(name="base_rate", source=ColumnSource.OFFER),
    )
)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A registry with one small model of trees, and its version."""
    root = tmp_path_factory.mktemp("registry")
    draw = np.random.default_rng(1)
    spent, age, hour = draw.uniform(0, 3e5, 800), draw.uniform(18, 80, 800), draw.integers(0, 24, 800)
    matrix = np.column_stack([spent, age, hour, draw.uniform(0, 0.2, 800)])
    labels = (draw.uniform(size=800) < 0.1 + spent / 6e5).astype(float)
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 6}
    booster = lightgbm.train(parameters, lightgbm.Dataset(matrix, labels), 10)
    files = {"model.txt": booster.model_to_string().encode(), "calibration.json": b'{"kind": "identity"}'}
    draft = Manifest(name="cross_sell", version="", kind="gbdt", schema=SCHEMA, files={}, created_at="")
    return root, ModelRegistry(root).save(draft, files, datetime(2026, 11, 1, tzinfo=UTC)).version


def record(version: str, **changed: object) -> bytes:
    """A decision that this version scored for."""
    data: dict[str, object] = {
        "decision_id": "01JD7ZK3V8Q4X9T2M5R6W7Y8AB",
        "customer_id": "retail:1",
        "time": "2026-11-21T09:50:00.123Z",
        "channel": "mobile",
        "placements_asked": [],
        "locale": "en",
        "strategy_version": "strategy-1",
        "models": {"cross_sell": version},
        "feature_layout": "1",
        "arm": "full",
        "personalised": True,
        "attributes": {"card_spend_sum_30d": 250_000},
        "placements": [],
    }
    event = {"specversion": "1.0", "id": "1", "type": "nbo.decision.made", "source": "kairos", "subject": "retail:1",
             "time": "2026-11-21T09:50:00.123Z", "datacontenttype": "application/json",
             "dataschema": "https://kairos.example/schemas/nbo.decision.made/1", "data": data | changed}  # fmt: skip
    return orjson.dumps(event)


@pytest.fixture
def prepared(small_bank: ModuleType) -> PreparedStrategy:
    found: PreparedStrategy = small_bank.live().prepared
    return found


def test_the_parts_of_a_chance_add_up_to_it(registered: tuple[Path, str], prepared: PreparedStrategy) -> None:
    root, version = registered
    models = RegistryModels(root)
    found = models.score_parts(record(version), prepared, "gold_card")
    assert (found.model, found.version) == ("cross_sell", version)
    total = found.average_probability + sum(part.probability for part in found.parts)
    assert total == pytest.approx(found.probability)
    scorer = models.scorers({"cross_sell": version})["cross_sell"]
    row = np.array([[250_000, np.nan, 17, 0.1]])  # 09:50 in UTC is ten to six in the bank's zone
    assert found.probability == pytest.approx(float(scorer.score(row)[0]))
    assert found.parts[0].column == "card_spend_sum_30d"
    assert found.parts[0].value == "250,000"
    assert all(part.missing == (part.column == "age") for part in found.parts)
    sizes = [abs(part.margin) for part in found.parts]
    assert sizes == sorted(sizes, reverse=True)


def test_what_cannot_be_taken_apart_says_why(registered: tuple[Path, str], prepared: PreparedStrategy) -> None:
    root, version = registered
    models = RegistryModels(root)
    cases = (
        (record(version), "nothing", "unknown_offer"),
        (record("prior"), "gold_card", "prior"),
        (record(version, models={}), "gold_card", "prior"),
        (record("cross_sell-20250101T000000Z-00000000"), "gold_card", "not_kept"),
        (record(version, personalised=False), "gold_card", "not_personalised"),
        (b"{}", "gold_card", "unknown_offer"),
    )
    for value, offer, reason in cases:
        with pytest.raises(ScoreUnexplained) as refused:
            models.score_parts(value, prepared, offer)
        assert refused.value.reason == reason


def test_the_version_of_the_record_counts_and_not_another(registered: tuple[Path, str]) -> None:
    root, version = registered
    assert RegistryModels(root).scorers({"cross_sell": version})["cross_sell"].version == version
    with pytest.raises(ReplayImpossible, match="not in the registry"):
        RegistryModels(root).scorers({"cross_sell": "cross_sell-20250101T000000Z-00000000"})
