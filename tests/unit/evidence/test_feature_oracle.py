"""The oracle itself, beside values worked out by hand."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from loadtests.feature_oracle import FeatureOracle
from loadtests.oracle_aggregates import About
from loadtests.oracle_expressions import UNKNOWN, Unknown, compiled

ZONE = "+08:00"
STRATEGY = """
time_zone: Asia/Shanghai
profile: [{name: age, type: int, default: 18}, {name: vip, type: bool}]
features:
  - {name: n, source: bank.transaction.posted, aggregate: count, windows: [1d, 2d, 1w, 2mo, 90m]}
  - {name: spent, source: bank.transaction.posted, where: 'direction == "debit"', aggregate: sum, field: amount}
  - {name: late, source: bank.transaction.posted, aggregate: count, hours: [22, 6], windows: [30d]}
  - {name: fading, source: bank.transaction.posted, aggregate: decayed, half_life: 1d, field: amount}
  - {name: mood, source: bank.transaction.posted, aggregate: top, field: kind, weigh: amount, windows: [30d]}
  - {name: days, source: bank.transaction.posted, aggregate: streak, windows: [30d]}
  - {name: waiting, source: bank.transaction.posted, where: 'kind == "a"', aggregate: unfollowed,
     then: {source: bank.transaction.posted, where: 'kind == "b"', within: 1d}, windows: [30d]}
  - {name: richest, source: bank.transaction.posted, aggregate: last, field: amount, per: kind, over: max}
  - {name: seen, source: bank.transaction.posted, aggregate: distinct, field: other, windows: [30d]}
  - {name: owned, aggregate: held}
  - {name: gained, aggregate: held_change, windows: [2d]}
derived:
  - {name: doubled, expression: 'tripled - spent'}
  - {name: tripled, expression: '3 * spent'}
  - {name: nowhere, expression: 'mood_30d == "b" && vip'}
