"""Reserving with volumes: charged before the ledger is asked, on record before the answer, given back when refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from decision_engine.contact_ledger import Alternative, ReservationRequest
from decision_engine.identifiers import CustomerId, key32
from decision_engine.volume import VolumePlan
from decision_engine.volume_view import NO_VOLUMES, VolumeUse, VolumeView
from services.ports import StoreUnavailable, VolumeHold
from services.use_cases.volume_reservation import SPARES_CHARGED, VolumeReservation

CUSTOMER = CustomerId("retail:1")
OFFERS = ("gold", "silver", "bronze", "iron", "tin")


@dataclass
class Hold:
    use: dict[str, int]


@dataclass
class Leases:
    """Units of one volume an offer, by name; what is held, and whether the store takes charges."""

    units: dict[str, int]
    on_record: bool | StoreUnavailable = True
    committed: list[int] = field(default_factory=list)

    def view(self, now_ms: int) -> VolumeView:
        return NO_VOLUMES

    def hold(self, use: VolumeUse, now_ms: int) -> Hold | None:
        if any(self.units[name] < units for name, units in use.items()):
            return None
        for name, units in use.items():
            self.units[name] -= units
        return Hold(dict(use))

    def give_back(self, hold: VolumeHold) -> None:
        assert isinstance(hold, Hold)
        for name, units in hold.use.items():
            self.units[name] += units

    async def commit(self, holds: Sequence[VolumeHold]) -> bool:
        self.committed.append(len(holds))
        if isinstance(self.on_record, StoreUnavailable):
            raise self.on_record
        return self.on_record


@dataclass
class Ledger:
    """Refuses these offers, and takes the first other one of each position."""

    refuses: frozenset[str] = frozenset()
    away: bool = False
    asked: list[list[str]] = field(default_factory=list)

    async def reserve(self, customer_id: CustomerId, request: ReservationRequest) -> list[int | None]:
        if self.away:
            raise StoreUnavailable("away")
        names = {key32(name): name for name in OFFERS}
        self.asked = [[names[a.offer] for a in wishes] for wishes in request.positions]
        taken: set[str] = set()
        answer: list[int | None] = []
        for wishes in self.asked:
            free = [n for n, name in enumerate(wishes) if name not in self.refuses | taken]
            answer.append(free[0] if free else None)
            taken |= {wishes[free[0]]} if free else set()
        return answer


def limited(*names: str) -> VolumePlan:
    """One volume an offer for these; the others are free."""
    volumes = tuple(SimpleNamespace(id=f"v_{name}", of=SimpleNamespace(kind="offer", name=name)) for name in names)
    places = {name: place for place, name in enumerate(names)}
    return VolumePlan(
        volumes=volumes,  # type: ignore[arg-type]
        members=tuple(np.array([OFFERS.index(name)]) for name in names),
        costs=tuple(np.array([1]) for _ in names),
        largest=tuple(1 for _ in names),
        uses=tuple(((places[name], 1),) if name in places else () for name in OFFERS),
        offer_of={key32(name): number for number, name in enumerate(OFFERS)},
        exhausted={},
        first_number=0,
    )


def draft(*positions: str, allow_duplicates: bool = False) -> Any:
    """Positions as words: `gold silver` is gold with the spare silver."""

    def alternative(name: str) -> Alternative:
        return Alternative(offer=key32(name), group=1, issue=1, channel=1, mandatory=False, rules=())

    request = ReservationRequest(
        now_ms=0,
        lapses_ms=1,
        trackings=(b"12345678",) * len(positions),
        positions=tuple(tuple(alternative(name) for name in words.split()) for words in positions),
        allow_duplicates=allow_duplicates,
    )
    return SimpleNamespace(reservation=request, request=SimpleNamespace(channel="mobile"))


async def reserve(ledger: Ledger, leases: Leases, plan: VolumePlan, wanted: Any) -> list[int | None]:
    return await VolumeReservation(ledger=ledger, leases=leases).reserve(  # type: ignore[arg-type]
        CUSTOMER, plan, wanted
    )


async def test_the_winner_is_charged_and_its_spare_given_back() -> None:
    leases = Leases({"v_gold": 3, "v_silver": 3})
    taken = await reserve(Ledger(), leases, limited("gold", "silver"), draft("gold silver"))
    assert taken == [0]
    assert leases.units == {"v_gold": 2, "v_silver": 3}
    assert leases.committed == [2]


async def test_an_offer_whose_units_went_meanwhile_is_not_put_to_the_ledger() -> None:
    ledger, leases = Ledger(), Leases({"v_gold": 0})
    taken = await reserve(ledger, leases, limited("gold"), draft("gold silver"))
    assert ledger.asked == [["silver"]]
    assert taken == [1]


async def test_what_the_ledger_refuses_returns_to_the_volume() -> None:
    leases = Leases({"v_gold": 3, "v_silver": 3})
    ledger = Ledger(refuses=frozenset({"gold"}))
    assert await reserve(ledger, leases, limited("gold", "silver"), draft("gold silver")) == [1]
    assert leases.units == {"v_gold": 3, "v_silver": 2}


async def test_offers_without_volumes_need_no_record() -> None:
    leases = Leases({})
    assert await reserve(Ledger(), leases, limited(), draft("gold silver")) == [0]
    assert leases.committed == []


async def test_positions_share_a_spare_and_its_one_charge() -> None:
    leases = Leases({"v_gold": 1, "v_silver": 1, "v_bronze": 1})
    plan = limited("gold", "silver", "bronze")
    ledger = Ledger(refuses=frozenset({"silver"}))
    taken = await reserve(ledger, leases, plan, draft("gold bronze", "silver bronze"))
    assert taken == [0, 1]
    assert leases.units == {"v_gold": 0, "v_silver": 1, "v_bronze": 0}


async def test_with_repeats_allowed_each_position_charges_its_own() -> None:
    leases = Leases({"v_gold": 1})
    ledger = Ledger()
    taken = await reserve(ledger, leases, limited("gold"), draft("gold", "gold", allow_duplicates=True))
    assert ledger.asked == [["gold"], []]
    assert taken == [0, None]


async def test_only_a_few_spares_are_charged_in_advance() -> None:
    ledger, leases = Ledger(), Leases({f"v_{name}": 5 for name in OFFERS})
    await reserve(ledger, leases, limited(*OFFERS), draft(" ".join(OFFERS)))
    assert ledger.asked == [list(OFFERS[: 1 + SPARES_CHARGED])]


async def test_without_a_record_nothing_limited_is_handed_out() -> None:
    leases = Leases({"v_gold": 3}, on_record=False)
    taken = await reserve(Ledger(), leases, limited("gold"), draft("gold", "silver"))
    assert taken == [None, 0]
    assert leases.units == {"v_gold": 3}


@pytest.mark.parametrize("away", ["ledger", "leases"])
async def test_a_store_that_is_away_takes_nothing_from_the_volumes(away: str) -> None:
    leases = Leases({"v_gold": 3}, on_record=StoreUnavailable("away") if away == "leases" else True)
    with pytest.raises(StoreUnavailable):
        await reserve(Ledger(away=away == "ledger"), leases, limited("gold"), draft("gold"))
    assert leases.units == {"v_gold": 3}
