"""Windows of many states read together tell what each state's own reading tells."""

from random import Random
from typing import Any

import pytest

from decision_engine.errors import StateUnreadable
from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.definitions import Aggregate, FeatureDeclarations, FeatureDefinition, Value, Window
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_aggregates, read_windows_of
from decision_engine.features.state import told
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.features.updates import EVENT_FIELDS

MOVED, SEEN = "bank.transaction.posted", "bank.channel.page_view"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
NOW = 1_790_000_000_000
DAYS, HOURS = (Window("d", 2), Window("d", 30)), (Window("h", 3), Window("h", 48))


def feature(name: str, aggregate: Aggregate, source: str = MOVED, **further: Any) -> FeatureDefinition:
    return FeatureDefinition(
        name=name, aggregate=aggregate, source=source, theme="t", description={"en": name}, **further
    )


def compiled(*features: FeatureDefinition) -> CompiledFeatures:
    return compile_features(FeatureDeclarations(time_zone="Asia/Shanghai", features=features), EVENT_FIELDS)


PLAIN = (
    feature("moves", Aggregate.COUNT, windows=DAYS),
    feature("spent", Aggregate.SUM, field="amount", where="amount < 0", windows=(*DAYS, *HOURS)),
    feature("mean", Aggregate.MEAN, field="amount", windows=DAYS),
    feature("growth", Aggregate.TREND, field="amount", windows=(Window("d", 7),)),
    feature("pages", Aggregate.COUNT, SEEN, windows=HOURS),
)
EXTREMES = (
    feature("largest", Aggregate.MAX, field="amount", windows=DAYS),
    feature("smallest", Aggregate.MIN, field="amount", windows=HOURS),
    feature("smallest_refund", Aggregate.MIN, field="amount", where="amount > 0", windows=DAYS),
)
AGES = (feature("quiet", Aggregate.DAYS_SINCE_LAST, windows=DAYS),)


def random_states(features: CompiledFeatures, draw: Random) -> list[bytes]:
    """Of customers who did nothing that counts, little or much, some with sums beyond 32 bits."""
    states = []
    for customer in range(40):
        amounts = [-5, 700, 2**31 - 1, -(2**40)] if customer % 7 == 0 else [-5, 700, -20_000]
        updates = []
        for number in range(draw.choice([1, 3, 60])):
            at_ms = NOW - draw.randrange(40 * DAY_MS)
            source = MOVED if customer % 5 else draw.choice([MOVED, SEEN])
            fields: dict[str, Value] = {"amount": draw.choice(amounts)} if source == MOVED else {"page": "cards"}
            if customer == 3:
                source, fields = "bank.channel.login", {}
            updates.append(PositionedUpdate(0, number, Update(draw.getrandbits(60), source, at_ms, fields)))
        states.append(fold(features, None, updates).value)
    return states


@pytest.mark.parametrize("declared", [PLAIN, EXTREMES, AGES, (*PLAIN, *EXTREMES, *AGES), ()])
def test_each_is_told_as_alone(declared: tuple[FeatureDefinition, ...]) -> None:
    features, draw = compiled(*declared), Random(4)
    states = random_states(features, draw)
    asked = [(state, NOW + draw.randrange(-20 * DAY_MS, 40 * DAY_MS)) for state in states for _ in range(3)]
    asked.append((states[0], 5))  # long before all there is
    together = read_windows_of(features, asked)
    for (state, now_ms), windows in zip(asked, together, strict=True):
        alone = read_aggregates(features, state, now_ms)
        assert {n: repr(v) for n, v in read_aggregates(features, state, now_ms, windows).items()} == {
            name: repr(value) for name, value in alone.items()
        }
    assert sum(map(len, together)) >= 10 * len(declared)


def test_nobody_is_told_nothing() -> None:
    assert read_windows_of(compiled(*PLAIN), []) == []


def test_a_state_of_another_layout_is_refused() -> None:
    (state, *_) = random_states(compiled(*PLAIN), Random(1))
    with pytest.raises(StateUnreadable):
        read_windows_of(compiled(*EXTREMES), [(state, NOW)])


def test_what_no_feature_counts_changes_nothing_that_is_told() -> None:
    features = compiled(*PLAIN)
    before = fold(features, None, [PositionedUpdate(0, 1, Update(7, MOVED, NOW, {"amount": 5}))]).value
    unseen = fold(features, before, [PositionedUpdate(1, 1, Update(8, "bank.channel.login", NOW + 1, {}))]).value
    counted = fold(features, unseen, [PositionedUpdate(0, 2, Update(9, MOVED, NOW, {"amount": 5}))]).value
    assert unseen != before
    assert told(unseen) == told(before) != told(counted)
    erased = fold(features, unseen, [PositionedUpdate(2, 1, Update(10, "bank.customer.erased", NOW + 2, {}))]).value
    assert told(erased) != told(before)
