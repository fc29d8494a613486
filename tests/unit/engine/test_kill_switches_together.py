"""Kill switches on the plan of a strategy: the same as asking each offer, and the same one by one and together."""

from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from decision_engine.kill_switches import (
    plan_switches,
    screen_switches,
    stops_everything,
    stops_offer,
    stops_version,
    without_stopped,
)
from decision_engine.offers import Offer
from decision_engine.rejections import PASSED, EngineRejection

NAMES = [f"offer_{number}" for number in range(6)]
GROUPS = ["cards", "loans", "funds"]
TEXTS = [
    *(f"offer:{name}" for name in NAMES),
    *(f"group:{group}" for group in GROUPS),
    *("channel:mobile", "channel:sms", "model:cross_sell", "strategy:bank", "strategy:bank-1", "strategy:bank-2"),
]


def offer(name: str, group: str) -> Offer:
    fields: dict[str, Any] = {
        "name": name, "group": group, "issue": "acquire", "value": 1, "base_rate": 0.1, "lever": 0.0,
        "model": "cross_sell", "title": {"en": name}, "treatments": (), "mandatory": name == "offer_0",
    }  # fmt: skip
    return Offer(**fields)


OFFERS = [offer(name, GROUPS[number % 3]) for number, name in enumerate(NAMES)]
PLAN = plan_switches(OFFERS, "bank", "bank-1")


@given(engaged=st.sets(st.sampled_from(TEXTS)), channel=st.sampled_from(["mobile", "sms", "branch"]))
def test_an_offer_is_stopped_by_its_name_its_group_the_channel_or_the_strategy(engaged: set[str], channel: str) -> None:
    switches = tuple(sorted(engaged))
    falls = screen_switches(PLAN, switches, channel)
    if not switches:
        assert falls is None
        return
    assert falls is not None
    whole = stops_version(switches, "bank-1")
    assert stops_everything(PLAN, switches, channel) == (whole or f"channel:{channel}" in engaged)
    for number, each in enumerate(OFFERS):
        stopped = whole or stops_offer(switches, each.name, each.group, channel)
        assert falls[number] == (EngineRejection.KILL_SWITCH if stopped else PASSED)
    assert screen_switches(PLAN, switches, channel) is falls, "found out once"


def test_sets_of_switches_are_not_remembered_for_ever() -> None:
    plan = plan_switches(OFFERS, "bank", "bank-1")
    for engaged in combinations(TEXTS, 3):
        screen_switches(plan, tuple(sorted(engaged)), "mobile")
    assert len(plan.known) <= 64


def test_a_stopped_model_is_left_out_and_nothing_changes_without_one() -> None:
    scorers: Any = {"cross_sell": object(), "churn": object()}
    assert without_stopped(scorers, ()) is scorers
    assert without_stopped(scorers, ("offer:cross_sell",)) is scorers
    assert list(without_stopped(scorers, ("model:cross_sell",))) == ["churn"]


def test_what_is_remembered_cannot_be_written_to() -> None:
    falls = screen_switches(PLAN, ("offer:offer_1",), "mobile")
    assert falls is not None
    assert not falls.flags.writeable
    assert np.count_nonzero(falls != PASSED) == 1
