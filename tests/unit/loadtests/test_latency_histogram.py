"""Histograms of latencies: three significant digits, exact counts, the sum of parts is the whole."""

import json
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.open_loop.histogram import LONGEST_US, LatencyHistogram, bucket_of, highest_in

MICROSECONDS = st.integers(min_value=0, max_value=LONGEST_US)


def histogram(seconds) -> LatencyHistogram:
    held = LatencyHistogram()
    for value in seconds:
        held.record(value)
    return held


@given(MICROSECONDS)
def test_a_bucket_is_at_most_a_thousandth_wide(value) -> None:
    bucket = bucket_of(value)

    assert value <= highest_in(bucket) <= value * 1.001
    assert bucket_of(highest_in(bucket)) == bucket
    assert bucket_of(highest_in(bucket) + 1) == bucket + 1


@settings(max_examples=60)
@given(st.lists(MICROSECONDS, min_size=1, max_size=300), st.sampled_from((1, 25, 50, 90, 99, 99.9, 100)))
def test_percentiles_agree_with_numpy_to_three_digits(values, percent) -> None:
    found = histogram(value / 1e6 for value in values).percentile_ms(percent) * 1000

    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    assert exact <= found <= exact * 1.001 or found == pytest.approx(exact, abs=1e-6)


def test_percentiles_of_many_drawn_latencies_agree_with_numpy() -> None:
    drawn = np.random.default_rng(1).lognormal(-6, 1.2, 49_999)  # no percentile is between two of them

    held = histogram(drawn.tolist())

    for percent in (50, 90, 99, 99.9, 99.99):
        exact_ms = float(np.percentile(drawn, percent, method="inverted_cdf")) * 1000
        assert held.percentile_ms(percent) == pytest.approx(exact_ms, rel=0.0011, abs=0.001)
    assert held.mean_ms() == pytest.approx(drawn.mean() * 1000, rel=1e-3)
    assert held.most_ms() == pytest.approx(drawn.max() * 1000, rel=1e-6)


@settings(max_examples=40)
@given(st.lists(st.lists(MICROSECONDS, max_size=50), min_size=1, max_size=4))
def test_the_histograms_of_several_processes_add_up_to_that_of_all(parts) -> None:
    whole = histogram(value / 1e6 for part in parts for value in part)

    merged = LatencyHistogram()
    for part in parts:
        sent_over = json.dumps(histogram(value / 1e6 for value in part).as_mapping())
        merged.merge(LatencyHistogram.of(json.loads(sent_over)))

    assert merged == whole
    assert merged.total == sum(len(part) for part in parts)


def test_an_empty_histogram_has_no_percentile() -> None:
    assert isnan(LatencyHistogram().percentile_ms(50))
    assert isnan(LatencyHistogram().mean_ms())


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_a_percentile_is_above_nothing_and_at_most_all(percent) -> None:
    with pytest.raises(ValueError, match="percentile"):
        histogram([0.1]).percentile_ms(percent)


def test_how_many_were_within_a_deadline_is_exact_on_its_bucket() -> None:
    held = histogram([0.010, 0.099, 0.100, 0.102])

    assert held.within(0.100) == 3
    assert held.within(float("inf")) == 4


def test_the_percentile_curve_falls_to_the_longest() -> None:
    shares, latencies = zip(*histogram([0.001] * 99 + [1.0]).curve(), strict=True)

    assert latencies[-1] == 1000.0
    assert list(shares) == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(0.01)
