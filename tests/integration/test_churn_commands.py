"""`kairos snapshot`, `train --family`, `churn` and `models card`: from a small bank's archive to published scores."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.parquet as pq
import pytest

from decision_engine.features.compiled import compile_features
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import EVENT_FIELDS, topic_index, update_from_event
from event_schemas.codec import decode, encode_trusted
from event_schemas.topics import topic_for
from models.churn_scores import ChurnScore
from models.decision_log.state_snapshots import end_of_day, read_states
from models.registry import ModelRegistry
from services.__main__ import main
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.parquet_archive import ParquetArchive
from services.commands.churn import churn_training, score_events
from services.commands.models_now import ModelsNow
from services.ports import Delivery
from services.simulation.cloud_events import rfc3339

ZONE = ZoneInfo("Asia/Shanghai")
FIRST = date(2026, 1, 10)
STEPS, PEOPLE = 8, 500
DAY_ONE = end_of_day(FIRST, ZONE)
STRATEGY = """
name: leavers
time_zone: Asia/Shanghai
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: No marketing}}
  - {name: personalisation, default: granted, text: {en: No personalisation}}
profile:
  - {name: balance, type: int, theme: basic, description: {en: Balance}}
  - {name: logins, type: int, theme: basic, description: {en: Logins}}
  - {name: tier, type: string, theme: basic, sensitive: true, description: {en: Tier}}
  - {name: churn_score, type: int, theme: basic, description: {en: Churn score}}
models:
  - {name: cross_sell}
  - name: churn
    family: churn
    horizon: 10d
    leaves: 'balance < 100'
    score: churn_score
    monotone: {falling: [logins]}
    fairness: [{attribute: tier}]
issues: [{name: retain}]
groups: [{name: retention, issue: retain, model: cross_sell}]
placements:
  - id: banner
    channel: mobile
    max_count: 1
    fallback: {treatment: generic.mobile.banner, content: {en: {title: Hello}}}
contact_policy: {reservation_seconds: 600, limits: []}
exploration: {kind: off}
offers:
  - name: stay
    group: retention
    title: {en: Stay}
    value: 100
    base_rate: 0.2
    applicability: [{id: leaving, when: 'churn_score >= 20', code: STAYS, text: {en: Stays}}]
    treatments: [{name: banner, channel: mobile, placements: [banner], content: {en: {title: Stay}}}]
