"""The live picture: what is drawn from the traffic's running figures, as lines of text or as tables."""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from services.simulation.traffic_stats import SeenDecision, TrafficStats

PAGES = ("/agent", "/inbox", "/console", "/map", "/metrics", "/openapi.json")
PRIOR = "prior"
"""The version that decisions name while base rates stand in for a model."""
BANK_ZONE = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the traffic does not know: where the API is, and how far the state builder lags behind the bus."""

    api_url: str
    lag_seconds: float | None


def plain_line(stats: TrafficStats, around: Surroundings) -> str:
    """Everything that matters in one line."""
    return " | ".join(
        (
            f"{stats.phase} {_day(stats.simulated_ms)}",
            f"events {stats.events:,} ({stats.event_rate.per_second():,.0f}/s)",
            f"decisions {stats.decisions:,} ({stats.decision_rate.per_second():,.1f}/s)",
            f"p50 {_ms(stats.latency_ms(0.5))} p99 {_ms(stats.latency_ms(0.99))}",
            f"options {stats.options:,} fallbacks {stats.fallbacks:,} degraded {stats.degraded:,}",
            f"accepted {_percent(stats.accept_rate)}, worth {_worth(stats)}",
            f"lag {_seconds(around.lag_seconds)}",
            f"model {_model(stats)}",
            f"errors {stats.errors:,}" + (f" ({stats.last_error})" if stats.last_error else ""),
        )
    )


def picture(stats: TrafficStats, around: Surroundings) -> RenderableType:
    """The whole screen."""
    return Group(_figures(stats, around), _recent(stats), _addresses(around))


def _figures(stats: TrafficStats, around: Surroundings) -> Panel:
    grid = Table.grid(padding=(0, 3))
    for _ in range(4):
        grid.add_column()
    rows = (
        ("bank's time", _day(stats.simulated_ms), "phase", stats.phase),
        ("events", f"{stats.events:,}", "a second", f"{stats.event_rate.per_second():,.0f}"),
        ("decisions", f"{stats.decisions:,}", "a second", f"{stats.decision_rate.per_second():,.1f}"),
        ("p50", _ms(stats.latency_ms(0.5)), "p99", _ms(stats.latency_ms(0.99))),
        ("options", f"{stats.options:,}", "fallbacks", f"{stats.fallbacks:,}"),
        ("accepted lately", _percent(stats.accept_rate), "true worth a decision", _worth(stats)),
        ("event lag", _seconds(around.lag_seconds), "degraded", f"{stats.degraded:,}"),
        ("model", _model(stats), "errors", f"{stats.errors:,} {stats.last_error}"),
    )
    for left, value, right, other in rows:
        grid.add_row(Text(left, "dim"), Text(value, "bold"), Text(right, "dim"), Text(other, "bold"))
    return Panel(grid, title="Kairos", title_align="left")


def _recent(stats: TrafficStats) -> Panel:
    table = Table(expand=True, box=None, padding=(0, 1))
    for title in ("time", "customer", "channel", "placement", "offer", "propensity", "reasons", "ms"):
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    for seen in reversed(stats.recent):
        table.add_row(*_cells(seen))
    return Panel(table, title="latest decisions", title_align="left")


def _cells(seen: SeenDecision) -> tuple[str | Text, ...]:
    return (
        _local(seen.at_ms).strftime("%H:%M:%S"),
        seen.customer_id,
        seen.channel,
        seen.placement,
        Text(seen.outcome, "green" if seen.offered else "yellow"),
        "" if seen.propensity is None else f"{seen.propensity:.1%}",
        ", ".join(seen.reasons),
        f"{seen.took_ms:.1f}",
    )


def _addresses(around: Surroundings) -> Text:
    return Text("  ".join(f"{around.api_url}{page}" for page in PAGES) + "   Ctrl-C stops", "cyan")


def _worth(stats: TrafficStats) -> str:
    """The live lift: what was offered against random eligible offers on the same decisions, in major units."""
    worth = stats.true_worth
    if worth is None:
        return "-"
    offered, by_chance = worth[0] / 100, worth[1] / 100
    lift = f" ({offered / by_chance - 1:+.0%})" if by_chance > 0 else ""
    return f"{offered:,.2f} offered, {by_chance:,.2f} random eligible{lift}"


def _model(stats: TrafficStats) -> str:
    live = sorted(version for version in stats.models.values() if version != PRIOR)
    return ", ".join(live) or "base rates"


def _day(at_ms: int) -> str:
    return _local(at_ms).strftime("%Y-%m-%d %H:%M") if at_ms else "-"


def _local(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(BANK_ZONE)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