segments: [{name: grown, when: 'age >= 18'}]
"""


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text + ZONE).timestamp() * 1000)


def event(number: int, text: str, data: dict, kind: str = "bank.transaction.posted") -> tuple[bytes, int]:
    at = datetime.fromisoformat(text + ZONE).isoformat()
    raw = {"type": kind, "source": "core", "id": f"{number}", "subject": "retail:1", "time": at, "data": data}
    return json.dumps(raw).encode(), ms(text)


def posting(number: int, text: str, kind: str, amount: int, direction: str = "debit") -> tuple[bytes, int]:
    return event(number, text, {"kind": kind, "amount": amount, "direction": direction})


@pytest.fixture
def oracle(tmp_path: Path) -> FeatureOracle:
    (tmp_path / "strategy.yaml").write_text(STRATEGY)
    return FeatureOracle(tmp_path)


def test_windows_follow_the_calendar_of_the_bank(oracle: FeatureOracle) -> None:
    history = oracle.history([posting(1, "2025-03-31T23:59:00", "a", 5), posting(2, "2025-04-01T00:01:00", "a", 7)])
    now = ms("2025-04-01T00:02:00")  # a Tuesday
    found = oracle.attributes(history, now, now)

    assert [found[f"n_{window}"] for window in ("1d", "2d", "1w", "2mo", "90m")] == [1, 2, 2, 2, 2]
    assert found["late_30d"] == 2
    assert found["fading"] == 7 + 5 / 2
    assert found["days_30d"] == 2
    monday = ms("2025-04-07T00:00:00")
    assert [oracle.attributes(history, monday, monday)[f"n_{w}"] for w in ("1d", "1w", "2mo")] == [0, 0, 2]


def test_only_what_has_arrived_counts_and_once(oracle: FeatureOracle) -> None:
    late = posting(2, "2025-04-01T10:00:00", "a", 7)[0], ms("2025-04-01T12:00:00")
    history = oracle.history([posting(1, "2025-04-01T09:00:00", "a", 5), late, late])
    noon = ms("2025-04-01T12:00:00")

    assert oracle.attributes(history, noon, noon - 1)["spent"] == 5
    assert oracle.attributes(history, noon, noon)["spent"] == 12


def test_the_heaviest_kind_the_unfollowed_and_the_accounts(oracle: FeatureOracle) -> None:
    history = oracle.history(
        [
            posting(1, "2025-04-01T09:00:00", "a", 5),
            posting(2, "2025-04-02T09:00:00", "b", 9, "credit"),
            posting(3, "2025-04-02T09:00:01", "a", 4),
        ]
    )
    day_later, two_later = ms("2025-04-03T09:00:00"), ms("2025-04-03T09:00:01")
    found = oracle.attributes(history, day_later, day_later)

    assert (found["mood_30d"], found["richest"], found["waiting_30d"]) == ("a", 9, 0)
    assert oracle.attributes(history, two_later, two_later)["waiting_30d"] == 1
    assert (found["spent"], found["tripled"], found["doubled"]) == (9, 27, 18)
    assert found["nowhere"] is False
    assert found["segment_grown"] is True


def test_holdings_now_and_two_days_ago(oracle: FeatureOracle) -> None:
    opened, closed = "bank.product.opened", "bank.product.closed"
    history = oracle.history(
        [
            event(1, "2025-04-01T09:00:00", {"product": "card", "account_id": "1"}, opened),
            event(2, "2025-04-02T09:00:00", {"product": "loan", "account_id": "2"}, opened),
            event(3, "2025-04-03T09:00:00", {"product": "card"}, closed),
        ]
    )
    now = ms("2025-04-03T10:00:00")
    found = oracle.attributes(history, now, now)

    assert (found["owned"], found["product_count"], found["gained_2d"]) == (1, 1, 0)


def test_profile_values_of_another_type_are_passed_over(oracle: FeatureOracle) -> None:
    def told(number: int, text: str, age: object) -> tuple[bytes, int]:
        return event(number, text, {"attributes": {"age": age}}, "bank.profile.updated")

    now = ms("2025-04-03T10:00:00")
    history = oracle.history([told(1, "2025-04-01T09:00:00", 30), told(2, "2025-04-02T09:00:00", "old")])

    assert oracle.attributes(history, now, now)["age"] == 30
    assert oracle.attributes(oracle.history([]), now, now)["age"] == 18


def test_more_values_than_are_counted_exactly_are_told_as_an_estimate(oracle: FeatureOracle) -> None:
    raw = [event(n, "2025-04-01T09:00:00", {"other": f"v{n}"}) for n in range(300)]
    now = ms("2025-04-01T10:00:00")

    assert oracle.attributes(oracle.history(raw), now, now)["seen_30d"] == About(300)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("7.0 / 2", 3.5),
        ("1 / (a - a)", UNKNOWN),
        ("b > 1 || a == 2", True),
        ("b > 1 && a == 3", False),
        ("!(b > 1)", UNKNOWN),
        ("has(b) ? b : max(a, 1, -5)", 2),
        ('a in [1, 2] && "x" in ["y"]', False),
        ("a in [b, 2]", True),
        ("9223372036854775807 + 1", UNKNOWN),
    ],
)
def test_expressions_are_read_as_documented(text: str, expected: object) -> None:
    found = compiled(text)({"a": 2})
    assert found is expected if isinstance(expected, Unknown) else found == expected


@pytest.mark.parametrize("text", ["size(a) > 1", "a +", "a ~ 1", "a b", "(a"])
def test_what_the_oracle_does_not_know_is_refused_not_guessed(text: str) -> None:
    with pytest.raises(ValueError, match="oracle"):
        compiled(text)


def test_erasures_are_refused_not_guessed(oracle: FeatureOracle) -> None:
    with pytest.raises(ValueError, match="erasures"):
        oracle.history([event(1, "2025-04-01T09:00:00", {}, "bank.customer.erased")])
