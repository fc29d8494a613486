"""Which versions decide: everything follows from the acts and their times."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from event_schemas.control import ACTIVE_SUBJECT, StrategyAct, StrategyActivated, StrategyRetired, StrategyRolledBack
from services.use_cases.versions_now import VersionsNow, is_in_share

BEGIN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def act(version: str, minutes: float, kind: Any = StrategyActivated, **more: Any) -> Any:
    data = StrategyAct(name="bank", version=version, actor="somebody", **more)
    return kind(id=f"{version}-{minutes}", source="test", subject=ACTIVE_SUBJECT, time=at(minutes), data=data)


def after(*events: Any) -> VersionsNow:
    versions = VersionsNow()
    for event in events:
        versions = versions.after(event)
    return versions


def deciding(versions: VersionsNow, minutes: float) -> tuple[str | None, str | None]:
    now = versions.at(at(minutes))
    return now.active and now.active.version, now.canary and now.canary.version


def test_a_share_stands_beside_what_is_active_until_it_is_for_all() -> None:
    canary = after(act("a", 0), act("b", 1, share=0.1, previous_version="a"))
    assert deciding(canary, 2) == ("a", "b")
    assert deciding(canary.after(act("b", 3, share=0.5)), 4) == ("a", "b")
    assert deciding(canary.after(act("b", 3)), 4) == ("b", None)


def test_a_rollback_ends_the_canary_whichever_version_it_names() -> None:
    canary = after(act("a", 0), act("b", 1, share=0.1))
    assert deciding(canary.after(act("a", 2, StrategyRolledBack)), 3) == ("a", None)
    assert deciding(canary.after(act("b", 2, StrategyRolledBack)), 3) == ("a", None)


def test_a_canary_that_is_retired_decides_for_nobody() -> None:
    canary = after(act("a", 0), act("b", 1, share=0.1))
    assert deciding(canary.after(act("b", 2, StrategyRetired)), 3) == ("a", None)
    assert deciding(canary.after(act("c", 2, StrategyRetired)), 3) == ("a", "b")


def test_what_is_for_later_waits_for_its_moment() -> None:
    versions = after(act("a", 0), act("b", 1, effective_at=at(60)))
    assert deciding(versions, 59) == ("a", None)
    assert versions.wait_s(at(59)) == 60
    assert deciding(versions, 60) == ("b", None)


def test_an_act_before_the_moment_takes_the_place_of_what_was_for_later() -> None:
    versions = after(act("a", 0), act("b", 1, effective_at=at(60)), act("c", 30))
    assert deciding(versions, 90) == ("c", None)


def test_who_reads_the_acts_later_comes_to_the_same() -> None:
    versions = after(act("a", 0), act("b", 1, effective_at=at(60)), act("c", 61, share=0.2))
    assert deciding(versions, 90) == ("b", "c"), "b was taken before c came"


def test_a_share_of_which_nobody_knows_what_was_before_names_it() -> None:
    assert deciding(after(act("b", 1, share=0.1, previous_version="a")), 2) == ("a", "b")


@given(
    number=st.integers(1, 10**9),
    version=st.sampled_from(["bank-0123456789ab", "bank-ba9876543210"]),
    shares=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
)
def test_a_larger_share_keeps_those_of_the_smaller_one(number: int, version: str, shares: tuple[float, float]) -> None:
    smaller, larger = sorted(shares)
    customer: Any = f"retail:{number}"
    assert is_in_share(customer, version, larger) or not is_in_share(customer, version, smaller)


def test_a_share_is_of_about_so_many_customers() -> None:
    inside = sum(is_in_share(f"retail:{number}", "bank-0123456789ab", 0.2) for number in range(20_000))  # type: ignore[arg-type]
    assert abs(inside / 20_000 - 0.2) < 0.012  # four standard errors
