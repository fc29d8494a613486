"""Reserving an option that takes from a volume: the node's own part is charged first, then the ledger is asked, and
what neither takes is given back.

The winner of a position and a few of its spares are charged before the ledger chooses among them, in its one atomic
step. The charges are put on record while the ledger works, so the answer waits for the slower of the two, not for both
in turn.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from decision_engine.contact_ledger import Alternative, ReservationRequest
from decision_engine.draft import Draft
from decision_engine.identifiers import CustomerId
from decision_engine.volume import VolumePlan, volume_use
from decision_engine.volume_view import VolumeUse
from services.ports import ContactLedger, VolumeHold, VolumeLeases

SPARES_CHARGED = 2
"""Limited spares of a request that are charged in advance. The ledger was read a moment ago, so it seldom refuses a
winner; and what is on record for a spare when a node dies is lost until the period ends."""


@dataclass(frozen=True, slots=True)
class _Charged:
    """An alternative that the volumes allow: its place among those of the draft, and what was taken for it."""

    place: int
    alternative: Alternative
    hold: VolumeHold | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeReservation:
    """Reserves a draft's positions in the ledger and in this node's part of the volumes."""

    ledger: ContactLedger
    leases: VolumeLeases

    async def reserve(self, customer_id: CustomerId, plan: VolumePlan, draft: Draft) -> list[int | None]:
        """For each position the index of the alternative taken, or None. Raises StoreUnavailable, having taken nothing
        from the volumes."""
        request = draft.reservation
        charging = _Charging(self.leases, plan, draft)
        positions = [charging.charge(wishes) for wishes in request.positions]
        holds = charging.holds
        if not holds:
            return _places(positions, await self._ledger_takes(customer_id, request, positions))
        try:
            chosen, on_record = await asyncio.gather(
                self._ledger_takes(customer_id, request, positions), self.leases.commit(holds)
            )
        except BaseException:
            # Also when the time is up: nothing was answered, so nothing was handed out.
            self._give_back(holds)
            raise
        taken = _places(positions, chosen)
        kept = {id(wishes[index].hold) for wishes, index in zip(positions, chosen, strict=True) if index is not None}
        self._give_back([hold for hold in holds if id(hold) not in kept or not on_record])
        if on_record:
            return taken
        return [
            None if index is not None and wishes[index].hold is not None else place
            for wishes, index, place in zip(positions, chosen, taken, strict=True)
        ]

    async def _ledger_takes(
        self, customer_id: CustomerId, request: ReservationRequest, positions: Sequence[Sequence[_Charged]]
    ) -> list[int | None]:
        if not any(positions):
            return [None] * len(positions)
        offered = tuple(tuple(charged.alternative for charged in wishes) for wishes in positions)
        return await self.ledger.reserve(customer_id, replace(request, positions=offered))

    def _give_back(self, holds: Sequence[VolumeHold]) -> None:
        for hold in holds:
            self.leases.give_back(hold)


class _Charging:
    """Charges the alternatives of one request. Positions share spares, and the ledger takes an offer once a request
    unless it may repeat, so an offer is charged once, for whichever position gets it."""

    def __init__(self, leases: VolumeLeases, plan: VolumePlan, draft: Draft) -> None:
        self.holds: list[VolumeHold] = []
        self._leases = leases
        self._plan = plan
        self._channel = draft.request.channel
        self._request = draft.reservation
        self._held: dict[int, VolumeHold | None] = {}
        self._spares = 0

    def charge(self, wishes: Sequence[Alternative]) -> list[_Charged]:
        """The alternatives of a position that the volumes allow, in order."""
        charged = []
        for place, alternative in enumerate(wishes):
            use = volume_use(self._plan, alternative.offer, self._channel)
            hold = self._hold(alternative.offer, use, spare=place > 0) if use else None
            if hold is not None or not use:
                charged.append(_Charged(place, alternative, hold))
        return charged

    def _hold(self, offer: int, use: VolumeUse, *, spare: bool) -> VolumeHold | None:
        if not self._request.allow_duplicates and offer in self._held:
            return self._held[offer]
        if spare and self._spares >= SPARES_CHARGED:
            return None
        self._spares += spare
        hold = self._held[offer] = self._leases.hold(use, self._request.now_ms)
        if hold is not None:
            self.holds.append(hold)
        return hold


def _places(positions: Sequence[Sequence[_Charged]], chosen: Sequence[int | None]) -> list[int | None]:
    """The ledger chose among those charged; answered is the place among all."""
    return [None if index is None else wishes[index].place for wishes, index in zip(positions, chosen, strict=True)]
