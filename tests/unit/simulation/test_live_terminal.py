"""The live view and the figures behind it."""

import asyncio

import pytest
from rich.console import Console

from services.simulation.traffic_stats import SeenDecision, TrafficStats, TrueWorth, quantile
from services.terminal.live_view import show
from services.terminal.metrics_page import sample_value
from services.terminal.picture import Surroundings, picture, plain_line

AROUND = Surroundings(api_url="http://127.0.0.1:8000", lag_seconds=0.25)
PAGE = """# HELP kairos_event_lag_seconds Age of the newest event applied
# TYPE kairos_event_lag_seconds gauge
kairos_event_lag_seconds{topic="bank.channel-events.v1"} 42.5
kairos_event_lag_seconds{topic="bank.transactions.v1"} 0.75
kairos_other 3
"""


def busy_stats() -> TrafficStats:
    stats = TrafficStats(phase="live", simulated_ms=1_772_000_000_000)
    stats.note_events(12_345)
    for number in range(10):
        seen = SeenDecision(
            at_ms=1_772_000_000_000, customer_id=f"retail:{number}", channel="mobile", placement="home_banner",
            outcome="gold_card" if number else "NO_CANDIDATES", offered=bool(number), reasons=("HIGH_CARD_SPEND",),
            propensity=0.061, took_ms=float(number),
        )  # fmt: skip
        stats.note_decision(seen, degraded=number == 3)
    for number in range(8):
        stats.note_impression(accepted=number < 2, rejected=number == 7)
    stats.truths += [TrueWorth(offered=3_000, random_eligible=2_000), TrueWorth(offered=1_000, random_eligible=0)]
    stats.models = {"cross_sell": "prior"}
    return stats


def test_figures_add_up() -> None:
    stats = busy_stats()

    assert (stats.decisions, stats.options, stats.fallbacks, stats.degraded) == (10, 9, 1, 1)
    assert (stats.impressions, stats.accepts, stats.rejects, stats.accept_rate) == (8, 2, 1, 0.25)
    assert stats.true_worth == (2_000, 1_000)
    assert (stats.latency_ms(0.5), stats.latency_ms(0.99)) == (5.0, 9.0)


def test_a_quantile_of_nothing_is_unknown() -> None:
    assert quantile([], 0.99) is None
    assert TrafficStats().accept_rate is None
    assert TrafficStats().true_worth is None


def test_the_plain_line_tells_everything_that_matters() -> None:
    line = plain_line(busy_stats(), AROUND)

    for part in ("12,345", "decisions 10", "p50 5.0 ms", "p99 9.0 ms", "fallbacks 1", "accepted 25.0%", "lag 0.25 s"):
        assert part in line
    assert "worth 20.00 offered, 10.00 random eligible (+100%)" in line
    assert "model base rates" in line


def test_a_promoted_model_is_named() -> None:
    stats = busy_stats()
    stats.models = {"cross_sell": "cross_sell-20261121T101500Z-0a1b2c3d"}

    assert "model cross_sell-20261121T101500Z-0a1b2c3d" in plain_line(stats, AROUND)


def test_the_picture_shows_figures_decisions_with_reasons_and_addresses() -> None:
    console = Console(width=160, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(picture(busy_stats(), AROUND))
    text = captured.get()

    for part in (
        "Kairos",
        "gold_card",
        "NO_CANDIDATES",
        "HIGH_CARD_SPEND",
        "retail:9",
        "http://127.0.0.1:8000/agent",
        "http://127.0.0.1:8000/openapi.json",
    ):
        assert part in text


def test_the_picture_can_be_drawn_before_anything_has_happened() -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(picture(TrafficStats(), Surroundings(api_url="http://x", lag_seconds=None)))

    assert "starting" in captured.get()


def test_a_metric_is_read_by_its_label() -> None:
    assert sample_value(PAGE, "kairos_event_lag_seconds", 'topic="bank.transactions.v1"') == 0.75
    assert sample_value(PAGE, "kairos_event_lag_seconds", 'topic="bank.profile-updates.v1"') is None


async def test_without_a_terminal_a_plain_line_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = asyncio.Event()

    def line(stats: TrafficStats, around: Surroundings) -> str:
        stop.set()
        return plain_line(stats, around)

    monkeypatch.setattr("services.terminal.live_view.PLAIN_SECONDS", 0.01)
    monkeypatch.setattr("services.terminal.live_view.plain_line", line)
    await show(busy_stats(), "http://127.0.0.1:9", {}, stop)

    assert "decisions 10" in capsys.readouterr().out.splitlines()[0]
