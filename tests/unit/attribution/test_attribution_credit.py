"""Who gets the credit: windows and their edges, the last touch, shares under every model, further conversions."""

from collections.abc import Callable

import pytest

from decision_engine.attribution import (
    WHOLE,
    AttributionTerms,
    Conversion,
    Credit,
    SharedModel,
    Touch,
    TouchKind,
    attribute,
    split_credit,
)

DAY = 86_400_000
NOW = 400 * DAY
Make = Callable[..., Touch]
Terms = Callable[..., AttributionTerms]
MakeConversion = Callable[..., Conversion]


def by_name(found: tuple[Credit, ...]) -> dict[str, tuple[int, int]]:
    return {credit.touch.tracking_id: (credit.last_touch, credit.shared) for credit in found}


def test_without_a_touch_nobody_gets_credit(make_terms: Terms) -> None:
    assert split_credit(NOW, [], make_terms()) == ()


def test_a_single_touch_gets_all_of_both_models(make_terms: Terms, make_touch: Make) -> None:
    (credit,) = split_credit(NOW, [make_touch(1, seen_ms=NOW - DAY)], make_terms())
    assert (credit.kind, credit.at_ms, credit.last_touch, credit.shared) == (TouchKind.SEEN, NOW - DAY, WHOLE, WHOLE)


def test_both_ends_of_the_window_belong_to_it(make_terms: Terms, make_touch: Make) -> None:
    touches = [
        make_touch(1, seen_ms=NOW - 30 * DAY - 1),
        make_touch(2, seen_ms=NOW - 30 * DAY),
        make_touch(3, seen_ms=NOW),
        make_touch(4, seen_ms=NOW + 1),
    ]
    assert set(by_name(split_credit(NOW, touches, make_terms()))) == {"D2.0", "D3.0"}


def test_an_engaged_touch_counts_for_the_click_window(make_terms: Terms, make_touch: Make) -> None:
    seen_long_ago = {"seen_ms": NOW - 45 * DAY}
    touches = [
        make_touch(1, **seen_long_ago),
        make_touch(2, **seen_long_ago, engaged_ms=NOW - 44 * DAY),
        make_touch(3, **seen_long_ago, engaged_ms=NOW - 61 * DAY),
    ]
    (credit,) = split_credit(NOW, touches, make_terms())
    assert (credit.touch.tracking_id, credit.kind, credit.at_ms) == ("D2.0", TouchKind.ENGAGED, NOW - 44 * DAY)


def test_the_last_touch_is_the_latest_and_the_closer_one_when_moments_are_equal(
    make_terms: Terms, make_touch: Make
) -> None:
    touches = [
        make_touch(1, engaged_ms=NOW - 5),
        make_touch(2, seen_ms=NOW - 5),
        make_touch(3, offered_ms=NOW - 5),
        make_touch(4, seen_ms=NOW - 9),
    ]
    found = split_credit(NOW, touches, make_terms())
    assert [credit.touch.tracking_id for credit in found] == ["D4.0", "D3.0", "D2.0", "D1.0"]
    assert [credit.last_touch for credit in found] == [0, 0, 0, WHOLE]


def test_a_lead_that_was_only_offered_is_a_touch(make_terms: Terms, make_touch: Make) -> None:
    (credit,) = split_credit(NOW, [make_touch(1, channel="manager", offered_ms=NOW - DAY)], make_terms())
    assert credit.kind is TouchKind.OFFERED


@pytest.mark.parametrize(
    ("model", "days", "shares"),
    [
        (SharedModel.LINEAR, (20, 10, 1), (333_333, 333_333, 333_334)),
        (SharedModel.TIME_DECAY, (15, 8, 1), (142_857, 285_714, 571_429)),
        (SharedModel.POSITION, (20, 10, 5, 1), (400_000, 100_000, 100_000, 400_000)),
        (SharedModel.POSITION, (20, 1), (500_000, 500_000)),
        (SharedModel.POSITION, (1,), (1_000_000,)),
    ],
)
def test_shares_by_model(
    make_terms: Terms, make_touch: Make, model: SharedModel, days: tuple[int, ...], shares: tuple[int, ...]
) -> None:
    touches = [make_touch(number, seen_ms=NOW - day * DAY) for number, day in enumerate(days)]
    found = split_credit(NOW, touches, make_terms(shared=model))
    assert tuple(credit.shared for credit in found) == pytest.approx(shares, abs=1)
    assert sum(credit.shared for credit in found) == WHOLE


def test_only_touches_of_the_conversions_own_offers_are_credited(
    make_terms: Terms, make_touch: Make, make_conversion: MakeConversion
) -> None:
    touches = [make_touch(1, seen_ms=NOW - DAY), make_touch(2, seen_ms=NOW - DAY, offer="cash_loan")]
    (found,) = attribute([make_conversion("c1", NOW)], touches, make_terms())
    assert set(by_name(found.credits)) == {"D1.0"}


def test_a_further_conversion_of_the_same_is_none_until_the_time_for_it_is_over(
    make_terms: Terms, make_touch: Make, make_conversion: MakeConversion
) -> None:
    conversions = [
        make_conversion("late", NOW + 31 * DAY),
        make_conversion("second", NOW + 30 * DAY),
        make_conversion("other", NOW + DAY, offers=("cash_loan",)),
        make_conversion("first", NOW),
    ]
    found = attribute(conversions, [make_touch(1, seen_ms=NOW - DAY)], make_terms(window_ms=90 * DAY))
    assert {one.conversion.id: one.superseded_by for one in found} == {
        "first": None, "other": None, "second": "first", "late": None,
    }  # fmt: skip
    assert [bool(one.credits) for one in found] == [True, False, False, True]
