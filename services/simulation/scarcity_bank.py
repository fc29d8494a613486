"""A simulated bank with more demand than it has gifts, credit and advisers: its strategy and its traffic.

Customers, their visits and the truth about what they accept are those of the simulated bank. The propensities the
engine sees are the truth, so that what is compared is the sharing out of scarce things and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from decision_engine.decision import DecisionRequest, PlacementRequest
from decision_engine.identifiers import CustomerId, DecisionId, PlacementId
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Matrix
from decision_engine.strategy_loading.loading import load_strategy
from models.dual_prices import Opportunity, ScarceOption
from services.adapters.yaml_document import read_yaml
from services.ports import ShellError
from services.simulation.bank import TIME_ZONE, BankConfig, BankStream
from services.simulation.hours import hour_of
from services.simulation.truth import Floats, Moment, ResponseModel
from services.simulation.visits import Visit

CHANNEL, PLACEMENT = "mobile", PlacementId("home_banner")
START = date(2026, 3, 2)
WARM_UP_DAYS = 1
"""Traffic before the period begins: what the first prices are made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScarceOffer:
    """An offer with its group, worth, guessed acceptance and, in a budget, its cost."""

    name: str
    group: str
    value: int
    base_rate: float
    cashback: int = 0


OFFERS: tuple[ScarceOffer, ...] = (
    ScarceOffer(name="lounge_card", group="cards", value=52_000, base_rate=0.06, cashback=3_000),
    ScarceOffer(name="dining_card", group="cards", value=21_000, base_rate=0.09, cashback=1_200),
    ScarceOffer(name="fuel_card", group="cards", value=16_000, base_rate=0.08, cashback=800),
    ScarceOffer(name="private_fund", group="wealth_funds", value=90_000, base_rate=0.03),
    ScarceOffer(name="steady_fund", group="wealth_funds", value=38_000, base_rate=0.05),
    ScarceOffer(name="flash_loan", group="loans", value=47_000, base_rate=0.05),
    ScarceOffer(name="bonus_deposit", group="deposits", value=24_000, base_rate=0.12),
    ScarceOffer(name="travel_cover", group="travel_insurance", value=12_000, base_rate=0.10),
    ScarceOffer(name="statement_app", group="digital", value=1_500, base_rate=0.25),
)
"""The last one is not limited: there is always something to show."""
STOCK_SHARES: Mapping[str, float] = {
    "lounge_card": 0.03, "flash_loan": 0.05, "bonus_deposit": 0.09, "travel_cover": 0.07,
}  # fmt: skip
"""Stock of an offer as a share of the expected visits of the whole period."""
ADVICE_SHARE, BUDGET_PER_VISIT = 0.08, 190
"""Capacity of the advisers who serve both funds, and the card cashback budget in minor units, per expected visit."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One visit: when, the request it makes, by offer the true acceptance probability and expected value, and what
    could have been shown as the linear programme sees it."""

    at_ms: int
    request: DecisionRequest
    probabilities: Floats
    values: Floats
    opportunity: Opportunity


@dataclass(frozen=True, slots=True, kw_only=True)
class ScarceBank:
    """The bank of one seed, and its visits in order: those before the period, and those in it."""

    prepared: PreparedStrategy
    before: Sequence[Arrival]
    arrivals: Sequence[Arrival]
    start_ms: int
    end_ms: int


class KnownTruth:
    """A scorer that is right: it gives the probabilities put into it before each decision."""

    version = "truth"

    def __init__(self, offers: Sequence[str]) -> None:
        column = Column(name="offer", source=ColumnSource.OFFER, categories=tuple(offers))
        self.schema = FeatureSchema((column,))
        self.probabilities: Floats = np.zeros(len(offers))

    def score(self, matrix: Matrix) -> Floats:
        """The true probability of each row's offer."""
        return self.probabilities[matrix[:, 0].astype(np.intp)]


