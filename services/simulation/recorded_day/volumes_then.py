"""Volumes in a simulated day, shared by partitions that do not see each other.

The day is cut into slices. Before each, what is left of a volume is shared out to the partitions by how many requests
each will have, as nodes in service lease their parts; a partition hands out its own share alone, so no more than the
amount is ever handed out. Whatever the number of processes, the shares are the same.

Whether a unit charged on acceptance is used is not drawn: of the units held for an offer its propensity's part is used,
the rest comes back when the hold ends. A unit charged on an impression is used where the recorded place was seen.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from zoneinfo import ZoneInfo

from decision_engine.draft import Draft
from decision_engine.pacing import Pace, allowed_units, period_at
from decision_engine.strategy import VolumeConstraint
from decision_engine.volume import VolumePlan, volume_use
from decision_engine.volume_view import NO_VOLUMES, VolumeStanding, VolumeUse, VolumeView
from services.simulation.recorded_day.contacts_then import ContactsThen
from services.use_cases.volume_reservation import SPARES_CHARGED


@dataclass(frozen=True, slots=True)
class VolumeShare:
    """A partition's share of a volume for one slice: units, and whether more is left but paced out."""

    units: int
    paced: bool


Shares = Mapping[str, VolumeShare]
"""By volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What came of a partition's slice, in units by volume: used for good, and still held."""

    used: Mapping[str, float]
    held: Mapping[str, float]


@dataclass(slots=True)
class _Hold:
    volume: str
    units: int
    ends_ms: int
    used: float
    """The units of it that are used in the end."""


class SliceVolumes:
    """One side's volumes in one partition."""

    def __init__(self, plan: VolumePlan) -> None:
        self.plan = plan
        self.left: dict[str, int] = {}
        self._paced: dict[str, bool] = {}
        self._volumes = {volume.id: volume for volume in plan.volumes}
        self._used: dict[str, float] = {}
        self._holds: list[_Hold] = []
        self._view: VolumeView | None = None
        self._limited = frozenset(key for key, number in plan.offer_of.items() if plan.uses[number])

    def begin(self, shares: Shares) -> None:
        """Takes the shares of a slice."""
        self.left = {name: share.units for name, share in shares.items()}
        self._paced = {name: share.paced for name, share in shares.items()}
        self._used, self._view = {}, None

    def end(self, now_ms: int) -> Use:
        """Settles the holds that have ended; what remains of the shares goes back."""
        for hold in self._holds:
            if hold.ends_ms <= now_ms:
                self._used[hold.volume] = self._used.get(hold.volume, 0.0) + hold.used
        self._holds = [hold for hold in self._holds if hold.ends_ms > now_ms]
        held: dict[str, float] = {}
        for hold in self._holds:
            held[hold.volume] = held.get(hold.volume, 0.0) + hold.units
        return Use(used=self._used, held=held)

    def view(self, prices: Mapping[str, float]) -> VolumeView:
        """What a decision is told."""
        if not self.plan.volumes:
            return NO_VOLUMES
        if not prices and self._view is not None:
            return self._view  # one value while nothing is taken, so that what it means is worked out once
        view = {
            volume.id: VolumeStanding(
                self.left.get(volume.id, 0), self._paced.get(volume.id, False), prices.get(volume.id, 0.0)
            )
            for volume in self.plan.volumes
        }
        self._view = None if prices else view
        return view

    def reserve(self, draft: Draft, contacts: ContactsThen, seen: Collection[bytes], *, sure: bool) -> list[int | None]:
        """For each position the alternative taken, as in service: what the share allows is put to the ledger (`sure`
        as there), and what the ledger takes is charged. `seen` are the recorded places that had an impression."""
        request = draft.reservation
        if not any(wish.offer in self._limited for wishes in request.positions for wish in wishes):
            return contacts.reserve(draft.request.customer_id, request, sure=sure)
        places, uses = self._allowed(draft)
        offered = tuple(
            tuple(wishes[place] for place in kept) for wishes, kept in zip(request.positions, places, strict=True)
        )
        chosen = contacts.reserve(draft.request.customer_id, replace(request, positions=offered), sure=sure)
        taken = [None if n is None else kept[n] for n, kept in zip(chosen, places, strict=True)]
        for place, wishes, tracking in zip(taken, request.positions, request.trackings, strict=True):
            if place is not None and uses.get(wishes[place].offer):
                offer = wishes[place].offer
                propensity = float(draft.scores.propensity[self.plan.offer_of[offer]])
                self._take(uses[offer], request.lapses_ms, propensity, seen=tracking in seen)
        return taken

    def _allowed(self, draft: Draft) -> tuple[list[list[int]], dict[int, VolumeUse]]:
        """Per position the alternatives that the share allows, the winner and a few spares; and what each offer (its
        key) would take."""
        channel, left, uses = draft.request.channel, dict(self.left), dict[int, VolumeUse]()
        positions, spares = [], 0
        for wishes in draft.reservation.positions:
            kept = []
            for place, wish in enumerate(wishes):
                if wish.offer not in uses:
                    use = volume_use(self.plan, wish.offer, channel)
                    spare = bool(use) and place > 0
                    if (spare and spares >= SPARES_CHARGED) or any(left.get(n, 0) < units for n, units in use.items()):
                        continue
                    spares += spare
                    left.update({name: left[name] - units for name, units in use.items()})
                    uses[wish.offer] = use
                kept.append(place)
            positions.append(kept)
        return positions, uses

    def _take(self, use: VolumeUse, lapses_ms: int, propensity: float, *, seen: bool) -> None:
        self._view = None
        for name, units in use.items():
            self.left[name] -= units
            volume = self._volumes[name]
            part = {"reservation": 1.0, "impression": float(seen), "accept": propensity * seen}[volume.charged_on]
            ends_ms = lapses_ms + volume.hold_seconds * 1000 if volume.charged_on == "accept" else lapses_ms
            self._holds.append(_Hold(name, units, ends_ms, units * part))


