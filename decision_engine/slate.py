"""The slate: which candidate stands where, over all placements of a request.

The placements of a request are solved together: the offers are assigned so that the sum of their priorities is
greatest, each at most once in a placement, and at most once in the whole slate unless duplicates are allowed. Then
the placements are settled in the order of the request; where one explores, the later ones are assigned anew from what
it left. Behind the winners of each position wait a few spares, in the same order, for the case that the contact
ledger refuses a winner at the last moment.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from decision_engine.candidates import AskedPlacement
from decision_engine.exploration import Explorer
from decision_engine.lottery import Lottery, Seat
from decision_engine.rejections import Indexes, Rejection
from decision_engine.seats import kept_out
from decision_engine.slate_field import SlateField, Taken, Unit, within
from decision_engine.slate_plan import SlatePlan

SPARES = 4
"""Alternatives behind each winner: enough that losing a position to a concurrent decision is rare."""


class SlateTerms(NamedTuple):  # every decision makes one, as of what follows
    """How a slate is filled: how it explores, what the strategy says of slates, in which channel, and whether an offer
    may repeat from placement to placement as the caller likes."""

    explorer: Explorer
    plan: SlatePlan
    channel: str
    allow_duplicates: bool


class PlacementSlate(NamedTuple):  # a tuple is made three times as fast
    """One placement filled. `places` is how many it has been given, `lottery` what was drawn from (None where there
    is nothing to show); `positions` the alternatives of each position, the winner first."""

    asked: AskedPlacement
    places: int
    lottery: Lottery | None
    positions: tuple[tuple[Seat, ...], ...]
    bundled: Mapping[int, int]
    """Candidates that stand here only behind their parents: child to parent."""
    kept_out: Callable[[], Mapping[int, Rejection]]
    """Finds the candidates that would stand here but for the rule that kept them out; for the record only."""


def fill_slate(
    asked: Sequence[AskedPlacement], order: Indexes, entrants: frozenset[int], terms: SlateTerms
) -> tuple[PlacementSlate, ...]:
    """Fills the placements from the order of the offers still alive, best first; `entrants` may be moved by a draw."""
    if len(asked) == 1 and not terms.plan.bundles:
        return (_filled_alone(asked[0], order, entrants, terms),)
    filler = _Filler(asked, order, entrants, terms)
    fillings = [filler.fill(placement) for placement in asked]
    spares = _Spares(filler.taken)
    return tuple(filling.finished(filler.field, filler.taken, spares) for filling in fillings)


def _filled_alone(asked: AskedPlacement, order: Indexes, entrants: frozenset[int], terms: SlateTerms) -> PlacementSlate:
    """A placement asked for alone, without bundles. With nothing to share, the greatest sum is the best ones in order,
    of each group as many as may stand."""
    placement, rules = asked.plan, terms.plan
    if placement is None:
        return PlacementSlate(asked, 0, None, (), {}, dict)
    taken = Taken(rules, terms.channel, terms.allow_duplicates, [])
    counts = placement.counts
    greedy = [offer for offer in order.tolist() if counts[offer]]
    is_limited = not rules.limited.isdisjoint(greedy)
    if is_limited:
        greedy = list(within(greedy, rules, taken.quotas()))
    movers = [place for place, offer in enumerate(greedy) if offer in entrants]
    lottery = terms.explorer.lottery(asked.number, placement, greedy, movers)
    places = min(asked.wanted, len(greedy), taken.total())
    rest = lottery.order()
    winners = list(islice(rest, places))
    taken.offers.extend([seat.offer for seat in winners])
    if is_limited or terms.allow_duplicates or rules.repeats > 1:
        positions = _Spares(taken).behind(winners, rest)
    else:  # nobody behind the winners is barred
        spares = tuple(islice(rest, SPARES)) if winners else ()
        positions = tuple([(winner, *spares) for winner in winners])
    return PlacementSlate(
        asked=asked,
        places=places,
        lottery=lottery,
        positions=positions,
        bundled={},
        # Who is shown alone and takes the only place keeps nobody else out, and neither do those who have nothing else
        # to show where no rule of the strategy's holds anybody back.
        kept_out=dict
        if places == asked.wanted == 1 or (rules.is_plain and all(counts[seat.offer] == 1 for seat in winners))
        else partial(_kept_out_alone, asked, winners, order, taken),
    )


def _kept_out_alone(
    asked: AskedPlacement, winners: Sequence[Seat], order: Indexes, taken: Taken
) -> Mapping[int, Rejection]:
    return kept_out(asked, winners, SlateField.of([asked], taken.plan, order, frozenset()), taken)


class _Filler:
    """Fills placement after placement; `taken` is what stands so far."""

    def __init__(
        self, asked: Sequence[AskedPlacement], order: Indexes, entrants: frozenset[int], terms: SlateTerms
    ) -> None:
        self.field = SlateField.of(asked, terms.plan, order, entrants)
        self.taken = Taken(terms.plan, terms.channel, terms.allow_duplicates, [])
        self._terms = terms
        self._together = terms.plan.by_value and not terms.allow_duplicates
        self._units: list[list[Unit]] | None = None

    def fill(self, asked: AskedPlacement) -> "_Filling":
        """Fills the next placement."""
        if self._units is None and not (self._terms.plan.is_plain and not self._together):
            last = len(self.field.asked) if self._together else asked.number + 1
            order = self.field.offers
            priorities = self._terms.explorer.stakes.priorities[order].tolist() if order else []
            self._units = self.field.assigned(range(asked.number, last), self.taken, priorities)
        free = self.taken.without(self.field.here[asked.number])
        if self._units is None:
            units: list[Unit] = [(offer,) for offer in free[: asked.wanted]]
        else:
            units = self._units[asked.number]
            free = self.field.greedy(free, [offer for unit in units for offer in unit], self.taken)
        filling = _Filling(asked, units, free, self.field, self._terms.explorer)
        self.taken.offers.extend(filling.offers)
        if self._units is not None and (
            not self._together or set(filling.offers) != {offer for unit in units for offer in unit}
        ):
            self._units = None  # what is left has to be assigned anew
        return filling


class _Filling:
    """A placement while its slate is being filled: the winners are seated, the rest of the order still waits. `units`
    are assigned to it, `greedy` is the order without a draw."""

    def __init__(
        self, asked: AskedPlacement, units: Sequence[Unit], greedy: Sequence[int], field: SlateField, explorer: Explorer
    ) -> None:
        self.asked = asked
        self.places = sum(map(len, units))
        bundles = [unit for unit in units if len(unit) > 1] if field.plan.bundles else []
        self.lottery: Lottery | None = None
        self._rest: Iterator[Seat] = iter(())
        if asked.plan is not None:
            # Who stands in a bundle stays there.
            others = field.others.union(*bundles) if bundles else field.others
            movers: Sequence[int] = range(len(greedy))
            if others:
                movers = [place for place, offer in enumerate(greedy) if offer not in others]
            self.lottery = explorer.lottery(asked.number, asked.plan, greedy, movers)
            self._rest = self.lottery.order()
        self.winners = list(islice(self._rest, self.places))
        self.offers = [seat.offer for seat in self.winners]
        self.bundled: dict[int, int] = {}
        if bundles:
            seat_of = {seat.offer: seat.candidate for seat in self.winners}
            self.bundled = {seat_of[child]: seat_of[unit[0]] for unit in bundles for child in unit[1:]}

    def finished(self, field: SlateField, taken: Taken, spares: "_Spares") -> PlacementSlate:
        """Adds the spares, once all winners of the request are known."""
        return PlacementSlate(
            asked=self.asked,
            places=self.places,
            lottery=self.lottery,
            positions=spares.behind(self.winners, self._rest),
            bundled=self.bundled,
            kept_out=partial(kept_out, self.asked, self.winners, field, taken),
        )


class _Spares:
    """Who waits behind the winners. A spare never lets more of a group stand than may."""

    def __init__(self, taken: Taken) -> None:
        self._group_of = taken.plan.group_of
        self._taken = taken
        self._standing = frozenset(taken.offers)
        self._slack = taken.quotas()
        self._once = taken.plan.repeats > 1
        self._used: set[int] = set()

    def behind(self, winners: Sequence[Seat], rest: Iterator[Seat]) -> tuple[tuple[Seat, ...], ...]:
        """The alternatives of each position, the winner first."""
        count = len(winners)
        if self._taken.allow_duplicates or self._once:
            # The ledger would reserve a shared spare twice, so each position has its own.
            own = {seat.offer for seat in winners}
            barred = own if self._taken.allow_duplicates else self._standing
            spares = _next_seats(rest, SPARES * count, barred | self._used)
            if self._once and not self._taken.allow_duplicates:
                self._used.update(seat.offer for seat in spares)
            shares = [spares[place::count] for place in range(count)]
        else:
            spares = _next_seats(rest, SPARES if count else 0, self._standing)
            shares = [spares] * count
        if not self._slack:
            return tuple([(winner, *share) for winner, share in zip(winners, shares, strict=True)])
        return tuple(self._allowed(winner, share) for winner, share in zip(winners, shares, strict=True))

    def _allowed(self, winner: Seat, share: Sequence[Seat]) -> tuple[Seat, ...]:
        """The spares that may replace the winner: those of its group, and of groups with places to spare, each of
        which may be used up by one position only."""
        mine = self._group_of[winner.offer]
        open_here: set[str] = set()
        kept = [winner]
        for seat in share:
            group = self._group_of[seat.offer]
            if group != mine and group in self._slack and group not in open_here:
                if self._slack[group] <= 0:
                    continue
                self._slack[group] -= 1
                open_here.add(group)
            kept.append(seat)
        return tuple(kept)


def _next_seats(seats: Iterator[Seat], most: int, barred: Collection[int]) -> list[Seat]:
    """So many of the next seats at the most, without those of the offers that are barred."""
    found: list[Seat] = []
    for seat in seats if most else ():
        if seat.offer not in barred:
            found.append(seat)
            if len(found) == most:
                break
    return found
