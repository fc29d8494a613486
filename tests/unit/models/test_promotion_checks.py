"""What keeps a version out of service, check by check."""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Matrix
from models.decision_log.examples import Example, LoggedDecision, OfferFacts
from models.errors import ManifestInvalid
from models.evaluation.promotion_checks import (
    Assessment,
    Champion,
    Check,
    Judged,
    assess,
    decode_assessment,
    encode_assessment,
)
from models.manifest import Manifest, Metric, TrainingData

DAY_MS = 86_400_000
HELD_OUT_FROM = 1_000 * DAY_MS
END = 1_020 * DAY_MS
SCHEMA = FeatureSchema((Column(name="taste", source=ColumnSource.ATTRIBUTE),))
GOOD = {"auc": Metric(value=0.7, low=0.65, high=0.75), "log_loss_gain": Metric(value=0.01, low=0.005, high=0.02)}


@dataclass(frozen=True)
class Believing:
    """Scores the taste that the row carries, times a factor."""

    factor: float = 1.0
    version: str = "believing-1"
    schema: FeatureSchema = SCHEMA

    def score(self, matrix: Matrix) -> NDArray[np.float64]:
        return np.clip(matrix[:, 0] * self.factor, 0.001, 0.999)


def example(taste: float, *, accepted: bool, at_ms: int, group: str = "cards") -> Example:
    decision = LoggedDecision(
        decision_id="d",
        customer_id="c",
        decided_ms=at_ms,
        channel="mobile",
        arm="treated",
        personalised=True,
        models={},
        attributes={"taste": taste},
        context={},
        options=(),
    )
    offer = OfferFacts(offer="card", group=group, issue="acquire", model="m", value=1.0, base_rate=0.2)
    return Example(decision=decision, offer=offer, accepted=accepted)


def log(rows: int = 2_000, group: str = "cards") -> list[Example]:
    draw = np.random.default_rng(5)
    tastes = draw.uniform(0.05, 0.5, rows)
    accepted = draw.uniform(size=rows) < tastes
    moments = np.linspace(HELD_OUT_FROM, END - 1, rows).astype(int)
    return [
        example(float(taste), accepted=bool(yes), at_ms=int(at), group=group)
        for taste, yes, at in zip(tastes, accepted, moments, strict=True)
    ]


def judged(
    examples: Sequence[Example], factor: float = 1.0, now_ms: int | None = END, metrics: dict[str, Metric] | None = None
) -> Judged:
    data = TrainingData(
        since_ms=0,
        until_ms=END,
        held_out_since_ms=HELD_OUT_FROM,
        rows=10_000,
        positives=2_000,
        label="",
        attribution_seconds=60,
        fingerprint="",
    )
    draft = Manifest(
        name="m", version="", kind="gbdt", schema=SCHEMA, files={}, created_at="", data=data, metrics=metrics or GOOD
    )
    return Judged(
        draft=draft, scorer=Believing(factor), examples=examples, zone=ZoneInfo("Asia/Shanghai"), now_ms=now_ms
    )


def outcome(assessment: Assessment, name: str) -> Check:
    return next(check for check in assessment.checks if check.name == name)


def test_a_version_that_is_right_passes_every_check() -> None:
    found = assess(judged(log()), Champion(scorer=Believing(1.6, "champion-1"), until_ms=HELD_OUT_FROM), "rows")
    assert {check.outcome for check in found.checks} == {"passed"} and found.problems == ()
    assert "champion-1" in outcome(found, "not_worse_than_champion").finding


def test_a_version_worse_than_the_one_in_service_is_kept_out() -> None:
    found = assess(judged(log(), factor=1.9), Champion(scorer=Believing(), until_ms=0), "rows")
    assert [problem.split(":")[0] for problem in found.problems] == ["not_worse_than_champion"]


def test_versions_are_compared_on_rows_the_champion_has_not_seen() -> None:
    found = assess(judged(log(), factor=1.9), Champion(scorer=Believing(), until_ms=END - DAY_MS), "rows")
    check = outcome(found, "not_worse_than_champion")
    assert check.outcome == "not_known" and "only 100 rows" in check.finding


def test_a_group_that_is_promised_three_times_what_comes_is_named() -> None:
    found = assess(judged([*log(), *log(group="loans")], factor=3.0), None, "rows")
    check = outcome(found, "unbiased_groups")
    assert check.outcome == "failed" and "cards" in check.finding and "loans" in check.finding


def test_few_acceptances_do_not_condemn_a_group() -> None:
    check = outcome(assess(judged(log(60), factor=3.0), None, "rows"), "unbiased_groups")
    assert check.outcome == "not_known"


@pytest.mark.parametrize(("days", "expected"), [(29, "passed"), (31, "failed")])
def test_rows_must_be_of_the_last_month(days: int, expected: str) -> None:
    found = assess(judged(log(), now_ms=END + days * DAY_MS), None, "rows")
    assert outcome(found, "data_recent").outcome == expected


def test_the_age_of_a_replay_says_nothing() -> None:
    assert outcome(assess(judged(log(), now_ms=None), None, "rows"), "data_recent").outcome == "not_known"


def test_what_was_found_can_be_read_again() -> None:
    found = assess(judged(log()), None, "schedule")
    assert decode_assessment(encode_assessment(found)) == found


@pytest.mark.parametrize("text", [b"", b"{}", b'{"reason": "rows", "checks": [1]}'])
def test_a_damaged_file_of_checks_is_said_to_be_one(text: bytes) -> None:
    with pytest.raises(ManifestInvalid, match=r"checks\.json"):
        decode_assessment(text)
