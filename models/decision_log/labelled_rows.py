"""Which part of the log is asked for, and its labelled rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from decision_engine.features.definitions import Value
from decision_engine.model_training import ModelTraining
from decision_engine.propensity import ColumnSource
from models.decision_log.archive_files import EVERYTHING, TimeRange
from models.decision_log.design_matrix import ExampleSet, build_examples, derive_schema
from models.decision_log.examples import AttributionRule, Example, LoggedResponse, OfferFacts, join_examples
from models.decision_log.input_meanings import InputMeaning
from models.decision_log.offer_catalogue import offers_of_model
from models.decision_log.records import StrategyOf, read_decisions, read_responses
from models.errors import TrainingRefused

Progress = Callable[[str], None]
"""Told in a sentence what was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """One model's part of a log. `excluded` are attributes no model may see; `zone` is the bank's time zone;
    `strategy_of` finds the strategies that decided, for whoever wants to know what else could have been chosen.

    `training` is what the strategy declares about the model, `meanings` its inputs in words, and `protected` knows by
    customer the attributes by whose groups it is judged, beside those that the decisions recorded."""

    model: str
    archive: Path
    offers: Mapping[str, OfferFacts]
    zone: tzinfo
    attribution_seconds: int
    period: TimeRange = EVERYTHING
    excluded: frozenset[str] = frozenset()
    strategy_of: StrategyOf | None = None
    training: ModelTraining | None = None
    meanings: Mapping[tuple[ColumnSource, str], InputMeaning] = field(default_factory=dict)
    protected: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


def labelled_examples(query: LogQuery, progress: Progress) -> list[Example]:
    """The labelled rows of the query's model. Raises TrainingRefused when no offer is scored by it."""
    offers = offers_of_model(query.offers, query.model)
    responses = responses_of(query)
    progress(f"{len(responses):,} responses")
    # Only decisions that were answered are worth decoding.
    answered = {response.decision_id for response in responses}
    decisions = read_decisions(query.archive, query.period, answered)
    rule = attribution_rule(query, responses)
    examples = join_examples(decisions, responses, offers, rule)
    positives = sum(example.accepted for example in examples)
    progress(f"{len(examples):,} labelled rows, {positives:,} positive, log ends {_moment(rule.log_end_ms)}")
    return examples


def example_set(query: LogQuery, examples: Sequence[Example]) -> ExampleSet:
    """The rows as a matrix over the columns they can fill. Raises TrainingRefused without rows."""
    if not examples:
        raise TrainingRefused(
            f"{query.model}: no labelled rows in {query.archive}: no impression has an attribution window of "
            f"{query.attribution_seconds} s behind it. Is the archiver running, and do channels post impressions?"
        )
    return build_examples(examples, derive_schema(examples, query.excluded), query.zone)


def responses_of(query: LogQuery) -> list[LoggedResponse]:
    """The responses from the period's start on; those to its last decisions may come after its end."""
    return list(read_responses(query.archive, TimeRange(since_ms=query.period.since_ms)))


def attribution_rule(query: LogQuery, responses: Sequence[LoggedResponse]) -> AttributionRule:
    """The query's window; the log is complete up to its newest response."""
    end_ms = max((response.at_ms for response in responses), default=0)
    return AttributionRule(window_ms=query.attribution_seconds * 1000, log_end_ms=end_ms)


def _moment(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
