"""The offers that compete for a slate, and who of them gets which place before any draw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import NamedTuple

from decision_engine.assignment import Contest, assign_by_value
from decision_engine.assignment_flow import assign_by_flow
from decision_engine.candidates import AskedPlacement, PlacementPlan
from decision_engine.rejections import Indexes
from decision_engine.slate_plan import SlatePlan

MOST_VARIANTS = 256
"""Ways to place bundles that are compared; bundles of lesser parents beyond that are taken apart."""
_FEW = 64
"""Below this many offers a plain loop is faster than an array."""
_MANDATORY = 1 << 200
"""Worth more than any sum of priorities."""

Unit = tuple[int, ...]
"""Offers that stand together: one, or a parent with its children."""


@dataclass(frozen=True, slots=True)
class SlateField:
    """The offers still alive, best first. `here` are those of them that each placement has; `others` are those that no
    draw may move."""

    asked: Sequence[AskedPlacement]
    plan: SlatePlan
    offers: list[int]
    here: list[list[int]]
    others: frozenset[int]

    @classmethod
    def of(
        cls, asked: Sequence[AskedPlacement], plan: SlatePlan, order: Indexes, entrants: frozenset[int]
    ) -> "SlateField":
        """Lines up the alive offers of `order`."""
        offers: list[int] = order.tolist()
        here = [[] if placement.plan is None else _present(placement.plan, order, offers) for placement in asked]
        return cls(asked, plan, offers, here, frozenset(offers) - entrants)

    def rank(self, offer: int) -> int:
        """The offer's place in the order of all."""
        return self.offers.index(offer)

    def greedy(self, free: list[int], assigned: Sequence[int], taken: "Taken") -> list[int]:
        """The order of a placement's `free` offers: those assigned to it, then the rest, best first.

        Of a group with a quota only so many are free as may still stand, so that whoever of them is drawn fits.
        """
        if self.plan.children:
            free = [offer for offer in free if offer in assigned or offer not in self.plan.children]
        if assigned and free[: len(assigned)] != assigned:
            free = [*assigned, *(offer for offer in free if offer not in assigned)]
        return list(within(free, self.plan, taken.quotas())) if self.plan.quotas else free

    def assigned(self, places: range, taken: "Taken", priorities: Sequence[float]) -> list[list[Unit]]:
        """The best assignment to those placements of what is not taken, each in the order of showing."""
        presence = [0 if taken.bars(offer) else bits for offer, bits in self._presence().items()]
        bundles = self._bundles(presence)
        if self.plan.children:
            # Children whose parent is not in play cannot stand at all; the others only where their bundle does.
            kept = {number for unit in bundles for number in unit}
            for number, offer in enumerate(self.offers):
                if offer in self.plan.children and number not in kept:
                    presence[number] = 0
        contest = Contest(
            presence=presence,
            room=[asked.wanted if asked.number in places else 0 for asked in self.asked],
            total=taken.total(),
            groups=[self.plan.group_of[offer] for offer in self.offers] if self.plan.quotas else (),
            quotas=taken.quotas(),
        )
        values = [
            # A priority below zero is worth nothing, but still more than an empty place.
            max(0, int(priority * 2.0**32)) + (_MANDATORY if offer in self.plan.mandatory else 0)
            for offer, priority in zip(self.offers, priorities, strict=True)
        ]
        repeats = 1 if len(places) == 1 else self.plan.repeats
        held = _assigned(contest, values, repeats, bundles)
        return [[tuple(self.offers[number] for number in unit) for unit in units] for units in held]

    def _presence(self) -> dict[int, int]:
        """By offer the placements that have it: bit i for placement i."""
        presence = dict.fromkeys(self.offers, 0)
        for number, offers in enumerate(self.here):
            for offer in offers:
                presence[offer] |= 1 << number
        return presence

    def _bundles(self, presence: list[int]) -> list[Unit]:
        """The parents and children in play by their numbers. Children compete only within their bundles."""
        numbers = {offer: number for number, offer in enumerate(self.offers)} if self.plan.bundles else {}
        found = []
        for parent, children in self.plan.bundles.items():
            living = [numbers[child] for child in children if child in numbers and presence[numbers[child]]]
            if living and parent in numbers and presence[numbers[parent]]:
                found.append((numbers[parent], *living))
        return sorted(found)


