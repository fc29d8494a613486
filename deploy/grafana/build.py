"""The dashboards, as code: `python deploy/grafana/build.py` writes deploy/grafana/dashboards/*.json.

A panel is a title, a unit and queries; this page places them, six rows of grid a row of panels, and knows Grafana's
words. A test holds the files to what is said here, and asks every query of a real Prometheus.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("dashboards")
WIDTH = 24
ROW_HEIGHT = 8
ACCEPTED, SEEN = '{outcome="accept"}', '{outcome="impression"}'
SOURCE = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture. `queries` are expression and legend; `about` says how to read it; `kind` is Grafana's panel type."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    about: str = ""
    kind: str = "timeseries"
    stacked: bool = False
    most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """Rows of panels, each row as wide as the screen."""

    uid: str
    title: str
    rows: tuple[tuple[Panel, ...], ...]


def rate(metric: str, by: str = "", match: str = "", window: str = "$__rate_interval") -> str:
    """How often a second, summed over nodes."""
    return f"sum{f' by ({by})' if by else ''} (rate(kairos_{metric}{match}[{window}]))"


def share(part: str, whole: str) -> str:
    """A part of a whole."""
    return f"{part} / {whole}"


def quantile(q: float, metric: str, by: str = "") -> str:
    """A quantile over all nodes."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({q}, sum by ({labels}) (rate(kairos_{metric}_bucket[$__rate_interval])))"


