"""The alarm of a version ends with its service."""

from models.drift.findings import DriftFigure, DriftKind, DriftReport
from services.adapters.prometheus_metrics import CONTRACT, PrometheusMetrics
from services.commands.model_drift import METRICS, export_drift

ALARM = 'kairos_model_drift_alarm{kind="calibration",model="cards"}'


def test_a_new_version_without_rows_does_not_go_on_alarming_for_the_one_before() -> None:
    metrics = PrometheusMetrics({**CONTRACT, **METRICS})
    drifted = DriftFigure(kind=DriftKind.CALIBRATION, name="calibration", value=2.0, limit=1.5, beyond=True)
    export_drift(metrics, "cards", DriftReport(version="a", rows=900, recent=900, positives=90, figures=(drifted,)))
    assert f"{ALARM} 1.0" in metrics.exposition()[0].decode()

    export_drift(metrics, "cards", DriftReport(version="b", rows=0, recent=0, positives=0))
    assert f"{ALARM} 0.0" in metrics.exposition()[0].decode()
