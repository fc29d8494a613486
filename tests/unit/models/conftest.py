"""The decision log's builders, and a model fitted on such a log once for all tests."""

from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

from models.decision_log.design_matrix import ExampleSet, build_examples, derive_schema
from models.decision_log.examples import AttributionRule, Example, join_examples
from models.decision_log.records import logged_decision, logged_response
from models.training.fit import FitSettings, FittedModel, fit_model


@pytest.fixture(scope="session")
def examples(log: ModuleType) -> list[Example]:
    """The labelled rows of a learnable log."""
    decisions, responses = log.make_log(2500)
    rule = AttributionRule(window_ms=60_000, log_end_ms=1 << 60)
    return join_examples(
        [d for d in map(logged_decision, decisions) if d], [r for r in map(logged_response, responses) if r],
        log.OFFERS, rule,
    )  # fmt: skip


@pytest.fixture(scope="session")
def example_rows(examples: list[Example]) -> ExampleSet:
    """The same as a matrix, hours in Shanghai."""
    return build_examples(examples, derive_schema(examples), ZoneInfo("Asia/Shanghai"))


@pytest.fixture(scope="session")
def fitted(example_rows: ExampleSet) -> FittedModel:
    """A model fitted on them."""
    return fit_model("cross_sell", example_rows, 60, FitSettings(rounds=80), lambda _: None)