DECISIONS = Dashboard(
    uid="kairos-decisions",
    title="Kairos: decisions",
    rows=(
        (
            Panel(title="Decisions a second", kind="stat", queries=((rate("decisions_total"), ""),)),
            Panel(title="p99", kind="stat", unit="s", queries=((quantile(0.99, "decision_seconds"), ""),)),
            Panel(
                title="Within 100 ms",
                kind="stat",
                unit="percentunit",
                queries=(
                    (share(rate("decision_seconds_bucket", match='{le="0.1"}'), rate("decision_seconds_count")), ""),
                ),
            ),
            Panel(
                title="Degraded",
                kind="stat",
                unit="percentunit",
                about="Made without something they need.",
                queries=((f"({rate('degraded_total')} or vector(0)) / {rate('decisions_total')}", ""),),
            ),
            Panel(title="Roles up", kind="stat", queries=(('sum(up{job="kairos"})', ""),)),
        ),
        (
            Panel(
                title="Decisions by channel",
                unit="reqps",
                stacked=True,
                queries=((rate("decisions_total", "channel"), "{{channel}}"),),
            ),
            Panel(
                title="Time from request to answer",
                unit="s",
                queries=tuple(
                    (quantile(q, "decision_seconds"), name)
                    for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"))
                ),
            ),
        ),
        (
            Panel(
                title="Time by stage, mean",
                unit="s",
                stacked=True,
                about="read and reserve wait for the store; engine is ours.",
                queries=(
                    (
                        share(
                            rate("decision_stage_seconds_sum", "stage"), rate("decision_stage_seconds_count", "stage")
                        ),
                        "{{stage}}",
                    ),
                ),
            ),
            Panel(
                title="p99 by channel",
                unit="s",
                queries=((quantile(0.99, "decision_seconds", "channel"), "{{channel}}"),),
            ),
        ),
        (
            Panel(
                title="Degraded by cause",
                unit="reqps",
                stacked=True,
                queries=((rate("degraded_total", "cause"), "{{cause}}"),),
            ),
            Panel(
                title="Failed and refused",
                unit="reqps",
                stacked=True,
                queries=(
                    (rate("requests_failed_total", "route, status"), "{{status}} {{route}}"),
                    (rate("shed_total", "reason, priority"), "refused: {{reason}} {{priority}}"),
                ),
            ),
            Panel(
                title="Keys of tokens, and their fetches",
                queries=(
                    ("min(kairos_signing_keys)", "keys"),
                    (rate("signing_key_fetches_total", "outcome"), "{{outcome}}"),
                    (rate("revocations_read_total", "outcome"), "list of the revoked: {{outcome}}"),
                ),
            ),
            Panel(
                title="Records not kept, and recovered",
                queries=(
                    (rate("records_unkept_total", "where"), "{{where}}"),
                    (rate("records_recovered_total"), "recovered"),
                ),
            ),
        ),
        (
            Panel(
                title="Requests that may be under way at once",
                queries=(("min by (instance) (kairos_concurrency_limit)", "{{instance}}"),),
            ),
            Panel(
                title="A turn of the loop",
                unit="s",
                queries=(("max by (instance) (kairos_loop_turn_seconds)", "{{instance}}"),),
            ),
            Panel(
                title="Dependencies that are not asked",
                queries=(
                    ("sum by (dependency) (kairos_circuit_open)", "{{dependency}}"),
                    (rate("circuit_opened_total", "dependency"), "{{dependency}}: opened a second"),
                ),
            ),
        ),
        (
            Panel(
                title="CPU by role",
                unit="percentunit",
                queries=(
                    (
                        'sum by (role, instance) (rate(process_cpu_seconds_total{job="kairos"}[$__rate_interval]))',
                        "{{role}} {{instance}}",
                    ),
                ),
            ),
            Panel(
                title="Memory by role",
                unit="bytes",
                queries=(
                    ('sum by (role, instance) (process_resident_memory_bytes{job="kairos"})', "{{role}} {{instance}}"),
                ),
            ),
        ),
    ),
)
FUNNEL = Dashboard(
    uid="kairos-funnel",
    title="Kairos: engine funnel",
    rows=(
        (
            Panel(
                title="Candidates rejected by stage",
                unit="cps",
                stacked=True,
                queries=((rate("rejections_total", "stage"), "{{stage}}"),),
            ),
            Panel(
                title="Offered or fallback",
                unit="percentunit",
                stacked=True,
                most=1,
                queries=(
                    (
                        f"{rate('decision_seconds_count', 'outcome')} "
                        f"/ on () group_left () {rate('decision_seconds_count')}",
                        "{{outcome}}",
                    ),
                ),
            ),
        ),
        (
            Panel(
                title="The twenty rules that reject most",
                kind="table",
                about="A second, over the time shown.",
                queries=((f"topk(20, {rate('rejections_total', 'stage, rule', window='$__range')})", ""),),
            ),
            Panel(
                title="Fallbacks by placement and cause",
                unit="cps",
                stacked=True,
                queries=((rate("fallbacks_total", "placement, cause"), "{{placement}} {{cause}}"),),
            ),
        ),
        (
            Panel(
                title="Ledger: reserved, refused, unavailable",
                unit="cps",
                stacked=True,
                queries=((rate("ledger_reservations_total", "outcome"), "{{outcome}}"),),
            ),
            Panel(
                title="Kill switches engaged",
                queries=(("max by (kind, name) (kairos_kill_switch_engaged) == 1", "{{kind}} {{name}}"),),
            ),
        ),
        (
            Panel(
                title="Strategy that decides, by node",
                queries=(("count by (version) (kairos_strategy_info == 1)", "{{version}}"),),
            ),
            Panel(
                title="Share of a canary",
                unit="percentunit",
                queries=(("max by (version) (kairos_strategy_share)", "{{version}}"),),
            ),
            Panel(
                title="Acts of governance, and faults of their chain",
                queries=(("max(kairos_governance_acts)", "acts"), ("max(kairos_governance_faults)", "faults")),
            ),
        ),
    ),
)
BUS = Dashboard(
    uid="kairos-bus",
    title="Kairos: bus and state",
    rows=(
        (
            Panel(
                title="Records that wait to become state",
                queries=(("sum by (topic) (kairos_bus_lag_records)", "{{topic}}"),),
            ),
            Panel(
                title="Events applied",
                unit="cps",
                stacked=True,
                queries=((rate("events_applied_total", "type"), "{{type}}"),),
            ),
        ),
        (
            Panel(
                title="From the bus to the state",
                unit="s",
                about="The slowest record of each batch.",
                queries=tuple((quantile(q, "apply_delay_seconds"), name) for q, name in ((0.5, "p50"), (0.99, "p99"))),
            ),
            Panel(
                title="Time of a batch",
                unit="s",
                queries=tuple((quantile(q, "ingest_batch_seconds"), name) for q, name in ((0.5, "p50"), (0.99, "p99"))),
            ),
            Panel(
                title="Age of the newest event applied",
                unit="s",
                queries=(("max by (topic) (kairos_event_lag_seconds)", "{{topic}}"),),
            ),
        ),
        (
            Panel(
                title="Age of features when decided on",
                unit="s",
                queries=tuple((quantile(q, "feature_age_seconds"), name) for q, name in ((0.5, "p50"), (0.95, "p95"))),
            ),
            Panel(
                title="Dead letters, late, duplicates, refused",
                unit="cps",
                queries=(
                    (rate("events_dead_lettered_total", "reason"), "dead: {{reason}}"),
                    (rate("events_late_total"), "late"),
                    (rate("events_duplicate_total"), "seen before"),
                    (rate("events_refused_total"), "of the erased"),
                ),
            ),
            Panel(
                title="Conflicts and rewinds",
                unit="cps",
                queries=(
                    (rate("state_conflicts_total"), "conflicts"),
                    (rate("state_rewinds_total", "topic"), "rewinds of {{topic}}"),
                ),
            ),
        ),
        (
            Panel(
                title="Archived", unit="cps", stacked=True, queries=((rate("archived_total", "topic"), "{{topic}}"),)
            ),
            Panel(
                title="Oldest record that waits for the archive",
                unit="s",
                queries=(("max(kairos_archive_waiting_seconds)", ""),),
            ),
        ),
        (
            Panel(
                title="Triggers: what became of them",
                unit="cps",
                stacked=True,
                queries=((rate("trigger_firings_total", "outcome"), "{{outcome}}"),),
            ),
            Panel(
                title="From event to triggered contact",
                unit="s",
                queries=tuple(
                    (quantile(q, "trigger_delay_seconds"), name) for q, name in ((0.5, "p50"), (0.99, "p99"))
                ),
            ),
            Panel(
                title="Webhooks by outcome",
                unit="cps",
                stacked=True,
                queries=((rate("webhook_tries_total", "subscription, outcome"), "{{subscription}} {{outcome}}"),),
            ),
            Panel(title="Streams open", queries=(("sum(kairos_streams_open)", ""),)),
        ),
    ),
)
MODELS = Dashboard(
    uid="kairos-models",
    title="Kairos: models",
    rows=(
        (
            Panel(
                title="Mean propensity of what is offered",
                unit="percentunit",
                queries=(
                    (
                        f"{rate('model_score_sum', 'model, version')} / {rate('model_score_count', 'model, version')}",
                        "{{model}} {{version}}",
                    ),
                ),
            ),
            Panel(
                title="Spread of propensities", kind="heatmap", queries=((rate("model_score_bucket", "le"), "{{le}}"),)
            ),
        ),
        (
            Panel(
                title="Calibration error at the last fit",
                unit="percentunit",
                queries=(("max by (model, version) (kairos_model_calibration_error)", "{{model}} {{version}}"),),
            ),
            Panel(
                title="Columns that have moved most (PSI)",
                queries=(("topk(10, max by (model, feature) (kairos_feature_psi))", "{{model}} {{feature}}"),),
            ),
            Panel(
                title="Drift beyond doubt",
                queries=(("max by (model, kind) (kairos_model_drift_alarm) == 1", "{{model}} {{kind}}"),),
            ),
        ),
        (
            Panel(
                title="Fits by outcome",
                queries=(("sum by (model, outcome) (kairos_model_fits_total)", "{{model}} {{outcome}}"),),
            ),
            Panel(title="Refused at loading", queries=((rate("model_refusals_total", "model"), "{{model}}"),)),
            Panel(
                title="Decisions put to models in the shadow",
                unit="cps",
                queries=((rate("model_shadow_total", "model, outcome"), "{{model}} {{outcome}}"),),
            ),
        ),
        (
            Panel(
                title="Online learning: updates",
                unit="cps",
                stacked=True,
                queries=((rate("online_updates_total", "kind"), "{{kind}}"),),
            ),
            Panel(
                title="Online learning: age of beliefs",
                unit="s",
                queries=(("max by (instance) (kairos_online_posterior_age_seconds)", "{{instance}}"),),
            ),
            Panel(
                title="Online learning: options under way, and shed",
                queries=(
                    ("sum by (state) (kairos_online_pending)", "{{state}}"),
                    (rate("online_shed_total"), "shed a second"),
                ),
            ),
        ),
    ),
)
BUSINESS = Dashboard(
    uid="kairos-business",
    title="Kairos: business results",
    rows=(
        (
            Panel(
                title="Responses",
                unit="cps",
                stacked=True,
                queries=((rate("responses_total", "outcome"), "{{outcome}}"),),
            ),
            Panel(
                title="Accepted of what was seen",
                unit="percentunit",
                queries=(
                    (
                        share(
                            rate("responses_total", match=ACCEPTED, window="1h"),
                            rate("responses_total", match=SEEN, window="1h"),
                        ),
                        "all",
                    ),
                ),
            ),
        ),
        (
            Panel(
                title="Accepted of what was seen, by arm",
                unit="percentunit",
                about="full against random_eligible is what arbitration earns.",
                queries=(
                    (
                        share(
                            rate("arm_reward_total", "arm", ACCEPTED, "1h"), rate("arm_reward_total", "arm", SEEN, "1h")
                        ),
                        "{{arm}}",
                    ),
                ),
            ),
            Panel(
                title="Decisions by arm",
                unit="cps",
                stacked=True,
                queries=((rate("decisions_total", "arm"), "{{arm}}"),),
            ),
        ),
        (
            Panel(
                title="Left of what is limited",
                queries=(("min by (resource) (kairos_volume_remaining)", "{{resource}}"),),
            ),
            Panel(
                title="Price of what is scarce", queries=(("max by (resource) (kairos_volume_price)", "{{resource}}"),)
            ),
        ),
        (
            Panel(
                title="Conversions credited",
                unit="cps",
                queries=((rate("conversions_attributed_total"), "conversions"),),
            ),
            Panel(
                title="Contacts by triggers",
                unit="cps",
                stacked=True,
                queries=((rate("outbound_published_total", "channel"), "{{channel}}"),),
            ),
            Panel(
                title="A new version beside the one before",
                unit="percentunit",
                queries=(("max by (measure, version) (kairos_guard_share)", "{{measure}} {{version}}"),),
            ),
        ),
    ),
)
DASHBOARDS = {
    "decisions": DECISIONS,
    "engine_funnel": FUNNEL,
    "bus_and_state": BUS,
    "models": MODELS,
    "business_results": BUSINESS,
}


