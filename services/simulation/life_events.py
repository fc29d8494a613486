"""What happens beside money and visits: journeys get a date, cards are lost, payments fail, points are earned.

Every day draws from a stream of its own, so that these events disturb no other habit, and so that what began days
ago can be drawn again to be ended today.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from services.simulation.envelopes import Draft
from services.simulation.money import DAYS_FROM_BOOKING_TO_DEPARTURE, Day, Trips
from services.simulation.population import Population

CARDS_LOST_PER_DAY, PAYMENTS_FAILED_PER_DAY = 0.0002, 0.0008
CARD_REPLACED_AFTER_DAYS = 3
PAYMENT_SOLVED_AFTER_SECONDS = 2 * 3600
FX_SEARCH_DAYS_BEFORE = 5
"""Days before departure on which travellers look up exchange rates."""
CENTS_A_POINT = 100
"""A point for every yuan that a card is expected to pay in a month."""
PAYMENT_POINTS, ACTIVITY_POINTS = 60, 200
BILLING_DAYS = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeEvents:
    """The events of one population, wholly determined by the bank's seed."""

    people: Population
    seed: int

    def of_day(self, day: Day, midnight: datetime, trips: Trips) -> list[Draft]:
        """Everything of one local day, which begins at `midnight`."""
        return [*self._journeys(day, midnight, trips), *self._incidents(day), *self._points(day)]

    def _journeys(self, day: Day, midnight: datetime, trips: Trips) -> list[Draft]:
        leaves = int((midnight + timedelta(days=DAYS_FROM_BOOKING_TO_DEPARTURE)).timestamp()) * 1000
        booked = np.flatnonzero(trips.start == day.number + DAYS_FROM_BOOKING_TO_DEPARTURE)
        searching = np.flatnonzero(trips.start == day.number + FX_SEARCH_DAYS_BEFORE)
        known = f'{{"attributes":{{"departure_at":{leaves}}}}}'
        search = '{"channel":"mobile","query":"exchange rate","topic":"fx","results":6}'
        return [
            *(Draft(86_390, "bank.profile.updated", f"retail:{who + 1}", known) for who in booked.tolist()),
            *(
                Draft(12 * 3600 + who % 3600, "bank.channel.search", f"retail:{who + 1}", search)
                for who in searching.tolist()
            ),
        ]

    def _incidents(self, day: Day) -> list[Draft]:
        lost, failed = self._hit(day.number)
        replaced, _ = self._hit(day.number - CARD_REPLACED_AFTER_DAYS)
        drafts = [_incident("opened", "card_lost", who, day.number, 10 * 3600) for who in lost]
        began = day.number - CARD_REPLACED_AFTER_DAYS
        drafts += [_incident("closed", "card_lost", who, began, 15 * 3600) for who in replaced]
        for who in failed:
            at = 9 * 3600 + who % 36_000
            drafts.append(_incident("opened", "payment_failed", who, day.number, at))
            drafts.append(_incident("closed", "payment_failed", who, day.number, at + PAYMENT_SOLVED_AFTER_SECONDS))
        return drafts

    def _hit(self, number: int) -> tuple[list[int], list[int]]:
        """Who loses a card and whose payment fails on the day of that number; nobody before the first."""
        if number < 0:
            return [], []
        luck = np.random.default_rng([self.seed, 5, number]).random((2, self.people.size))
        adult = self.people.life_stage > 0
        lost, failed = adult & (luck[0] < CARDS_LOST_PER_DAY), adult & (luck[1] < PAYMENTS_FAILED_PER_DAY)
        return np.flatnonzero(lost).tolist(), np.flatnonzero(failed).tolist()

    def _points(self, day: Day) -> list[Draft]:
        """Once a month on each customer's own day: for cards, for payments, and for taking part."""
        people = self.people
        due = (np.arange(people.size) % BILLING_DAYS + 1 == day.date.day) & (people.life_stage > 0)
        drafts: list[Draft] = []
        for who in np.flatnonzero(due).tolist():
            spent = int(people.income[who] * min(0.5, 0.3 * people.purchases_per_day[who]))
            drafts.append(_earned(who, max(1, spent // CENTS_A_POINT), "card"))
            drafts.append(_earned(who, PAYMENT_POINTS, "payment"))
            if who % 4 == day.date.month % 4:
                drafts.append(_earned(who, ACTIVITY_POINTS, "activity"))
        return drafts


def _incident(ending: str, kind: str, who: int, began: int, second: int) -> Draft:
    data = f'{{"channel":"contact_centre","incident_id":"i{who}-{began}-{kind}","incident":"{kind}"}}'
    return Draft(second, f"bank.channel.incident_{ending}", f"retail:{who + 1}", data)


def _earned(who: int, points: int, source: str) -> Draft:
    data = f'{{"points":{points},"source":"{source}"}}'
    return Draft(7 * 3600 + who % 3600, "bank.channel.points_earned", f"retail:{who + 1}", data)
