"""The Starbucks log as a stream of CloudEvents, and its deals as past decisions with the chance they were made with.

A person is `retail:<id>`. Received is an impression, viewed a click, and an acceptance is a use after viewing: a
completion of an offer that was viewed before it ended, for an informational one a purchase in that time. Completions
that were never viewed are no effect of the offer and no response; they earn their reward all the same, which is an
event of its own. What happens in the same hour as a view counts as after it: the file knows hours only, and writes
views first.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from decision_engine.outcomes import Outcome
from decision_engine.strategy import Strategy
from services.simulation.cloud_events import EventHead, Json, TimedEvent, cloud_event, epoch_ms
from services.simulation.starbucks import (
    OFFERED,
    WAVES,
    Happening,
    Kind,
    LoggedOffer,
    Person,
    StarbucksLog,
    StarbucksUnreadable,
)
from services.use_cases.past_decisions import PastDecision, PastDecisions, PastResponse

SOURCE, CURRENCY, PLACEMENT = "starbucks", "USD", "weekly_offer"
START = datetime(2018, 7, 30, tzinfo=UTC)
"""Hour 0, a Monday just after the last person joined; the file has no calendar."""
HOUR_MS = 3_600_000
DEALING_MS = HOUR_MS // 2
"""The first half of an hour is for its deals, the second for everything else."""
GENDERS = {"F": "female", "M": "male", "O": "other"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """A past decision about a person, and what the file says came of it."""

    hour: int
    decision: PastDecision
    responses: tuple[PastResponse, ...]


@dataclass(frozen=True, slots=True)
class StarbucksReplay:
    """`events` are profiles, purchases and rewards, in order; `deals` those of each wave, by its hour."""

    events: tuple[TimedEvent, ...]
    deals: Mapping[int, tuple[Deal, ...]]

    def responses(self, past: PastDecisions) -> list[TimedEvent]:
        """The responses to all deals as events, in no particular order."""
        return [
            TimedEvent(response.at_ms, past.response_event(deal.decision, response))
            for deals in self.deals.values()
            for deal in deals
            for response in deal.responses
        ]


def at_hour(hour: float) -> int:
    """Epoch milliseconds of an hour of the log."""
    return epoch_ms(START) + round(hour * HOUR_MS)


def starbucks_replay(log: StarbucksLog, strategy: Strategy, *, completions_only: bool = False) -> StarbucksReplay:
    """The whole log in the words of the strategy. With `completions_only` an informational offer, which cannot be
    completed, is never accepted. Raises StarbucksUnreadable when the strategy lacks one of the log's offers."""
    treatments = _treatments(log, strategy)
    moments = _moments(log.happenings)
    words = _Words(log.offers, treatments, moments, completions_only)
    people = defaultdict[str, list[Happening]](list)
    for happening in log.happenings:
        people[happening.person].append(happening)
    deals: dict[int, list[Deal]] = {hour: [] for hour in WAVES}
    for number, person in enumerate(log.people):
        for deal in _deals(person, number, people[person.id], words):
            deals[deal.hour].append(deal)
    events = [_profile(person) for person in log.people]
    events += [event for happening in log.happenings for event in _own_events(happening, moments)]
    ordered = sorted(events, key=lambda timed: timed.at_ms)
    by_time = {hour: tuple(sorted(dealt, key=lambda deal: deal.decision.at_ms)) for hour, dealt in deals.items()}
    return StarbucksReplay(tuple(ordered), by_time)


@dataclass(frozen=True, slots=True)
class _Words:
    offers: Mapping[str, LoggedOffer]
    treatments: Mapping[str, str]
    """By offer id."""
    moments: Mapping[int, int]
    """By position in the file, for all but deals."""
    completions_only: bool


def _treatments(log: StarbucksLog, strategy: Strategy) -> dict[str, str]:
    known = {str(offer.name): str(offer.treatments[0].name) for offer in strategy.offers}
    missing = sorted(offer.name for offer in log.offers.values() if offer.name not in known)
    if missing:
        raise StarbucksUnreadable(f"strategy {strategy.name} has no offer named {', '.join(missing)}")
    return {offer.id: known[offer.name] for offer in log.offers.values()}


