"""The alarm of a version ends with its service."""

from types import SimpleNamespace
from typing import Any

from models.drift.findings import DriftFigure, DriftKind, DriftReport
from models.manifest import Metric
from services.adapters.prometheus_metrics import CONTRACT, PrometheusMetrics
from services.commands.learner import _METRICS as FITS
from services.commands.learner import _count_fit
from services.commands.model_drift import METRICS, export_drift

ALARM = 'kairos_model_drift_alarm{kind="calibration",model="cards"}'


def moved(name: str) -> DriftFigure:
    return DriftFigure(kind=DriftKind.COLUMN, name=name, value=0.1, limit=0.25, beyond=False)


def test_columns_are_told_by_model_and_only_those_of_the_version_in_service() -> None:
    metrics = PrometheusMetrics({**CONTRACT, **METRICS})
    for model, version, column in (("cards", "a", "city"), ("cards", "b", "spend"), ("churn", "c", "spend")):
        report = DriftReport(version=version, rows=900, recent=900, positives=90, figures=(moved(column),))
        export_drift(metrics, model, report)
    lines = [x for x in metrics.exposition()[0].decode().splitlines() if x.startswith("kairos_feature_psi{")]
    assert lines == [f'kairos_feature_psi{{feature="spend",model="{model}"}} 0.1' for model in ("cards", "churn")]


def test_the_calibration_error_is_told_of_the_newest_version_of_each_model() -> None:
    metrics = PrometheusMetrics({**CONTRACT, **FITS})
    for name, version in (("cards", "a"), ("churn", "c"), ("cards", "b")):
        manifest = SimpleNamespace(name=name, version=version, metrics={"calibration_error": Metric(value=0.01)})
        learnt: Any = SimpleNamespace(manifest=manifest, problems=())
        _count_fit(metrics, learnt)
    page = metrics.exposition()[0].decode()
    lines = [x.split("}")[0] for x in page.splitlines() if x.startswith("kairos_model_calibration_error{")]
    assert sorted(lines) == [
        'kairos_model_calibration_error{model="cards",version="b"',
        'kairos_model_calibration_error{model="churn",version="c"',
    ]


def test_a_new_version_without_rows_does_not_go_on_alarming_for_the_one_before() -> None:
    metrics = PrometheusMetrics({**CONTRACT, **METRICS})
    drifted = DriftFigure(kind=DriftKind.CALIBRATION, name="calibration", value=2.0, limit=1.5, beyond=True)
    export_drift(metrics, "cards", DriftReport(version="a", rows=900, recent=900, positives=90, figures=(drifted,)))
    assert f"{ALARM} 1.0" in metrics.exposition()[0].decode()

    export_drift(metrics, "cards", DriftReport(version="b", rows=0, recent=0, positives=0))
    assert f"{ALARM} 0.0" in metrics.exposition()[0].decode()
