"""How features are written: every aggregate with what it takes, and faults at their place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.features.definitions import FeatureDefinition, Grouping, RollUp, Sequel, Window
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = Path(__file__).parent / "sample_strategy.yaml"
Load = Callable[..., FeatureDefinition]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the sample with one more feature and gives that back; the keys of the feature as YAML."""

    def load_feature(keys: str, source: str | None = "bank.transaction.posted") -> FeatureDefinition:
        begin = (
            f"{{name: x, {'' if source is None else f'source: {source}, '}theme: t, description: {{zh-CN: 甲, en: A}}"
        )
        text = SAMPLE.read_text(encoding="utf-8").replace("features:\n", f"features:\n  - {begin}, {keys}}}\n", 1)
        path = tmp_path / "changed.yaml"
        path.write_text(text, encoding="utf-8")
        strategy = load_strategy_file(path)
        return next(feature for feature in strategy.declarations.features if feature.name == "x")

    return load_feature


def test_windows_are_minutes_hours_days_weeks_and_months(load: Load) -> None:
    feature = load("aggregate: count, windows: [15m, 24h, 7d, 4w, 12mo]")
    assert feature.windows == (Window("m", 15), Window("h", 24), Window("d", 7), Window("w", 4), Window("mo", 12))


def test_a_half_life_in_weeks_is_one_in_days(load: Load) -> None:
    assert load("aggregate: decayed, field: amount, half_life: 2w").half_life == Window("d", 14)


def test_a_ratio_may_leave_the_short_window_out_of_the_long_one(load: Load) -> None:
    assert load("aggregate: ratio, windows: [[7d, 90d]], against: before").apart
    assert not load("aggregate: ratio, field: amount, windows: [[7d, 90d]]").apart


def test_hours_and_weekdays_narrow_the_events_by_the_banks_clock(load: Load) -> None:
    night = load("aggregate: count, where: 'amount > 5', hours: [22, 6], weekdays: [sat, sun]")
    assert night.where == (
        '(amount > 5) && (now.getHours("Asia/Shanghai") >= 22 || now.getHours("Asia/Shanghai") < 6)'
        ' && now.getDayOfWeek("Asia/Shanghai") in [0, 6]'
    )
    share = load("aggregate: share, part: {hours: [9, 17]}, windows: [30d]")
    assert share.part == '(now.getHours("Asia/Shanghai") >= 9 && now.getHours("Asia/Shanghai") < 17)'
    assert load("aggregate: share, part: 'amount > 5', windows: [30d]").part == "amount > 5"


def test_accounts_are_rolled_up(load: Load) -> None:
    feature = load("aggregate: last, field: balance_after, per: account_id, over: count, at_least: 100")
    assert feature.per == Grouping(field="account_id", over=RollUp.COUNT, at_least=100)


def test_what_has_to_follow_is_named_with_its_time(load: Load) -> None:
    feature = load(
        "aggregate: unfollowed, windows: [30d], "
        "then: {source: bank.channel.form_submitted, where: 'step == \"last\"', within: 2d, same: form}",
        source="bank.channel.form_opened",
    )
    assert feature.then == Sequel(
        source="bank.channel.form_submitted", where='step == "last"', within_ms=2 * 86_400_000, same="form"
    )


def test_products_held_need_no_event(load: Load) -> None:
    feature = load("aggregate: held, products: [gold_card], windows: [30d]", source=None)
    assert (feature.source, feature.products) == ("bank.product.opened", ("gold_card",))


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ("aggregate: decayed, field: amount", "half_life", "takes a half_life"),
        ("aggregate: decayed, half_life: 3mo", "half_life", "hours or days"),
        ("aggregate: decayed, half_life: 3d, windows: [24h]", "windows", "in the same unit"),
        ("aggregate: count, half_life: 3d", "half_life", "count does not take half_life"),
        ("aggregate: share, windows: [7d]", "part", "a share takes a part"),
        ("aggregate: share, part: 'amuont > 5', windows: [7d]", "part", "did you mean amount?"),
        ("aggregate: share, part: {}, windows: [7d]", "part", "where, hours or weekdays"),
        ("aggregate: share, part: 'amount > 5'", "windows", "share takes windows"),
        ("aggregate: top, windows: [7d]", "field", "is missing"),
        ("aggregate: top, field: amount, values: [a], windows: [7d]", "values", "values are texts"),
        ("aggregate: top, field: category, values: [a, a], windows: [7d]", "values", "stands here twice"),
        ("aggregate: top, field: category, weigh: kind, windows: [7d]", "weigh", "whole number"),
        ("aggregate: streak, windows: [15m]", "windows", "no windows in minutes"),
        ("aggregate: streak", "windows", "streak takes windows"),
        ("aggregate: usual_hour, windows: [24h]", "windows", "days, weeks or months"),
        ("aggregate: distinct, field: category, windows: [15m]", "windows", "no windows in minutes"),
        ("aggregate: count, windows: [3000m]", "windows", "2880 minutes"),
        ("aggregate: last_at, windows: [7d]", "windows", "whole life"),
        ("aggregate: count, hours: [9]", "hours", "a pair such as"),
        ("aggregate: count, hours: [9, 9]", "hours", "a pair such as"),
        ("aggregate: count, weekdays: [someday]", "weekdays", "sun, mon"),
        ("aggregate: count, per: account, over: sum", "per", "no field account; did you mean"),
        ("aggregate: count, per: account_id", "over", "is missing"),
        ("aggregate: ratio, per: account_id, over: sum, windows: [[7d, 90d]]", "per", "cannot be taken per account_id"),
        ("aggregate: last, field: category, per: account_id, over: max", "field", "needs whole numbers"),
        ("aggregate: sequence, windows: [7d]", "then", "takes a then"),
        ("aggregate: sequence, then: {source: bank.channel.login, within: soon}, windows: [7d]", "then.within", "soon"),
        (
            "aggregate: sequence, then: {source: bank.channel.login, within: 1d, same: channel_name}, windows: [7d]",
            "then.same",
            "no field channel_name",
        ),
        ("aggregate: count, products: [gold_card]", "products", "count does not take products"),
        ("aggregate: held, products: [gold_card], windows: [4w]", "windows", "in days"),
        ("aggregate: sum, field: amount, against: before, windows: [7d]", "against", "sum does not take against"),
    ],
)
def test_faults_are_told_with_their_place(load: Load, keys: str, key: str, message: str) -> None:
    source = None if "held" in keys else "bank.transaction.posted"
    with pytest.raises(StrategyInvalid) as raised:
        load(keys, source)
    told = [str(problem) for problem in raised.value.problems if problem.path == f"features[x].{key}"]
    assert told, [str(problem) for problem in raised.value.problems]
    assert any(message in problem for problem in told), told
    assert all("changed.yaml:" in problem for problem in told)
