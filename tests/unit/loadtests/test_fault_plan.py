"""Which faults a campaign plans: all kinds but the long ones, which come where they are named."""

import pytest

from loadtests.faults.catalogue import Kind, kinds, plan


@pytest.fixture
def available() -> dict[str, Kind]:
    return kinds(durable_broker=True)


def names(planned: list[Kind]) -> set[str]:
    return {kind.name for kind in planned}


def test_a_campaign_that_names_no_kind_has_none_of_the_long_ones(available: dict[str, Kind]) -> None:
    long = {name for name, kind in available.items() if kind.long}
    assert names(plan(available, [], 10 * len(available), seed=1)) == available.keys() - long
    assert long >= {"broker_away_a_minute", "store_slow_5s", "broker_slow_5s"}


def test_the_long_ones_come_by_their_group_or_their_name(available: dict[str, Kind]) -> None:
    long = {name for name, kind in available.items() if kind.long}
    assert names(plan(available, ["long"], len(long), seed=1)) == long
    assert names(plan(available, ["twenty_rebalances"], 3, seed=1)) == {"twenty_rebalances"}
    both = names(plan(available, ["archive", "store_slow_5s"], 2, seed=1))
    assert both == {"archive_disk_full", "store_slow_5s"}


def test_another_group_of_the_same_place_does_not_bring_them(available: dict[str, Kind]) -> None:
    assert not any(kind.long for kind in plan(available, ["store", "broker", "network"], 200, seed=1))


def test_a_long_kind_has_longer(available: dict[str, Kind]) -> None:
    assert available["broker_away_a_minute"].most_s > available["broker_stopped"].most_s


def test_every_kind_says_what_it_is(available: dict[str, Kind]) -> None:
    assert all(kind.meaning for kind in available.values())
