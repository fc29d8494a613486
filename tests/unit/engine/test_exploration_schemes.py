"""Every scheme of exploration: the logged probability is the observed frequency, for the first place and any other."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from decision_engine.draws import draw_words, standard_normals
from decision_engine.exploration import Explorer, Stakes
from decision_engine.inverse_gap import inverse_gap_chances
from decision_engine.lottery import Seat
from decision_engine.offers import Ramp
from decision_engine.online import OnlineLearning, OnlineTable, Row
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.ramp import MOST_RAMPED
from decision_engine.strategy import Exploration
from decision_engine.thompson import Counts, sample_betas

DRAWS = 2000
SCHEMES = {
    "off": Exploration(),
    "epsilon_greedy": Exploration(kind="epsilon_greedy", epsilon=0.4),
    "inverse_gap": Exploration(kind="inverse_gap", gamma=8.0),
    "inverse_gap_of_half": Exploration(kind="inverse_gap", gamma=2.0, share=0.5),
    "thompson": Exploration(kind="thompson", prior_strength=20.0, rounds=40),
    "thompson_of_half": Exploration(kind="thompson", prior_strength=20.0, rounds=40, share=0.5),
    "within_regret": Exploration(kind="epsilon_greedy", epsilon=0.6, max_regret=60.0),
    "gap_within_regret": Exploration(kind="inverse_gap", gamma=1.0, max_regret=60.0),
}
EXPLORING = {name: scheme for name, scheme in SCHEMES.items() if name != "off"}


def explored_bank(bank: SimpleNamespace, scheme: Exploration, ramped: dict[str, float] | None = None) -> Any:
    """Four marketing offers, one with two treatments, a service offer in between, a mandatory one on top."""

    def offer(name: str, value: int, **more: Any) -> Any:
        share = (ramped or {}).get(name)
        ramp = None if share is None else Ramp(from_ms=bank.NOW, until_ms=bank.NOW + 1, share=share)
        return bank.offer(name, value=value, ramp=ramp, **more)

    two = tuple(bank.treatment("b", short) for short in ("one", "two"))
    offers = (
        offer("a", 50),
        offer("b", 40, treatments=two),
        offer("help", 30, purpose="service"),
        offer("c", 20),
        offer("d", 10),
        offer("recall", 1, mandatory=True),
    )
    return prepare(bank.strategy(*offers, exploration=scheme))


@dataclass
class Frequencies:
    """Over many draws: how often something happened, the sum of the chances logged for it, and of their variances."""

    seen: Counter[tuple[int, int]] = field(default_factory=Counter)
    expected: dict[tuple[int, int], float] = field(default_factory=lambda: defaultdict(float))
    variance: dict[tuple[int, int], float] = field(default_factory=lambda: defaultdict(float))

    def add(self, what: tuple[int, int], chance: float) -> None:
        self.expected[what] += chance
        self.variance[what] += chance * (1 - chance)

    def statistic(self, what: tuple[int, int]) -> float:
        """The square of the standardised deviation: of one thing alone a chi-squared of one degree."""
        assert self.variance[what] > 1e-9 or abs(self.seen[what] - self.expected[what]) < 1e-6
        return (self.seen[what] - self.expected[what]) ** 2 / max(self.variance[what], 1e-9)


def draw_often(prepared: PreparedStrategy, scheme: Exploration, floors: dict[int, float]) -> tuple[Any, Any]:
    """Many lotteries over all offers of the bank; frequencies of (place, candidate), and of (wanted, candidate) for
    standing at any of the first places."""
    plan = prepared.placements["banner"]
    priorities = np.array([offer.value * offer.base_rate for offer in prepared.offers])
    stakes = Stakes(
        priorities=priorities,
        propensity=np.array([offer.base_rate for offer in prepared.offers]),
        worths=np.array([float(offer.value) for offer in prepared.offers]),
    )
    recall = [number for number, offer in enumerate(prepared.offers) if offer.mandatory]
    greedy = recall + [n for n in np.argsort(-priorities, kind="stable").tolist() if n not in recall]
    movers = [place for place, offer in enumerate(greedy) if offer in prepared.entrants]
    candidates = np.arange(len(plan.treatments))
    at_place, among_first = Frequencies(), Frequencies()
    for number in range(600 if scheme.kind == "thompson" else DRAWS):
        explorer = Explorer(scheme=scheme, seed=f"d{number}", stakes=stakes, floors=floors)
        lottery = explorer.lottery(0, plan, greedy, movers)
        order = list(lottery.order())
        assert sorted(seat.offer for seat in order) == sorted(greedy)
        for seat in order:
            at_place.seen[seat.place, seat.candidate] += 1
        for wanted in range(1, len(greedy) + 1):
            among_first.seen.update((wanted, seat.candidate) for seat in order[:wanted])
        if number == 0 or scheme.kind == "thompson":
            moved = {greedy[place] for place in lottery.places}
            places = [
                [
                    lottery.at_place(Seat(offer, c, place)) if (place in lottery.places) == (offer in moved) else 0.0
                    for c, offer in enumerate(plan.offer_of.tolist())
                ]
                for place in range(len(greedy))
            ]
            firsts = [lottery.among_first(wanted, candidates) for wanted in range(1, len(greedy) + 1)]
            assert [sum(chances) for chances in places] == pytest.approx([1.0] * len(greedy))
            assert [chances.sum() for chances in firsts] == pytest.approx(list(range(1, len(greedy) + 1)))
        for place, chances in enumerate(places):
            for candidate, chance in enumerate(chances):
                at_place.add((place, candidate), chance)
        for wanted, chances in enumerate(firsts, start=1):
            for candidate, chance in enumerate(chances.tolist()):
                among_first.add((wanted, candidate), chance)
    return at_place, among_first


@pytest.mark.parametrize("ramped", [{}, {5: 0.2}, {1: 0.3, 2: 0.15}], ids=["", "ramp", "ramps"])
@pytest.mark.parametrize("name", SCHEMES)
def test_probability_equals_observed_frequency_at_every_place_and_among_the_first(
    bank: SimpleNamespace, name: str, ramped: dict[int, float]
) -> None:
    """Chi-squared over a whole slate: each candidate at each place, and each among the first one, two, three, …"""
    at_place, among_first = draw_often(explored_bank(bank, SCHEMES[name]), SCHEMES[name], ramped)
    for frequencies in (at_place, among_first):
        statistics = [frequencies.statistic(what) for what in frequencies.expected]
        # Some fifty, dependent, each of one degree of freedom: 19.5 is the 99.999 % point.
        assert max(statistics) < 19.5


@pytest.mark.parametrize("name", SCHEMES)
def test_recorded_chances_are_how_often_each_is_shown(bank: SimpleNamespace, name: str) -> None:
    """Through the whole engine, with one place to fill: the chances in the record of all candidates sum to one, whether
    they were chosen or not."""
    two = tuple(bank.treatment("b", short) for short in ("one", "two"))
    offers = (bank.offer("a", value=50), bank.offer("b", value=40, treatments=two), bank.offer("c", value=20))
    prepared = prepare(bank.strategy(*offers, exploration=SCHEMES[name]))
    found = Frequencies()
    for number in range(500):
        decision = bank.answer(prepared, bank.request("banner", decision_id=f"d{number}"))
        treatments = [candidate.treatment for candidate in decision.candidates]
        found.seen[0, treatments.index(decision.placements[0].options[0].candidate.treatment)] += 1
        assert sum(c.selection_probability for c in decision.candidates) == pytest.approx(1.0)
        for place, candidate in enumerate(decision.candidates):
            found.add((0, place), candidate.selection_probability)
    assert max(found.statistic(what) for what in found.expected) < 15.1  # 99.99 % of a chi-squared with one degree


@pytest.mark.parametrize("name", EXPLORING)
def test_neither_mandatory_nor_service_offers_are_ever_moved(bank: SimpleNamespace, name: str) -> None:
    prepared = explored_bank(bank, EXPLORING[name], {"d": 0.5})
    for number in range(80):
        (names,) = bank.offered(bank.answer(prepared, bank.request("banner:5", decision_id=f"d{number}")))
        assert (names[0], names[3]) == ("recall", "help")


@pytest.mark.parametrize("name", EXPLORING)
def test_no_scheme_goes_through_a_gate_or_a_cap(bank: SimpleNamespace, name: str) -> None:
    ramp = Ramp(from_ms=0, until_ms=bank.NOW * 2, share=0.5)
    offers = (
        bank.offer("young", eligibility=(bank.rule("age < 18"),), ramp=ramp),
        bank.offer("capped", ramp=ramp),
        bank.offer("fine"),
        bank.offer("other", value=999),
    )
    prepared = prepare(bank.strategy(*offers, exploration=EXPLORING[name], contact_limits=(bank.limit(),)))
    for number in range(60):
        decision = bank.answer(
            prepared,
            bank.request("banner:3", decision_id=f"d{number}"),
            bank.customer(age=40),
            [bank.contact("capped")],
        )
        assert sorted(bank.offered(decision)[0]) == ["fine", "other"]
        for refused in ("young", "capped"):
            assert bank.fate(decision, refused).selection_probability is None


@pytest.mark.parametrize("kind", ["epsilon_greedy", "inverse_gap", "thompson"])
def test_what_would_cost_more_than_the_regret_allowed_is_never_explored(bank: SimpleNamespace, kind: str) -> None:
    scheme = Exploration(kind=kind, epsilon=1.0, gamma=0.1, prior_strength=1.0, rounds=50, max_regret=50.0)
    offers = [bank.offer(name, value=value) for name, value in (("a", 100), ("b", 60), ("c", 49), ("d", 1))]
    prepared = prepare(bank.strategy(*offers, exploration=scheme))
    shown = set()
    for number in range(150):
        decision = bank.answer(prepared, bank.request(decision_id=f"d{number}"))
        shown.add(bank.offered(decision)[0][0])
        assert bank.fate(decision, "c").selection_probability == bank.fate(decision, "d").selection_probability == 0.0
    assert shown == {"a", "b"}


def test_share_of_decisions_that_explore_is_kept(bank: SimpleNamespace) -> None:
    prepared = prepare(
        bank.strategy(
            bank.offer("a", value=2000),
            bank.offer("b"),
            exploration=Exploration(kind="epsilon_greedy", epsilon=1.0, share=0.2),
        )
    )
    shown = Counter(
        bank.offered(bank.answer(prepared, bank.request(decision_id=f"d{number}")))[0][0] for number in range(800)
    )
    assert abs(shown["b"] - 80) < 4 * (800 * 0.09) ** 0.5


def ramp_shares(bank: SimpleNamespace, prepared: PreparedStrategy) -> dict[str, float]:
    decision = bank.answer(prepared, bank.request("banner"))
    chances: Counter[str] = Counter()
    for candidate in decision.candidates:
        chances[candidate.offer] += candidate.selection_probability
    return dict(chances)


@pytest.mark.parametrize("name", SCHEMES)
def test_new_offer_is_put_first_with_its_share_whatever_the_scheme(bank: SimpleNamespace, name: str) -> None:
    if "regret" in name:
        pytest.skip("an offer beyond the regret allowed has no ramp either")
    ramp = Ramp(from_ms=bank.NOW, until_ms=bank.NOW + bank.DAY, share=0.25)
    prepared = prepare(
        bank.strategy(bank.offer("old", value=50), bank.offer("new", value=1, ramp=ramp), exploration=SCHEMES[name])
    )
    assert ramp_shares(bank, prepared)["new"] == pytest.approx(0.25) or name.startswith("epsilon")
    assert ramp_shares(bank, prepared)["new"] >= 0.25 - 1e-12


def test_ramp_begins_and_ends_and_asks_nothing_of_an_offer_that_wins_anyway(bank: SimpleNamespace) -> None:
    ramp = Ramp(from_ms=bank.NOW, until_ms=bank.NOW + bank.DAY, share=0.25)
    prepared = prepare(bank.strategy(bank.offer("old", value=50), bank.offer("new", value=1, ramp=ramp)))
    shares = []
    for now in (bank.NOW - 1, bank.NOW, bank.NOW + bank.DAY - 1, bank.NOW + bank.DAY):
        decision = bank.answer(prepared, bank.request(now_ms=now))
        shares.append(bank.fate(decision, "new").selection_probability)
    assert shares == [0.0, pytest.approx(0.25), pytest.approx(0.25), 0.0]
    winning = prepare(bank.strategy(bank.offer("old", value=1), bank.offer("new", value=50, ramp=ramp)))
    assert ramp_shares(bank, winning) == {"old": 0.0, "new": 1.0}


def test_many_ramps_take_half_at_most(bank: SimpleNamespace) -> None:
    ramp = Ramp(from_ms=0, until_ms=bank.NOW * 2, share=0.4)
    offers = [bank.offer(f"new{number}", value=1, ramp=ramp) for number in range(4)]
    shares = ramp_shares(bank, prepare(bank.strategy(bank.offer("old", value=50), *offers)))
    assert shares["old"] == pytest.approx(1 - MOST_RAMPED)
    assert shares["new0"] == pytest.approx(MOST_RAMPED / 4)


def test_inverse_gap_chances_are_those_of_the_formula() -> None:
    chances = inverse_gap_chances(np.array([10.0, 8.0, 5.0]), 10.0)
    assert chances.tolist() == pytest.approx([1 - 1 / 5 - 1 / 8, 1 / 5, 1 / 8])
    assert inverse_gap_chances(np.array([0.0, 0.0]), 10.0).tolist() == [1.0, 0.0]
    assert inverse_gap_chances(np.array([-1.0, -3.0]), 10.0).tolist() == pytest.approx([1 - 1 / 22, 1 / 22])


@pytest.mark.parametrize(("accepted", "declined"), [(1.0, 19.0), (4.0, 96.0), (30.0, 70.0), (500.0, 500.0)])
def test_posterior_draws_have_the_mean_and_spread_of_the_beta_distribution(accepted: float, declined: float) -> None:
    drawn = sample_betas(np.array([accepted]), np.array([declined]), "seed", "label", 60_000)[:, 0]
    total = accepted + declined
    mean = accepted / total
    deviation = (mean * (1 - mean) / (total + 1)) ** 0.5
    assert (drawn.min() >= 0.0, drawn.max() <= 1.0) == (True, True)
    assert drawn.mean() == pytest.approx(mean, abs=0.03 * deviation + 0.01 * mean)
    assert drawn.std() == pytest.approx(deviation, rel=0.05)


class CountingScorer:
    """A model that has counted what came of each treatment."""

    def __init__(self, bank: SimpleNamespace, evidence: dict[str, Counts]) -> None:
        self._scorer = bank.scorer(lambda matrix: np.full(len(matrix), 0.1))
        self.schema, self.version, self.evidence = self._scorer.schema, "m1", evidence

    def score(self, matrix: Any) -> Any:
        return self._scorer.score(matrix)


def test_thompson_tries_what_is_little_known_and_learns_from_what_was_counted(bank: SimpleNamespace) -> None:
    """Both are believed to be as good; the more was seen of one, and the worse it did, the less it is tried."""
    scheme = Exploration(kind="thompson", prior_strength=20.0, rounds=400)
    prepared = prepare(bank.strategy(bank.offer("a"), bank.offer("b"), exploration=scheme))

    def chance(evidence: dict[str, Counts]) -> float:
        scorers = {"cross_sell": CountingScorer(bank, evidence)}
        return bank.fate(bank.answer(prepared, scorers=scorers), "b").selection_probability  # type: ignore[no-any-return]

    assert chance({}) == pytest.approx(0.5, abs=0.1)
    assert chance({"b.mobile.main": Counts(1000.0, 20.0)}) < 0.1
    assert chance({"b.mobile.main": Counts(1000.0, 300.0)}) > 0.9


def test_thompson_never_tries_more_than_its_contenders(bank: SimpleNamespace) -> None:
    scheme = Exploration(kind="thompson", prior_strength=1.0, rounds=100, contenders=2)
    offers = [bank.offer(f"o{number}", value=100 - number) for number in range(6)]
    decision = bank.answer(bank.strategy(*offers, exploration=scheme), bank.request("banner"))
    assert {c.offer for c in decision.candidates if c.selection_probability} == {"o0", "o1"}


def test_an_unproven_offer_is_tried_from_any_place_until_enough_is_known_of_it(bank: SimpleNamespace) -> None:
    scheme = Exploration(kind="thompson", rounds=200, contenders=2)
    offers = [bank.offer(f"o{number}", value=100 - 8 * number) for number in range(6)]
    terms = OnlineLearning(half_life_seconds=86_400, window_seconds=60, steps=(60,))
    strategy = replace(bank.strategy(*offers, exploration=scheme), online=terms)
    plan = prepare(strategy).online
    assert plan is not None

    def tried(shape_of_the_last: float) -> set[str]:
        shapes = np.full(6, 50.0)
        shapes[5] = shape_of_the_last
        beliefs = OnlineTable(treatments=plan.treatments, unseen=Row(multipliers=np.ones(6), shapes=shapes))
        decision = bank.answer(strategy, replace(bank.request("banner"), online=beliefs))
        return {c.offer for c in decision.candidates if c.selection_probability}

    assert tried(1.0) == {"o0", "o1", "o5"}
    assert tried(50.0) == {"o0", "o1"}


def test_vector_draws_are_uniform_reproducible_and_normal() -> None:
    words = draw_words("seed", "label", 20_000)
    assert words.tolist() == draw_words("seed", "label", 20_000).tolist()
    assert words[:10].tolist() != draw_words("seed", "other", 10).tolist()
    counts = np.bincount((words / 2.0**64 * 20).astype(int), minlength=20)
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # 99.9 % of a chi-squared with nineteen degrees
    normals = standard_normals("seed", "label", 40_001)
    assert (len(normals), abs(normals.mean()) < 0.02, abs(normals.std() - 1) < 0.02) == (40_001, True, True)
    assert np.mean(np.abs(normals) > 1.959964) == pytest.approx(0.05, abs=0.005)
