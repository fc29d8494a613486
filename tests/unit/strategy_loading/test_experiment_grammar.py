"""Experiments, holdouts, exploration and ramps as a strategy writes them: what is read, and what is refused where."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.offers import Ramp
from decision_engine.prepared import prepare
from decision_engine.strategy import Exploration, IssueHoldout, LeverChange, Strategy
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = Path(__file__).parent / "sample_strategy.yaml"
DAY_MS = 86_400_000
NOVEMBER_MS = 1_793_462_400_000
"""2026-11-01T00:00 in Shanghai."""
Load = Callable[[str], Strategy]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the sample strategy with these sections instead of its exploration and experiment."""

    def loading(sections: str) -> Strategy:
        sample = re.sub(r"(?m)^(exploration|experiment):.*\n", "", SAMPLE.read_text("utf-8"))
        path = tmp_path / "strategy.yaml"
        path.write_text(f"{sample}\n{sections}\n", encoding="utf-8")
        return load_strategy_file(path)

    return loading


def problems(load: Load, sections: str) -> str:
    with pytest.raises(StrategyInvalid) as refused:
        load(sections)
    return str(refused.value)


def test_without_the_sections_nobody_is_in_an_experiment_and_nothing_is_drawn(load: Load) -> None:
    strategy = load("")
    assert (strategy.exploration, strategy.experiment.shares) == (Exploration(), {})
    assert (strategy.holdouts, strategy.experiments) == ((), ())


def test_all_control_arms_with_their_rooms(load: Load) -> None:
    strategy = load(
        'experiment: {salt: "1", shares: {random_eligible: 0.1, propensity_only: 0.05, no_levers: 0.05, prior: 0.05,'
        " holdout: 0.02}, rooms: {random_eligible: 0.6}}"
    )
    assert strategy.experiment.shares == {
        "random_eligible": 0.1, "propensity_only": 0.05, "no_levers": 0.05, "prior": 0.05, "holdout": 0.02,
    }  # fmt: skip
    assert strategy.experiment.rooms == {"random_eligible": 0.6}
    prepare(strategy)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{kind: off}", Exploration()),
        ("{kind: inverse_gap, gamma: 50}", Exploration(kind="inverse_gap", gamma=50.0)),
        (
            "{kind: thompson, prior_strength: 500, rounds: 100, contenders: 10, share: 0.2, max_regret: 30}",
            Exploration(kind="thompson", prior_strength=500.0, rounds=100, contenders=10, share=0.2, max_regret=30.0),
        ),
        (
            "{kind: epsilon_greedy, epsilon: 0.1, max_regret: 0}",
            Exploration(kind="epsilon_greedy", epsilon=0.1, max_regret=0.0),
        ),
    ],
)
def test_every_kind_of_exploration(load: Load, written: str, meant: Exploration) -> None:
    assert load(f"exploration: {written}").exploration == meant


def test_holdout_of_an_issue_has_a_name_of_its_own_or_the_issues(load: Load) -> None:
    strategy = load(
        "holdouts:\n  - {issue: acquire, share: 0.05, salt: a}\n  - {name: later, issue: acquire, share: 0.1, salt: b}"
    )
    assert strategy.holdouts == (
        IssueHoldout(name="holdout_acquire", issue="acquire", share=0.05, salt="a"),
        IssueHoldout(name="later", issue="acquire", share=0.1, salt="b"),
    )


def test_experiment_of_its_own_says_what_its_arms_change(load: Load) -> None:
    strategy = load(
        "experiments:\n"
        "  - name: push\n"
        "    salt: push-1\n"
        "    arms:\n"
        "      - {name: more, share: 0.1, room: 0.4, levers: [{group: cards, add: 20}, {add: 5}]}\n"
        "      - {name: none, share: 0.2, withhold: [gold_card], exploration: {kind: off}}\n"
    )
    (layer,) = strategy.experiments
    more, none = layer.arms
    assert (layer.name, layer.salt, more.share, more.room, none.room) == ("push", "push-1", 0.1, 0.4, 0.6)
    assert more.levers == (LeverChange(add=20.0, group="cards"), LeverChange(add=5.0))
    assert (none.withhold, none.exploration) == (("gold_card",), Exploration())
    prepare(strategy)


