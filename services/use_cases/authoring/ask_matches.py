"""How many customers match now, and who: asked of a bounded sample of the live states, off the event loop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from decision_engine.conditions.check import CheckedExpression
from services.ports import Clock
from services.use_cases.authoring.matching import MOST_LOOKED_AT, CustomerSample, MatchCount, Matches
from services.use_cases.make_decision import Live
from services.use_cases.short_turns import short_turns

_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AskMatches:
    """Asks conditions of the states that decisions read."""

    live: Callable[[], Live]
    sample: CustomerSample
    clock: Clock

    async def __call__(self, condition: CheckedExpression) -> Matches:
        """How many and who. Raises StoreUnavailable."""
        live = self.live()
        drawn = await self.sample.sample(live.features.layout, MOST_LOOKED_AT)
        count = MatchCount(condition=condition, features=live.features, now_ms=self.clock.now_ms())
        with short_turns():
            for start in range(0, len(drawn.states), _AT_ONCE):
                await asyncio.to_thread(count.take, drawn.states[start : start + _AT_ONCE])
        return count.result(drawn.population, whole=drawn.whole)