"""


def event(number: int, kind: str, at_ms: int, data: dict[str, object]) -> Delivery:
    head = {"id": f"{kind}-{number}-{at_ms}", "source": "bank", "subject": f"retail:{number}", "time": rfc3339(at_ms)}
    return Delivery(topic_for(kind), 0, 0, head["subject"].encode(), encode_trusted(kind, head, data), ())


def history() -> Iterator[Delivery]:
    """Ten days before the balance goes, the logins do; two in a hundred refuse personalisation."""
    draw = np.random.default_rng(1)
    leaves_on = draw.integers(1, 3 * STEPS, PEOPLE)
    for step in range(STEPS):
        at_ms = end_of_day(FIRST + timedelta(days=10 * step), ZONE) - 3_600_000
        for number in range(PEOPLE):
            warned, left = step >= leaves_on[number] - 1, step >= leaves_on[number]
            values: dict[str, object] = {
                "balance": 5 if left else int(draw.integers(500, 90_000)),
                "logins": int(draw.poisson(1 if warned else 7)),
                "tier": ("mass", "private")[number % 2],
            }
            yield event(number, "bank.profile.updated", at_ms, {"attributes": values})
            if step == 0 and number % 50 == 0:
                yield event(number, "bank.consent.changed", at_ms, {"purpose": "personalisation", "granted": False})


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("leavers")
    offsets: dict[str, int] = {}
    deliveries = []
    for delivery in history():
        offsets[delivery.topic] = offsets.get(delivery.topic, -1) + 1
        deliveries.append(delivery._replace(offset=offsets[delivery.topic]))
    with ParquetArchive(root) as target:
        for topic in offsets:
            target.append([delivery for delivery in deliveries if delivery.topic == topic])
    return root


@pytest.fixture
def bank(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "strategy.yaml").write_text(STRATEGY, encoding="utf-8")
    for name in [name for name in os.environ if name.startswith("KAIROS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KAIROS_STRATEGY_PATH", str(tmp_path / "strategy.yaml"))
    monkeypatch.setenv("KAIROS_ARCHIVE_PATH", str(archive))
    monkeypatch.setenv("KAIROS_MODEL_PATH", str(tmp_path / "models"))
    return tmp_path


def test_from_archived_events_to_scores_that_a_rule_can_read(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshots = bank / "snapshots"
    days = [FIRST + timedelta(days=10 * step) for step in range(STEPS)]
    at = [word for day in days for word in ("--at", day.isoformat())]
    assert main(["snapshot", *at, "--snapshots", str(snapshots)]) == 0
    assert f"{PEOPLE} customers, 10 not to be profiled" in capsys.readouterr().out
    first = read_states(snapshots, days[0], ZONE)
    assert sum(first.personalised) == PEOPLE - 10 and "tier" in first.columns

    assert main(["train", "--family", "churn", "--snapshots", str(snapshots)]) == 0
    registry = ModelRegistry(bank / "models")
    version = registry.newest("churn")
    assert version is not None and version in capsys.readouterr().out
    auc = registry.manifest(version).metrics["auc"]
    assert auc.low is not None and auc.low > 0.6
    assert main(["models", "card", version]) == 0
    card = capsys.readouterr().out
    assert "Family: churn" in card and "### tier" in card and "has left within 10 days: balance < 100" in card
    assert main(["models", "card", version, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"]["falling"] == ["logins"]

    out = bank / "scores.parquet"
    assert main(["churn", "--snapshots", str(snapshots), "--out", str(out)]) == 0
    assert "490; the others refused personalisation" in capsys.readouterr().out
    chances = dict(zip(*pq.read_table(out, columns=["customer_id", "chance"]).to_pydict().values(), strict=True))
    assert chances["retail:50"] is None and 0 <= chances["retail:1"] <= 1


def test_only_scores_that_changed_are_told_and_a_refusal_takes_the_old_one_back(bank: Path) -> None:
    strategy = load_strategy_file(bank / "strategy.yaml")
    training = churn_training(strategy, None)
    assert main(["snapshot", "--at", FIRST.isoformat(), "--snapshots", str(bank / "s")]) == 0
    plain = read_states(bank / "s", FIRST, ZONE)
    row = {customer: place for place, customer in enumerate(plain.customers)}
    before: list[int | None] = [None] * len(plain.customers)
    before[row["retail:1"]], before[row["retail:2"]], before[row["retail:50"]] = 30, 30, 80
    snapshot = replace(plain, columns={**plain.columns, "churn_score": before})
    chances = {"retail:1": 0.301, "retail:2": 0.55, "retail:3": 0.01}
    scores = [ChurnScore(customer_id=customer, chance=chances.get(customer)) for customer in plain.customers]
    events = [decode(e.value) for e in score_events(training, "churn-v", snapshot, scores)]
    told = {e.subject: e.data.attributes for e in events}  # type: ignore[union-attr]
    assert told == {
        "retail:2": {"churn_score": 55}, "retail:3": {"churn_score": 1}, "retail:50": {"churn_score": 0},
    }  # fmt: skip
    assert len({e.id for e in events}) == 3


def test_the_score_of_who_refused_personalisation_is_missing_for_rules_whatever_is_stored(bank: Path) -> None:
    features = compile_features(load_strategy_file(bank / "strategy.yaml").declarations, EVENT_FIELDS)
    told = [
        event(7, "bank.profile.updated", DAY_ONE + 1_000, {"attributes": {"churn_score": 80, "balance": 9}}),
        event(7, "bank.consent.changed", DAY_ONE + 2_000, {"purpose": "personalisation", "granted": False}),
        event(7, "bank.consent.changed", DAY_ONE + 3_000, {"purpose": "personalisation", "granted": True}),
    ]
    states = [
        fold(
            features,
            None,
            [
                PositionedUpdate(topic_index(delivery.topic), offset, update_from_event(decode(delivery.value or b"")))
                for offset, delivery in enumerate(told[:count])
            ],
        ).value
        for count in (1, 2, 3)
    ]
    scores = [read_snapshot(features, state, DAY_ONE + 4_000).attributes.get("churn_score") for state in states]
    assert scores == [80, None, 80]


def test_a_version_that_nobody_approved_is_scored_but_not_published(
    bank: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = ModelsNow()

    async def read(_: object) -> ModelsNow:
        return now

    monkeypatch.setattr("services.commands.churn.models_now", read)
    days = [FIRST + timedelta(days=10 * step) for step in range(STEPS)]
    at = [word for day in days for word in ("--at", day.isoformat())]
    assert main(["snapshot", *at, "--snapshots", str(bank / "s")]) == 0
    assert main(["train", "--family", "churn", "--snapshots", str(bank / "s")]) == 0
    assert main(["churn", "--snapshots", str(bank / "s"), "--publish"]) == 1
    assert "only what a second person has approved is published" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--family", "churn", "--snapshots", "nowhere"], "kairos snapshot"),
        (["train", "--family", "acquisition"], "declares no model of the family acquisition"),
        (["churn", "--snapshots", "nowhere"], "train --family churn"),
        (["churn", "--model", "cross_sell"], "declares: churn"),
        (["snapshot", "--at", "2020-01-01"], "no customer has an event"),
        (["models", "card", "churn-20260101T000000Z-00000000"], "registry"),
    ],
)
def test_what_is_missing_is_said(
    bank: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 1
    assert said in capsys.readouterr().err
