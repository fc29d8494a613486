"""Asks the API about every person of a wave, at the moment of the wave."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import httpx

from loadtests.starbucks_deployment import WAIT_SECONDS, MeasurementFailed
from services.simulation.starbucks_events import PLACEMENT

ASKED_AT_ONCE = 8
TRIES = 5
"""A decision that the machine was too slow for is asked for again, and counted."""


@dataclass(slots=True)
class DecidedWave:
    """What the API answered: decision ids by customer, the versions that scored, the moments decided at, and how many
    answers were degraded, so that they were asked for again."""

    by_customer: dict[str, str] = field(default_factory=dict)
    versions: set[str] = field(default_factory=set)
    moments: set[str] = field(default_factory=set)
    asked_again: int = 0

    @property
    def version(self) -> str:
        """The model version that scored."""
        return min(self.versions, default="")


async def decide_wave(client: httpx.AsyncClient, people: Sequence[str], moment: str) -> DecidedWave:
    """Once the deployment's clock stands at `moment`, one decision a person, none of them degraded.

    Raises MeasurementFailed when the clock does not come, when somebody cannot be decided whole, or when several model
    versions or moments took part.
    """
    await _until_the_clock_says(client, people[0], moment)
    decided = DecidedWave()
    queue = iter(people)

    async def ask() -> None:
        for customer in queue:
            await _ask(client, customer, decided)

    await asyncio.gather(*(ask() for _ in range(ASKED_AT_ONCE)))
    if len(decided.versions) != 1 or decided.moments != {moment}:
        raise MeasurementFailed(f"one wave was decided by {decided.versions} at {decided.moments}")
    return decided


async def _ask(client: httpx.AsyncClient, customer: str, decided: DecidedWave) -> None:
    causes: object = None
    for _ in range(TRIES):
        answer = await _answer(client, customer)
        if not answer["degraded"]:
            decided.by_customer[customer] = str(answer["decision_id"])
            decided.versions.update(answer["models"].values())
            decided.moments.add(str(answer["time"]))
            return
        decided.asked_again += 1
        causes = answer["degraded_causes"]
    raise MeasurementFailed(f"{customer} is decided degraded again and again: {causes}")


async def _until_the_clock_says(client: httpx.AsyncClient, customer: str, moment: str) -> None:
    deadline = monotonic() + WAIT_SECONDS
    while (at := (await _answer(client, customer, dry_run=True))["time"]) != moment:
        if monotonic() > deadline:
            raise MeasurementFailed(f"the deployment's clock stands at {at}, not at {moment}")
        await asyncio.sleep(0.1)


async def _answer(client: httpx.AsyncClient, customer: str, *, dry_run: bool = False) -> dict[str, Any]:
    body = {
        "customer_id": customer,
        "channel": "email",
        "placements": [{"id": PLACEMENT, "count": 1}],
        "dry_run": dry_run,
        "timeout_ms": 1000,
    }
    response = await client.post("/v1/decisions", json=body)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer
