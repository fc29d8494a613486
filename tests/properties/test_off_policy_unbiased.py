"""On worlds small enough to enumerate, estimators that claim to be unbiased are: exactly, not on average of draws."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation.off_policy.estimators import Estimator, columns, estimate
from models.evaluation.off_policy.recorded_choices import JudgedPolicy, Predictions, RecordedChoices

OPTIONS, CONTEXTS = 3, 2


@st.composite
def simplex(draw: st.DrawFn, least: float) -> list[float]:
    """Chances of the options, each at least so much."""
    parts = np.array([draw(st.floats(0.0, 1.0)) for _ in range(OPTIONS)]) + 1e-3
    return list(least + (1 - least * OPTIONS) * parts / parts.sum())


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Per context the logging and the judged policy, each option's chance of a reward, and a model's guess of it."""
    rows = range(CONTEXTS)
    return {
        "logging": np.array([draw(simplex(0.05)) for _ in rows]),
        "judged": np.array([draw(simplex(0.0)) for _ in rows]),
        "truth": np.array([[draw(st.floats(0, 1)) for _ in range(OPTIONS)] for _ in rows]),
        "guess": np.array([[draw(st.floats(-1, 2)) for _ in range(OPTIONS)] for _ in rows]),
    }


def outcomes(world: dict[str, np.ndarray]) -> list[tuple[float, tuple[int, ...], tuple[int, ...]]]:
    """Every log of one choice a context: its probability, the options and the rewards."""
    found = []
    for options in product(range(OPTIONS), repeat=CONTEXTS):
        for rewards in product((0, 1), repeat=CONTEXTS):
            chance = 1.0
            for context, (option, reward) in enumerate(zip(options, rewards, strict=True)):
                accepted = world["truth"][context, option]
                chance *= world["logging"][context, option] * (accepted if reward else 1 - accepted)
            found.append((chance, options, rewards))
    return found


def expectation(world: dict[str, np.ndarray], kind: Estimator, clip: float | None = None) -> float:
    """The estimator's mean over every log there can be."""
    rows, total = np.arange(CONTEXTS), 0.0
    for chance, options, rewards in outcomes(world):
        chosen = np.array(options)
        policy = JudgedPolicy(
            chances=np.minimum(world["judged"][rows, chosen], 1.0),
            predictions=Predictions(
                chosen=world["guess"][rows, chosen], expected=(world["judged"] * world["guess"]).sum(axis=1)
            ),
        )
        log = RecordedChoices(rewards=np.array(rewards, float), logged=world["logging"][rows, chosen])
        total += chance * float(estimate(kind, columns(log, policy, clip).sum(axis=0)))
    return total


def value(world: dict[str, np.ndarray]) -> float:
    return float((world["judged"] * world["truth"]).sum(axis=1).mean())


@settings(max_examples=25, deadline=None)
@given(worlds())
def test_inverse_propensity_is_unbiased(world: dict[str, np.ndarray]) -> None:
    assert expectation(world, Estimator.IPS) == pytest.approx(value(world), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(worlds())
def test_doubly_robust_is_unbiased_whatever_the_model_guesses(world: dict[str, np.ndarray]) -> None:
    assert expectation(world, Estimator.DR) == pytest.approx(value(world), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(worlds())
def test_with_the_true_model_every_estimator_with_a_model_is_unbiased_even_clipped(
    world: dict[str, np.ndarray],
) -> None:
    knowing = world | {"guess": world["truth"]}
    for kind in (Estimator.DM, Estimator.DR, Estimator.SWITCH_DR):
        assert expectation(knowing, kind, clip=1.5) == pytest.approx(value(world), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(worlds(), st.floats(0.5, 4.0))
def test_clipping_loses_no_more_than_the_weight_it_takes(world: dict[str, np.ndarray], clip: float) -> None:
    """Rewards are at most 1, so the bias of clipped IPS lies between minus the weight taken, and 0."""
    weights = world["judged"] / world["logging"]
    taken = float((world["logging"] * (weights - np.minimum(weights, clip))).sum(axis=1).mean())
    bias = expectation(world, Estimator.IPS, clip) - value(world)
    assert -taken - 1e-9 <= bias <= 1e-9


@settings(max_examples=25, deadline=None)
@given(worlds(), st.floats(0.1, 10.0))
def test_self_normalised_estimates_do_not_depend_on_the_scale_of_the_chances(
    world: dict[str, np.ndarray], scale: float
) -> None:
    rows, chosen = np.arange(CONTEXTS), np.zeros(CONTEXTS, np.intp)
    log = RecordedChoices(rewards=np.array([1.0, 0.0]), logged=world["logging"][rows, chosen])
    policy = JudgedPolicy(chances=np.minimum(world["judged"][rows, chosen], 1.0))
    sums = columns(log, policy, None).sum(axis=0)
    scaled = columns(log, JudgedPolicy(chances=policy.chances / 10 * min(scale, 1.0)), None).sum(axis=0)
    plain, other = estimate(Estimator.SNIPS, sums), estimate(Estimator.SNIPS, scaled)
    assert other == pytest.approx(float(plain), rel=1e-9)
    assert 0.0 <= float(plain) <= 1.0