def _moments(happenings: Iterable[Happening]) -> dict[int, int]:
    """What happens in an hour is spread over its second half in the file's order."""
    by_hour = defaultdict[int, list[int]](list)
    for happening in happenings:
        if happening.kind is not Kind.RECEIVED:
            by_hour[happening.hour].append(happening.position)
    return {
        position: at_hour(hour) + DEALING_MS + place * DEALING_MS // len(positions)
        for hour, positions in by_hour.items()
        for place, position in enumerate(positions)
    }


def _deals(person: Person, number: int, mine: Sequence[Happening], words: _Words) -> Iterator[Deal]:
    """The person's deal in every wave: an offer or nothing, a tenth of a second after the person before."""
    dealt = {happening.hour: happening.offer for happening in mine if happening.kind is Kind.RECEIVED}
    for hour in WAVES:
        offer = dealt.get(hour)
        decision = PastDecision(
            decision_id=f"wave{hour}-{person.id}",
            customer_id=f"retail:{person.id}",
            at_ms=at_hour(hour) + number * DEALING_MS // 18_000,
            placement=PLACEMENT,
            chances=dict.fromkeys(words.treatments.values(), OFFERED),
            offered=None if offer is None else words.treatments[offer],
        )
        again = min((later for later, other in dealt.items() if other == offer and later > hour), default=None)
        responses = () if offer is None else _responses(decision, words.offers[offer], (hour, again), mine, words)
        yield Deal(hour=hour, decision=decision, responses=tuple(responses))


def _responses(
    decision: PastDecision,
    offer: LoggedOffer,
    hours: tuple[int, int | None],
    mine: Sequence[Happening],
    words: _Words,
) -> Iterator[PastResponse]:
    """From the deal until the offer ends, or the same offer is dealt again."""
    hour, again = hours
    until = hour + offer.days * 24

    def response(outcome: Outcome, at_ms: int) -> PastResponse:
        return PastResponse(response_id=f"{decision.decision_id}-{outcome}", outcome=outcome, at_ms=at_ms)

    yield response(Outcome.IMPRESSION, decision.at_ms)
    open_hours = [h for h in mine if hour <= h.hour <= until and (again is None or h.hour < again)]
    viewed = next((h for h in open_hours if h.kind is Kind.VIEWED and h.offer == offer.id), None)
    if viewed is None:
        return
    yield response(Outcome.CLICK, words.moments[viewed.position])
    if offer.type == "informational" and words.completions_only:
        return
    uses = Kind.TRANSACTION if offer.type == "informational" else Kind.COMPLETED
    used = next((h for h in open_hours if h.kind is uses and h.hour >= viewed.hour and h.offer in ("", offer.id)), None)
    if used is not None:
        yield response(Outcome.ACCEPT, words.moments[used.position])


def _profile(person: Person) -> TimedEvent:
    attributes: dict[str, Json] = {"tenure_days": (START.date() - person.joined).days}
    if person.age is not None:
        attributes["age"] = person.age
    if person.gender is not None:
        attributes["gender"] = GENDERS[person.gender]
    if person.income is not None:
        attributes["income"] = person.income * 100
    head = _head(f"profile-{person.id}", "bank.profile.updated", person.id, at_hour(-1))
    return cloud_event(head, {"attributes": attributes})


def _own_events(happening: Happening, moments: Mapping[int, int]) -> Iterator[TimedEvent]:
    """What is an event whether or not there was an offer."""
    if happening.kind is Kind.TRANSACTION:
        at_ms = moments[happening.position]
        head = _head(f"purchase-{happening.position}", "bank.transaction.posted", happening.person, at_ms)
        data: dict[str, Json] = {
            "account_id": happening.person,
            "direction": "debit",
            "amount": happening.cents,
            "currency": CURRENCY,
            "kind": "card",
            "category": "coffee",
        }
        yield cloud_event(head, data)
    elif happening.kind is Kind.COMPLETED:
        at_ms = moments[happening.position]
        head = _head(f"reward-{happening.position}", "bank.channel.points_earned", happening.person, at_ms)
        yield cloud_event(head, {"points": happening.reward, "source": "activity"})


def _head(event_id: str, event_type: str, person: str, at_ms: int) -> EventHead:
    return EventHead(id=event_id, type=event_type, source=SOURCE, subject=f"retail:{person}", at_ms=at_ms)
