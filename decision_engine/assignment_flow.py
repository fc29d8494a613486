"""Assignment under limits: the best set of offers as a flow of greatest value.

From a source through the groups (as much as each may show) to the offers (as often as each may stand) to the
placements (as much as each takes) to a sink. Along the path of greatest gain one more offer is seated, for as long
as there is a gain; each such flow is the best of its size, and gains never rise again (successive shortest paths:
Ford and Fulkerson 1962). Values are whole numbers of any size, so that the result is exact, and with the order of the
offers for the last word there is only one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from decision_engine.assignment import Contest

_SOURCE, _SINK = 0, 1


def assign_by_flow(contest: Contest, values: Sequence[int], repeats: int = 1) -> list[list[int]]:
    """Per placement the numbers of the offers it gets, ascending: of the sets that fit the one of the greatest value.
    Values are not negative. An offer may stand in up to `repeats` placements, once in each."""
    kept = _contenders(contest)
    # The order of the offers has the last word: below every value there is room for a digit an offer.
    digit = repeats.bit_length()
    width = len(kept) * digit
    network = _Network()
    groups = {name: network.node() for name in dict.fromkeys(_group(contest, offer) for offer in kept)}
    for name, node in groups.items():
        network.connect(_SOURCE, node, contest.quotas.get(name, contest.total), 0)
    placements = [network.node() for _ in contest.room]
    seats: list[tuple[int, int, int]] = []
    for rank, offer in enumerate(kept):
        node = network.node()
        value = (values[offer] << width) + (1 << width - digit * (rank + 1))
        network.connect(groups[_group(contest, offer)], node, repeats, -value)
        for number, placement in enumerate(placements):
            if contest.presence[offer] >> number & 1:
                seats.append((number, offer, network.connect(node, placement, 1, 0)))
    for count, placement in zip(contest.room, placements, strict=True):
        network.connect(placement, _SINK, count, 0)
    for _ in range(contest.total):
        if not network.push_one():
            break
    return [
        sorted(offer for number, offer, edge in seats if number == wanted and network.room[edge] == 0)
        for wanted in range(len(contest.room))
    ]


def _group(contest: Contest, offer: int) -> str:
    return contest.groups[offer] if contest.groups else ""


def _contenders(contest: Contest) -> list[int]:
    """Offers that may be in the best set: of those with the same group and placements, as many as there are seats."""
    seats = min(contest.total, sum(contest.room))
    wanted = sum(1 << number for number, count in enumerate(contest.room) if count > 0)
    met: dict[tuple[str, int], int] = {}
    kept = []
    for offer, places in enumerate(contest.presence):
        kind = _group(contest, offer), places & wanted
        if kind[1] and met.get(kind, 0) < seats:
            met[kind] = met.get(kind, 0) + 1
            kept.append(offer)
    return kept


@dataclass(slots=True)
class _Network:
    """A flow network; edge i and its reverse, i ^ 1, stand side by side. `room` is what may still flow."""

    edges_from: list[list[int]] = field(default_factory=lambda: [[], []])
    target: list[int] = field(default_factory=list)
    room: list[int] = field(default_factory=list)
    cost: list[int] = field(default_factory=list)

    def node(self) -> int:
        self.edges_from.append([])
        return len(self.edges_from) - 1

    def connect(self, start: int, end: int, room: int, cost: int) -> int:
        edge = len(self.target)
        for at, to, capacity, price in ((start, end, room, cost), (end, start, 0, -cost)):
            self.edges_from[at].append(len(self.target))
            self.target.append(to)
            self.room.append(capacity)
            self.cost.append(price)
        return edge

    def push_one(self) -> bool:
        """Sends one unit along the cheapest path (Bellman and Ford, by a queue); False when none has a cost below 0."""
        cheapest: dict[int, int] = {_SOURCE: 0}
        via: dict[int, int] = {}
        queue = [_SOURCE]
        for node in queue:
            here = cheapest[node]
            for edge in self.edges_from[node]:
                end = self.target[edge]
                if self.room[edge] > 0 and (end not in cheapest or here + self.cost[edge] < cheapest[end]):
                    cheapest[end] = here + self.cost[edge]
                    via[end] = edge
                    queue.append(end)
        if cheapest.get(_SINK, 0) >= 0:
            return False
        node = _SINK
        while node != _SOURCE:
            edge = via[node]
            self.room[edge] -= 1
            self.room[edge ^ 1] += 1
            node = self.target[edge ^ 1]
        return True
