"""Beliefs from counts: against hand-worked numbers and scipy's gamma distribution."""

import numpy as np
import pytest
from scipy import stats

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.online import posterior
from models.online.posterior import Hierarchy, believe, delay_shares, member_strength
from models.online.tables import exposure_of, taught_offers

ONE = Hierarchy(offer_of=np.array([0]), group_of=np.array([0]))


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float64).reshape(len(numbers), 1)


def test_without_evidence_the_model_is_believed_and_each_level_is_less_certain() -> None:
    found = believe(column(0.0), column(0.0), ONE, 10.0)
    variance = 0.1 + sum(posterior.PRIOR_VARIANCES.values())
    assert found.multipliers.item() == 1.0
    assert found.shapes.item() == pytest.approx(1.0 / variance)


def test_a_single_chain_by_hand() -> None:
    """30 acceptances where 20 were expected: each level moves by its own strength, as worked out on paper."""
    root = (10.0 + 30.0) / (10.0 + 20.0)
    mean, variance = root, 1.0 / 40.0
    for name in ("group", "offer", "treatment", "segment"):
        expected = mean * 20.0
        # One member: (E (S/E - 1)^2 - 1, at least 0, + 20 t) / (E + 20)
        spread = max(expected * (30.0 / expected - 1.0) ** 2 - 1.0, 0.0)
        strength = (expected + 20.0) / (spread + 20.0 * posterior.PRIOR_VARIANCES[name])
        mean *= (strength + 30.0) / (strength + expected)
        variance = 1.0 / (strength + 30.0) + (strength / (strength + expected)) ** 2 * variance
    found = believe(column(30.0), column(20.0), ONE, 10.0)
    assert found.multipliers.item() == pytest.approx(mean)
    assert found.shapes.item() == pytest.approx(1.0 / variance)
    assert 1.33 < mean < 1.5


def test_one_level_is_the_conjugate_update_of_a_gamma_distribution() -> None:
    """Prior times Poisson likelihood, normalised on a grid, has the mean and the spread the formula gives."""
    strength, accepted, exposed = 10.0, 7.0, 12.0
    grid = np.linspace(1e-4, 6.0, 200_001)
    density = stats.gamma.pdf(grid, strength, scale=1.0 / strength) * stats.poisson.pmf(accepted, grid * exposed)
    density /= density.sum()
    mean = float(grid @ density)
    level = posterior._root(accepted, exposed, strength)
    assert level.means.item() == pytest.approx(mean, rel=1e-6)
    assert level.variances.item() == pytest.approx(float(grid**2 @ density) / mean**2 - 1.0, rel=1e-5)


def test_the_spread_of_members_is_found_again() -> None:
    draws = np.random.default_rng(1)
    expected = draws.uniform(50.0, 400.0, 4_000)
    for variance in (0.02, 0.2, 0.8):
        true = draws.gamma(1.0 / variance, variance, len(expected))
        found = 1.0 / member_strength(draws.poisson(true * expected).astype(np.float64), expected, 0.1)
        assert found == pytest.approx(variance, rel=0.1)


def test_members_that_are_alike_are_believed_alike() -> None:
    draws = np.random.default_rng(2)
    expected = np.full(500, 100.0)
    strength = member_strength(draws.poisson(expected).astype(np.float64), expected, 0.1)
    assert strength > 100.0
    assert strength <= 1.0 / posterior.LEAST_VARIANCE


