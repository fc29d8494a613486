"""Drift figures: quiet where nothing has moved, loud where something has, at any sample size and number of looks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.decision_log.design_matrix import ExampleSet
from models.drift.findings import DriftKind, DriftReport, drift_report
from models.drift.reference import Reference, decode_reference, encode_reference, reference_of
from models.drift.report import report_json, report_lines
from models.drift.sequential_shift import sequential_shift
from models.drift.stability import Bins, category_bins, effective_rows, numeric_bins, stability
from models.errors import ManifestInvalid

ALPHA = 0.001
COLUMNS = FeatureSchema(
    (
        Column(name="spend", source=ColumnSource.ATTRIBUTE),
        Column(name="city", source=ColumnSource.ATTRIBUTE, categories=("beijing", "chengdu", "shanghai")),
        Column(name="hour", source=ColumnSource.CONTEXT),
        Column(name="fee", source=ColumnSource.OFFER),
    )
)


def rows(count: int, seed: int, *, spend: float = 100.0, rate: float = 0.1, delay: float = 60.0) -> ExampleSet:
    draw = np.random.default_rng(seed)
    labels = (draw.random(count) < rate).astype(float)
    matrix = np.column_stack(
        [
            draw.normal(spend, 20.0, count),
            draw.integers(0, 3, count).astype(float),
            np.full(count, float(seed % 24)),
            np.full(count, float(seed)),
        ]
    )
    return ExampleSet(
        schema=COLUMNS,
        matrix=matrix,
        labels=labels,
        base_rates=np.full(count, 0.1),
        decided_ms=np.arange(count, dtype=np.int64),
        customers=np.arange(count).astype(np.str_),
        delays_ms=np.where(labels > 0, draw.exponential(delay * 1000, count), np.nan),
    )


def reference(gains: tuple[float, ...] = (5.0, 4.0, 1.0, 1.0)) -> Reference:
    examples = rows(8000, seed=1)
    return reference_of(examples, np.full(2000, 0.1), slice(6000, 8000), gains)


def report(examples: ExampleSet, said: float = 0.1, against: Reference | None = None) -> DriftReport:
    return drift_report("v1", against or reference(), examples, np.full(examples.labels.size, said))


def beyond(found: DriftReport) -> set[tuple[str, str]]:
    return {(figure.kind.value, figure.name) for figure in found.figures if figure.beyond}


def test_the_index_is_the_sum_of_share_differences_times_their_log_ratio() -> None:
    before, after = np.array([5000.0, 3000.0, 2000.0]), np.array([400.0, 400.0, 200.0])
    by_hand = sum((q - p) * np.log(q / p) for p, q in zip((0.5, 0.3, 0.2), (0.4, 0.4, 0.2), strict=True))
    assert stability(before, after, (10_000, 1000), ALPHA).index == pytest.approx(by_hand, abs=5e-4)


@pytest.mark.parametrize("count", [200, 1000, 5000])
def test_chance_makes_the_index_it_is_said_to_make(count: int) -> None:
    """Over 400 samples without drift: the mean as expected, and beyond the 1 % limit about one in a hundred."""
    draw = np.random.default_rng(7)
    found = []
    for _ in range(400):
        training = draw.normal(size=4000)
        bins = numeric_bins(training)
        found.append(stability(bins.counts(training), bins.counts(draw.normal(size=count)), (4000, count), 0.01))
    assert np.mean([f.index for f in found]) == pytest.approx(found[0].expected, rel=0.15)
    assert np.mean([f.index > f.limit for f in found]) <= 0.03


def test_too_few_rows_say_nothing_whatever_they_look_like() -> None:
    assert not stability(np.array([500.0, 500.0]), np.array([15.0, 0.0]), (1000, 15), ALPHA).shifted(0.1)


def test_many_rows_of_one_customer_count_as_few() -> None:
    assert effective_rows(np.array([1, 1, 1, 1])) == 4.0
    assert effective_rows(np.array([97, 1, 1, 1])) < 1.1


def test_a_constant_that_falls_or_rises_and_what_goes_missing_are_in_bins_of_their_own() -> None:
    bins = numeric_bins(np.full(100, 3.0))
    counted = [bins.counts(np.array([value])).tolist() for value in (2.0, 3.0, 4.0, np.nan)]
    assert len({tuple(place) for place in counted}) == 4 and counted[3][-1] == 1.0


def test_rare_and_unseen_categories_share_a_bin() -> None:
    bins = category_bins(np.array([0.0] * 500 + [1.0] * 499 + [2.0]))
    assert bins.codes == (0, 1)
    assert bins.counts(np.array([0.0, 2.0, 9.0, np.nan])).tolist() == [1.0, 0.0, 2.0, 1.0]


@settings(max_examples=30)
@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=50), st.integers(0, 1))
def test_every_value_is_in_exactly_one_bin(values: list[float], kind: int) -> None:
    column: NDArray[np.float64] = np.array(values)
    bins: Bins = numeric_bins(column) if kind == 0 else category_bins(np.abs(np.round(column / 1e5)))
    counted = bins.counts(column if kind == 0 else np.abs(np.round(column / 1e5)))
    assert counted.sum() == column.size and counted.size == bins.size
    assert counted[-1] == np.isnan(column).sum()


def test_nothing_is_beyond_where_nothing_has_moved() -> None:
    for seed in range(2, 12):
        assert beyond(report(rows(3000, seed))) == set()


def test_a_column_that_moves_warns_and_starts_no_fit() -> None:
    found = report(rows(3000, 2, spend=130.0))
    assert beyond(found) == {("column", "spend")} and found.alarms == () and found.reason is None


def test_a_column_the_model_does_not_use_is_shown_only() -> None:
    found = report(rows(3000, 2, spend=130.0), against=reference((0.0, 9.0, 1.0, 1.0)))
    shown = next(f for f in found.figures if (f.kind, f.name) == (DriftKind.COLUMN, "spend"))
    assert beyond(found) == set() and shown.value > 1.0 and not shown.watched


def test_calendar_and_offers_never_count_although_they_move() -> None:
    moved = {f.name: f for f in report(rows(3000, 5)).figures if f.kind is DriftKind.COLUMN}
    assert moved["hour"].value > 1.0 and moved["fee"].value > 1.0
    assert not moved["hour"].beyond and not moved["fee"].beyond


def test_values_that_go_missing_warn() -> None:
    examples = rows(3000, 3)
    examples.matrix[:600, 0] = np.nan
    assert ("missing", "spend") in beyond(report(examples))


def test_acceptances_more_often_than_predicted_alarm_and_name_what_moved() -> None:
    found = report(rows(3000, 4, rate=0.25, spend=130.0))
    assert [figure.kind for figure in found.alarms] == [DriftKind.CALIBRATION]
    assert found.reason == "drift:calibration (moved: spend)"
    calibration = found.alarms[0]
    assert calibration.interval is not None and calibration.interval.low < 2.5 < calibration.interval.high


def test_slower_responses_warn() -> None:
    assert ("label_delay", "label_delay") in beyond(report(rows(3000, 6, delay=600.0)))


def test_a_drift_report_is_written_for_people_and_programs() -> None:
    found = report(rows(3000, 4, rate=0.25))
    assert any("ALARM" in line for line in report_lines(found))
    assert '"alarm": true' in report_json(found) and "Infinity" not in report_json(report(rows(50, 4)))
    empty = drift_report("v1", reference(), rows(0, 2), np.zeros(0))
    assert "nothing to compare" in "".join(report_lines(empty))


def test_the_sequential_test_keeps_its_error_rate_over_all_looks() -> None:
    """300 versions without a shift, 8,000 rows each, looked at at every block: at most 1 % may ever alarm."""
    draw = np.random.default_rng(11)
    alarms = 0
    for _ in range(300):
        said = draw.beta(1, 15, 8000)
        # As far off as is tolerated, and so the hardest case.
        odds = said / (1 - said) * 1.5
        alarms += sequential_shift((draw.random(8000) < odds / (1 + odds)).astype(float), said).alarmed_at is not None
    assert alarms <= 6


@pytest.mark.parametrize(("factor", "direction"), [(3.0, "more"), (0.2, "less")])
def test_a_shift_after_a_long_quiet_time_is_found_soon(factor: float, direction: str) -> None:
    draw = np.random.default_rng(5)
    said = np.full(24_000, 0.06)
    true = np.where(np.arange(24_000) < 20_000, 0.06, 0.06 * factor)
    found = sequential_shift((draw.random(24_000) < true).astype(float), said)
    assert found.alarmed_at is not None and 20_000 < found.alarmed_at < 22_500 and found.direction == direction


def test_later_rows_never_take_an_alarm_back() -> None:
    draw = np.random.default_rng(5)
    labels = np.concatenate([draw.random(1500) < 0.3, draw.random(6000) < 0.1]).astype(float)
    first = sequential_shift(labels[:1500], np.full(1500, 0.1)).alarmed_at
    assert first is not None and sequential_shift(labels, np.full(7500, 0.1)).alarmed_at == first


def test_a_reference_is_read_as_it_was_written() -> None:
    written = reference()
    assert decode_reference(encode_reference(written)) == written


@pytest.mark.parametrize("text", [b"{", b'{"format": 2}', b"[]", b'{"format": 1, "rows": 3}'])
def test_a_damaged_reference_is_refused_by_name(text: bytes) -> None:
    with pytest.raises(ManifestInvalid, match=r"reference\.json"):
        decode_reference(text)


def test_tastes_that_turn_from_one_offer_to_another_alarm_although_the_sum_is_as_said() -> None:
    draw = np.random.default_rng(8)
    offers = draw.integers(0, 2, 4000)
    schema = FeatureSchema((Column(name="offer", source=ColumnSource.OFFER, categories=("gold", "silver")),))

    def sold(chances: tuple[float, float]) -> ExampleSet:
        labels = (draw.random(4000) < np.array(chances)[offers]).astype(float)
        return ExampleSet(
            schema=schema,
            matrix=offers[:, None].astype(float),
            labels=labels,
            base_rates=np.full(4000, 0.1),
            decided_ms=np.arange(4000, dtype=np.int64),
        )

    said = np.full(4000, 0.1)
    before = reference_of(sold((0.1, 0.1)), said[:800], slice(3200, 4000))
    assert drift_report("v1", before, sold((0.1, 0.1)), said).alarms == ()
    turned = drift_report("v1", before, sold((0.02, 0.18)), said)
    assert {figure.name for figure in turned.alarms} == {"offer gold", "offer silver"}
    assert turned.reason == "drift:calibration"
