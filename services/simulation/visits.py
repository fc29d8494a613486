"""What customers do in the channels on a day: logins, pages, searches, forms, calls, branch visits, complaints."""

from dataclasses import dataclass

import numpy as np

from services.simulation.envelopes import Draft
from services.simulation.money import Day
from services.simulation.population import PAGES, Ints, Population
from services.simulation.truth import TRAITS

PAGES_PER_LOGIN = 1.6
SEARCH_SHARE = 0.05
FORM_SHARE = 0.12
"""Share of interested page views that open the product's form."""
ABANDONED_SHARE = 0.6
CHURN_LOGIN_FACTOR = 0.25
CALLS_PER_DAY, BRANCH_VISITS_PER_DAY, COMPLAINTS_PER_DAY = 0.006, 0.008, 0.0006
FORMS = {
    "cards": "card_application",
    "loans": "loan_application",
    "deposits": "deposit_opening",
    "wealth": "wealth_purchase",
    "insurance": "insurance_quote",
    "fx": "fx_purchase",
}
INTERESTS = ("cards", "loans", "wealth", "deposits", "fx", "insurance")
CALL_TOPICS = ("card", "loan", "wealth", "fees", "other")
PURPOSES = ("cash", "account", "wealth", "loan", "other")
PAGE_NAMES = tuple(PAGES)


@dataclass(frozen=True, slots=True)
class Visit:
    """A customer in a channel at a moment, ready to be made an offer: position, epoch ms, channel, page looked at."""

    customer: int
    at_ms: int
    channel: str
    page: str | None


@dataclass(frozen=True, slots=True)
class ChannelDay:
    """The day's channel events, and who could be made an offer when (second of the day in place of `at_ms`)."""

    drafts: list[Draft]
    visits: list[Visit]


def channel_day(people: Population, day: Day, draws: np.random.Generator) -> ChannelDay:
    """Draws a day for all customers."""
    drafts: list[Draft] = []
    visits: list[Visit] = []
    _logins(people, day, draws, (drafts, visits))
    _calls(people, draws, (drafts, visits))
    _branch_arrivals(people, draws, (drafts, visits))
    _complaints(people, draws, drafts)
    return ChannelDay(drafts, visits)


_Sinks = tuple[list[Draft], list[Visit]]


def _logins(people: Population, day: Day, draws: np.random.Generator, sinks: _Sinks) -> None:
    rate = people.logins_per_day * np.where(people.churn_day <= day.number, CHURN_LOGIN_FACTOR, 1.0)
    customer = np.repeat(np.arange(people.size), draws.poisson(rate))
    second = _evening(draws, len(customer))
    senior = (people.life_stage == 4)[customer]
    method = np.where(senior, draws.choice(("password", "voice"), len(customer)), "biometric")
    drafts, visits = sinks
    for who, at, how, large in zip(customer.tolist(), second.tolist(), method.tolist(), senior.tolist(), strict=True):
        data = f'{{"channel":"mobile","method":"{how}","large_type":{"true" if large else "false"}}}'
        drafts.append(Draft(at, "bank.channel.login", f"retail:{who + 1}", data))
    views = 1 + draws.poisson(PAGES_PER_LOGIN, len(customer))
    viewer, start = np.repeat(customer, views), np.repeat(second, views)
    first = np.repeat(np.cumsum(views) - views, views)
    step = np.arange(len(viewer)) - first
    cumulative = np.cumsum(people.page_shares, axis=1)[viewer]
    page = np.minimum((draws.random(len(viewer))[:, None] > cumulative).sum(axis=1), len(PAGE_NAMES) - 1)
    _page_views(viewer, np.minimum(start + 5 + step * 40, 86_399), page, sinks)
    _forms(viewer, np.minimum(start + 20 + step * 40, 86_399), page, (draws, drafts))
    _searches(people, customer, second, (draws, drafts))
    chosen = first[step == 0]
    visits += [
        Visit(who, at + 6, "mobile", PAGE_NAMES[number])
        for who, at, number in zip(customer.tolist(), second.tolist(), page[chosen].tolist(), strict=True)
    ]


def _page_views(viewer: Ints, second: Ints, page: Ints, sinks: _Sinks) -> None:
    texts = [f'{{"channel":"mobile","page":"{name}"}}' for name in PAGE_NAMES]
    sinks[0].extend(
        Draft(at, "bank.channel.page_view", f"retail:{who + 1}", texts[number])
        for who, at, number in zip(viewer.tolist(), second.tolist(), page.tolist(), strict=True)
    )


