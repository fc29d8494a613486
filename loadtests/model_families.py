"""The three families of models on the simulated bank, with their figures and cards.

    python -m loadtests.model_families                   # both parts, ten to twenty minutes on two cores
    python -m loadtests.model_families churn --cards var/cards

Offers: a bank lives, decides on base rates with the strategy's own exploration, and the responses are drawn from the
truth; the product's training then learns acquisition and cross-sell from its own records. Churn: snapshots of
everybody every ten days, from the product's own fold. Nothing is tuned to the truth, which only says what could be
known at best. Seeds are printed; everything follows from them.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from decision_engine.features.compiled import compile_features
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.strategy import Strategy
from models.decision_log.design_matrix import build_examples
from models.decision_log.examples import AttributionRule, Example, join_examples
from models.decision_log.input_meanings import input_meanings
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import offer_facts, offers_of_model, unlearnable_attributes
from models.decision_log.state_snapshots import SnapshotRow, end_of_day, write_states
from models.evaluation.discrimination import auc_estimate
from models.evaluation.intervals import Estimate
from models.evaluation.log_loss import log_loss_gain
from models.evaluation.report import metrics_table
from models.training.card_text import CARD_TEXT_FILE
from models.training.churn import ChurnQuery, fit_churn
from models.training.fit import FittedModel
from models.training.pipeline import fit_query
from models.training.settings import FitSettings
from services.adapters.file_strategy_source import load_strategy_file
from services.commands.snapshot import snapshot_rows
from services.simulation.bank import BankConfig, BankStream
from services.simulation.closed_loop import ATTRIBUTION_SECONDS, LoopConfig, logged_days
from services.simulation.in_process_states import InProcessStates

DEMO = Path("deploy/strategies/demo_bank")
START = date(2026, 1, 1)
SEED = 11
OFFER_CUSTOMERS, HISTORY_DAYS, EXPLORATION_DAYS = 2_000, 30, 25
CHURN_SEEDS, CHURN_CUSTOMERS = (21, 22), 3_000
FIRST_SNAPSHOT, LAST_SNAPSHOT, EVERY = 30, 150, 10
"""Days after the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyFigures:
    """A fitted model, and what it is compared with."""

    fitted: FittedModel
    notes: tuple[str, ...]
    comparison: Estimate


def offer_families(seed: int = SEED) -> dict[str, FamilyFigures]:
    """Cross-sell and acquisition from the same log."""
    strategy = load_strategy_file(DEMO)
    config = LoopConfig(
        strategy=strategy, customers=OFFER_CUSTOMERS, history_days=HISTORY_DAYS, exploration_days=EXPLORATION_DAYS,
        seed=seed, start=START,
    )  # fmt: skip
    log = logged_days(config, _say)
    protected = _protected(strategy, BankConfig(seed=seed, customers=OFFER_CUSTOMERS, start=START))
    found: dict[str, tuple[LogQuery, list[Example], FittedModel]] = {}
    for name in ("cross_sell", "acquisition"):
        query = LogQuery(
            model=name, archive=Path(), offers=offer_facts(strategy), zone=ZoneInfo(strategy.time_zone),
            attribution_seconds=ATTRIBUTION_SECONDS, excluded=unlearnable_attributes(strategy),
            training=strategy.training(name), meanings=input_meanings(strategy), protected=protected,
        )  # fmt: skip
        end_ms = max(response.at_ms for response in log.responses) + ATTRIBUTION_SECONDS * 1000
        rule = AttributionRule(window_ms=ATTRIBUTION_SECONDS * 1000, log_end_ms=end_ms)
        examples = join_examples(log.decisions, log.responses, offers_of_model(query.offers, name), rule)
        found[name] = query, examples, fit_query(query, examples, FitSettings(seed=seed), _say)
    return {
        "cross_sell": _against_overall(*found["cross_sell"], seed),
        "acquisition": _against_pooled(*found["acquisition"], found["cross_sell"][2]),
    }


def churn_family(seeds: Sequence[int] = CHURN_SEEDS) -> FamilyFigures:
    """Churn from snapshots of as many banks as there are seeds, each in a process of its own."""
    strategy = load_strategy_file(DEMO)
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        banks = list(pool.map(bank_snapshots, seeds))
    with tempfile.TemporaryDirectory() as folder:
        for number in banks[0]:
            rows = [row for bank in banks for row in bank[number]]
            write_states(Path(folder), START + timedelta(days=number), rows)
        query = ChurnQuery(
            training=strategy.training("churn"), snapshots=Path(folder), dictionary=strategy.dictionary,
            zone=ZoneInfo(strategy.time_zone), excluded=unlearnable_attributes(strategy),
            meanings=input_meanings(strategy),
        )  # fmt: skip
        fitted = fit_churn(query, FitSettings(seed=seeds[0]), _say)
    ranking = fitted.draft.metrics["auc"]
    note = "run-off begins on a day drawn without regard to anything, so only what has begun can be seen coming"
    low, high = ranking.low or 0.0, ranking.high or 1.0
    return FamilyFigures(fitted=fitted, notes=(note,), comparison=Estimate(value=ranking.value, low=low, high=high))


