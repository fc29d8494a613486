"""Scenarios on a running deployment: whom they are about, when they begin, and playing one after the other."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from decision_engine.experiment import assign_arm
from decision_engine.identifiers import CustomerId
from decision_engine.prepared import PreparedStrategy
from services.simulation.outbound_watch import OutboundWatch
from services.simulation.scenario_player import Played, ScenarioPlayer
from services.simulation.scenario_script import Scenario

CHANNELS = ("sms", "manager", "contact_centre")
"""Those in which the bank makes contact by itself."""


@dataclass(slots=True)
class Stage:
    """A deployment that scenarios are played on. Each begins where the one before ended, as clocks only go forward."""

    http: httpx.AsyncClient
    prepared: PreparedStrategy
    watch: OutboundWatch
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def play(self, scenario: Scenario) -> AsyncIterator[tuple[str, Played | None]]:
        """The customer, then step by step. Raises ExpectationFailed."""
        customer = self._newcomer(scenario)
        player = ScenarioPlayer(self.http, scenario, customer, self.now, self.watch)
        yield customer, None
        try:
            async for played in player.play():
                yield customer, played
        finally:
            self.now = player.now

    def _newcomer(self, scenario: Scenario) -> str:
        """Somebody nobody has heard of, in the scenario's arm of the standing experiment."""
        while True:
            customer = f"{scenario.customer}:{int(time.time() * 1000) % 10**10}{next(self._numbers)}"
            arm = assign_arm(self.prepared.strategy.experiment.salt, self.prepared.arms, CustomerId(customer))
            if arm is scenario.arm:
                return customer


@asynccontextmanager
async def stage(api_url: str, prepared: PreparedStrategy) -> AsyncIterator[Stage]:
    """Open connections and streams."""
    async with (
        httpx.AsyncClient(base_url=api_url, timeout=10.0, trust_env=False) as http,
        OutboundWatch(http).following(CHANNELS) as watch,
    ):
        yield Stage(http, prepared, watch)


async def play_on_screen(
    api_url: str, prepared: PreparedStrategy, scenarios: Sequence[Scenario], pause_s: float
) -> None:
    """Plays them one after another and prints what happens. Raises ExpectationFailed."""
    from services.terminal.scenario_view import ScenarioView

    view = ScenarioView()
    async with stage(api_url, prepared) as playing:
        for scenario in scenarios:
            async for customer, played in playing.play(scenario):
                if played is None:
                    view.open(scenario, customer)
                else:
                    view.show(played)
                    await asyncio.sleep(pause_s)
            view.close(scenario)
