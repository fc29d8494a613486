"""Exploration and experiment arms: what is logged is what happens."""

from collections import Counter
from types import SimpleNamespace

import pytest

from decision_engine.draws import draw_below, draw_fraction
from decision_engine.outcomes import Fate, Stage
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.strategy import Experiment, Exploration

DRAWS = 2500
GREEDY = Exploration(kind="epsilon_greedy", epsilon=0.3)


def chi_squared(observed: Counter[str], probabilities: dict[str, float], draws: int) -> float:
    """The statistic over all outcomes with a probability; outcomes without one must not occur."""
    assert set(observed) <= {name for name, probability in probabilities.items() if probability > 0}
    return sum(
        (observed[name] - draws * probability) ** 2 / (draws * probability)
        for name, probability in probabilities.items()
        if probability > 0
    )


def exploring_bank(bank: SimpleNamespace, **overrides: object) -> PreparedStrategy:
    """Four marketing offers, the first with two treatments, a service offer in between, a mandatory one on top."""
    two = tuple(bank.treatment("a", short) for short in ("one", "two"))
    offers = (
        bank.offer("a", value=50, treatments=two),
        bank.offer("b", value=40),
        bank.offer("help", value=30, purpose="service"),
        bank.offer("c", value=20),
        bank.offer("d", value=10),
        bank.offer("recall", value=1, mandatory=True),
    )
    return prepare(bank.strategy(*offers, **({"exploration": GREEDY} | overrides)))


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_logged_probability_of_each_place_equals_the_observed_frequency(bank: SimpleNamespace, place: int) -> None:
    prepared = exploring_bank(bank)
    observed: Counter[str] = Counter()
    logged: dict[str, float] = {}
    for number in range(DRAWS):
        decision = bank.answer(prepared, bank.request("banner:4", decision_id=f"d{number}"))
        candidate = decision.placements[0].options[place].candidate
        observed[candidate.treatment] += 1
        assert logged.setdefault(candidate.treatment, candidate.selection_probability) == (
            candidate.selection_probability
        )
    assert sum(logged.values()) == pytest.approx(1.0)
    assert chi_squared(observed, logged, DRAWS) < 20.5  # 99.9 % of a chi-squared with five degrees, at most four here


def test_probabilities_of_all_candidates_for_one_place_sum_to_one(bank: SimpleNamespace) -> None:
    """Whether a candidate was chosen or not, it records the same chance when there is one place to fill."""
    prepared = exploring_bank(bank, offers=(bank.offer("a", value=3), bank.offer("b", value=2), bank.offer("c")))
    recorded = set()
    for number in range(50):
        decision = bank.answer(prepared, bank.request("banner", decision_id=f"d{number}"))
        chances = {c.offer: c.selection_probability for c in decision.candidates}
        assert sum(chances.values()) == pytest.approx(1.0)
        recorded.add(tuple(round(chances[name], 12) for name in "abc"))
    assert recorded == {(0.1, 0.1, 0.8)}


def test_chance_of_a_candidate_ranked_lower_is_its_chance_of_any_place(bank: SimpleNamespace) -> None:
    prepared = exploring_bank(bank)
    standing: Counter[str] = Counter()
    logged: dict[str, float] = {}
    for number in range(DRAWS):
        decision = bank.answer(prepared, bank.request("banner:3", decision_id=f"d{number}"))
        for candidate in decision.candidates:
            if candidate.fate is Fate.OFFERED:
                standing[candidate.treatment] += 1
            else:
                logged[candidate.treatment] = candidate.selection_probability or 0.0
    assert set(logged) == {c.treatment for c in decision.candidates if c.offer != "recall"}
    for treatment, chance in logged.items():
        tolerance = 4 * (DRAWS * chance * (1 - chance)) ** 0.5
        assert abs(standing[treatment] - DRAWS * chance) <= tolerance


def test_exploration_moves_neither_mandatory_nor_service_offers(bank: SimpleNamespace) -> None:
    prepared = exploring_bank(bank, exploration=Exploration(kind="epsilon_greedy", epsilon=1.0))
    for number in range(100):
        decision = bank.answer(prepared, bank.request("banner:5", decision_id=f"d{number}"))
        (names,) = bank.offered(decision)
        assert (names[0], names[3]) == ("recall", "help")
        assert decision.placements[0].options[0].candidate.selection_probability == 1.0


