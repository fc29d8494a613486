"""The world the HTTP benchmark runs in: a strategy, a model and customers, given alike to product and baseline.

60 customer attributes, 50 offers of six conditions each that every customer passes, one model of 200 trees over the
attributes and two offer columns; what is measured is work, so the numbers themselves mean nothing.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import lightgbm
import numpy as np
import yaml

from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.fold import fold
from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import update_from_event
from decision_engine.identifiers import CustomerId
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from event_schemas.codec import decode
from models.calibration import IdentityCalibration
from models.gbdt_scorer import CALIBRATION_FILE, MODEL_FILE
from models.manifest import Manifest
from models.registry import ModelRegistry
from services.adapters.artifact_model_provider import promotion_of
from services.adapters.control_topic import control_event
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.ports import EventPublisher

ATTRIBUTES = tuple(f"a{i}" for i in range(60))
OFFERS = 50
CONDITIONS = 6
PLACEMENT = "home_banner"
NOT_ALONE = (("mobile", "card_page_tile"), ("contact_centre", "agent_panel"))
"""Further placements of the world that app and agents share, by channel."""
MODEL = "bench"


@dataclass(frozen=True, slots=True)
class World:
    """Where the parts of the world lie."""

    strategy: Path
    model_root: Path
    model_file: Path
    manifest: Manifest
    customers: int


def build_world(folder: Path, *, trees: int, customers: int, refused: int = 0, shared: bool = False) -> World:
    """Writes strategy and model into `folder`. `refused` is how many further offers there are that the last of their
    six conditions keeps from every customer: rules to go through, but nothing to score. `shared`: every offer
    has a second placement of the app and one of the agents."""
    strategy = folder / "strategy.yaml"
    strategy.write_text(
        yaml.safe_dump(_strategy(refused, NOT_ALONE if shared else ()), allow_unicode=True, sort_keys=False)
    )
    booster = _booster(trees)
    model_file = folder / "baseline-model.txt"
    booster.save_model(str(model_file))
    manifest = _register(folder / "models", booster)
    return World(strategy, folder / "models", model_file, manifest, customers)


def candidate_rows() -> list[list[float]]:
    """The two offer columns of every offer, as the baseline holds them."""
    return [[float(_value(i)), _base_rate(i)] for i in range(OFFERS)]


def offer_names() -> list[str]:
    """The offers' names, in the order of `candidate_rows`."""
    return [f"offer_{i:02d}" for i in range(OFFERS)]


async def fill_store(redis_url: str, features: CompiledFeatures, world: World, namespace: str = "kairos") -> None:
    """Writes every customer twice: as the product's state, and as the hash the baseline reads."""
    keys = RedisKeys(namespace=namespace, layout=features.layout)
    async with RedisClient.open(redis_url) as client:
        await client.execute("SET", keys.complete, "1")
        for number, values in _customers(world.customers):
            customer = CustomerId(f"retail:{number}")
            state = fold(features, None, [_profile_update(customer, values)]).value
            fields = [x for name, value in values.items() for x in (name, str(value))]
            await client.execute_many(
                [("SET", keys.state(customer), state), ("HSET", f"features:{customer}", *fields)], timeout_s=5.0
            )


async def promote_model(publisher: EventPublisher, world: World) -> None:
    """Puts the model in service on every node."""
    promotion = promotion_of(world.manifest, event_id="bench", at=datetime.now(UTC), actor="bench")
    await publisher.publish([control_event(promotion)])


def _customers(count: int) -> Iterator[tuple[int, dict[str, int]]]:
    draw = np.random.default_rng(7)
    for number in range(1, count + 1):
        yield number, dict(zip(ATTRIBUTES, draw.integers(1, 1000, len(ATTRIBUTES)).tolist(), strict=True))


def _profile_update(customer: str, values: dict[str, int]) -> PositionedUpdate:
    event = {
        "specversion": "1.0",
        "id": f"profile-{customer}",
        "type": "bank.profile.updated",
        "source": "bench",
        "subject": customer,
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "dataschema": "https://kairos.example/schemas/bank.profile.updated/1",
        "data": {"attributes": values},
    }
    return PositionedUpdate(2, 0, update_from_event(decode(json.dumps(event).encode())))


def _value(i: int) -> int:
    return 1000 + 137 * i


