"""The state builder of a rebuild: it rests after every batch, contacts nobody, and matches triggers only once it is to
hand its states over.

Between the moment the builders of the version before stop and that at which those of the new one have their share of
the partitions, nobody else would see what comes in. So before the switch the rebuild waits until those builders have
matched all that it has folded, and from then on matches beside them: a memory that is past an event is not moved by it
again, whoever is first. What fires stays pending for those who serve.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter

from services.ports import Delivery
from services.use_cases.match_triggers import MatchTriggers
from services.use_cases.rebuild_bundles import LONGEST_REST_S
from services.workers.state_builder import Partition, PreparedBatch, StateBuilder
from services.workers.trigger_progress import TriggerProgress

MATCHED_WITHIN_S = 1.0
"""How long a batch waits for the builders of the version before; it is tried again with the next."""
_LOOK_S = 0.02
_log = logging.getLogger(__name__)


class RestingBuilder:
    """Implements `workers.consumer.Work`. `rest` is how long it rests after a batch, in times of its length."""

    def __init__(self, builder: StateBuilder, triggers: TriggerProgress, rest: float) -> None:
        self._builder = builder
        self._triggers = triggers
        self._rest = rest
        self._matching: MatchTriggers | None = None
        self._asked = False
        self.matches = asyncio.Event()
        """Set once the triggers see what is folded here."""

    def hand_over(self, matching: MatchTriggers | None) -> None:
        """From as soon as can be the triggers (None: there are none) are to see what is folded here."""
        self._matching = matching
        self._asked = True

    async def prepare(self, deliveries: Sequence[Delivery]) -> PreparedBatch:
        """As the builder."""
        return await self._builder.prepare(deliveries)

    async def apply(self, batch: PreparedBatch) -> Mapping[Partition, int]:
        """As the builder, and a pause."""
        await self._take_up()
        began = perf_counter()
        positions = await self._builder.apply(batch)
        await asyncio.sleep(min(LONGEST_REST_S, (perf_counter() - began) * self._rest))
        return positions

    async def idle(self) -> None:
        """As the builder."""
        await self._builder.idle()
        await self._take_up()

    async def _take_up(self) -> None:
        """Begins to match where the triggers have seen all that is folded; else all stays as it is."""
        if not self._asked or self.matches.is_set():
            return
        loop = asyncio.get_running_loop()
        until_s = loop.time() + MATCHED_WITHIN_S
        while not await self._builder.progress.is_matched():
            if loop.time() >= until_s:
                return
            await asyncio.sleep(_LOOK_S)
        self._triggers.serving = True
        ingest = replace(self._builder.ingest, triggers=self._matching)
        self._builder = replace(self._builder, ingest=ingest)
        self.matches.set()
        _log.info("triggers see from now on what the rebuild folds", extra={"action": "hand over"})
