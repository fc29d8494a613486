"""The assignment of a slate is the best there is, compared with trying everything."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, product

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.assignment import Contest, assign_by_value
from decision_engine.assignment_flow import assign_by_flow
from decision_engine.slate_field import Unit, _assigned

Held = list[list[int]]


@st.composite
def contests(draw: st.DrawFn, *, limited: bool = True) -> Contest:
    """Few enough offers, placements and places to try everything."""
    placements = draw(st.integers(1, 3))
    offers = draw(st.integers(0, 5))
    return Contest(
        presence=[draw(st.integers(0, (1 << placements) - 1)) for _ in range(offers)],
        room=[draw(st.integers(0, 2)) for _ in range(placements)],
        total=draw(st.sampled_from([1, 2, 3, 100])) if limited else 100,
        groups=[draw(st.sampled_from("xyz")) for _ in range(offers)],
        quotas=draw(st.dictionaries(st.sampled_from("xy"), st.integers(0, 2))) if limited else {},
    )


def falling(draw_values: Sequence[int]) -> list[int]:
    """Offers stand best first."""
    return sorted(draw_values, reverse=True)


def everything(contest: Contest, repeats: int = 1) -> Iterator[Held]:
    """Every assignment that keeps all limits."""
    placements = range(len(contest.room))
    sets = [
        [chosen for chosen in product((False, True), repeat=len(placements)) if sum(chosen) <= repeats
         and all(bits >> p & 1 for p in placements if chosen[p])]
        for bits in contest.presence
    ]  # fmt: skip
    for choice in product(*sets):
        held: Held = [[n for n, chosen in enumerate(choice) if chosen[p]] for p in placements]
        standing = [n for offers in held for n in offers]
        groups = Counter(contest.groups[n] for n in standing)
        if (
            all(len(offers) <= room for offers, room in zip(held, contest.room, strict=True))
            and len(standing) <= contest.total
            and all(groups[name] <= most for name, most in contest.quotas.items())
        ):
            yield held


def worth(held: Sequence[Sequence[int]], values: Sequence[int]) -> int:
    return sum(values[offer] for offers in held for offer in offers)


values_of_five = st.lists(st.integers(1, 1000), min_size=5, max_size=5).map(falling)


@settings(max_examples=150, deadline=None)
@given(contests(limited=False), values_of_five)
def test_greedy_rule_finds_the_greatest_sum(contest: Contest, values: list[int]) -> None:
    held, exact = assign_by_value(contest)
    assert exact
    assert held in list(everything(contest))
    assert worth(held, values) == max(worth(other, values) for other in everything(contest))


@settings(max_examples=150, deadline=None)
@given(contests(), values_of_five)
def test_greedy_rule_knows_when_limits_on_groups_leave_it_exact(contest: Contest, values: list[int]) -> None:
    held, exact = assign_by_value(contest)
    assert held in list(everything(contest))
    if exact:
        assert worth(held, values) == max(worth(other, values) for other in everything(contest))


@settings(max_examples=150, deadline=None)
@given(contests(), values_of_five, st.integers(1, 2))
def test_flow_finds_the_greatest_sum_under_all_limits(contest: Contest, values: list[int], repeats: int) -> None:
    held = assign_by_flow(contest, values, repeats)
    assert held in list(everything(contest, repeats))
    assert worth(held, values) == max(worth(other, values) for other in everything(contest, repeats))
    assert held == assign_by_flow(contest, values, repeats)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=6, max_size=6), st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_both_ways_choose_the_same_offers_when_all_are_worth_the_same(presence: list[int], room: list[int]) -> None:
    """The order of the offers, which is their name's, has the last word."""
    contest = Contest(presence=presence, room=room, total=100, groups=[""] * 6, quotas={})
    greedy, _ = assign_by_value(contest)
    flow = assign_by_flow(contest, [7] * 6)
    assert sorted(chain.from_iterable(greedy)) == sorted(chain.from_iterable(flow))


def bundled(contest: Contest, bundles: Sequence[Unit]) -> Iterator[list[list[Unit]]]:
    """Every assignment in which children stand in unbroken rows behind their parents."""
    parents = {parent: children for parent, *children in bundles}
    children = {child for unit in bundles for child in unit[1:]}
    for held in everything(contest):
        units: list[list[Unit]] = []
        for place, offers in enumerate(held):
            mine = []
            for offer in (n for n in offers if n not in children):
                able = [child for child in parents.get(offer, ()) if contest.presence[child] >> place & 1]
                shown = [child for child in able if child in offers]
                if shown != able[: len(shown)]:
                    break
                mine.append((offer, *shown))
            else:
                if sum(len(unit) for unit in mine) == len(offers):
                    units.append(mine)
                    continue
            break
        else:
            yield units


@settings(max_examples=150, deadline=None)
@given(contests(), values_of_five, st.booleans())
def test_bundles_stand_where_their_sum_is_worth_most(contest: Contest, values: list[int], two: bool) -> None:
    count = len(contest.presence)
    bundles = [unit for unit in ((0, 2, 4), (1, 3)) if max(unit) < count][: 2 if two else 1]
    held = _assigned(contest, values, 1, bundles)
    possible = list(bundled(contest, bundles))
    assert [sorted(units) for units in held] in [[sorted(units) for units in other] for other in possible]
    best = max(sum(values[n] for units in other for unit in units for n in unit) for other in possible)
    assert sum(values[n] for units in held for unit in units for n in unit) == best
    for units in held:
        sums = [sum(values[n] for n in unit) for unit in units]
        assert sums == sorted(sums, reverse=True)
