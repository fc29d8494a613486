"""Different values beyond what is counted exactly: an estimate that knows windows and no order."""

import random

import pytest

from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import Aggregate, FeatureDeclarations, FeatureDefinition, Window
from decision_engine.features.distinct_values import MAX_DISTINCT
from decision_engine.features.fold import fold
from decision_engine.features.hyperloglog import REGISTER_BITS, estimate, register_and_rank
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.identifiers import key32

DAY = 86_400_000
NOW = 1_760_000_000_000
FEATURES = compile_features(
    FeatureDeclarations(
        time_zone="Asia/Shanghai",
        duplicate_memory=0,
        features=tuple(
            FeatureDefinition(
                name=name, source="bank.transaction.posted", aggregate=Aggregate.DISTINCT, theme="t", description={},
                field="counterparty", windows=windows,
            )
            for name, windows in (("seen", (Window("d", 1), Window("d", 30), Window("mo", 2))), ("ever", ()))
        ),
    )
)  # fmt: skip


def visits(values, day=0):
    return [(NOW + day * DAY, f"shop {value}") for value in values]


def counted(events, now_ms=NOW):
    updates = [
        PositionedUpdate(
            0, n, Update(event_key=n, source="bank.transaction.posted", time_ms=at, fields={"counterparty": shop})
        )
        for n, (at, shop) in enumerate(events)
    ]
    return read_snapshot(FEATURES, fold(FEATURES, None, updates).value, now_ms).attributes


@pytest.mark.parametrize("many", [257, 400, 2_000])
def test_many_values_are_estimated_within_three_standard_errors(many):
    attributes = counted(visits(range(many)))
    for name in ("seen_1d", "seen_30d", "seen_2mo", "ever"):
        assert abs(attributes[name] - many) <= 3 * 0.046 * many
        assert attributes[name] > MAX_DISTINCT


@pytest.mark.parametrize("many", [0, 1, 10, 300, 10_000, 100_000])
def test_the_estimator_holds_from_nothing_to_a_hundred_thousand(many):
    registers = [0] * (1 << REGISTER_BITS)
    for value in range(many):
        register, rank = register_and_rank(key32(f"value {value}"))
        registers[register] = max(registers[register], rank)
    assert abs(estimate(registers) - many) <= 3 * 0.046 * many


def test_windows_move_on_after_an_estimate():
    """A thousand shops a month ago, ten today: the month is estimated, today is counted exactly."""
    events = visits(range(1_000), day=-28) + visits(range(5_000, 5_010))
    attributes = counted(events)
    assert attributes["seen_1d"] == 10
    assert abs(attributes["seen_30d"] - 1_010) <= 3 * 0.046 * 1_010
    later = counted(events, NOW + 10 * DAY)
    assert later["seen_30d"] == 10
    assert later["seen_1d"] == 0


def test_the_order_of_arrival_changes_neither_counts_nor_estimates():
    events = [event for day in range(-29, 1, 3) for event in visits(range(100 + day, 400, 29), day)]
    events += visits(range(1_000, 1_280), day=-20)
    shuffled = list(events)
    random.Random(7).shuffle(shuffled)
    for now_ms in (NOW, NOW + 12 * DAY, NOW + 25 * DAY):
        assert counted(shuffled, now_ms) == counted(events, now_ms) == counted(events[::-1], now_ms)
