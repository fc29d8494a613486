"""What time changes is asked again when a proposal is approved: how old it is, and how old its rows are."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.evaluation.promotion_checks import CHECKS_FILE, Assessment, Check, encode_assessment
from models.manifest import Manifest, Metric, TrainingData
from services.commands.model_approvals import (
    ProposalLapsed,
    Terms,
    approving,
    proposal_lines,
    proposing,
    recorded_problems,
)
from services.commands.models_now import ModelsNow
from services.use_cases.model_acts import Act

NOON = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)
WEEK = Terms(proposal_days=7)
VERSION = "cards-20260309T120000Z-0000000a"
GOOD = Metric(value=0.7, low=0.65, high=0.75)


def version(rows_until: datetime, window: timedelta = timedelta(days=7)) -> Manifest:
    until_ms = round(rows_until.timestamp() * 1000)
    data = TrainingData(
        since_ms=0, until_ms=until_ms, held_out_since_ms=0, rows=1, positives=1, label="",
        attribution_seconds=round(window.total_seconds()), fingerprint="",
    )  # fmt: skip
    return Manifest(
        name="cards", version=VERSION, kind="gbdt", files={}, created_at="2026-03-09T12:00:00Z", data=data,
        schema=FeatureSchema((Column(name="spend", source=ColumnSource.ATTRIBUTE),)),
        metrics={"auc": GOOD, "log_loss_gain": GOOD},
    )  # fmt: skip


def act(actor: str, days: float) -> Act:
    return Act(event_id="e1", at=NOON + timedelta(days=days), actor=actor)


def registry(manifest: Manifest) -> Any:
    """Keeps beside the version that its rows were recent when it was fitted."""
    fitted = Assessment(reason="rows", checks=(Check("data_recent", "passed", "its newest row is 1.0 days old"),))
    files = {CHECKS_FILE: encode_assessment(fitted)}
    return SimpleNamespace(file=lambda _, name: files.get(name))


async def proposed(manifest: Manifest, proposed_after: float = 0) -> ModelsNow:
    now = ModelsNow()
    asked = act("li.wei", proposed_after)
    await now.note(proposing(manifest, registry(manifest), asked, None, WEEK.now_ms(asked.at)))
    return now.standing()


async def test_a_proposal_is_approved_within_its_days() -> None:
    manifest = version(NOON)
    event = approving(await proposed(manifest), manifest, act("zhao.min", 7), None, WEEK)
    assert event.type == "nbo.control.model.promoted"


@pytest.mark.parametrize("share", [None, 0.1])
async def test_an_older_proposal_is_refused_and_has_to_be_made_again(share: float | None) -> None:
    manifest = version(NOON)
    with pytest.raises(ProposalLapsed, match=r"7\.1 days ago, and a proposal holds for 7 .*models propose cards-"):
        approving(await proposed(manifest), manifest, act("zhao.min", 7.1), share, WEEK)
    again = await proposed(manifest, 7.1)
    assert approving(again, manifest, act("zhao.min", 7.2), share, WEEK) is not None


async def test_rows_grown_old_since_the_proposal_are_refused_however_recent_it_is() -> None:
    manifest = version(NOON - timedelta(days=28))
    now = await proposed(manifest)
    assert approving(now, manifest, act("zhao.min", 1.9), None, WEEK) is not None
    with pytest.raises(ProposalLapsed, match=r"newest row is 31\.0 days old, 30 at most; train a new version"):
        approving(now, manifest, act("zhao.min", 3), None, WEEK)


async def test_a_replays_rows_have_no_age_but_its_proposals_do() -> None:
    replay = Terms(proposal_days=7, replay=True)
    manifest = version(datetime(1998, 1, 1, tzinfo=UTC))
    now = await proposed(manifest)
    assert approving(now, manifest, act("zhao.min", 1), None, replay) is not None
    with pytest.raises(ProposalLapsed):
        approving(now, manifest, act("zhao.min", 8), None, replay)


def test_a_proposal_says_how_old_its_rows_are_when_it_is_made() -> None:
    manifest = version(NOON - timedelta(days=29))
    event: Any = proposing(manifest, registry(manifest), act("li.wei", 0), None, WEEK.now_ms(NOON))
    assert event.data.checks["data_recent"] == "passed: its newest row is 29.0 days old, 30 at most"
    later = WEEK.now_ms(NOON + timedelta(days=2))
    assert [p.split(":")[0] for p in recorded_problems(manifest, registry(manifest), later)] == ["data_recent"]


def test_outcomes_that_take_months_to_be_known_make_no_rows_too_old() -> None:
    manifest = version(NOON - timedelta(days=200), window=timedelta(days=180))
    assert recorded_problems(manifest, registry(manifest), WEEK.now_ms(NOON)) == ()


async def test_the_list_says_which_proposals_have_lapsed() -> None:
    now = await proposed(version(NOON))
    assert "holds until 2026-03-16 12:00 UTC" in proposal_lines(now, NOON, WEEK)[0]
    assert "lapsed 2026-03-16 12:00 UTC" in proposal_lines(now, NOON + timedelta(days=8), WEEK)[0]
