"""Lists of a placement as slates: who stood where, with which chance, and whether the judged ranking agrees."""

from collections.abc import Sequence

import numpy as np
import pytest

from models.decision_log.examples import LoggedCandidate, LoggedDecision, LoggedOption
from models.errors import EvaluationRefused
from models.evaluation.off_policy.first_choices import RewardRule, first_choices
from models.evaluation.off_policy.placement_slates import placement_slates


def option(rank: int, treatment: str, chance: float | None, *, mandatory: bool = False) -> LoggedOption:
    return LoggedOption(
        tracking_id=f"t.{treatment}.{rank}", placement="panel", rank=rank, offer=treatment[0], treatment=treatment,
        mandatory=mandatory, selection_probability=chance,
    )  # fmt: skip


def decision(number: int, *options: LoggedOption) -> LoggedDecision:
    candidates = tuple(
        LoggedCandidate(placement="panel", offer=name[0], treatment=name, propensity=0.1, boost=1.0)
        for name in ("a1", "a2", "b1", "c1")
    )
    return LoggedDecision(
        decision_id=f"D{number}", customer_id=f"retail:{number % 2}", decided_ms=0, channel="branch", arm="full",
        personalised=True, models={}, attributes={}, context={}, options=options, candidates=candidates,
    )  # fmt: skip


def slates_of(
    order: Sequence[str], *decisions: LoggedDecision, accepted: Sequence[str] = ()
) -> list[list[list[float]]]:
    rule = RewardRule(accepted=dict.fromkeys(accepted, True))
    slates = placement_slates(first_choices(decisions), lambda _: order, rule)
    assert slates.clusters is not None and slates.clusters.max() <= 1
    return [grid.tolist() for grid in (slates.rewards, slates.logged, slates.target)]


def test_each_place_has_its_chance_and_agrees_or_not() -> None:
    """The judged ranking is a, c, b once each offer stands with its best treatment; options are recorded unsorted."""
    shown = decision(1, option(2, "b1", 0.25), option(1, "a2", 0.5), option(3, "c1", 0.4))
    rewards, logged, target = slates_of(["a2", "a1", "c1", "b1"], shown, accepted=["t.b1.2"])
    assert rewards == [[0.0, 1.0, 0.0]]
    assert logged == [[0.5, 0.25, 0.4]]
    assert target == [[1.0, 0.0, 0.0]]


def test_shorter_lists_end_with_places_that_held_nothing() -> None:
    rewards, logged, target = slates_of(
        ["a1", "b1", "c1"], decision(1, option(1, "a1", 0.5), option(2, "b1", 0.5)), decision(2, option(1, "c1", 0.2))
    )
    assert rewards[1] == [0.0, 0.0]
    assert logged[1][0] == 0.2 and np.isnan(logged[1][1])
    assert target[0] == [1.0, 1.0] and target[1][0] == 0.0


def test_lists_with_a_mandatory_option_or_an_unknown_chance_are_left_out() -> None:
    forced = decision(1, option(1, "a1", 0.5), option(2, "b1", 1.0, mandatory=True))
    unknown = decision(2, option(1, "a1", 0.5), option(2, "b1", None))
    with pytest.raises(EvaluationRefused, match="no placement"):
        slates_of(["a1"], forced, unknown)
