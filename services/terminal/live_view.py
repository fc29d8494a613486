"""The live view in the terminal: redrawn in place on a terminal, one plain line every few seconds elsewhere."""

import asyncio
import sys

import httpx
from rich.console import Console
from rich.live import Live

from services.simulation.traffic_stats import TrafficStats
from services.terminal.metrics_page import event_lag_seconds
from services.terminal.picture import Surroundings, picture, plain_line

REDRAW_SECONDS = 0.5
PLAIN_SECONDS = 3.0


async def show(stats: TrafficStats, api_url: str, metrics_ports: dict[str, int], stop: asyncio.Event) -> None:
    """Shows the traffic's figures until `stop`. `metrics_ports` is role to port of its metrics page."""
    async with httpx.AsyncClient(trust_env=False) as client:
        console = Console()
        if console.is_terminal:
            with Live(console=console, screen=False, auto_refresh=False) as live:
                while not await _stopped(stop, REDRAW_SECONDS):
                    live.update(picture(stats, await _around(client, api_url, metrics_ports)), refresh=True)
            return
        while not await _stopped(stop, PLAIN_SECONDS):
            sys.stdout.write(plain_line(stats, await _around(client, api_url, metrics_ports)) + "\n")
            sys.stdout.flush()


async def _around(client: httpx.AsyncClient, api_url: str, metrics_ports: dict[str, int]) -> Surroundings:
    return Surroundings(api_url=api_url, lag_seconds=await event_lag_seconds(client, metrics_ports))


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