class Taken(NamedTuple):
    """What stands already, over all placements of the slate."""

    plan: SlatePlan
    channel: str
    allow_duplicates: bool
    offers: list[int]

    def bars(self, offer: int) -> bool:
        """Whether the offer stands as often as it may."""
        if self.allow_duplicates:
            return False
        return offer in self.offers and (self.plan.repeats == 1 or self.offers.count(offer) >= self.plan.repeats)

    def without(self, offers: list[int]) -> list[int]:
        """Those of the offers that may stand once more."""
        if not self.offers or self.allow_duplicates:
            return offers
        plain = self.plan.repeats == 1
        barred = set(self.offers) if plain else {offer for offer in self.offers if self.bars(offer)}
        return [offer for offer in offers if offer not in barred]

    def quotas(self) -> dict[str, int]:
        """How many more of each limited group may stand."""
        if not self.plan.quotas:
            return {}
        if not self.offers:
            return dict(self.plan.quotas)
        left = dict(self.plan.quotas)
        for offer in self.offers:
            group = self.plan.group_of[offer]
            if group in left:
                left[group] -= 1
        return left

    def total(self) -> int:
        """How many more options the channel takes."""
        most = self.plan.channels.get(self.channel)
        return 1 << 30 if most is None else max(0, most - len(self.offers))


def _present(plan: PlacementPlan, order: Indexes, offers: list[int]) -> list[int]:
    """Those of the offers that the placement has; `order` are the same offers."""
    if len(offers) > _FEW:
        present: list[int] = order[plan.present[order]].tolist()
        return present
    counts = plan.counts
    return [offer for offer in offers if counts[offer]]


def within(offers: Sequence[int], plan: SlatePlan, quotas: dict[str, int]) -> Iterator[int]:
    """The offers, of each group as many as its quota, which is used up."""
    for offer in offers:
        group = plan.group_of[offer]
        if group in quotas:
            quotas[group] -= 1
            if quotas[group] < 0:
                continue
        yield offer


def _assigned(contest: Contest, values: Sequence[int], repeats: int, bundles: Sequence[Unit]) -> list[list[Unit]]:
    """The best assignment over all ways to place the bundles; of equals the first, which takes more of them apart."""
    # Children alone may not stand, wherever their parents are.
    children = {child for _, *rest in bundles for child in rest}
    alone = replace(contest, presence=[0 if n in children else bits for n, bits in enumerate(contest.presence)])
    best: list[list[Unit]] = []
    greatest: tuple[int, int] | None = None
    for variant in _variants(contest, bundles):
        left = _beside(alone, variant)
        if left is None:
            continue
        held: list[list[Unit]] = [[(number,) for number in offers] for offers in _singles(left, values, repeats)]
        for placement, unit in variant:
            held[placement].append(unit)
        value = sum(values[number] for units in held for unit in units for number in unit)
        seats = sum(len(unit) for units in held for unit in units)
        if greatest is None or (value, seats) > greatest:
            greatest, best = (value, seats), held
    return [_in_order(units, values) for units in best]


def _in_order(units: Sequence[Unit], values: Sequence[int]) -> list[Unit]:
    return sorted(units, key=lambda unit: (-sum(values[number] for number in unit), unit[0]))


def _singles(contest: Contest, values: Sequence[int], repeats: int) -> list[list[int]]:
    held, exact = assign_by_value(contest)
    return held if exact and repeats == 1 else assign_by_flow(contest, values, repeats)


_Variant = tuple[tuple[int, Unit], ...]
"""Units with the placements they stand in."""


def _variants(contest: Contest, bundles: Sequence[Unit]) -> Iterator[_Variant]:
    """All ways to place bundles or take them apart; a bundle may show its first children only."""
    choices: list[list[tuple[int, Unit] | None]] = []
    for parent, *children in bundles:
        ways: list[tuple[int, Unit] | None] = [None]
        for placement, room in enumerate(contest.room):
            if contest.presence[parent] >> placement & 1:
                present = [child for child in children if contest.presence[child] >> placement & 1]
                ways += [(placement, (parent, *present[:count])) for count in range(1, min(len(present), room - 1) + 1)]
        if prod(map(len, choices)) * len(ways) <= MOST_VARIANTS:
            choices.append(ways)
    return (tuple(way for way in ways if way is not None) for ways in product(*choices))


def _beside(contest: Contest, variant: _Variant) -> Contest | None:
    """What is left to contest beside the placed bundles; None when they do not fit."""
    if not variant:
        return contest
    presence, room, quotas = list(contest.presence), list(contest.room), dict(contest.quotas)
    total = contest.total
    for placement, unit in variant:
        room[placement] -= len(unit)
        total -= len(unit)
        for number in unit:
            presence[number] = 0
            if quotas and contest.groups[number] in quotas:
                quotas[contest.groups[number]] -= 1
    if min(room) < 0 or total < 0 or min(quotas.values(), default=0) < 0:
        return None
    return replace(contest, presence=presence, room=room, total=total, quotas=quotas)
