"""Measures as a table for people."""

from collections.abc import Mapping, Sequence

from models.manifest import Manifest, Metric

METRIC_TITLES: Mapping[str, str] = {
    "auc": "AUC",
    "log_loss": "log loss",
    "log_loss_base_rates": "log loss of the base rates",
    "log_loss_gain": "log loss gained on the base rates",
    "calibration_error": "calibration error",
    "predicted_to_observed": "predicted / observed",
    "rows": "held-out rows",
    "positives": "held-out positives",
}
"""What every measure is called, in the order it is shown."""


def metrics_table(metrics: Mapping[str, Metric]) -> list[str]:
    """One line a measure: title, value, 95 % interval."""
    rows = [("measure", "value", "95 % interval")]
    for name in [*(n for n in METRIC_TITLES if n in metrics), *sorted(set(metrics) - set(METRIC_TITLES))]:
        metric = metrics[name]
        interval = "" if metric.low is None or metric.high is None else f"{metric.low:.4f} .. {metric.high:.4f}"
        shown = f"{metric.value:,.0f}" if name in {"rows", "positives"} else f"{metric.value:.4f}"
        rows.append((METRIC_TITLES.get(name, name), shown, interval))
    return aligned(rows)


def manifest_summary(manifest: Manifest) -> list[str]:
    """What was trained on, then how good it is."""
    head = [f"version   {manifest.version}", f"columns   {len(manifest.schema.columns)} ({manifest.schema.hash})"]
    if manifest.data is not None:
        data = manifest.data
        head.append(f"examples  {data.rows:,} rows, {data.positives:,} positive ({data.positives / data.rows:.2%})")
    return [*head, "", *metrics_table(manifest.metrics)]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell; the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