class SharedVolumes:
    """What the whole bank has left of one side's volumes, and its shares."""

    def __init__(self, plan: VolumePlan, zone: ZoneInfo, used_before: Mapping[str, float]) -> None:
        self._plan = plan
        self._zone = zone
        self._used = dict(used_before)
        self._held: dict[int, Mapping[str, float]] = {}
        self._periods: dict[str, str] = {}
        self.used: dict[str, float] = {volume.id: 0.0 for volume in plan.volumes}
        """Used within the day, by volume."""

    def share_out(self, now_ms: int, requests: Sequence[int]) -> list[dict[str, VolumeShare]]:
        """The shares of all partitions for the slice that begins now; `requests` are how many each will have."""
        shares: list[dict[str, VolumeShare]] = [{} for _ in requests]
        for volume, largest in zip(self._plan.volumes, self._plan.largest, strict=True):
            free, left = self._free(volume, now_ms)
            paced = left >= largest > free
            for mine, units in zip(shares, _apportioned(floor(free), max(1, largest), requests), strict=True):
                mine[volume.id] = VolumeShare(units, paced)
        return shares

    def settle(self, partition: int, use: Use) -> None:
        """Takes note of what came of a partition's slice."""
        self._held[partition] = use.held
        for name, units in use.used.items():
            self._used[name] = self._used.get(name, 0.0) + units
            self.used[name] += units

    def amounts_used(self) -> dict[str, tuple[int, float]]:
        """By volume the amount of a period, and the units used within the day; what is held at its end counts not."""
        return {volume.id: (volume.amount, self.used[volume.id]) for volume in self._plan.volumes}

    def _free(self, volume: VolumeConstraint, now_ms: int) -> tuple[float, float]:
        """How much may be handed out now, and how much is left of the period."""
        period = period_at(volume, now_ms, self._zone)
        if period is None:
            return 0.0, 0.0
        if self._periods.setdefault(volume.id, period.name) != period.name:
            self._periods[volume.id], self._used[volume.id] = period.name, 0.0
        gone = self._used.get(volume.id, 0.0) + sum(held.get(volume.id, 0.0) for held in self._held.values())
        allowed = allowed_units(volume, period, now_ms, Pace(zone=self._zone))
        return max(0.0, allowed - gone), max(0.0, volume.amount - gone)


def _apportioned(units: int, lot: int, requests: Sequence[int]) -> list[int]:
    """The units in lots of what one charge takes, by the requests; what does not divide goes to the largest
    remainders, and of equals to the first."""
    lots, total = units // lot, sum(requests)
    if not total:
        return [0 for _ in requests]
    exact = [lots * count / total for count in requests]
    given = [floor(part) for part in exact]
    by_remainder = sorted(range(len(requests)), key=lambda n: (given[n] - exact[n], n))
    for number in by_remainder[: lots - sum(given)]:
        given[number] += 1
    return [count * lot for count in given]
