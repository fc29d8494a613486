"""`kairos traffic`: the simulated bank's events and customers against a running deployment."""

import argparse
import asyncio
import os
from pathlib import Path

from services.commands.stopping import stop_on_signals
from services.settings import read_settings
from services.simulation.traffic import TrafficConfig, TrafficStats, run_demo_traffic
from services.terminal.live_view import show

NAME = "traffic"
HELP = "send the simulated bank's events and its customers' visits to a running deployment"
EXAMPLE = "kairos traffic --api-url http://127.0.0.1:8000 --customers 2000 --rate 40"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, which bank, how fast."""
    parser.add_argument(
        "--api-url",
        default="http://127.0.0.1:8000",
        help="address of the API; its key, if it wants one, is taken from TRAFFIC_API_KEY",
    )
    parser.add_argument("--strategy", type=Path, help="the strategy in force (default: KAIROS_STRATEGY_PATH)")
    parser.add_argument("--customers", type=int, default=2000, help="customers of the bank (default 2000)")
    parser.add_argument("--companies", type=int, default=50, help="companies of the bank (default 50)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the bank (default 1)")
    parser.add_argument("--history-days", type=int, default=60, help="days published before the first visit")
    parser.add_argument("--day-seconds", type=float, default=60.0, help="seconds a simulated day takes (default 60)")
    parser.add_argument("--rate", type=float, default=40.0, help="most visits begun per second (default 40)")
    parser.add_argument("--concurrency", type=int, default=16, help="most visits under way at once (default 16)")
    parser.add_argument("--seconds", type=float, help="stop by itself after so many seconds (default: at Ctrl-C)")


def run(args: argparse.Namespace) -> int:
    """Runs until Ctrl-C. Raises StrategyInvalid, BusUnavailable."""
    settings = read_settings(os.environ)
    config = TrafficConfig(
        api_url=args.api_url,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        strategy_path=args.strategy or settings.strategy_path,
        customers=args.customers,
        companies=args.companies,
        seed=args.seed,
        history_days=args.history_days,
        day_seconds=args.day_seconds,
        visits_per_second=args.rate,
        concurrency=args.concurrency,
        api_key=os.environ.get("TRAFFIC_API_KEY"),
        idempotence=settings.kafka_idempotence,
    )
    asyncio.run(_run(config, args.seconds))
    return 0


async def _run(config: TrafficConfig, seconds: float | None) -> None:
    stop, loop = stop_on_signals(), asyncio.get_running_loop()
    if seconds:
        loop.call_later(seconds, stop.set)
    stats = TrafficStats()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_demo_traffic(config, stats, stop))
        tasks.create_task(show(stats, config.api_url, {}, stop))
    print(
        f"{stats.events:,} events, {stats.decisions:,} decisions, {stats.accepts:,} accepted, {stats.errors:,} errors"
    )
