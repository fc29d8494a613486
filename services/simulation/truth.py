"""The known response model: the true probability that a simulated customer accepts an offer that is shown.

    logit P(accept | shown) = logit(base rate) + offer shift + affinity . traits + channel + hour + page - fatigue

The same latent traits drive what the customer does at the bank (`population`, `activity`), so a model can learn
the affinity from attributes, but never sees the traits. Base rates are a marketer's guess: the shift is its error.
Affinities have defaults by kind of offer group and a stable deviation per offer name, so any strategy has a truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.identifiers import key64
from decision_engine.offers import Offer

Floats = NDArray[np.float64]

TRAITS = ("affluence", "spending", "saving", "borrowing", "travel", "digital", "enterprise", "caution")
"""Latent traits, each about standard normal over the population."""

GROUP_AFFINITIES: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = (
    (("merchant", "business", "micro", "corporate", "sme"), {"enterprise": 1.2, "borrowing": 0.4}),
    (("loan", "credit_line", "mortgage", "instal", "financ"), {"borrowing": 1.2, "caution": -0.4, "affluence": -0.3}),
    (("travel", "fx", "foreign", "overseas"), {"travel": 1.3, "affluence": 0.3}),
    (("card",), {"spending": 1.0, "travel": 0.4, "digital": 0.3, "caution": -0.3}),
    (("fund", "wealth", "invest", "secur"), {"affluence": 0.9, "saving": 0.7, "caution": -0.7}),
    (("deposit", "saving", "maturity", "retain", "retention"), {"saving": 1.0, "caution": 0.7, "spending": -0.3}),
    (("insur", "protect", "pension"), {"caution": 1.0, "affluence": 0.4}),
    (("app", "digital", "service", "onboard", "reward"), {"digital": 0.9, "spending": 0.4}),
)
"""Substrings of an offer's group or name, first match wins, and the affinity they stand for (logits per trait)."""
OFFER_DEVIATION = 0.45
"""Standard deviation of one offer's own affinity around its group's, in logits per trait."""
BASE_RATE_ERROR = 0.5
"""Standard deviation of the marketer's guess of a base rate, in logits."""
CHANNEL_EFFECTS = {"mobile": 0.0, "contact_centre": 0.5, "branch": 0.6, "manager": 0.7, "sms": -0.9}
EVENING_EFFECT = 0.25
"""Half the difference between the evening and the small hours, in logits."""
EVENING_HOUR = 20
PAGE_EFFECT = 0.5
"""On the page of its own subject an offer is this much more welcome, in logits."""
PAGE_WORDS = {
    "cards": ("card",),
    "instalments": ("instal", "card"),
    "loans": ("loan", "credit_line", "mortgage"),
    "wealth": ("wealth", "fund", "invest"),
    "deposits": ("deposit", "saving"),
    "insurance": ("insur",),
    "fx": ("fx", "foreign", "travel"),
    "travel": ("travel", "fx"),
}
FATIGUE_PER_EXPOSURE = 0.35
FATIGUE_CEILING = 2.1
"""Six exposures wear an offer out as far as it goes."""
FATIGUE_DAYS = 14
"""Exposures of the same offer in so many days before count."""
FATIGUE_MS = FATIGUE_DAYS * 86_400_000
CLICK_LOGIT_LIFT = 1.6
"""A click is easier than an acceptance by this many logits; whoever accepts has clicked."""
REJECT_SHARE = 0.12
"""Share of those who do not accept who say no by name; the rest ignore or dismiss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When and where an offer is shown: the channel, the hour of the bank's day, the page looked at, if any."""

    channel: str
    hour: float
    page: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TasteShift:
    """A change in what people like, in logits: the standard deviations of what is added to every offer's level, and to
    every one of its affinities per trait."""

    seed: int
    offers: float
    affinities: float = 0.0

    def change(self, offer: str) -> tuple[float, Floats]:
        """What is added to the offer's level and to its affinities."""
        draws = _draws(f"{self.seed}/taste/{offer}")
        level, traits = draws.normal(0, self.offers), draws.normal(0, self.affinities, len(TRAITS))
        return float(level), np.asarray(traits, np.float64)


