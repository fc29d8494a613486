"""How many decisions a second of one core a simulated day makes: the demo bank decides a recorded day again.

python -m loadtests.bench_simulation_day --customers 4000 --days 10

A day of the simulated bank is recorded decision by decision with the plain engine, then a draft with other levers is
simulated beside the strategy that made the log. Counted are processor seconds of one core: of *deciding* (reading the
customers' states, folding what they did during the day included; deciding; reserving; adding up; the off-policy rows),
and of the *whole* run but for sorting the archive: also reading the records and folding the history. Each request is
decided by both sides, which makes two decisions. By base rates, and by a model of 200 trees of 31 leaves. The plain
engine's figure is the same run deciding one by one.
"""

import argparse
import gc
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import lightgbm
import numpy as np

from decision_engine.features.definitions import AttributeType
from decision_engine.identifiers import StrategyVersion
from decision_engine.prepared import prepare
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Scorers
from decision_engine.strategy import Strategy
from loadtests.recorded_day_world import RecordedBank, RecordedDay, record_day
from models.calibration import IdentityCalibration
from models.fast_scoring import interpreted_scorer
from models.gbdt_scorer import CALIBRATION_FILE, MODEL_FILE
from models.manifest import Manifest
from models.registry import ModelRegistry
from services.adapters.file_strategy_source import load_strategy_file
from services.simulation.recorded_day.simulate import SimulatedDay, SimulationOrder, simulate_day
from services.simulation.recorded_day.work_shares import CALM

STRATEGY = Path("deploy/strategies/demo_bank")
TARGET = 5_000
TREES, LEAVES, COLUMNS = 200, 31, 60
DECIDING = ("read states", "decide", "reserve", "add up", "off-policy rows")
PARTITIONS = 2
"""A day of a bank has tens of thousands of requests a partition; with few of them a benchmark's day is alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A simulated day: what scored, and decisions per second of one core, deciding and whole."""

    scored_by: str
    requests: int
    as_recorded: int
    deciding: float
    whole: float
    microseconds: Mapping[str, float]
    """Of one decision, by stage."""


def measure(customers: int, days: int, visits: int, *, plain: bool = False) -> list[Rate]:
    """Records and simulates by base rates and by the model; with `plain` by the plain engine as well."""
    strategy = load_strategy_file(STRATEGY)
    rates = []
    for scored_by in ("base rates", f"{TREES} trees"):
        with TemporaryDirectory(prefix="bench-day-") as folder:
            root = Path(folder)
            scorers = {} if scored_by == "base rates" else _model(root / "models", strategy)
            bank = RecordedBank(strategy=strategy, customers=customers, history_days=days, visits=visits)
            recorded = record_day(bank, root / "archive", scorers, _say)
            for one_by_one in (False, True) if plain else (False,):
                order = replace(_order(root, strategy, recorded), plain=one_by_one)
                title = f"{scored_by}, plain engine" if one_by_one else scored_by
                rates.append(_rate(title, simulate_day(order)))
    return rates


def table(rates: list[Rate]) -> str:
    """The rates as text."""
    lines = [
        f"{'scored by':<26}{'requests':>9}{'as recorded':>13}{'deciding':>10}{'whole':>8}   microseconds a decision"
    ]
    for rate in rates:
        stages = ", ".join(f"{stage} {spent:.0f}" for stage, spent in rate.microseconds.items())
        figures = f"{rate.requests:>9,}{rate.as_recorded:>13,}{rate.deciding:>10,.0f}{rate.whole:>8,.0f}"
        lines.append(f"{rate.scored_by:<26}{figures}   {stages}")
    return "\n".join([*lines, f"target: {TARGET:,} decisions a second of one core"])


def main() -> int:
    """Prints the table; status 1 below the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=4_000)
    parser.add_argument("--days", type=int, default=10, help="days of history before the recorded one (default 10)")
    parser.add_argument("--visits", type=int, default=3, help="each visit so often, 20 s apart (default 3)")
    parser.add_argument("--plain", action="store_true", help="the plain engine beside it")
    args = parser.parse_args()
    gc.set_threshold(*CALM)
    rates = measure(args.customers, args.days, args.visits, plain=args.plain)
    print(table(rates))
    reached = min(rate.deciding for rate in rates if not rate.scored_by.endswith("engine"))
    exact = all(rate.requests == rate.as_recorded for rate in rates)
    return 0 if reached >= TARGET and exact else 1


def _order(root: Path, strategy: Strategy, recorded: RecordedDay) -> SimulationOrder:
    offers = tuple(
        replace(offer, lever=offer.lever + (number % 3) * 10) for number, offer in enumerate(strategy.offers)
    )
    return SimulationOrder(
        archive=root / "archive",
        models=root / "models",
        active=strategy,
        draft=replace(strategy, offers=offers, version=StrategyVersion("other-levers")),
        since_ms=recorded.since_ms,
        until_ms=recorded.until_ms,
        attribution_seconds=600,
        partitions=PARTITIONS,
    )


def _rate(title: str, day: SimulatedDay) -> Rate:
    totals = day.totals
    decisions = 2 * totals.requests
    deciding = sum(totals.seconds[stage] for stage in DECIDING)
    return Rate(
        scored_by=title,
        requests=totals.requests,
        as_recorded=min(totals.same_choice, totals.same_score),
        deciding=decisions / deciding,
        whole=decisions / sum(totals.seconds.values()),
        microseconds={stage: seconds / decisions * 1e6 for stage, seconds in totals.seconds.items()},
    )


def _model(root: Path, strategy: Strategy) -> Scorers:
    """A model of the usual size over attributes that rules read; what it predicts means nothing."""
    kinds = (AttributeType.INT, AttributeType.DOUBLE)
    own = {attribute.name for attribute in strategy.linked}
    names = [n for n in prepare(strategy).attributes if strategy.dictionary[n].type in kinds and n not in own][:COLUMNS]
    columns = [Column(name=name, source=ColumnSource.ATTRIBUTE) for name in names]
    columns += [Column(name=name, source=ColumnSource.OFFER) for name in ("value", "base_rate")]
    draw = np.random.default_rng(3)
    rows = draw.exponential(50, (20_000, len(columns)))
    labels = draw.random(len(rows)) < 1 / (1 + np.exp(-(rows[:, 0] - rows[:, 7] + rows[:, -1]) / 40 + 2))
    settings = {"objective": "binary", "num_leaves": LEAVES, "verbosity": -1, "num_threads": 1, "seed": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, labels), num_boost_round=TREES)
    schema = FeatureSchema(tuple(columns))
    manifest = Manifest(name="cross_sell", version="", kind="gbdt", schema=schema, files={}, created_at="")
    files = {
        MODEL_FILE: booster.model_to_string().encode(),
        CALIBRATION_FILE: json.dumps(IdentityCalibration().as_mapping()).encode(),
    }
    registry = ModelRegistry(root)
    saved = registry.save(manifest, files, datetime.now(UTC))
    return {"cross_sell": interpreted_scorer(registry.load(saved.version), lambda *_: None)}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