def bank_snapshots(seed: int) -> dict[int, list[SnapshotRow]]:
    """Everybody of one bank on every snapshot day, by day after the start; customers are named after their bank."""
    strategy = load_strategy_file(DEMO)
    stream = BankStream(BankConfig(seed=seed, customers=CHURN_CUSTOMERS, start=START))
    states = InProcessStates(compile_features(strategy.declarations, EVENT_FIELDS), strategy)
    customers = [f"retail:{number + 1}" for number in range(CHURN_CUSTOMERS)]
    zone, found = ZoneInfo(strategy.time_zone), dict[int, list[SnapshotRow]]()
    for number in range(LAST_SNAPSHOT + 1):
        states.add(stream.next_day().events)
        if number >= FIRST_SNAPSHOT and (number - FIRST_SNAPSHOT) % EVERY == 0:
            at_ms = end_of_day(START + timedelta(days=number), zone)
            rows = snapshot_rows(strategy, states, customers, at_ms)
            found[number] = [replace(row, customer_id=f"{row.customer_id}-{seed}") for row in rows]
            _say(f"bank {seed}: day {number} of {LAST_SNAPSHOT}")
    return found


def _protected(strategy: Strategy, config: BankConfig) -> dict[str, dict[str, str | int | float | bool]]:
    """By customer who belongs to which group: a bank knows that from its profile, and the models do not."""
    people, states = (
        BankStream(config),
        InProcessStates(compile_features(strategy.declarations, EVENT_FIELDS), strategy),
    )
    day = people.next_day()
    states.add(day.events)
    names = [f"retail:{number + 1}" for number in range(config.customers)]
    rows = snapshot_rows(strategy, states, names, day.start_ms + 86_400_000)
    wanted = ("gender", "age")
    return {r.customer_id: {n: r.attributes[n] for n in wanted if n in r.attributes} for r in rows if r.personalised}


def _against_overall(query: LogQuery, examples: list[Example], fitted: FittedModel, seed: int) -> FamilyFigures:
    """What calibrating by segment is worth on the judged rows: the same trees, calibrated once for all."""
    assert query.training is not None
    nowhere = replace(query, training=replace(query.training, calibrate_by=("no_such_column",)))
    plain = fit_query(nowhere, examples, FitSettings(seed=seed), _say)
    labels, mine, theirs = _judged(query, examples, fitted, plain)
    gain = log_loss_gain(labels, mine, theirs)
    worst = [max(_segment_gaps(query, examples, labels, scores)) for scores in (mine, theirs)]
    note = f"calibrated by segment, the log loss is {gain.value:+.5f} [{gain.low:.5f}, {gain.high:.5f}] lower than once"
    gaps = f"largest gap of a group with 200 judged rows: {worst[0]:.4f} by segment, {worst[1]:.4f} once for all"
    return FamilyFigures(fitted=fitted, notes=(note, gaps), comparison=gain)


def _against_pooled(
    query: LogQuery, examples: list[Example], fitted: FittedModel, pooled: FittedModel
) -> FamilyFigures:
    """What a model of their own is worth on newcomers: beside the cross-sell model, on the same judged rows."""
    labels, mine, theirs = _judged(query, examples, fitted, pooled)
    gain = log_loss_gain(labels, mine, theirs)
    other = auc_estimate(labels, theirs)
    note = f"the cross-sell model on the same rows: AUC {other.value:.4f} [{other.low:.4f}, {other.high:.4f}]; the log "
    note += f"loss is {gain.value:+.5f} [{gain.low:.5f}, {gain.high:.5f}] lower with a model of their own"
    return FamilyFigures(fitted=fitted, notes=(note,), comparison=gain)


def _judged(
    query: LogQuery, examples: list[Example], one: FittedModel, other: FittedModel
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and both models' probabilities on rows that neither learnt from."""
    since = max(model.draft.data.held_out_since_ms for model in (one, other) if model.draft.data is not None)
    rows = [example for example in examples if example.decision.decided_ms >= since]
    scores = [m.scorer.score(build_examples(rows, m.draft.schema, query.zone).matrix) for m in (one, other)]
    return np.array([float(example.accepted) for example in rows]), scores[0], scores[1]


def _segment_gaps(query: LogQuery, examples: list[Example], labels: np.ndarray, scores: np.ndarray) -> list[float]:
    groups = np.array([example.offer.group for example in examples[-labels.size :]])
    found = [abs(float((scores - labels)[groups == name].mean())) for name in np.unique(groups)
             if (groups == name).sum() >= 200]  # fmt: skip
    return found or [0.0]


def report(name: str, figures: FamilyFigures, cards: Path | None) -> list[str]:
    """The figures of one family for people."""
    data = figures.fitted.draft.data
    lines = [f"{name}: {data.rows if data else 0:,} rows, {data.positives if data else 0:,} positive"]
    lines += metrics_table(figures.fitted.draft.metrics)
    lines += [f"note  {note}" for note in figures.notes]
    if cards is not None:
        cards.mkdir(parents=True, exist_ok=True)
        (cards / f"{name}.md").write_bytes(figures.fitted.files[CARD_TEXT_FILE])
        lines.append(f"card  {cards / f'{name}.md'}")
    return [*lines, ""]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.model_families", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("all", "offers", "churn"), default="all")
    parser.add_argument("--cards", type=Path, help="folder to write the model cards to")
    args = parser.parse_args(argv)
    if args.what != "churn":
        print(f"offers: seed {SEED}, {OFFER_CUSTOMERS:,} customers, {EXPLORATION_DAYS} days of decisions\n")
        for name, figures in offer_families().items():
            print("\n".join(report(name, figures, args.cards)))
    if args.what != "offers":
        print(f"churn: seeds {CHURN_SEEDS}, {CHURN_CUSTOMERS:,} customers each, {LAST_SNAPSHOT} days\n")
        print("\n".join(report("churn", churn_family(), args.cards)))
    return 0


def _say(sentence: str) -> None:
    print(f"  {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
