"""What a strategy says of slates: assignment by value, repeats, limits on groups and channels, bundles."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from decision_engine.engine import decide
from decision_engine.identifiers import key32
from decision_engine.offers import Offer
from decision_engine.outcomes import Fate, Stage
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.strategy import Bundle, Exploration, SlateRules


def offers_of(bank: SimpleNamespace, places: str, **overrides: Any) -> list[Offer]:
    """`a:bt b:b` are offers best first with the placements they have: b banner, t tile; `a:bt:loans` in a group."""
    names = {"b": "banner", "t": "tile"}
    offers = []
    for rank, text in enumerate(places.split()):
        name, where, *group = text.split(":")
        treatment = bank.treatment(name, "main", "mobile", *(names[place] for place in where))
        group_of = {"group": group[0]} if group else {}
        offers.append(bank.offer(name, value=1000 - 100 * rank, treatments=(treatment,), **group_of, **overrides))
    return offers


def strategy_of(bank: SimpleNamespace, places: str, slate: SlateRules, **overrides: Any) -> PreparedStrategy:
    return prepare(bank.strategy(*offers_of(bank, places), slate=slate, **overrides))


BY_VALUE = SlateRules(by_value=True)


def test_placements_are_solved_together_by_value(bank: SimpleNamespace) -> None:
    """The banner gives its best offer to the tile, which would have nothing else."""
    decision = bank.answer(strategy_of(bank, "a:bt b:b", BY_VALUE), bank.request("banner", "tile"))
    assert bank.offered(decision) == [["b"], ["a"]]
    assert bank.why(decision, "a", "banner") == (Stage.SLATE, "slate.duplicate", "DUPLICATE")
    in_order = bank.answer(strategy_of(bank, "a:bt b:b", SlateRules()), bank.request("banner", "tile"))
    assert bank.offered(in_order) == [["a"], []]


def test_without_a_conflict_the_first_placement_gets_the_best(bank: SimpleNamespace) -> None:
    decision = bank.answer(strategy_of(bank, "a:bt b:bt c:bt", BY_VALUE), bank.request("banner", "tile:2"))
    assert bank.offered(decision) == [["a"], ["b", "c"]]


def test_mandatory_offer_outweighs_any_sum(bank: SimpleNamespace) -> None:
    slate = SlateRules(by_value=True, group_repeats=1)
    first, second, must = offers_of(bank, "a:bt:x b:bt:y m:b:x")
    must = bank.offer("m", value=1, mandatory=True, group="x", treatments=must.treatments)
    decision = bank.answer(bank.strategy(first, second, must, slate=slate), bank.request("banner", "tile"))
    assert bank.offered(decision) == [["m"], ["b"]]
    assert bank.fate(decision, "a", "tile").code == "SLATE_GROUP_LIMIT"


def test_no_more_offers_of_a_group_than_may_repeat(bank: SimpleNamespace) -> None:
    slate = SlateRules(by_value=True, group_repeats=2)
    prepared = strategy_of(bank, "a:b:cards b:b:cards c:b:cards d:b:loans", slate)
    decision = bank.answer(prepared, bank.request("banner:3"))
    assert bank.offered(decision) == [["a", "b", "d"]]
    assert bank.why(decision, "c") == (Stage.SLATE, "slate.group_limit", "SLATE_GROUP_LIMIT")
    assert bank.fate(decision, "c").selection_probability == 0.0


def test_limit_of_one_group_leaves_the_others_free(bank: SimpleNamespace) -> None:
    slate = SlateRules(by_value=True, groups={"cards": 0})
    prepared = strategy_of(bank, "a:b:cards b:b:loans c:b:loans", slate)
    assert bank.offered(bank.answer(prepared, bank.request("banner:3"))) == [["b", "c"]]


def test_limit_of_a_channel_holds_over_all_placements(bank: SimpleNamespace) -> None:
    slate = SlateRules(by_value=True, channels={"mobile": 2})
    decision = bank.answer(strategy_of(bank, "a:b b:b c:b d:t", slate), bank.request("banner:2", "tile:2"))
    assert bank.offered(decision) == [["a", "b"], []]
    assert bank.why(decision, "d", "tile") == (Stage.SLATE, "slate.channel_limit", "SLATE_CHANNEL_LIMIT")
    assert bank.fate(decision, "c").fate is Fate.RANKED_LOWER


def test_spares_never_let_more_of_a_group_stand_than_may(bank: SimpleNamespace) -> None:
    """Whichever alternatives the ledger takes."""
    slate = SlateRules(by_value=True, group_repeats=2)
    prepared = strategy_of(
        bank, "a:b:x b:b:x c:b:y d:b:x e:b:y f:b:z g:b:y h:b:z i:b:z j:b:w", slate, contact_limits=(bank.limit(),)
    )
    draft = decide(prepared, bank.request("banner:3"), bank.customer(), (), {})
    group_of = {key32(o.name): o.group for o in prepared.offers}
    seats = [[group_of[alternative.offer] for alternative in position] for position in draft.reservation.positions]

    def combinations(left: list[list[str]], standing: list[str]) -> None:
        if not left:
            assert max(Counter(standing).values(), default=0) <= 2
            return
        for group in left[0]:
            combinations(left[1:], [*standing, group])

    combinations(seats, [])
    assert any(len(position) > 1 for position in seats)


def test_offer_repeats_as_often_as_it_may(bank: SimpleNamespace) -> None:
    slate = SlateRules(by_value=True, offer_repeats=2)
    prepared = strategy_of(bank, "a:bt b:bt", slate)
    draft = decide(prepared, bank.request("banner", "tile"), bank.customer(), (), {})
    assert draft.reservation.allow_duplicates
    assert bank.offered(bank.answer(prepared, bank.request("banner", "tile"))) == [["a"], ["a"]]
    assert bank.offered(bank.answer(prepared, bank.request("banner:2", "tile:2"))) == [["a", "b"], ["a", "b"]]


BUNDLED = SlateRules(by_value=True, bundles=(Bundle(parent="p", children=("x", "y")),))


def test_children_stand_behind_their_parent_in_their_order(bank: SimpleNamespace) -> None:
    """Together they are worth more than the best single offers."""
    prepared = strategy_of(bank, "y:b x:b a:b b:b p:b", BUNDLED)
    decision = bank.answer(prepared, bank.request("banner:3"))
    assert bank.offered(decision) == [["p", "x", "y"]]
    assert bank.fate(decision, "a").fate is Fate.RANKED_LOWER


def test_children_alone_are_not_shown(bank: SimpleNamespace) -> None:
    prepared = strategy_of(bank, "x:b y:b a:b b:b p:t", BUNDLED)
    decision = bank.answer(prepared, bank.request("banner:2"))
    assert bank.offered(decision) == [["a", "b"]]
    assert bank.why(decision, "x") == (Stage.SLATE, "slate.bundle", "BUNDLE_INCOMPLETE")


def test_bundle_is_cut_where_single_offers_are_worth_more(bank: SimpleNamespace) -> None:
    prepared = strategy_of(bank, "p:b x:b a:b y:b", BUNDLED)
    assert bank.offered(bank.answer(prepared, bank.request("banner:3"))) == [["p", "x", "a"]]
    assert bank.offered(bank.answer(prepared, bank.request("banner:1"))) == [["p"]]


def test_bundle_stands_by_its_sum_before_a_better_single_offer(bank: SimpleNamespace) -> None:
    prepared = strategy_of(bank, "a:b p:b x:b y:b", BUNDLED)
    assert bank.offered(bank.answer(prepared, bank.request("banner:4"))) == [["p", "x", "y", "a"]]


def test_child_whose_parent_was_taken_meanwhile_is_not_shown(bank: SimpleNamespace) -> None:
    prepared = strategy_of(bank, "p:b x:b y:b", BUNDLED)
    decision = bank.answer(prepared, bank.request("banner:3"), taken=[None, 0, 0])
    assert decision.placements[0].fallback_cause == "CAPPED"
    assert bank.fate(decision, "p").code == "RESERVED_MEANWHILE"
    assert bank.fate(decision, "x").code == "BUNDLE_INCOMPLETE"


def test_child_rejected_by_a_gate_leaves_the_rest_of_the_bundle(bank: SimpleNamespace) -> None:
    first, *rest = offers_of(bank, "x:b p:b y:b")
    barred = bank.offer("x", eligibility=(bank.rule("age < 18"),), treatments=first.treatments)
    strategy = bank.strategy(barred, *rest, slate=BUNDLED)
    decision = bank.answer(strategy, bank.request("banner:3"), bank.customer(age=40))
    assert bank.offered(decision) == [["p", "y"]]


def test_what_a_draw_took_is_assigned_anew_for_the_later_placements(bank: SimpleNamespace) -> None:
    """And the chances a later placement logs add up to what it shows, given what earlier ones took."""
    exploration = Exploration(kind="epsilon_greedy", epsilon=0.5)
    prepared = strategy_of(bank, "a:bt b:b c:b d:t", BY_VALUE, exploration=exploration)
    shown: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    draws = 3000
    for number in range(draws):
        decision = bank.answer(prepared, bank.request("banner", "tile", decision_id=f"d{number}"))
        (banner,), (tile,) = bank.offered(decision)
        assert banner != tile
        shown[tile] += 1
        chances = {c.offer: c.selection_probability or 0.0 for c in decision.candidates if c.placement == "tile"}
        assert sum(chances.values()) == pytest.approx(1.0)
        expected.update(chances)
    for name, chance in expected.items():
        assert abs(shown[name] - chance) <= 4 * draws**0.5 / 2


def test_no_draw_passes_the_limit_of_a_group_or_breaks_a_bundle(bank: SimpleNamespace) -> None:
    slate = SlateRules(by_value=True, group_repeats=1, bundles=(Bundle(parent="p", children=("x",)),))
    exploration = Exploration(kind="epsilon_greedy", epsilon=1.0)
    prepared = strategy_of(bank, "a:bt:u p:bt:v x:bt:w b:bt:u c:bt:r d:bt:r e:bt:s", slate, exploration=exploration)
    group_of = {offer.name: offer.group for offer in prepared.offers}
    for number in range(300):
        decision = bank.answer(prepared, bank.request("banner:3", "tile:2", decision_id=f"d{number}"))
        names = [name for answer in bank.offered(decision) for name in answer]
        assert max(Counter(group_of[name] for name in names).values()) == 1
        for answer in bank.offered(decision):
            assert "x" not in answer or answer[answer.index("x") - 1] == "p"


def test_callers_duplicates_still_keep_the_limit_of_a_group(bank: SimpleNamespace) -> None:
    slate = SlateRules(by_value=True, group_repeats=2)
    prepared = strategy_of(bank, "a:bt:x b:bt:x c:bt:y", slate)
    decision = bank.answer(prepared, bank.request("banner:2", "tile:2", allow_duplicates=True))
    assert bank.offered(decision) == [["a", "b"], ["c"]]