def test_ramp_of_an_offer_begins_at_local_midnight(tmp_path: Path) -> None:
    path = tmp_path / "strategy.yaml"
    sample = SAMPLE.read_text("utf-8")
    ramp = "  - name: gold_card\n    ramp: {from: 2026-11-01, days: 14, share: 0.2}\n"
    path.write_text(sample.replace("  - name: gold_card\n", ramp, 1), encoding="utf-8")
    strategy = load_strategy_file(path)
    gold = next(offer for offer in strategy.offers if offer.name == "gold_card")
    assert gold.ramp == Ramp(from_ms=NOVEMBER_MS, until_ms=NOVEMBER_MS + 14 * DAY_MS, share=0.2)
    assert strategy.version != load_strategy_file(SAMPLE).version
    path.write_text(sample.replace("  - name: gold_card\n", ramp.replace("2026-11-01", "soon"), 1), encoding="utf-8")
    with pytest.raises(StrategyInvalid, match=r"ramp\.from: 'soon' is no date"):
        load_strategy_file(path)


ARM = "{name: up, share: 0.5, levers: [{add: 5}]}"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ("exploration: {kind: inverse_gap}", "exploration.gamma: is missing"),
        ("exploration: {kind: inverse_gap, gamma: 5, epsilon: 0.1}", "means nothing to inverse_gap, it belongs to"),
        ("exploration: {kind: thompson, max_regret: 120}", "exploration.max_regret: 120 must be from 0 to 100"),
        ("exploration: {kind: thomson}", "did you mean thompson?"),
        ("experiment: {salt: s, shares: {hold_out: 0.1}}", "did you mean holdout?"),
        ("experiment: {salt: s, shares: {holdout: 0.3}, rooms: {holdout: 0.2}}", "larger than its room"),
        ("experiment: {salt: s, rooms: {holdout: 0.7, prior: 0.7}}", "the rooms add up to 1.4"),
        ("holdouts: [{issue: aquire, share: 0.1, salt: a}]", "unknown issue aquire; did you mean acquire?"),
        ("holdouts: [{issue: acquire, share: 2, salt: a}]", "2 must be from 0 to 1"),
        ("experiments: [{name: a, salt: x}]", "needs at least one arm beside the control"),
        ("experiments: [{name: Big, salt: x, arms: [" + ARM + "]}]", "'Big' must be"),
        ("experiments: [{name: a, salt: x, arms: [{name: up, share: 0.5}]}]", "changes nothing"),
        ("experiments: [{name: a, salt: x, arms: [{name: control, share: 0.5, levers: [{add: 1}]}]}]", "control is"),
        ("experiments: [{name: a, salt: x, arms: [" + ARM + ", " + ARM + "]}]", "up stands already at"),
        ("experiments: [{name: a, salt: x, arms: [{name: u, share: 0.7, withhold: [gold_card]},"
         " {name: v, share: 0.7, withhold: [gold_card]}]}]", "the arms add up to 1.4"),
        ("experiments: [{name: a, salt: x, arms: [{name: u, share: 0.7, room: 0.5, withhold: [gold_card]}]}]",
         "larger than the room"),
        ("experiments: [{name: a, salt: x, arms: [{name: u, share: 0.1, withhold: [gold_crad]}]}]",
         "unknown offer gold_crad; did you mean gold_card?"),
        ("experiments: [{name: a, salt: x, arms: [{name: u, share: 0.1, levers: [{group: crads, add: 1}]}]}]",
         "unknown group crads; did you mean cards?"),
        ("experiments: [{name: a, salt: x, arms: [{name: u, share: 0.1, levers: [{group: cards, issue: acquire,"
         " add: 1}]}]}]", "give one of issue, group and offer"),
        ("experiments: [{name: a, salt: x, arms: [{name: u, share: 0.1, levers: [{add: -150}]}]}]", "could fall to"),
        ("experiment: {salt: x, shares: {}}\nexperiments: [{name: a, salt: x, arms: [" + ARM + "]}]",
         "is the salt of the standing experiment"),
        ("holdouts: [{issue: acquire, share: 0.1, salt: x}]\nexperiments: [{name: a, salt: x, arms: [" + ARM + "]}]",
         "x stands already at"),
        ("experiments: [{name: a, salt: x, arms: [{name: u, share: 0.1, exploration: {kind: off}}]},"
         " {name: b, salt: y, arms: [{name: u, share: 0.1, exploration: {kind: off}}]}]",
         "only one experiment may change the exploration"),
    ],
)  # fmt: skip
def test_mistakes_are_told_where_they_stand(load: Load, sections: str, said: str) -> None:
    told = problems(load, sections)
    assert said in told
    assert re.match(r".*strategy\.yaml:\d+: ", told)
