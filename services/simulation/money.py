"""What a day moves on the accounts of the simulated bank: incomes, spending, shops, travel, run-off, deposits.

Every function draws one habit for all customers at once. The order of the draws is part of the determinism.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from services.simulation.population import NEVER, SPEND_CATEGORIES, Flags, Ints, Population
from services.simulation.postings import NO_COUNTERPARTY, Postings, Wording, WordingTable, minor_units
from services.simulation.truth import TRAITS, Floats

CATEGORY_AMOUNTS = {
    "groceries": 0.6, "dining": 0.8, "online_shopping": 1.2, "fuel": 1.6,
    "medical": 2.0, "education": 4.0, "luxury": 12.0, "other": 1.0,
}  # fmt: skip
"""Usual amount of a purchase relative to the customer's mean."""
ONLINE_CATEGORIES = frozenset({"online_shopping", "education"})
SPENT_SHARE_OF_INCOME = 0.45
SEASON = {1: 1.15, 2: 1.3, 6: 1.1, 10: 1.1, 11: 1.25, 12: 1.1}
"""Card spend by month: the spring festival, the shopping festivals, the golden week."""
WEEKEND_FACTOR = 1.25
OVERDRAWN_FACTOR = 0.3
"""Whoever is overdrawn buys less."""
BONUS_MONTH = 1
TRAVEL_COUNTRIES = ("JP", "TH", "SG", "FR", "US", "GB")
RUN_OFF_SHARE = 0.12
"""Share of the balance a leaving customer moves to the own account elsewhere each time."""
LARGE_INFLOW_PER_DAY = 0.0008
LARGE_PURCHASE_PER_DAY = 0.003
EMPLOYERS = 97
DAYS_FROM_BOOKING_TO_DEPARTURE = 10
VISA_DAYS_BEFORE_DEPARTURE, VISA_FEE = 8, 60_000
VISA_FREE = ("TH", "SG")


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One local day: its number from the stream's start and its date."""

    number: int
    date: date

    @property
    def weekend(self) -> bool:
        """Saturday or Sunday."""
        return self.date.weekday() >= 5


@dataclass(slots=True, kw_only=True)
class Trips:
    """Each customer's next or present trip: first and last day, and where to; NEVER when none is booked."""

    start: Ints
    end: Ints
    country: Ints

    def abroad(self, day: int) -> Flags:
        """Who is travelling."""
        return (self.start <= day) & (day <= self.end)


