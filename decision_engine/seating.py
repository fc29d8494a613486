"""Seating: who stands where after the ledger has answered, and who lost a place to it."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from decision_engine.errors import DecisionEngineError
from decision_engine.lottery import Seat
from decision_engine.rejections import BUNDLE, DUPLICATE, RESERVED_MEANWHILE, Rejection
from decision_engine.slate import PlacementSlate


class ReservationMismatch(DecisionEngineError):
    """The ledger's answer does not belong to this draft's reservation."""


class PlacementSeating(NamedTuple):
    """`number` is the placement's in the request. `seated` pairs positions, numbered over the whole decision, with what
    stands there; `refused` are the candidates that were tried before it and the reason they lost."""

    number: int
    seated: tuple[tuple[int, Seat], ...]
    refused: Mapping[int, Rejection]


def seat_placements(
    slate: Sequence[PlacementSlate], taken: Sequence[int | None], *, allow_duplicates: bool
) -> tuple[PlacementSeating, ...]:
    """Gives every position the alternative taken for it; those tried before it were refused."""
    choice = _chosen([alternatives for placement in slate for alternatives in placement.positions], taken)
    offered = set() if allow_duplicates else {seat.offer for seat in choice if seat is not None}
    result, first = [], 0
    for placement in slate:
        seated: list[tuple[int, Seat]] = []
        tried: list[Seat] = []
        for number, seats in enumerate(placement.positions, first):
            seat = choice[number]
            if seat is not None:
                seated.append((number, seat))
            if taken[number] != 0:
                tried += seats[: taken[number]]
        first += len(placement.positions)
        lone = _without_parents(placement, seated)
        if lone:
            seated = [(number, seat) for number, seat in seated if seat.candidate not in lone]
        refused = _refused(tried, seated, offered) if tried else {}
        if lone:
            refused |= dict.fromkeys(lone, BUNDLE)
        result.append(PlacementSeating(placement.asked.number, tuple(seated), refused))
    return tuple(result)


def _refused(
    tried: Sequence[Seat], seated: Sequence[tuple[int, Seat]], offered: Collection[int]
) -> dict[int, Rejection]:
    """Why those that were tried and do not stand lost their places."""
    stays = {seat.candidate for _, seat in seated}
    return {
        seat.candidate: DUPLICATE if seat.offer in offered else RESERVED_MEANWHILE
        for seat in tried
        if seat.candidate not in stays
    }


def _without_parents(placement: PlacementSlate, seated: Sequence[tuple[int, Seat]]) -> frozenset[int]:
    """Children whose parent was refused; their reservations lapse unseen."""
    if not placement.bundled:
        return frozenset()
    standing = {seat.candidate for _, seat in seated}
    return frozenset(
        child for child, parent in placement.bundled.items() if child in standing and parent not in standing
    )


def _chosen(positions: Sequence[tuple[Seat, ...]], taken: Sequence[int | None]) -> list[Seat | None]:
    """What stands at each position; raises ReservationMismatch for an answer that does not fit."""
    if len(taken) != len(positions):
        raise ReservationMismatch(f"the draft has {len(positions)} positions, the answer {len(taken)}")
    chosen: list[Seat | None] = []
    for seats, index in zip(positions, taken, strict=True):
        if index is not None and not 0 <= index < len(seats):
            raise ReservationMismatch(
                f"position {len(chosen)} has {len(seats)} alternatives, the answer took number {index}"
            )
        chosen.append(None if index is None else seats[index])
    return chosen