def test_a_new_offer_begins_as_its_group_and_not_as_the_bank() -> None:
    """Two groups of four offers, one twice as good as the tree says, the other half as good; the last offer of each is
    new."""
    hierarchy = Hierarchy(offer_of=np.arange(8), group_of=np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    exposed = column(200, 200, 200, 0, 200, 200, 200, 0)
    found = believe(exposed * column(2, 2, 2, 0, 0.5, 0.5, 0.5, 0), exposed, hierarchy, 10.0)
    assert found.multipliers[3].item() == pytest.approx(2.0, rel=0.1)
    assert found.multipliers[7].item() == pytest.approx(0.5, rel=0.1)
    assert found.shapes[3].item() < 0.2 * found.shapes[2].item()


def test_much_evidence_overrules_every_prior() -> None:
    draws = np.random.default_rng(3)
    hierarchy = Hierarchy(offer_of=np.array([0, 0, 1, 1, 2]), group_of=np.array([0, 0, 1]))
    true = draws.uniform(0.2, 4.0, (5, 3))
    exposed = np.full((5, 3), 50_000.0)
    found = believe(true * exposed, exposed, hierarchy, 10.0)
    np.testing.assert_allclose(found.multipliers, true, rtol=0.002)
    np.testing.assert_allclose(found.shapes, true * exposed, rtol=0.01)


def test_delays_are_a_life_table() -> None:
    """Half of all acceptances come at the first step, a quarter at each other; most impressions are too young for the
    last."""
    accepted, exposed = np.array([5_000.0, 1_250.0, 25.0]), np.array([10_000.0, 5_000.0, 100.0])
    even, worth = 1.0 / 3.0, posterior.DELAY_WORTH
    rates = [(worth * even + a) / (worth + e) for a, e in zip(accepted, exposed, strict=True)]
    np.testing.assert_allclose(delay_shares(accepted, exposed), np.array(rates) / sum(rates))
    np.testing.assert_allclose(delay_shares(accepted, exposed), [0.5, 0.25, 0.25], atol=0.01)
    np.testing.assert_allclose(delay_shares(np.zeros(3), np.zeros(3)), 1.0 / 3.0)


@pytest.mark.parametrize(("base", "multiplier"), [(0.02, 1.0), (0.3, 2.5), (0.9, 0.2)])
def test_exposure_times_the_multiplier_is_what_is_expected(base: float, multiplier: float) -> None:
    odds = multiplier * base / (1.0 - base)
    assert multiplier * exposure_of(base, multiplier) == pytest.approx(odds / (1.0 + odds))


def test_serving_with_what_was_learnt_leads_to_the_true_multiplier_though_propensities_are_large() -> None:
    """The estimating equation is right at its fixed point, for large propensities as for small ones."""
    draws = np.random.default_rng(4)
    base, true = draws.uniform(0.05, 0.7, 40_000), 2.5
    answer = true * base / (1.0 - base + true * base)
    belief = 1.0
    for _ in range(12):
        exposed = float(sum(exposure_of(float(p), belief) for p in base[:4_000])) * 10
        belief = float(answer[:4_000].sum()) * 10 / exposed
    assert belief == pytest.approx(true, rel=0.01)


def test_an_offer_the_model_was_not_fitted_with_is_believed_less_firmly_and_learns_faster() -> None:
    """Four offers of one group; the last has the same few impressions whether or not the model knew it."""
    offers = np.arange(4), np.zeros(4, np.intp)
    known = Hierarchy(offer_of=offers[0], group_of=offers[1])
    new = Hierarchy(offer_of=offers[0], group_of=offers[1], untaught=np.array([False, False, False, True]))
    exposed, accepted = column(200, 200, 200, 3), column(200, 200, 200, 9)
    before, after = (believe(accepted, exposed, hierarchy, 10.0) for hierarchy in (known, new))
    assert after.multipliers[3].item() > 1.2 * before.multipliers[3].item()
    assert after.shapes[3].item() < before.shapes[3].item()
    assert after.multipliers[:3].ravel() == pytest.approx(before.multipliers[:3].ravel(), rel=0.05)
    unseen = believe(column(200, 200, 200, 0), column(200, 200, 200, 0), new, 10.0)
    assert unseen.shapes[3].item() == pytest.approx(posterior.LEAST_SHAPE)


def test_a_model_tells_which_offers_it_was_fitted_with_by_its_column_of_offers() -> None:
    offer = Column(name="offer", source=ColumnSource.OFFER, categories=("a", "b"))
    assert taught_offers(FeatureSchema((offer,))) == {"a", "b"}
    assert taught_offers(FeatureSchema((Column(name="base_rate", source=ColumnSource.OFFER),))) is None
