"""Seating: who stands where after the ledger has answered, and who lost a place to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.errors import DecisionEngineError
from decision_engine.rejections import BUNDLE, DUPLICATE, RESERVED_MEANWHILE, Rejection
from decision_engine.seats import Seat
from decision_engine.slate import PlacementSlate


class ReservationMismatch(DecisionEngineError):
    """The ledger's answer does not belong to this draft's reservation."""


@dataclass(frozen=True, slots=True)
class PlacementSeating:
    """`number` is the placement's in the request. `seated` pairs positions, numbered over the whole decision, with what
    stands there; `refused` are the candidates that were tried before it and the reason they lost."""

    number: int
    seated: tuple[tuple[int, Seat], ...]
    refused: Mapping[int, Rejection]


def seat_placements(
    slate: Sequence[PlacementSlate], taken: Sequence[int | None], *, allow_duplicates: bool
) -> tuple[PlacementSeating, ...]:
    """Gives every position the alternative taken for it; those tried before it were refused."""
    positions = [alternatives for placement in slate for alternatives in placement.positions]
    _require_fit(positions, taken)
    choice = [None if index is None else seats[index] for seats, index in zip(positions, taken, strict=True)]
    offered = set() if allow_duplicates else {seat.offer for seat in choice if seat is not None}
    result, first = [], 0
    for placement in slate:
        numbers = range(first, first + len(placement.positions))
        first = numbers.stop
        seated = tuple((number, seat) for number in numbers if (seat := choice[number]) is not None)
        tried = [seat for number in numbers for seat in positions[number][: taken[number]]]
        lone = _without_parents(placement, seated)
        seated = tuple((number, seat) for number, seat in seated if seat.candidate not in lone)
        stays = {seat.candidate for _, seat in seated}
        refused = {
            seat.candidate: DUPLICATE if seat.offer in offered else RESERVED_MEANWHILE
            for seat in tried
            if seat.candidate not in stays
        }
        refused |= dict.fromkeys(lone, BUNDLE)
        result.append(PlacementSeating(placement.asked.number, seated, refused))
    return tuple(result)


def _without_parents(placement: PlacementSlate, seated: Sequence[tuple[int, Seat]]) -> frozenset[int]:
    """Children whose parent was refused; their reservations lapse unseen."""
    if not placement.bundled:
        return frozenset()
    standing = {seat.candidate for _, seat in seated}
    return frozenset(
        child for child, parent in placement.bundled.items() if child in standing and parent not in standing
    )


def _require_fit(positions: Sequence[tuple[Seat, ...]], taken: Sequence[int | None]) -> None:
    if len(taken) != len(positions):
        raise ReservationMismatch(f"the draft has {len(positions)} positions, the answer {len(taken)}")
    for number, (seats, index) in enumerate(zip(positions, taken, strict=True)):
        if index is not None and not 0 <= index < len(seats):
            raise ReservationMismatch(
                f"position {number} has {len(seats)} alternatives, the answer took number {index}"
            )