def document(dashboard: Dashboard) -> dict[str, object]:
    """As Grafana reads it."""
    panels, number = [], 0
    for row, members in enumerate(dashboard.rows):
        width = WIDTH // len(members)
        for column, panel in enumerate(members):
            number += 1
            place = {"x": column * width, "y": row * ROW_HEIGHT, "w": width, "h": ROW_HEIGHT}
            panels.append(_panel(panel, number, place))
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["kairos"],
        "timezone": "browser",
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"title": "Kairos", "type": "dashboards", "tags": ["kairos"], "asDropdown": True, "keepTime": True}],
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, object]:
    custom = {"fillOpacity": 25, "stacking": {"mode": "normal"}} if panel.stacked else {"fillOpacity": 5}
    defaults: dict[str, object] = {"unit": panel.unit, "min": 0, "custom": custom if panel.kind == "timeseries" else {}}
    if panel.most is not None:
        defaults["max"] = panel.most
    instant = panel.kind == "table"
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend or "__auto",
                "instant": instant,
                "range": not instant,
                "format": _format(panel.kind),
            }
            for index, (expression, legend) in enumerate(panel.queries)
        ],
    }


def _format(kind: str) -> str:
    return kind if kind in {"table", "heatmap"} else "time_series"


def texts() -> dict[str, str]:
    """File name to content."""
    return {
        f"{name}.json": json.dumps(document(one), indent=1, ensure_ascii=False) + "\n"
        for name, one in DASHBOARDS.items()
    }


def queries() -> Sequence[tuple[str, str, str]]:
    """Dashboard, panel and expression of every query."""
    return [
        (name, panel.title, expression)
        for name, dashboard in DASHBOARDS.items()
        for row in dashboard.rows
        for panel in row
        for expression, _ in panel.queries
    ]


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in texts().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
    sys.exit(0)
