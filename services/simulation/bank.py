"""The simulated bank: a stream of events in time order, wholly determined by its seed.

`BankStream.days()` yields one local day after the other: the events as CloudEvents, and the visits on which an offer
could be made. The first day begins with everybody's profile, products and consents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from services.simulation.cloud_events import TimedEvent
from services.simulation.companies import company_drafts, company_profiles
from services.simulation.envelopes import DayWriter, Draft
from services.simulation.life_events import LifeEvents
from services.simulation.money import Day, MoneyHabits, Trips
from services.simulation.population import NEVER, Population, make_population
from services.simulation.postings import NO_COUNTERPARTY, Postings, WordingTable, balances_after, join
from services.simulation.profiles import first_day_drafts, product_data
from services.simulation.visits import Visit, channel_day

TIME_ZONE = ZoneInfo("Asia/Shanghai")
CURRENCY = "CNY"


@dataclass(frozen=True, slots=True, kw_only=True)
class BankConfig:
    """Which bank: the same values give the same stream, byte for byte."""

    seed: int
    customers: int
    start: date
    companies: int = 0


@dataclass(frozen=True, slots=True)
class SimulatedDay:
    """A local day: its date, its midnight (epoch milliseconds), its events and its visits in time order."""

    date: date
    start_ms: int
    events: list[TimedEvent]
    visits: list[Visit]


class BankStream:
    """Generates the bank's days in order. One instance is one pass."""

    def __init__(self, config: BankConfig) -> None:
        self.config = config
        self.people: Population = make_population(config.customers, config.seed)
        self._words = WordingTable()
        self._habits = MoneyHabits(self.people, self._words)
        self._balance = self.people.opening_balance.copy()
        never = np.full(config.customers, NEVER)
        self._trips = Trips(start=never.copy(), end=np.full(config.customers, -1), country=np.zeros_like(never))
        self._life = LifeEvents(people=self.people, seed=config.seed)
        self._number = 0

    def events(self, until: date) -> Iterator[TimedEvent]:
        """All events up to and including that day, in time order."""
        while self.next_date <= until:
            yield from self.next_day().events

    @property
    def next_date(self) -> date:
        """The day that `next_day` will give."""
        return self.config.start + timedelta(days=self._number)

    def next_day(self) -> SimulatedDay:
        """The next local day."""
        day = Day(number=self._number, date=self.next_date)
        self._number += 1
        draws = np.random.default_rng([self.config.seed, 2, day.number])
        postings = join(self._habits.of_day(day, draws, self._balance, self._trips))
        channel = channel_day(self.people, day, draws)
        midnight = datetime(day.date.year, day.date.month, day.date.day, tzinfo=TIME_ZONE)
        drafts = [*self._special(day, midnight, draws), *channel.drafts, *self._transactions(postings)]
        drafts += self._life.of_day(day, midnight, self._trips)
        writer = DayWriter(day.date, TIME_ZONE, f"s{self.config.seed}")
        seconds = np.fromiter((draft.second for draft in drafts), dtype=np.int64, count=len(drafts))
        events = writer.write(drafts, np.argsort(seconds, kind="stable"))
        visits = [Visit(v.customer, writer.start_ms + v.at_ms * 1000, v.channel, v.page) for v in channel.visits]
        return SimulatedDay(
            day.date, writer.start_ms, events, sorted(visits, key=lambda visit: (visit.at_ms, visit.customer))
        )

    def _special(self, day: Day, midnight: datetime, draws: np.random.Generator) -> list[Draft]:
        """The first day's profiles, companies, and deposits that end."""
        drafts: list[Draft] = []
        if day.number == 0:
            drafts += first_day_drafts(self.people, self.config.seed, midnight, self.config.companies)
            drafts += company_profiles(self.config.companies, self.config.seed)
        drafts += company_drafts(self.config.companies, draws)
        drafts += [
            Draft(8 * 3600, "bank.product.closed", f"retail:{who + 1}", product_data("term_deposit", who))
            for who in np.flatnonzero(self.people.maturity_day == day.number).tolist()
        ]
        return drafts

    def _transactions(self, postings: Postings) -> list[Draft]:
        wordings = self._words.wordings
        signs = np.array([1 if wording.direction == "credit" else -1 for wording in wordings])[postings.wording]
        balance, self._balance = balances_after(postings, signs, self._balance)
        texts = [(wording.json, wording.partner, wording.direction) for wording in wordings]
        columns = (
            postings.customer,
            postings.second,
            postings.amount,
            postings.wording,
            postings.counterparty,
            balance,
        )
        return [
            Draft(
                second, "bank.transaction.posted", f"retail:{who + 1}", _data(who, amount, after, partner, texts[words])
            )
            for who, second, amount, words, partner, after in zip(*(c.tolist() for c in columns), strict=True)
        ]


def _data(who: int, amount: int, after: int, partner: int, words: tuple[str, str, str]) -> str:
    text, prefix, direction = words
    counterparty = "" if partner == NO_COUNTERPARTY else f'"counterparty":"{prefix}{partner}",'
    return (
        f'{{"account_id":"{who + 1}","direction":"{direction}","amount":{amount},"currency":"{CURRENCY}",'
        f'"balance_after":{after},{counterparty}{text}}}'
    )