def _forms(viewer: Ints, second: Ints, page: Ints, sink: tuple[np.random.Generator, list[Draft]]) -> None:
    draws, drafts = sink
    has_form = np.array([name in FORMS for name in PAGE_NAMES])[page]
    for place in np.flatnonzero(has_form & (draws.random(len(viewer)) < FORM_SHARE)).tolist():
        name = PAGE_NAMES[int(page[place])]
        subject, at = f"retail:{int(viewer[place]) + 1}", int(second[place])
        data = f'{{"channel":"mobile","form":"{FORMS[name]}","form_id":"f{at}-{place}"}}'
        drafts.append(Draft(at, "bank.channel.form_opened", subject, data))
        ending = "abandoned" if draws.random() < ABANDONED_SHARE else "submitted"
        drafts.append(Draft(min(at + 300, 86_399), f"bank.channel.form_{ending}", subject, data))


def _searches(people: Population, customer: Ints, second: Ints, sink: tuple[np.random.Generator, list[Draft]]) -> None:
    draws, drafts = sink
    columns = [PAGE_NAMES.index(name) for name in INTERESTS]
    for place in np.flatnonzero(draws.random(len(customer)) < SEARCH_SHARE).tolist():
        shares = people.page_shares[customer[place], columns]
        topic = INTERESTS[int(draws.choice(len(columns), p=shares / shares.sum()))]
        data = f'{{"channel":"mobile","query":"{topic}","topic":"{topic}","results":{int(draws.integers(1, 20))}}}'
        drafts.append(Draft(int(second[place]) + 3, "bank.channel.search", f"retail:{int(customer[place]) + 1}", data))


def _calls(people: Population, draws: np.random.Generator, sinks: _Sinks) -> None:
    caution = people.traits[:, TRAITS.index("caution")]
    for who in np.flatnonzero(draws.random(people.size) < CALLS_PER_DAY * np.exp(0.3 * caution)).tolist():
        at, topic = int(draws.integers(8 * 3600, 20 * 3600)), CALL_TOPICS[int(draws.integers(len(CALL_TOPICS)))]
        data = f'{{"channel":"contact_centre","topic":"{topic}"}}'
        sinks[0].append(Draft(at, "bank.channel.call_started", f"retail:{who + 1}", data))
        sinks[1].append(Visit(who, at + 30, "contact_centre", None))


def _branch_arrivals(people: Population, draws: np.random.Generator, sinks: _Sinks) -> None:
    digital = people.traits[:, TRAITS.index("digital")]
    for who in np.flatnonzero(draws.random(people.size) < BRANCH_VISITS_PER_DAY * np.exp(-0.6 * digital)).tolist():
        at, purpose = int(draws.integers(9 * 3600, 17 * 3600)), PURPOSES[int(draws.integers(len(PURPOSES)))]
        data = f'{{"channel":"branch","branch_id":"{branch_of(who)}","recognised_by":"ticket","purpose":"{purpose}"}}'
        sinks[0].append(Draft(at, "bank.channel.branch_arrival", f"retail:{who + 1}", data))
        sinks[1].append(Visit(who, at + 30, "branch", None))


def _complaints(people: Population, draws: np.random.Generator, drafts: list[Draft]) -> None:
    """Each is settled four hours later."""
    for who in np.flatnonzero(draws.random(people.size) < COMPLAINTS_PER_DAY).tolist():
        at = int(draws.integers(9 * 3600, 15 * 3600))
        number = f"c{who}-{at}"
        opened = f'{{"channel":"contact_centre","complaint_id":"{number}","topic":"service","severity":"medium"}}'
        closed = f'{{"channel":"contact_centre","complaint_id":"{number}","topic":"service","resolution":"settled"}}'
        drafts.append(Draft(at, "bank.channel.complaint_opened", f"retail:{who + 1}", opened))
        drafts.append(Draft(at + 4 * 3600, "bank.channel.complaint_closed", f"retail:{who + 1}", closed))


def branch_of(customer: int) -> str:
    """The branch a customer belongs to: `B001` to `B040`."""
    return f"B{customer % 40 + 1:03d}"


def _evening(draws: np.random.Generator, length: int) -> Ints:
    """Seconds of the day between 6:00 and 24:00, most at noon and in the evening."""
    centre = np.where(draws.random(length) < 0.35, 12.5, 20.0)
    hours = np.clip(centre + draws.normal(0, 2.2, length), 6, 23.5)
    return np.asarray(hours * 3600, dtype=np.int64)
