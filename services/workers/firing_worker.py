"""Fires triggers in the background: a few customers at a time, beside the folding of events, and never a partition that
was given up."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import islice
from time import monotonic

from decision_engine.identifiers import CustomerId
from decision_engine.triggers.firing import Overtaken
from services.ports import BusUnavailable, StoreUnavailable
from services.use_cases.firing_cases import Watched

LOT = 64
"""Customers worked on together: their store and bus round trips are shared."""
SIDE_BY_SIDE = 4
"""Lots under way at once: while one waits for the bus, another is decided."""
_LOOKED_AT = 512
MOST_WAITING = 20_000
"""Beyond it customers are left to the due index, where they stand in any case."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
AT_FAULT_S = 30.0
"""How long a customer is left alone whose firings fail by themselves; everybody else goes on at once."""
MOST_AT_FAULT = 10_000
Fire = Callable[[Sequence[Watched]], Awaitable[None]]
Withdraw = Callable[[CustomerId, Sequence[Overtaken]], Awaitable[None]]
_log = logging.getLogger(__name__)


class FiringWorker:
    """Implements `use_cases.match_triggers.Firings`. What is submitted is no more than a hint: everything pending
    stands in the store, and what is dropped here, by a failure, a full queue or a stop, is found there again."""

    def __init__(
        self,
        fire: Fire,
        withdraw: Withdraw,
        *,
        lot: int = LOT,
        side_by_side: int = SIDE_BY_SIDE,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._fire = fire
        self._withdraw = withdraw
        self._lot = lot
        self._side_by_side = side_by_side
        self._most_waiting = most_waiting
        self._waiting: dict[CustomerId, Watched] = {}
        self._working: dict[CustomerId, Watched] = {}
        self._at_fault: dict[CustomerId, float] = {}
        """Customers left alone, and until when."""
        self._filled = asyncio.Event()
        self._done = asyncio.Event()

    @asynccontextmanager
    async def running(self, drain_s: float) -> AsyncIterator[None]:
        """Works while the context lasts; leaving lets what is under way end within the time, and drops the rest."""
        tasks = [asyncio.create_task(self._run(), name=f"firing-{number}") for number in range(self._side_by_side)]
        try:
            yield
        finally:
            self._waiting.clear()
            await self._ended(None, drain_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def submit(self, customer: Watched) -> None:
        """Something is pending for the customer."""
        if self._is_at_fault(customer.customer_id):
            return
        if customer.customer_id in self._waiting or len(self._waiting) < self._most_waiting:
            self._waiting.setdefault(customer.customer_id, customer)
            self._filled.set()

    async def withdraw(self, customer_id: CustomerId, overtaken: Sequence[Overtaken]) -> None:
        """Tells the channels what not to deliver any more. Raises BusUnavailable."""
        await self._withdraw(customer_id, overtaken)

    def is_busy(self, customer_id: CustomerId) -> bool:
        """Whether the customer's firings wait here, are being worked on, or are left alone for a while."""
        return customer_id in self._waiting or customer_id in self._working or self._is_at_fault(customer_id)

    def _is_at_fault(self, customer_id: CustomerId) -> bool:
        until_s = self._at_fault.get(customer_id)
        if until_s is None:
            return False
        if monotonic() < until_s:
            return True
        del self._at_fault[customer_id]
        return False

    async def revoked(self, partitions: Collection[int], hand_over_s: float) -> None:
        """Called before partitions are given up: nothing of them is begun any more, and what is under way may end
        within the time. If it does not, the intents noted tell the next owner where to look."""
        for customer_id, customer in list(self._waiting.items()):
            if customer.partition in partitions:
                del self._waiting[customer_id]
        await self._ended(partitions, hand_over_s)

    async def _ended(self, partitions: Collection[int] | None, within_s: float) -> None:
        """Returns once nothing of these partitions (None: nothing at all) is under way, or the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(partitions is None or one.partition in partitions for one in self._working.values()):
                    self._done.clear()
                    await self._done.wait()

    async def _run(self) -> None:
        """One of a few that work side by side, each on other customers."""
        failures = 0
        while True:
            await self._filled.wait()
            lot = self._next_lot()
            if not lot:
                self._filled.clear()
                continue
            try:
                failures = 0 if await self._work(lot) else failures + 1
            finally:
                for customer in lot:
                    del self._working[customer.customer_id]
                self._done.set()
                if self._waiting:
                    self._filled.set()
            if failures:
                await asyncio.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * (1 << min(failures, 16))))

    def _next_lot(self) -> list[Watched]:
        """Those who wait longest, without whom somebody else is working on."""
        free = [one for one in islice(self._waiting.values(), _LOOKED_AT) if one.customer_id not in self._working]
        lot = free[: self._lot]
        for customer in lot:
            self._working[customer.customer_id] = self._waiting.pop(customer.customer_id)
        return lot

    async def _work(self, lot: Sequence[Watched]) -> bool:
        """One lot; False when it could not be finished."""
        try:
            await self._fire(lot)
        except (StoreUnavailable, BusUnavailable) as error:
            _log.warning("firings are left for later: %s", error, extra={"action": "they are due still"})
            return False
        except Exception:  # noqa: BLE001 - one customer's firing must not hold up the others'
            _log.exception("a lot of firings failed", extra={"action": "they are tried one by one"})
            return await self._work_singly(lot)
        return True

    async def _work_singly(self, lot: Sequence[Watched]) -> bool:
        """Each by itself, so that only the one at fault is left, and nobody waits for it. False when the store or the
        bus is away."""
        for customer in lot:
            try:
                await self._fire([replace(customer, fired=frozenset())])
            except (StoreUnavailable, BusUnavailable):
                return False
            except Exception:  # noqa: BLE001 - as above
                _log.exception(
                    "a customer's firings failed", extra={"action": "look into it", "customer_id": customer.customer_id}
                )
                self._leave_alone(customer.customer_id)
        return True

    def _leave_alone(self, customer_id: CustomerId) -> None:
        """The due index names the customer at every look, and would keep everybody busy with what fails again."""
        if len(self._at_fault) >= MOST_AT_FAULT:
            del self._at_fault[next(iter(self._at_fault))]
        self._at_fault[customer_id] = monotonic() + AT_FAULT_S
        self._waiting.pop(customer_id, None)