def _base_rate(i: int) -> float:
    return round(0.01 + 0.001 * i, 4)


Further = tuple[tuple[str, str], ...]


def _offer(i: int, both: dict[str, str], content: dict[str, dict[str, str]], further: Further) -> dict[str, object]:
    name = f"offer_{i:02d}"
    whens = [f"a{(i + 7 * c) % 60} >= {-i}" for c in range(CONDITIONS)]
    if i >= OFFERS:
        whens[-1] = f"a{i % 60} >= {1000 + i}"
    return {
        "name": name,
        "group": "all",
        "title": both,
        "value": _value(i),
        "base_rate": _base_rate(i % OFFERS),
        "eligibility": [
            {"id": f"{name}_{c}", "when": when, "code": f"RULE_{c}", "text": both} for c, when in enumerate(whens)
        ],
        "reasons": [{"code": "FITS", "when": "a1 > 500", "text": both}],
        "treatments": _treatments(content, further),
    }


def _treatments(content: dict[str, dict[str, str]], further: Further) -> list[dict[str, object]]:
    """One for each channel."""
    places = {"mobile": [PLACEMENT]}
    for channel, placement in further:
        places.setdefault(channel, []).append(placement)
    names = ("t", "agent")
    return [
        {"name": name, "channel": channel, "placements": placements, "content": content}
        for name, (channel, placements) in zip(names, places.items(), strict=False)
    ]


def _strategy(refused: int, further: Further) -> dict[str, object]:
    both = {"zh-CN": "文字", "en": "text"}
    content = {locale: {"title": text, "body": text} for locale, text in both.items()}
    return {
        "name": "bench",
        "time_zone": "Asia/Shanghai",
        "currency": "CNY",
        "locales": ["zh-CN", "en"],
        "consents": [
            {"name": purpose, "default": "granted", "text": both} for purpose in ("marketing", "personalisation")
        ],
        "profile": [{"name": n, "type": "int", "theme": "basic", "description": both} for n in ATTRIBUTES],
        "models": [{"name": MODEL, "required": True}],
        "issues": [{"name": "acquire", "title": both}],
        "groups": [{"name": "all", "issue": "acquire", "model": MODEL, "title": both}],
        "offers": [_offer(i, both, content, further) for i in range(OFFERS + refused)],
        "placements": [
            {
                "id": placement,
                "channel": channel,
                "max_count": 3,
                "fallback": {"treatment": f"generic.{channel}.banner", "content": content},
            }
            for channel, placement in (("mobile", PLACEMENT), *further)
        ],
        "contact_policy": {
            "reservation_seconds": 2,
            "limits": [
                {"id": "offer_a_day", "scope": "offer", "limit": 50, "window": "1d", "code": "CAP_OFFER", "text": both},
                {"id": "all_a_day", "scope": "all", "limit": 200, "window": "1d", "code": "CAP_ALL", "text": both},
            ],
        },
    }


def _booster(trees: int) -> lightgbm.Booster:
    draw = np.random.default_rng(3)
    rows = draw.uniform(1, 1000, (20_000, len(ATTRIBUTES) + 2))
    rows[:, -1] /= 10_000
    logit = (rows[:, 0] + rows[:, 7] - rows[:, 13]) / 400 + rows[:, -2] / 2000 - 3
    labels = draw.random(len(rows)) < 1 / (1 + np.exp(-logit))
    parameters = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "num_threads": 1, "seed": 1}
    return lightgbm.train(parameters, lightgbm.Dataset(rows, labels), num_boost_round=trees)


def _register(root: Path, booster: lightgbm.Booster) -> Manifest:
    columns = [Column(name=n, source=ColumnSource.ATTRIBUTE) for n in ATTRIBUTES]
    columns += [Column(name=n, source=ColumnSource.OFFER) for n in ("value", "base_rate")]
    manifest = Manifest(
        name=MODEL, version="", kind="gbdt", schema=FeatureSchema(tuple(columns)), files={}, created_at=""
    )
    files = {
        MODEL_FILE: booster.model_to_string().encode(),
        CALIBRATION_FILE: json.dumps(IdentityCalibration().as_mapping()).encode(),
    }
    return ModelRegistry(root).save(manifest, files, datetime.now(UTC))
