"""How strategies write slates, levers, context weights and boosts, and what is said of faults."""

from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.outcomes import ContactStatus
from decision_engine.strategy import Boost, Bundle, DatedLever, SlateRules, Strategy
from services.adapters.file_strategy_source import load_strategy_file

GOLDEN = Path(__file__).parents[2] / "golden" / "decisions" / "strategy.yaml"


def load(tmp_path: Path, text: str) -> Strategy:
    path = tmp_path / "strategy.yaml"
    path.write_text(f"{GOLDEN.read_text()}\n{text}\n")
    return load_strategy_file(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(StrategyInvalid) as found:
        load(tmp_path, text)
    first = len(GOLDEN.read_text().splitlines()) + 1
    assert all(problem.line > first for problem in found.value.problems)
    return [f"{problem.path}: {problem.message}" for problem in found.value.problems]


def test_strategy_without_the_sections_fills_placements_one_after_another(tmp_path: Path) -> None:
    strategy = load(tmp_path, "")
    assert strategy.slate == SlateRules(by_value=False, offer_repeats=1)
    assert (strategy.levers, strategy.boosts) == ((), ())


def test_slate_is_read(tmp_path: Path) -> None:
    text = """
slate:
  duplicates: {offer: 2, group: 3}
  limits: {groups: {cards: 1}, channels: {mobile: 4}}
  bundles: [{parent: gold_card, children: [travel_card, tips]}]
"""
    assert load(tmp_path, text).slate == SlateRules(
        by_value=True,
        offer_repeats=2,
        group_repeats=3,
        groups={"cards": 1},
        channels={"mobile": 4},
        bundles=(Bundle(parent="gold_card", children=("travel_card", "tips")),),
    )
    assert not load(tmp_path, "slate: {assignment: in_order}").slate.by_value


def test_levers_and_weights_are_read_with_their_dates(tmp_path: Path) -> None:
    text = """
levers:
  - {offer: gold_card, lever: 15, from: 2026-11-01, until: 2026-12-01}
  - {issue: acquire, lever: -5}
context_weights:
  - {offer: gold_card, when: "age > 30", weight: 30, until: "2026-12-01T00:00:00Z"}
"""
    strategy = load(tmp_path, text)
    first, second = strategy.levers
    assert (first.scope, first.name, first.lever) == ("offer", "gold_card", 15.0)
    assert first.until_ms is not None and first.from_ms is not None
    assert first.until_ms - first.from_ms == 30 * 86_400_000
    assert second == DatedLever(scope="issue", name="acquire", lever=-5.0)
    gold = next(offer for offer in strategy.offers if offer.name == "gold_card")
    assert (gold.context_weights[-1].when, gold.context_weights[-1].weight) == ("age > 30", 30.0)
    assert gold.context_weights[-1].until_ms == 1_796_083_200_000
    assert strategy.version != load(tmp_path, "").version


def test_boosts_are_read(tmp_path: Path) -> None:
    text = """
boosts:
  - {id: clicked, after: click, weight: 40, half_life: 2d}
  - {id: refused, after: [reject, dismiss], of: group, weight: -30, half_life: 12h, most: 60}
"""
    refused = int(ContactStatus.REJECT | ContactStatus.DISMISS)
    assert load(tmp_path, text).boosts == (
        Boost(id="clicked", after=4, of="offer", weight=40.0, half_life_seconds=172_800, most=40.0),
        Boost(id="refused", after=refused, of="group", weight=-30.0, half_life_seconds=43_200, most=60.0),
    )


def test_all_faults_are_reported_where_they_stand(tmp_path: Path) -> None:
    text = """
slate:
  assignment: by_valeu
  duplicates: {offer: 0}
  limits: {groups: {crads: 1}}
  bundles:
    - {parent: gold_card, children: [gold_card]}
    - {parent: travel_crad, children: []}
levers:
  - {lever: 5}
  - {offer: gold_card, lever: -99}
  - {offer: gold_card, lever: -20, from: 2026-12-01, until: 2026-11-01}
context_weights:
  - {offer: gold_card, when: "agee > 3", weight: 5}
boosts:
  - {id: a, after: clik, weight: 40, half_life: soon}
  - {id: a, after: click, weight: -120, half_life: 1d}
"""
    said = problems(tmp_path, text)
    for expected in (
        "slate.assignment: 'by_valeu' is none of by_value, in_order; did you mean by_value?",
        "slate.duplicates.offer: 0 must be from 1 to 1000",
        "slate.limits.groups.crads: unknown group crads; did you mean cards?",
        "slate.bundles[0].children: gold_card is in a bundle already",
        "slate.bundles[1].parent: unknown offer travel_crad; did you mean travel_card?",
        "slate.bundles[1].children: needs at least one child",
        "levers[0]: needs exactly one of offer, group, issue",
        "levers[2].until: until must be later than from",
        "boosts[a].after: 'clik' is none of impression, click, accept, reject, dismiss, convert; did you mean click?",
        "boosts[a].half_life: 'soon' is no duration; write 90s, 30m, 24h or 2d",
        "boosts[a].most: boosts against an offer must add up to less than 100 percent: say so with `most`",
    ):
        assert expected in said, said
    assert any("agee" in text for text in said)
    assert any("must stay above -100" in text for text in said)
    assert any("stands already" in text for text in said)