def make_scarce_bank(customers: int, days: int, seed: int) -> ScarceBank:
    """Draws the bank; the same arguments give the same one. Raises ShellError where there are no visits."""
    stream = BankStream(BankConfig(seed=seed, customers=customers, start=START))
    simulated = [stream.next_day() for _ in range(WARM_UP_DAYS + days)]
    visits = [[visit for visit in day.visits if visit.channel == CHANNEL] for day in simulated]
    expected = round(sum(map(len, visits[:WARM_UP_DAYS])) / WARM_UP_DAYS * days)
    if expected == 0:
        raise ShellError("nobody visits this bank; ask for more customers")
    begins = START + timedelta(days=WARM_UP_DAYS)
    document = read_yaml(_strategy_text(expected, begins, begins + timedelta(days=days)), "scarce_bank").root
    if document is None:
        raise ShellError("the scarce bank's strategy cannot be read")
    prepared = prepare(load_strategy(document, {}))
    truth = ResponseModel(prepared.offers, seed)
    rows = [[_arrival(prepared, truth, stream, visit) for visit in day] for day in visits]
    period = prepared.strategy.volumes[0].period
    return ScarceBank(
        prepared=prepared,
        before=[arrival for day in rows[:WARM_UP_DAYS] for arrival in day],
        arrivals=[arrival for day in rows[WARM_UP_DAYS:] for arrival in day],
        start_ms=period.from_ms or 0,
        end_ms=period.until_ms or 0,
    )


def _opportunity(prepared: PreparedStrategy, values: Floats) -> Opportunity:
    volumes = prepared.volumes
    return Opportunity(
        tuple(
            ScarceOption(value, {volumes.volumes[place].id: float(cost) for place, cost in volumes.uses[number]})
            for number, value in enumerate(values.tolist())
        )
    )


def _arrival(prepared: PreparedStrategy, truth: ResponseModel, stream: BankStream, visit: Visit) -> Arrival:
    moment = Moment(channel=CHANNEL, hour=hour_of(visit.at_ms, TIME_ZONE), page=visit.page)
    offers, fresh = range(len(truth.names)), [0] * len(truth.names)
    probabilities = truth.probabilities(stream.people.traits[visit.customer], moment, offers, fresh)
    request = DecisionRequest(
        decision_id=DecisionId(f"{visit.customer}.{visit.at_ms}"),
        customer_id=CustomerId(f"retail:{visit.customer + 1}"),
        channel=CHANNEL,
        placements=(PlacementRequest(id=PLACEMENT, count=1),),
        now_ms=visit.at_ms,
        locale="en",
    )
    values = probabilities * truth.values
    return Arrival(visit.at_ms, request, probabilities, values, _opportunity(prepared, values))


def _strategy_text(expected: int, begins: date, ends: date) -> str:
    period = f"per: {{from: {begins}, until: {ends}}}, pacing: traffic"
    volumes = [
        f"  - {{id: {name}_stock, of: {{offer: {name}}}, resource: stock, amount: {round(share * expected)}, {period}}}"
        for name, share in STOCK_SHARES.items()
    ]
    advice, budget = round(ADVICE_SHARE * expected), BUDGET_PER_VISIT * expected
    volumes += [
        f"  - {{id: advice, of: {{group: wealth_funds}}, resource: capacity, amount: {advice}, {period}}}",
        f"  - {{id: cashback, of: {{group: cards}}, resource: budget, amount: {budget},"
        f" unit_cost: {{attribute: cashback}}, {period}}}",
    ]
    groups = sorted({offer.group for offer in OFFERS})
    return _STRATEGY.format(
        groups="\n".join(f"  - {{name: {group}, issue: grow, model: truth}}" for group in groups),
        offers="\n".join(map(_offer_text, OFFERS)),
        volumes="\n".join(volumes),
    )


def _offer_text(offer: ScarceOffer) -> str:
    return (
        f"  - {{name: {offer.name}, group: {offer.group}, title: {{en: {offer.name}}}, value: {offer.value},"
        f" base_rate: {offer.base_rate}, attributes: {{cashback: {offer.cashback}}},\n"
        f"     treatments: [{{name: main, channel: {CHANNEL}, placements: [{PLACEMENT}],"
        f" content: {{en: {{title: {offer.name}}}}}}}]}}"
    )


_STRATEGY = """
name: scarce_bank
time_zone: Asia/Shanghai
currency: CNY
locales: [en]
consents:
  - {{name: marketing, default: granted, text: {{en: Marketing}}}}
  - {{name: personalisation, default: granted, text: {{en: Personalisation}}}}
models: [{{name: truth}}]
issues: [{{name: grow}}]
groups:
{groups}
offers:
{offers}
placements:
  - {{id: home_banner, channel: mobile, max_count: 1, fallback: {{treatment: none, content: {{en: {{title: none}}}}}}}}
volumes:
{volumes}
"""