class ResponseModel:
    """The truth for the offers of one strategy; the same offers and seed give the same truth. With a `shift` it is the
    truth after tastes have changed."""

    def __init__(self, offers: Sequence[Offer], seed: int, shift: TasteShift | None = None) -> None:
        self.index = {str(offer.name): position for position, offer in enumerate(offers)}
        self.names = tuple(self.index)
        self.values = np.array([offer.value for offer in offers], dtype=np.float64)
        self._affinity = np.array([_affinity(offer, seed) for offer in offers]).reshape(len(offers), len(TRAITS))
        self._intercept = np.array([_intercept(offer, seed) for offer in offers])
        if shift is not None:
            changes = [shift.change(str(offer.name)) for offer in offers]
            self._intercept += [level for level, _ in changes]
            self._affinity += np.array([traits for _, traits in changes]).reshape(self._affinity.shape)
        texts = [f"{offer.group} {offer.name}" for offer in offers]
        self._page_effects = {
            page: np.array([PAGE_EFFECT * any(word in text for word in words) for text in texts])
            for page, words in PAGE_WORDS.items()
        }

    def probabilities(self, traits: Floats, moment: Moment, offers: Sequence[int], exposures: Sequence[int]) -> Floats:
        """P(accept | shown) of each of `offers` (positions in `names`) for one customer's traits.

        `exposures` are the customer's exposures to each of them in the last FATIGUE_DAYS.
        """
        chosen = np.asarray(offers, dtype=np.intp)
        logits = self._intercept[chosen] + self._affinity[chosen] @ traits + _moment_effect(moment)
        if moment.page in self._page_effects:
            logits = logits + self._page_effects[moment.page][chosen]
        fatigue = np.minimum(FATIGUE_PER_EXPOSURE * np.asarray(exposures, dtype=np.float64), FATIGUE_CEILING)
        return _sigmoid(logits - fatigue)

    def expected_values(
        self, traits: Floats, moment: Moment, offers: Sequence[int], exposures: Sequence[int]
    ) -> Floats:
        """Acceptance probability times the value of an acceptance, in minor units."""
        return self.probabilities(traits, moment, offers, exposures) * self.values[np.asarray(offers, dtype=np.intp)]


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a person does with an option shown: any of click, accept, reject; none is to ignore it."""

    click: bool
    accept: bool
    reject: bool


def react(probability: float, draw: float, second_draw: float) -> Reaction:
    """The reaction for an acceptance probability and two uniform draws: accepts in exactly that share of draws."""
    accept = draw < probability
    click_probability = float(_sigmoid(np.array([_logit(probability) + CLICK_LOGIT_LIFT]))[0])
    return Reaction(click=draw < click_probability, accept=accept, reject=not accept and second_draw < REJECT_SHARE)


class Exposures:
    """How often each customer was shown each offer lately, for fatigue."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], list[int]] = {}

    def note(self, customer_id: str, offer: str, at_ms: int) -> None:
        """One showing, in order of time; those too old to count are forgotten."""
        shown = self._shown.setdefault((customer_id, offer), [])
        while shown and shown[0] < at_ms - FATIGUE_MS:
            shown.pop(0)
        shown.append(at_ms)

    def count(self, customer_id: str, offer: str, now_ms: int) -> int:
        """Showings in the FATIGUE_DAYS before now."""
        shown = self._shown.get((customer_id, offer), ())
        return sum(1 for at_ms in shown if now_ms - FATIGUE_MS <= at_ms < now_ms)


def _affinity(offer: Offer, seed: int) -> Floats:
    text = f"{offer.group} {offer.name}"
    default: dict[str, float] = next(
        (weights for words, weights in GROUP_AFFINITIES if any(word in text for word in words)), {}
    )
    weights = np.array([default.get(trait, 0.0) for trait in TRAITS])
    if not default:
        weights = _draws(f"{seed}/group/{offer.group}").normal(0, 0.5, len(TRAITS))
    deviation = _draws(f"{seed}/offer/{offer.name}").normal(0, OFFER_DEVIATION, len(TRAITS))
    return np.asarray(weights + deviation, dtype=np.float64)


def _intercept(offer: Offer, seed: int) -> float:
    shift = _draws(f"{seed}/shift/{offer.name}").normal(0, BASE_RATE_ERROR)
    return _logit(offer.base_rate) + float(shift)


def _moment_effect(moment: Moment) -> float:
    evening = EVENING_EFFECT * np.cos((moment.hour - EVENING_HOUR) / 24 * 2 * np.pi)
    return CHANNEL_EFFECTS.get(moment.channel, 0.0) + float(evening)


def _draws(name: str) -> np.random.Generator:
    return np.random.default_rng(key64(name))


def _logit(probability: float) -> float:
    inside = min(max(probability, 1e-6), 1 - 1e-6)
    return float(np.log(inside / (1 - inside)))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)), dtype=np.float64)
