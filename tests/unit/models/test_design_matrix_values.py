"""The matrix column by column is what each cell is by itself: codes, numbers, and NaN for what is neither."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.features.definitions import Value
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.decision_log.design_matrix import build_matrix
from models.decision_log.examples import LoggedDecision, OfferFacts

ZONE = ZoneInfo("Asia/Shanghai")
ATTRIBUTE, CONTEXT, OFFER = ColumnSource.ATTRIBUTE, ColumnSource.CONTEXT, ColumnSource.OFFER
SCHEMA = FeatureSchema((
    Column(name="a", source=ATTRIBUTE),
    Column(name="city", source=ATTRIBUTE, categories=("beijing", "shanghai")),
    Column(name="channel", source=CONTEXT, categories=("mobile",)),
    Column(name="hour", source=CONTEXT),
    Column(name="weekday", source=CONTEXT),
    Column(name="page", source=CONTEXT, categories=("cards", "home")),
    Column(name="offer", source=OFFER, categories=("gold", "plus")),
    Column(name="base_rate", source=OFFER),
    Column(name="fee", source=OFFER),
))  # fmt: skip
VALUES = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.sampled_from(
    ["beijing", "cards", "3.5", "nan", ""]
)  # fmt: skip
OFFERS = [
    OfferFacts(offer=name, group="g", issue="i", model="m", value=1.0, base_rate=rate, attributes=attributes)
    for name, rate, attributes in (("gold", 0.1, {"fee": 3.0}), ("plus", 0.2, {}), ("new", 0.3, {"fee": 5.0}))
]  # fmt: skip


@st.composite
def decisions(draw: st.DrawFn) -> LoggedDecision:
    attributes = {name: draw(VALUES) for name in draw(st.sets(st.sampled_from(["a", "city"])))}
    return LoggedDecision(
        decision_id="d", customer_id="c", decided_ms=draw(st.integers(0, 4_000_000_000_000)), arm="full",
        channel=draw(st.sampled_from(["mobile", "branch"])), personalised=True, options=(), candidates=(),
        experiments={}, holdings=frozenset(), models={},
        attributes={name: value for name, value in attributes.items() if value is not None},
        context={"page": draw(st.sampled_from(["cards", "x", "home"]))},
    )  # fmt: skip


def cell(column: Column, decision: LoggedDecision, offer: OfferFacts) -> float:
    """One value by the definitions."""
    moment = datetime.fromtimestamp(decision.decided_ms / 1000, UTC).astimezone(ZONE)
    own: dict[ColumnSource, dict[str, Value]] = {
        ATTRIBUTE: dict(decision.attributes),
        CONTEXT: {**decision.context, "channel": decision.channel, "hour": moment.hour, "weekday": moment.weekday()},
        OFFER: {**offer.attributes, "offer": offer.offer, "base_rate": offer.base_rate},
    }
    value = own[column.source].get(column.name)
    if column.categories is not None:
        return float(column.categories.index(value)) if value in column.categories else np.nan  # type: ignore[arg-type]
    return np.nan if value is None or isinstance(value, str) else float(value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(decisions(), st.sampled_from(OFFERS)), max_size=12))
def test_every_cell_is_what_its_value_says(rows: list[tuple[LoggedDecision, OfferFacts]]) -> None:
    expected = np.array([[cell(column, *row) for column in SCHEMA.columns] for row in rows])
    found = build_matrix(rows, SCHEMA, ZONE)
    assert found.shape == (len(rows), len(SCHEMA.columns))
    np.testing.assert_array_equal(found, expected.reshape(found.shape))
