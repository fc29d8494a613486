"""`kairos churn`: scores everybody of a snapshot with a churn model, and tells the bank's own profile.

The score is published as `bank.profile.updated` of the attribute that the strategy's model declares (`score`), in
percent, so that rules, segments, triggers and reasons read it like any other attribute, decisions record it, and replay
holds. Nothing is computed on the request path.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from decision_engine.model_training import Family, ModelTraining
from decision_engine.strategy import Strategy
from models.churn_scores import ChurnScore, churn_scores
from models.compatibility import available_columns
from models.decision_log.state_snapshots import StateSnapshot, read_states, snapshot_days
from models.errors import ModelsError
from models.evaluation.report import aligned
from models.registry import ModelRegistry
from services.bootstrap import load_strategy, open_publisher
from services.commands.model_approvals import serving_version
from services.commands.models_now import ModelsNow, models_now
from services.ports import OutgoingEvent, ShellError
from services.settings import Settings, read_settings
from services.simulation.cloud_events import EventHead, cloud_event

NAME = "churn"
HELP = "score every customer of a snapshot with a churn model; publish the scores as profile attributes"
EXAMPLE = """kairos churn --snapshots var/snapshots
  kairos churn --version churn-20261120T020000Z-0a1b2c3d --publish --out var/churn.parquet"""

BATCH = 1_000
_BANDS = (0, 1, 2, 5, 10, 20, 50, 101)


class ScoringFailed(ShellError):
    """There is no model, no snapshot, or nothing to publish to."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """A snapshot's scores, and what they are to be called."""

    version: str
    snapshot: StateSnapshot
    scores: list[ChurnScore]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, which day, and what to do with the scores."""
    parser.add_argument("--model", help="the churn model's name (default: the strategy's only one)")
    parser.add_argument("--version", help="version (default: the newest of the model)")
    parser.add_argument("--models", type=Path, help="root of the model registry (default KAIROS_MODEL_PATH)")
    parser.add_argument("--snapshots", type=Path, default=Path("var/snapshots"), help="folder of the snapshots")
    parser.add_argument("--at", type=date.fromisoformat, help="day of the snapshot (default: the newest)")
    parser.add_argument("--out", type=Path, help="also write customer, chance and percent as Parquet")
    parser.add_argument("--publish", action="store_true", help="publish the scores that changed")


def run(args: argparse.Namespace) -> int:
    """Scores, prints how many stand where, writes and publishes. Raises ScoringFailed, StrategyInvalid,
    BusUnavailable."""
    settings = read_settings(os.environ)
    strategy = load_strategy(settings).strategy
    training = churn_training(strategy, args.model)
    if args.publish and training.score is None:
        raise ScoringFailed(f"{training.name} declares no attribute to publish to; give it `score:` in the strategy")
    try:
        scored = _score(args, settings, strategy, training)
    except (ModelsError, OSError) as error:
        raise ScoringFailed(str(error)) from error
    print("\n".join(_table(scored)))
    if args.out is not None:
        write_scores(args.out, scored.scores)
    if args.publish:
        _require_in_service(asyncio.run(models_now(settings)), training.name, scored.version)
        print(f"\npublished {asyncio.run(_publish(settings, training, scored)):,} scores that changed")
    return 0


def churn_training(strategy: Strategy, name: str | None) -> ModelTraining:
    """The churn model of that name, or the only one. Raises ScoringFailed."""
    found = [t for t in strategy.trainings if t.family is Family.CHURN and name in (None, t.name)]
    if len(found) != 1:
        known = ", ".join(t.name for t in strategy.trainings if t.family is Family.CHURN) or "none"
        raise ScoringFailed(f"which churn model? The strategy {strategy.name} declares: {known}")
    return found[0]


def score_events(training: ModelTraining, version: str, snapshot: StateSnapshot, scores: Sequence[ChurnScore]
                 ) -> list[OutgoingEvent]:  # fmt: skip
    """One event for everybody whose attribute is another than the score, as of the snapshot. Who refused
    personalisation is told of only where an earlier score has to go: it becomes 0."""
    if training.score is None:
        return []
    events = []
    before = snapshot.columns.get(training.score, (None,) * len(scores))
    for score, old in zip(scores, before, strict=True):
        if score.percent == old or (score.chance is None and old is None):
            continue
        head = EventHead(
            id=f"{version}-{snapshot.day.isoformat()}-{score.customer_id}",
            type="bank.profile.updated",
            source="kairos/churn",
            subject=score.customer_id,
            at_ms=snapshot.at_ms,
        )
        events.append(cloud_event(head, {"attributes": {training.score: score.percent}}).event)
    return events


def write_scores(path: Path, scores: Sequence[ChurnScore]) -> None:
    """A table of `customer_id`, `chance` and `percent`, nulls for who is not to be profiled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "customer_id": pa.array([score.customer_id for score in scores], pa.string()),
        "chance": pa.array([score.chance for score in scores], pa.float64()),
        "percent": pa.array([None if s.chance is None else s.percent for s in scores], pa.int32()),
    }
    beside = path.with_suffix(".new")
    pq.write_table(pa.table(columns), beside)
    beside.replace(path)


def _score(args: argparse.Namespace, settings: Settings, strategy: Strategy, training: ModelTraining) -> _Scored:
    registry = ModelRegistry(args.models or settings.model_path)
    version = args.version or registry.newest(training.name)
    if version is None:
        raise ScoringFailed(f"no version of {training.name} is registered; `kairos train --family churn` makes one")
    if registry.manifest(version).name != training.name:
        raise ScoringFailed(f"{version} is no version of {training.name}")
    days = [args.at] if args.at else snapshot_days(args.snapshots)
    if not days:
        raise ScoringFailed(f"no snapshot in {args.snapshots}; `kairos snapshot --at DAY` writes one")
    snapshot = read_states(args.snapshots, days[-1], ZoneInfo(strategy.time_zone))
    scorer = registry.load(version)
    available_columns(strategy).require(scorer.schema)
    return _Scored(version, snapshot, churn_scores(scorer, snapshot))


def _require_in_service(now: ModelsNow, model: str, version: str) -> None:
    """Offers, segments and triggers read what is published, so it needs the second person that a promotion needs."""
    serving = serving_version(now, model)
    if serving != version:
        raise ScoringFailed(
            f"{version} is not in service ({serving or 'no version'} of {model} is), and only what a second person has "
            "approved is published: `kairos models propose` it, have it approved, and publish again"
        )


async def _publish(settings: Settings, training: ModelTraining, scored: _Scored) -> int:
    events = score_events(training, scored.version, scored.snapshot, scored.scores)
    async with open_publisher(settings) as publisher:
        for start in range(0, len(events), BATCH):
            await publisher.publish(events[start : start + BATCH])
    return len(events)


def _table(scored: _Scored) -> list[str]:
    percents = [score.percent for score in scored.scores if score.chance is not None]
    rows = [("percent", "customers")]
    for low, high in pairwise(_BANDS):
        rows.append((f"{low} to below {min(high, 100)}", f"{sum(low <= p < high for p in percents):,}"))
    return [
        f"version   {scored.version}",
        f"snapshot  {scored.snapshot.day}, {len(scored.scores):,} customers",
        f"scored    {len(percents):,}; the others refused personalisation",
        "",
        *aligned(rows),
    ]
