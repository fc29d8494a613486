"""The metrics page: names of the contract, exact numbers, bounded series."""

import math

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.adapters.prometheus_metrics import CONTRACT, MAX_SERIES, PrometheusMetrics


def samples(metrics: PrometheusMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    page, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_a_histogram_counts_into_cumulated_buckets() -> None:
    metrics = PrometheusMetrics()
    for seconds in (0.0005, 0.0007, 0.2, 9.0):
        metrics.observe("decision_seconds", seconds, channel="mobile", outcome="offered")
    found = samples(metrics)
    labels = (("channel", "mobile"), ("outcome", "offered"))
    assert found["kairos_decision_seconds_count", labels] == 4
    assert found["kairos_decision_seconds_sum", labels] == pytest.approx(9.2012)
    for bound, count in (("0.0005", 1.0), ("0.001", 2.0), ("0.1", 2.0), ("0.2", 3.0), ("1.0", 3.0), ("+Inf", 4.0)):
        assert found["kairos_decision_seconds_bucket", (labels[0], ("le", bound), labels[1])] == count


def test_observations_of_one_label_can_be_handed_over_together() -> None:
    together, apart = PrometheusMetrics(), PrometheusMetrics()
    stages = [("read", 0.0004), ("rules", 0.3), ("read", 0.002)]
    together.observe_each("decision_stage_seconds", stages)
    for stage, seconds in stages:
        apart.observe("decision_stage_seconds", seconds, stage=stage)
    of_stages = [
        {key: value for key, value in samples(each).items() if key[0].startswith("kairos_decision_stage")}
        for each in (together, apart)
    ]
    assert of_stages[0] == of_stages[1]
    assert len(of_stages[0]) > 20
    with pytest.raises(KeyError):
        together.observe_each("decision_seconds", stages)


def test_counters_add_and_gauges_stand() -> None:
    metrics = PrometheusMetrics()
    metrics.count("decisions_total", channel="mobile", arm="full")
    metrics.count("decisions_total", 2, arm="full", channel="mobile")
    metrics.gauge("volume_remaining", 7, resource="vouchers")
    metrics.gauge("volume_remaining", 3, resource="vouchers")
    found = samples(metrics)
    assert found["kairos_decisions_total", (("arm", "full"), ("channel", "mobile"))] == 3
    assert found["kairos_volume_remaining", (("resource", "vouchers"),)] == 3


def test_the_names_of_the_contract_are_declared() -> None:
    assert set(CONTRACT) >= {
        "decision_seconds", "decision_stage_seconds", "decisions_total", "rejections_total", "fallbacks_total",
        "degraded_total", "responses_total", "events_applied_total", "events_dead_lettered_total",
        "event_lag_seconds", "feature_age_seconds", "ledger_reservations_total", "volume_remaining", "model_score",
        "model_calibration_error", "feature_psi", "arm_reward_total",
    }  # fmt: skip


def test_an_undeclared_name_or_label_is_an_error() -> None:
    metrics = PrometheusMetrics()
    with pytest.raises(KeyError):
        metrics.count("surprises_total")
    with pytest.raises(KeyError):
        metrics.count("decisions_total", channel="mobile")
    with pytest.raises(KeyError):
        metrics.observe("decision_seconds", 1, channel="mobile", result="x")


def test_series_are_bounded() -> None:
    metrics = PrometheusMetrics()
    for number in range(MAX_SERIES + 10):
        metrics.count("rejections_total", stage="eligibility", rule=str(number))
    metrics.count("rejections_total", stage="eligibility", rule="0")
    found = [value for (name, _), value in samples(metrics).items() if name == "kairos_rejections_total"]
    assert len(found) == MAX_SERIES
    assert math.isclose(sum(found), MAX_SERIES + 1), "series that exist go on counting"


def test_the_process_is_measured_too() -> None:
    assert ("process_cpu_seconds_total", ()) in samples(PrometheusMetrics())


def test_many_counters_raised_at_once_are_as_many_raised_one_by_one() -> None:
    metrics = PrometheusMetrics()
    kinds = (("eligibility", "adult"), ("consent", "marketing"), ("eligibility", "resident"))
    metrics.count("rejections_total", stage="eligibility", rule="adult")
    for amounts in ([2, 0, 1], [1, 0, 0]):
        metrics.count_each("rejections_total", kinds, np.array(amounts, np.int64))
    found = {labels: value for (name, labels), value in samples(metrics).items() if name == "kairos_rejections_total"}
    assert sorted(found.values()) == [1, 4], "none of a kind is no series"
    metrics.count_each("rejections_total", kinds, np.array([1, 0, 0], np.int64))
    found = {labels: value for (name, labels), value in samples(metrics).items() if name == "kairos_rejections_total"}
    assert sorted(found.values()) == [1, 5], "a page that was read begins nothing anew"


def test_counters_of_many_lists_are_summed_up_in_between() -> None:
    metrics = PrometheusMetrics()
    for _ in range(200):
        metrics.count_each("rejections_total", [("eligibility", "adult")], np.array([1], np.int64))
    found = [value for (name, _), value in samples(metrics).items() if name == "kairos_rejections_total"]
    assert found == [200]


def test_many_counters_with_too_few_labels_are_an_error() -> None:
    with pytest.raises(KeyError):
        PrometheusMetrics().count_each("rejections_total", (("eligibility",),), np.array([1], np.int64))
