"""How old the newest event of the bank's systems is, whatever the customer has answered since."""

from datetime import datetime
from zoneinfo import ZoneInfo

from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    FeatureDeclarations,
    FeatureDefinition,
    ProfileAttribute,
    Window,
)
from decision_engine.features.fold import fold
from decision_engine.features.freshness import RESPONSES, Freshness, Newest, freshness
from decision_engine.features.update import PositionedUpdate, Update

SHANGHAI = ZoneInfo("Asia/Shanghai")
POSTED, LOGIN = "bank.transaction.posted", "bank.channel.login"
DAYS, HOURS = Window("d", 7), Window("h", 48)


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).timestamp() * 1000)


def feature(name: str, source: str, aggregate: Aggregate, *windows: Window) -> FeatureDefinition:
    return FeatureDefinition(
        name=name, source=source, aggregate=aggregate, windows=windows, theme="t", description={"en": name}
    )


FEATURES = compile_features(
    FeatureDeclarations(
        time_zone="Asia/Shanghai",
        profile=(ProfileAttribute(name="age", type=AttributeType.INT, theme="basic", description={}),),
        features=(
            feature("posted", POSTED, Aggregate.COUNT, DAYS),
            feature("posted_lately", POSTED, Aggregate.COUNT, HOURS),
            feature("login_at", LOGIN, Aggregate.LAST_AT),
            feature("answers", RESPONSES, Aggregate.COUNT, DAYS),
            feature("answered_at", RESPONSES, Aggregate.LAST_AT),
        ),
    )
)


def fresh(*events: tuple[str, str]) -> Freshness:
    updates = [
        PositionedUpdate(0, number, Update(number + 1, source, at(time)))
        for number, (source, time) in enumerate(events)
    ]
    return freshness(FEATURES, fold(FEATURES, None, updates).value)


def test_nobody_has_been_heard_of() -> None:
    assert freshness(FEATURES, None) == Freshness(bank=None, responses=None)


def test_an_answer_makes_no_bank_data_younger() -> None:
    found = fresh((LOGIN, "2026-11-10T09:00:00"), (RESPONSES, "2026-11-21T09:50:00"))
    assert found.bank == Newest(at_ms=at("2026-11-10T09:00:00"))
    assert found.responses == Newest(at_ms=at("2026-11-21T09:50:00"))


def test_where_only_the_hour_is_known_it_says_so() -> None:
    found = fresh((LOGIN, "2026-11-20T23:00:00"), (POSTED, "2026-11-21T09:50:00"))
    assert found.bank == Newest(at_ms=at("2026-11-21T09:00:00"), within="h")
    assert found.responses is None


def test_the_exact_time_counts_where_it_is_the_later_one() -> None:
    found = fresh((POSTED, "2026-11-21T09:50:00"), (LOGIN, "2026-11-21T10:05:30"))
    assert found.bank == Newest(at_ms=at("2026-11-21T10:05:30"))


def test_answers_alone_are_no_bank_data() -> None:
    assert fresh((RESPONSES, "2026-11-21T09:50:00")).bank is None
