"""The known response model: what drives acceptance, how people react, how fatigue builds and fades."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_engine.identifiers import OfferName
from decision_engine.offers import Offer
from services.simulation.truth import (
    FATIGUE_CEILING,
    FATIGUE_DAYS,
    TRAITS,
    Exposures,
    Moment,
    ResponseModel,
    react,
)

EVENING = Moment(channel="mobile", hour=20.0)
DAY_MS = 86_400_000


def make_offer(name: str, group: str, base_rate: float = 0.05, value: int = 1_000) -> Offer:
    return Offer(
        name=OfferName(name), group=group, issue="acquire", value=value, base_rate=base_rate, lever=0.0,
        model="cross_sell", title={"en": name}, treatments=(),
    )  # fmt: skip


OFFERS = (
    make_offer("gold_card", "cards"),
    make_offer("personal_loan", "loans", value=5_000),
    make_offer("bond_fund", "funds"),
    make_offer("oddity", "strange_group"),
)
MODEL = ResponseModel(OFFERS, seed=1)
NOBODY = np.zeros(len(TRAITS))


def person(**traits: float) -> np.ndarray:
    return np.array([traits.get(trait, 0.0) for trait in TRAITS])


def chances(traits: np.ndarray, moment: Moment = EVENING, exposures: int = 0) -> list[float]:
    offers = range(len(OFFERS))
    return MODEL.probabilities(traits, moment, list(offers), [exposures] * len(OFFERS)).tolist()


def test_the_same_offers_and_seed_give_the_same_truth_and_another_seed_another() -> None:
    again, other = ResponseModel(OFFERS, seed=1), ResponseModel(OFFERS, seed=2)
    traits = person(spending=1.0, saving=-0.5)

    assert again.probabilities(traits, EVENING, [0, 3], [0, 0]).tolist() == [chances(traits)[0], chances(traits)[3]]
    assert other.probabilities(traits, EVENING, [0], [0]).tolist() != chances(traits)[:1]


def test_an_offers_truth_does_not_depend_on_the_others_in_the_strategy() -> None:
    alone = ResponseModel(OFFERS[2:3], seed=1)

    assert alone.probabilities(NOBODY, EVENING, [0], [0])[0] == pytest.approx(chances(NOBODY)[2])


def test_borrowers_like_loans_and_savers_like_funds_more_than_the_average_person_does() -> None:
    assert chances(person(borrowing=2.0))[1] > chances(NOBODY)[1]
    assert chances(person(saving=2.0, affluence=2.0))[2] > chances(NOBODY)[2]


def test_people_who_talk_convince_better_than_text_messages() -> None:
    branch, mobile, sms = (chances(NOBODY, Moment(channel=name, hour=12.0))[0] for name in ("branch", "mobile", "sms"))

    assert branch > mobile > sms


def test_evenings_are_better_than_small_hours_and_the_subjects_own_page_is_best() -> None:
    night, evening = (chances(NOBODY, Moment(channel="mobile", hour=hour))[0] for hour in (4.0, 20.0))
    cards, loans = (chances(NOBODY, Moment(channel="mobile", hour=20.0, page=page))[0] for page in ("cards", "loans"))

    assert evening > night
    assert cards > loans == evening


@given(st.integers(0, 40))
def test_every_further_exposure_wears_an_offer_out_but_never_beyond_the_ceiling(exposures: int) -> None:
    fresh, worn, more = (chances(NOBODY, exposures=count)[0] for count in (0, exposures, exposures + 1))
    floor = 1 / (1 + np.exp(-(np.log(fresh / (1 - fresh)) - FATIGUE_CEILING)))

    assert fresh >= worn >= more >= floor - 1e-12


def test_expected_value_is_chance_times_value() -> None:
    expected = MODEL.expected_values(NOBODY, EVENING, [1, 0], [0, 0])

    assert expected.tolist() == pytest.approx([chances(NOBODY)[1] * 5_000, chances(NOBODY)[0] * 1_000])


@given(st.floats(0, 1), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_whoever_accepts_has_clicked_and_does_not_reject(chance: float, draw: float, second: float) -> None:
    reaction = react(chance, draw, second)

    assert reaction.accept == (draw < chance)
    assert not reaction.accept or reaction.click or draw >= 1 - 1e-6
    assert not (reaction.accept and reaction.reject)


def test_exposures_count_for_their_days_and_fade() -> None:
    exposures = Exposures()
    for day in (0, 3, 10):
        exposures.note("7", "gold_card", day * DAY_MS)

    assert exposures.count("7", "gold_card", 10 * DAY_MS + 1) == 3
    assert exposures.count("7", "gold_card", (FATIGUE_DAYS + 1) * DAY_MS) == 2
    assert exposures.count("7", "gold_card", 10 * DAY_MS) == 2
    assert exposures.count("8", "gold_card", 11 * DAY_MS) == 0
