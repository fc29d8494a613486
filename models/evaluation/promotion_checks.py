"""What a version must pass before it may serve: its own figures, its rows' age, and the version it would replace.

The checks are made once, on rows neither version learnt from, and kept in the version's folder (`checks.json`), so that
whoever approves it later sees what was found then. The one that time alone changes is made again at the approval. A
check that cannot be made passes as `not_known`: it is for the second person to judge what that means.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import tzinfo
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Scorer
from models.decision_log.design_matrix import build_examples
from models.decision_log.examples import Example
from models.errors import ManifestInvalid
from models.evaluation.intervals import Z95
from models.evaluation.log_loss import log_loss_gain
from models.manifest import Manifest

Vector = NDArray[np.float64]
Outcome = Literal["passed", "failed", "not_known"]

CHECKS_FILE = "checks.json"
BESIDE_CHAMPION = "not_worse_than_champion"
DATA_RECENT = "data_recent"
LEAST_COMPARED = 200
"""Rows, below which two versions are not compared."""
_LEAST_POSITIVES = 20
_GROUP_POSITIVES = 30
_BIAS = 2.0
"""Predicted over observed may be this far from 1, either way, before doubt is out of the question."""
_OLDEST_DAYS = 30
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, what came of it, and what was found in words with figures."""

    name: str
    outcome: Outcome
    finding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """All checks of one version. `reason` says what started its fit; `champion` is the version it was compared with."""

    reason: str
    checks: tuple[Check, ...]
    champion: str | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """The findings of the checks that failed; empty when the version may be put forward."""
        return tuple(f"{check.name}: {check.finding}" for check in self.checks if check.outcome == "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The version in service, and up to when (epoch milliseconds, exclusive) it has seen rows."""

    scorer: Scorer
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A version not yet registered, with the log's rows to judge it on, in time order, and the bank's time zone.
    `now_ms` is None where the log is a replay's, whose age says nothing."""

    draft: Manifest
    scorer: Scorer
    examples: Sequence[Example]
    zone: tzinfo
    now_ms: int | None


def assess(judged: Judged, champion: Champion | None, reason: str) -> Assessment:
    """Makes every check that can be made."""
    return Assessment(
        reason=reason,
        champion=None if champion is None else champion.scorer.version,
        checks=(
            *figure_checks(judged.draft),
            recent_check(judged.draft, judged.now_ms),
            _unbiased_groups(judged),
            _beside(judged, champion),
        ),
    )


def figure_checks(manifest: Manifest) -> tuple[Check, Check]:
    """Whether it tells customers apart, and says more than the base rates do: by the 95 % intervals' lower ends."""
    ranking, gain = manifest.metrics.get("auc"), manifest.metrics.get("log_loss_gain")
    apart = ranking is not None and ranking.low is not None and ranking.low > 0.5
    more = gain is not None and gain.low is not None and gain.low > 0.0
    auc = "unknown" if ranking is None else f"{ranking.value:.3f} from {_shown(ranking.low)}"
    gained = "unknown" if gain is None else f"gain {gain.value:.5f} from {_shown(gain.low)}"
    return (
        _check("ranks", f"AUC is {'' if apart else 'not '}above 0.5 beyond doubt ({auc})", good=apart),
        _check(
            "beats_base_rates",
            f"log loss is {'' if more else 'not '}below that of the base rates beyond doubt ({gained})",
            good=more,
        ),
    )


def recent_check(manifest: Manifest, now_ms: int | None) -> Check:
    """Whether what it learnt from is recent enough at that moment (epoch milliseconds); None: the log is a replay's."""
    if manifest.data is None:
        return Check(DATA_RECENT, "not_known", "the version names no training data")
    if now_ms is None:
        return Check(DATA_RECENT, "not_known", "the clock of this deployment follows a replay")
    if manifest.data.attribution_seconds * 1000 >= _OLDEST_DAYS * _DAY_MS:
        return Check(DATA_RECENT, "not_known", "outcomes take longer to be known than its newest row may be old")
    days = (now_ms - manifest.data.until_ms) / _DAY_MS
    return _check(
        DATA_RECENT, f"its newest row is {days:.1f} days old, {_OLDEST_DAYS} at most", good=days <= _OLDEST_DAYS
    )


def asked_again(assessment: Assessment, manifest: Manifest, now_ms: int | None) -> Assessment:
    """The assessment with the checks that time changes made anew, at that moment."""
    now = recent_check(manifest, now_ms)
    known = any(check.name == now.name for check in assessment.checks)
    checks = tuple(now if check.name == now.name else check for check in assessment.checks)
    return replace(assessment, checks=checks if known else (*checks, now))


def promotion_problems(manifest: Manifest) -> list[str]:
    """Why the version's own figures keep it out of service; empty when they do not."""
    return [check.finding for check in figure_checks(manifest) if check.outcome == "failed"]


def encode_assessment(assessment: Assessment) -> bytes:
    """The assessment as JSON."""
    return json.dumps(asdict(assessment), indent=2, ensure_ascii=False).encode() + b"\n"


def decode_assessment(text: bytes) -> Assessment:
    """The assessment of that JSON. Raises ManifestInvalid."""
    try:
        body = json.loads(text)
        checks = tuple(
            Check(str(c["name"]), cast("Outcome", str(c["outcome"])), str(c["finding"])) for c in body["checks"]
        )
        return Assessment(reason=str(body["reason"]), champion=body["champion"], checks=checks)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ManifestInvalid(f"{CHECKS_FILE} cannot be read: {type(error).__name__}: {error}") from error


def _unbiased_groups(judged: Judged) -> Check:
    """Predicted over observed acceptances by offer group; a group counts when the bias is beyond doubt (Poisson)."""
    rows = _unseen(judged, None)
    if not rows:
        return Check("unbiased_groups", "not_known", "no rows it was only judged on")
    examples = build_examples(rows, judged.scorer.schema, judged.zone)
    predicted = judged.scorer.score(examples.matrix)
    wrong, looked_at = [], 0
    for group, mine in _by(rows, lambda row: row.offer.group):
        observed = float(examples.labels[mine].sum())
        if observed < _GROUP_POSITIVES:
            continue
        looked_at += 1
        expected, reach = float(predicted[mine].sum()), Z95 * float(np.sqrt(observed))
        if expected > _BIAS * (observed + reach) or expected < (observed - reach) / _BIAS:
            wrong.append(f"{group}: {expected:.0f} predicted, {observed:.0f} came")
    if not looked_at:
        return Check("unbiased_groups", "not_known", f"no group has {_GROUP_POSITIVES} acceptances")
    said = "; ".join(wrong) or f"no group of {looked_at} is off by more than a factor of {_BIAS:g} beyond doubt"
    return _check("unbiased_groups", said, good=not wrong)


def _beside(judged: Judged, champion: Champion | None) -> Check:
    """Both on rows neither learnt from; fails when the new one's log loss is worse beyond doubt."""
    name = BESIDE_CHAMPION
    if champion is None:
        return Check(name, "not_known", "no version is in service")
    rows = _unseen(judged, champion)
    positives = sum(row.accepted for row in rows)
    if len(rows) < LEAST_COMPARED or positives < _LEAST_POSITIVES:
        return Check(name, "not_known", f"only {len(rows)} rows with {positives} acceptances that neither has seen")
    mine = build_examples(rows, judged.scorer.schema, judged.zone)
    theirs = build_examples(rows, champion.scorer.schema, judged.zone)
    gain = log_loss_gain(mine.labels, judged.scorer.score(mine.matrix), champion.scorer.score(theirs.matrix))
    gained = f"{gain.value:.5f} [{gain.low:.5f}, {gain.high:.5f}]"
    said = f"log loss gained on {champion.scorer.version}: {gained}, {len(rows)} rows"
    return _check(name, said, good=gain.high >= 0.0)


def _unseen(judged: Judged, champion: Champion | None) -> list[Example]:
    if judged.draft.data is None:
        return []
    since_ms = max(judged.draft.data.held_out_since_ms, 0 if champion is None else champion.until_ms)
    return [example for example in judged.examples if example.decision.decided_ms >= since_ms]


def _by(rows: Sequence[Example], key_of: Callable[[Example], str]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    keys = np.array([key_of(row) for row in rows])
    for key in np.unique(keys).tolist():
        yield str(key), keys == key


def _check(name: str, finding: str, *, good: bool) -> Check:
    return Check(name, "passed" if good else "failed", finding)


def _shown(low: float | None) -> str:
    return "unknown" if low is None else f"{low:.5f}"


def findings(assessment: Assessment) -> Mapping[str, str]:
    """Check name to outcome and finding, as the control topic carries them."""
    return {check.name: f"{check.outcome}: {check.finding}" for check in assessment.checks}