def test_exploration_never_passes_a_gate_or_a_cap(bank: SimpleNamespace) -> None:
    offers = (bank.offer("young", eligibility=(bank.rule("age < 18"),)), bank.offer("capped"), bank.offer("fine"))
    prepared = prepare(
        bank.strategy(
            *offers, exploration=Exploration(kind="epsilon_greedy", epsilon=1.0), contact_limits=(bank.limit(),)
        )
    )
    for number in range(60):
        decision = bank.answer(
            prepared,
            bank.request("banner:3", decision_id=f"d{number}"),
            bank.customer(age=40),
            [bank.contact("capped")],
        )
        assert bank.offered(decision) == [["fine"]]


def test_without_exploration_the_winner_was_certain(bank: SimpleNamespace) -> None:
    decision = bank.answer(bank.strategy(bank.offer("a", value=2000), bank.offer("b")))
    assert bank.fate(decision, "a").selection_probability == 1.0
    assert bank.fate(decision, "b").selection_probability == 0.0


def test_placements_draw_independently(bank: SimpleNamespace) -> None:
    prepared = exploring_bank(bank, exploration=Exploration(kind="epsilon_greedy", epsilon=1.0))
    pairs = set()
    for number in range(300):
        request = bank.request("banner:2", "tile:2", decision_id=f"d{number}", allow_duplicates=True)
        banner, tile = bank.offered(bank.answer(prepared, request))
        pairs.add((banner[1], tile[1]))
    assert len(pairs) == 16


def test_later_placement_logs_the_chance_given_what_earlier_ones_took(bank: SimpleNamespace) -> None:
    """So the mean of the logged chances of an offer over decisions is the share of decisions that gave it."""
    prepared = exploring_bank(bank)
    given: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    for number in range(DRAWS):
        decision = bank.answer(prepared, bank.request("banner:2", "tile:1", decision_id=f"d{number}"))
        given[decision.placements[1].options[0].candidate.treatment] += 1
        for candidate in decision.candidates:
            if candidate.placement == "tile":
                expected[candidate.treatment] += candidate.selection_probability or 0.0
    assert sum(expected.values()) == pytest.approx(DRAWS)
    for treatment, mean in expected.items():
        assert abs(given[treatment] - mean) <= 4 * DRAWS**0.5 / 2


def test_random_arm_draws_the_order_uniformly(bank: SimpleNamespace) -> None:
    offers = (bank.offer("a", value=100_000), bank.offer("b"), bank.offer("c", value=1))
    prepared = prepare(bank.strategy(*offers, experiment=Experiment(salt="s", shares={"random_eligible": 1.0})))
    observed: Counter[str] = Counter()
    for number in range(DRAWS):
        decision = bank.answer(prepared, bank.request(decision_id=f"d{number}"))
        candidate = decision.placements[0].options[0].candidate
        assert (decision.arm, candidate.selection_probability) == ("random_eligible", pytest.approx(1 / 3))
        observed[candidate.offer] += 1
    assert chi_squared(observed, dict.fromkeys("abc", 1 / 3), DRAWS) < 13.8


def test_holdout_gets_service_messages_but_no_marketing(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("card"),
        bank.offer("help", purpose="service"),
        experiment=Experiment(salt="s", shares={"holdout": 1.0}),
    )
    decision = bank.answer(strategy, bank.request("banner:2"))
    assert (decision.arm, bank.offered(decision)) == ("holdout", [["help"]])
    assert bank.why(decision, "card") == (Stage.EXPERIMENT, "experiment.holdout", "HOLDOUT")
    assert bank.fate(decision, "card").priority == 100.0
    assert bank.fate(decision, "card").selection_probability == 0.0


def test_holdout_with_nothing_else_says_so(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("card"), experiment=Experiment(salt="s", shares={"holdout": 1.0}))
    assert bank.answer(strategy).placements[0].fallback_cause == "HOLDOUT"


def test_draws_are_reproducible_and_cover_their_range() -> None:
    fractions = [draw_fraction("seed", str(number)) for number in range(2000)]
    assert fractions == [draw_fraction("seed", str(number)) for number in range(2000)]
    assert 0 <= min(fractions) < 0.01
    assert 0.99 < max(fractions) < 1
    assert Counter(draw_below("seed", str(number), 3) for number in range(3000)).keys() == {0, 1, 2}
    assert draw_fraction("a", "b") != draw_fraction("ab", "")