@dataclass(frozen=True, slots=True)
class MoneyHabits:
    """Draws postings of a day; wordings are numbered in `words`."""

    people: Population
    words: WordingTable

    def of_day(self, day: Day, draws: np.random.Generator, balance: Ints, trips: Trips) -> list[Postings]:
        """Everything that moves today. `trips` is carried forward in place."""
        return [
            *self._incomes(day, draws),
            self._purchases(day, draws, balance, trips),
            self._large_purchases(draws, balance),
            *self._household(day, draws),
            *self._shops(day, draws),
            *self._cash_and_transfers(draws),
            *self._inflows_and_run_off(day, draws, balance),
            *self._travel(day, draws, balance, trips),
            *self._saving(day, draws, balance),
        ]

    def _incomes(self, day: Day, draws: np.random.Generator) -> list[Postings]:
        people = self.people
        paid = np.flatnonzero(people.income_day == day.date.day)
        retired = people.life_stage[paid] == 4
        factor = 1 + draws.normal(0, 0.03, len(paid))
        if day.date.month == BONUS_MONTH:
            factor = factor + np.where(retired, 0, draws.uniform(0.5, 2.5, len(paid)) * (draws.random(len(paid)) < 0.6))
        amount = minor_units(people.income[paid] * factor, 100)
        second = 9 * 3600 + draws.integers(0, 3600, len(paid))
        salary = Wording(kind="salary", direction="credit", category="salary", partner="employer-")
        pension = Wording(kind="transfer_in", direction="credit", category="pension", partner="fund-")
        wording = np.where(retired, self.words.number(pension), self.words.number(salary))
        return [Postings(paid, second, amount, wording, paid % EMPLOYERS)]

    def _purchases(self, day: Day, draws: np.random.Generator, balance: Ints, trips: Trips) -> Postings:
        people = self.people
        rate = people.purchases_per_day * SEASON.get(day.date.month, 1.0) * (WEEKEND_FACTOR if day.weekend else 0.9)
        rate = np.where(trips.abroad(day.number), 0.1, rate) * np.where(balance < 0, OVERDRAWN_FACTOR, 1.0)
        customer = np.repeat(np.arange(people.size), draws.poisson(rate))
        cumulative = np.cumsum(people.category_shares, axis=1)[customer]
        category = np.minimum(
            (draws.random(len(customer))[:, None] > cumulative).sum(axis=1), len(SPEND_CATEGORIES) - 1
        )
        usual = np.array([CATEGORY_AMOUNTS[name] for name in SPEND_CATEGORIES])
        budget = SPENT_SHARE_OF_INCOME * people.income / 30 / np.maximum(people.purchases_per_day, 0.3)
        amount = budget[customer] * usual[category] * draws.lognormal(-0.3, 0.7, len(customer))
        numbers = np.array([self.words.number(_card(name)) for name in SPEND_CATEGORIES])
        shop = category * 1000 + draws.integers(0, 400, len(customer))
        return Postings(customer, _hours(draws, len(customer), 8, 23), minor_units(amount), numbers[category], shop)

    def _large_purchases(self, draws: np.random.Generator, balance: Ints) -> Postings:
        people = self.people
        rate = LARGE_PURCHASE_PER_DAY * np.exp(0.5 * self._trait("spending")) * (balance > people.income)
        buyers = np.flatnonzero(draws.random(people.size) < rate)
        amount = minor_units(people.income[buyers] * draws.uniform(0.6, 2.0, len(buyers)), 100)
        return self._plain(buyers, _hours(draws, len(buyers), 10, 22), amount, _card("electronics"))

    def _household(self, day: Day, draws: np.random.Generator) -> list[Postings]:
        """Bills on each customer's own day of the month."""
        people = self.people
        due = np.flatnonzero((np.arange(people.size) % 28 + 1 == day.date.day) & (people.life_stage > 0))
        third = due % 3
        rent, fee = due[third == 0], due[third == 1]
        amounts = (people.income[due] * 0.04, people.income[rent] * 0.25, people.income[fee] * 0.03)
        wordings = (
            Wording(kind="utility", direction="debit", category="utilities", channel="mobile", partner="utility-"),
            Wording(kind="standing_order", direction="debit", category="rent", partner="landlord-"),
            Wording(kind="utility", direction="debit", category="property_fee", channel="mobile", partner="estate-"),
        )
        return [
            self._plain(
                who, _hours(draws, len(who), 7, 20), minor_units(amount * draws.uniform(0.8, 1.2, len(who))), words
            )
            for who, amount, words in zip((due, rent, fee), amounts, wordings, strict=True)
        ]

    def _shops(self, day: Day, draws: np.random.Generator) -> list[Postings]:
        """Shops behind personal accounts: many small QR credits, more at weekends, tax each quarter."""
        people = self.people
        rate = people.qr_per_day * (1.6 if day.weekend else 1.0)
        customer = np.repeat(np.arange(people.size), draws.poisson(rate))
        amount = minor_units(draws.lognormal(8.2, 0.8, len(customer)))
        credit = Wording(kind="qr_payment", direction="credit", category="other", channel="mobile", partner="payer-")
        payers = draws.integers(0, 100_000, len(customer))
        second = _hours(draws, len(customer), 8, 22)
        takings = Postings(customer, second, amount, self._same(credit, len(customer)), payers)
        taxed = np.flatnonzero(people.merchant & (day.date.day == 15) & (day.date.month % 3 == 1))
        tax = Wording(kind="tax", direction="debit", category="tax", channel="online", partner="tax-")
        levy = minor_units(people.qr_per_day[taxed] * 9_000, 100)
        return [takings, self._plain(taxed, _hours(draws, len(taxed), 9, 17), levy, tax)]

    def _cash_and_transfers(self, draws: np.random.Generator) -> list[Postings]:
        people = self.people
        habits = (
            (0.02 * np.exp(0.4 * self._trait("caution")), 0.06,
             Wording(kind="cash_withdrawal", direction="debit", channel="atm")),
            (np.full(people.size, 0.006), 0.15, Wording(kind="cash_deposit", direction="credit", channel="branch")),
            (np.full(people.size, 0.05), 0.08,
             Wording(kind="transfer_out", direction="debit", category="other", channel="mobile", partner="person-")),
            (np.full(people.size, 0.03), 0.08,
             Wording(kind="transfer_in", direction="credit", category="other", channel="mobile", partner="person-")),
        )  # fmt: skip
        result = []
        for rate, share, wording in habits:
            who = np.flatnonzero(draws.random(people.size) < rate)
            amount = minor_units(people.income[who] * share * draws.lognormal(0, 0.5, len(who)), 100)
            result.append(self._plain(who, _hours(draws, len(who), 8, 21), amount, wording))
        return result

    def _inflows_and_run_off(self, day: Day, draws: np.random.Generator, balance: Ints) -> list[Postings]:
        people = self.people
        rate = LARGE_INFLOW_PER_DAY * np.exp(0.3 * self._trait("affluence")) * (people.life_stage > 0)
        lucky = np.flatnonzero(draws.random(people.size) < rate)
        inflow = Wording(kind="transfer_in", direction="credit", category="other", channel="batch", partner="sale-")
        windfall = minor_units(people.income[lucky] * draws.uniform(4, 15, len(lucky)), 10_000)
        leaving = (people.churn_day <= day.number) & (balance > 100_000)
        movers = np.flatnonzero(leaving & (draws.random(people.size) < 0.2))
        away = Wording(
            kind="transfer_out",
            direction="debit",
            category="own_account",
            channel="mobile",
            own_account=True,
            partner="own-",
        )
        moved = minor_units(balance[movers] * RUN_OFF_SHARE, 100)
        return [
            self._plain(lucky, _hours(draws, len(lucky), 9, 17), windfall, inflow),
            self._plain(movers, _hours(draws, len(movers), 9, 22), moved, away),
        ]

    def _travel(self, day: Day, draws: np.random.Generator, balance: Ints, trips: Trips) -> list[Postings]:
        """Booking a flight opens a trip ten days later; a visa is paid for and currency bought before, cards are used
        abroad."""
        people = self.people
        idle = (balance > people.income // 2) & ((trips.end < day.number) | (trips.start == NEVER))
        booking = np.flatnonzero(idle & (draws.random(people.size) < people.trips_per_year / 365))
        trips.start[booking] = day.number + DAYS_FROM_BOOKING_TO_DEPARTURE
        trips.end[booking] = day.number + DAYS_FROM_BOOKING_TO_DEPARTURE + draws.integers(3, 11, len(booking))
        trips.country[booking] = draws.integers(0, len(TRAVEL_COUNTRIES), len(booking))
        changing = np.flatnonzero(trips.start == day.number + 3)
        needs_visa = ~np.isin(trips.country, [TRAVEL_COUNTRIES.index(place) for place in VISA_FREE])
        applying = np.flatnonzero((trips.start == day.number + VISA_DAYS_BEFORE_DEPARTURE) & needs_visa)
        visa = Wording(kind="card", direction="debit", category="visa_fee", channel="online", partner="visa-")
        abroad = np.repeat(np.flatnonzero(trips.abroad(day.number)), 2)
        numbers = np.array([self.words.number(_overseas(place, category)) for place in TRAVEL_COUNTRIES
                            for category in ("hotel", "dining")])  # fmt: skip
        wording = numbers[trips.country[abroad] * 2 + np.arange(len(abroad)) % 2]
        spent = minor_units(people.income[abroad] * 0.05 * draws.lognormal(0, 0.5, len(abroad)))
        fx = Wording(kind="fx", direction="debit", category="travel", channel="mobile")
        fares = minor_units(people.income[booking] * draws.uniform(0.2, 0.6, len(booking)), 100)
        changed = minor_units(people.income[changing] * 0.15, 10_000)
        return [
            self._plain(booking, _hours(draws, len(booking), 9, 23), fares, _card("airline")),
            self._plain(changing, _hours(draws, len(changing), 9, 20), changed, fx),
            self._plain(applying, 11 * 3600 + applying % 3600, np.full(len(applying), VISA_FEE), visa),
            Postings(abroad, _hours(draws, len(abroad), 8, 23), spent, wording, abroad % 50),
        ]

    def _saving(self, day: Day, draws: np.random.Generator, balance: Ints) -> list[Postings]:
        """Term deposits mature, savers invest what lies idle, interest comes each quarter."""
        people = self.people
        maturing = np.flatnonzero(people.maturity_day == day.number)
        rate = 0.01 * np.exp(0.7 * self._trait("saving"))
        able = (balance > 3 * people.income) & (people.risk_level >= 2) & (people.life_stage > 0)
        investing = np.flatnonzero(able & (draws.random(people.size) < rate))
        quarter = day.date.day == 21 and day.date.month % 3 == 0
        paid = np.flatnonzero(balance > 10_000) if quarter else np.zeros(0, np.int64)
        matured = Wording(kind="term_deposit", direction="credit", category="investment")
        bought = Wording(kind="securities", direction="debit", category="investment", channel="mobile")
        interest = Wording(kind="interest", direction="credit", category="other")
        return [
            self._plain(maturing, np.full(len(maturing), 8 * 3600), people.deposit_amount[maturing], matured),
            self._plain(
                investing, _hours(draws, len(investing), 9, 22), minor_units(balance[investing] * 0.3, 10_000), bought
            ),
            self._plain(paid, np.full(len(paid), 3600), minor_units(balance[paid] * 0.0005), interest),
        ]

    def _plain(self, customer: Ints, second: Ints, amount: Ints, wording: Wording) -> Postings:
        """Postings of one wording; the counterparty is the customer's own usual one, none for cash."""
        partner = np.full(len(customer), NO_COUNTERPARTY) if wording.kind.startswith("cash") else customer % 1000
        return Postings(customer, second, amount, self._same(wording, len(customer)), partner)

    def _same(self, wording: Wording, length: int) -> Ints:
        return np.full(length, self.words.number(wording))

    def _trait(self, name: str) -> Floats:
        return self.people.traits[:, TRAITS.index(name)]


def _card(category: str) -> Wording:
    channel = "online" if category in ONLINE_CATEGORIES or category == "airline" else "pos"
    return Wording(kind="card", direction="debit", category=category, channel=channel, partner="shop-")


def _overseas(country: str, category: str) -> Wording:
    return Wording(
        kind="card", direction="debit", category=category, channel="pos", country=country, partner=f"{country.lower()}-"
    )


def _hours(draws: np.random.Generator, length: int, first: int, last: int) -> Ints:
    """Seconds of the day between two hours."""
    return draws.integers(first * 3600, last * 3600, length)
