"""Assignment: which offers a slate shows and in which placement, so that the sum of their priorities is greatest.

An offer's priority is the same wherever it stands, so the sets of offers that can stand all at once are the
independent sets of a matroid (Edmonds and Fulkerson 1965), and the greedy rule finds the best of them: go through the
offers in order and keep each that still fits, if need be by moving kept ones to other placements. The result is best
in the strict order of the offers too: mandatory ones first, ties by name.

With limits on groups the sets are those of two matroids at once, for which the greedy rule is exact only as long as
one of the two does not bind; `assign_by_value` says whether it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What is to be assigned. `presence` has for each offer, best first, bit i if placement i has something of it;
    `room` says how many offers each placement takes, `total` how many all together. `groups` is each offer's group,
    `quotas` how many of a group may stand (a group not named: any number)."""

    presence: Sequence[int]
    room: Sequence[int]
    total: int
    groups: Sequence[str] = ()
    quotas: Mapping[str, int]


def assign_by_value(contest: Contest) -> tuple[list[list[int]], bool]:
    """Per placement the numbers of the offers it gets, ascending; and whether the sum is surely the greatest.

    Where moving is not needed, an offer goes to the first placement that has room.
    """
    presence, room = contest.presence, contest.room
    holders: list[list[int]] = [[] for _ in room]
    has_room = sum(1 << placement for placement, count in enumerate(room) if count > 0)
    open_at_first = has_room
    reachable: int | None = None
    left, quotas = contest.total, dict(contest.quotas)
    bound_by_group = bound_by_place = False
    for offer, places in enumerate(presence):
        if not has_room or left <= 0:
            break
        group = contest.groups[offer] if quotas else None
        if group in quotas and quotas[group] <= 0:
            bound_by_group |= places & open_at_first != 0
            continue
        target = _lowest(places & has_room)
        if target is None:
            if reachable is None:
                reachable = _reachable(has_room, holders, presence)
            if not places & reachable:
                bound_by_place |= places & open_at_first != 0
                continue
            target = _make_room(offer, holders, presence, has_room)
        else:
            holders[target].append(offer)
        if group in quotas:
            quotas[group] -= 1
        left -= 1
        if len(holders[target]) == room[target]:
            has_room &= ~(1 << target)
        reachable = None
    return [sorted(held) for held in holders], not (bound_by_group and bound_by_place)


def _reachable(has_room: int, holders: Sequence[Sequence[int]], presence: Sequence[int]) -> int:
    """The placements with room, and those that could get it by moving offers they hold."""
    reachable = has_room
    closed = [placement for placement in range(len(holders)) if not has_room >> placement & 1]
    while closed:
        opened = [place for place in closed if any(presence[offer] & reachable for offer in holders[place])]
        if not opened:
            break
        reachable |= sum(1 << placement for placement in opened)
        closed = [placement for placement in closed if placement not in opened]
    return reachable


def _make_room(offer: int, holders: list[list[int]], presence: Sequence[int], has_room: int) -> int:
    """Seats the offer by moving kept ones along the shortest chain (breadth first, so it is the same chain always);
    the placement at its end, which had room."""
    came_from: dict[int, tuple[int, int]] = {}
    queue = [place for place in range(len(holders)) if presence[offer] >> place & 1]
    seen = set(queue)
    for placement in queue:
        if has_room >> placement & 1:
            _move_along(placement, offer, holders, came_from)
            return placement
        for held in reversed(holders[placement]):
            for onward in range(len(holders)):
                if presence[held] >> onward & 1 and onward not in seen:
                    seen.add(onward)
                    came_from[onward] = placement, held
                    queue.append(onward)
    raise AssertionError("an offer that reaches no room is not asked to make some")


def _move_along(last: int, offer: int, holders: list[list[int]], came_from: Mapping[int, tuple[int, int]]) -> None:
    placement = last
    while placement in came_from:
        before, moved = came_from[placement]
        holders[before].remove(moved)
        holders[placement].append(moved)
        placement = before
    holders[placement].append(offer)


def _lowest(mask: int) -> int | None:
    return (mask & -mask).bit_length() - 1 if mask else None
