"""One partition of the day: its customers' requests decided again by both sides, round by round.

A round holds at most one request of a customer, in the order of their times, so that each is decided on the contacts
that the ones before have left, and all of a round can be decided together.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from decision_engine.consent import is_granted
from decision_engine.customer import PERSONALISATION, UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.deciding_together import Question
from decision_engine.draft import Draft
from decision_engine.engine import LEDGER_UNAVAILABLE
from decision_engine.identifiers import OfferName
from decision_engine.outcomes import Outcome
from decision_engine.pacing import period_at
from decision_engine.seating import PlacementSeating, seat_placements
from decision_engine.volume import use_of_offer
from event_schemas.topics import RESPONSES, STATE_TOPICS
from models.decision_log.examples import AttributionRule
from services.simulation.recorded_day.contacts_then import ContactsThen
from services.simulation.recorded_day.customer_events import events_by_customer
from services.simulation.recorded_day.customers_then import CustomersThen
from services.simulation.recorded_day.failures import SimulationRefused
from services.simulation.recorded_day.group_rules import GroupRule, attributes_labelled, labels
from services.simulation.recorded_day.off_policy_rows import ChoiceJudge, JudgedChoice, choice_of
from services.simulation.recorded_day.partition_totals import EXAMPLES, ChangedDecision, PartitionTotals, StageWatch
from services.simulation.recorded_day.recorded_answers import read_answers
from services.simulation.recorded_day.recorded_requests import (
    RecordedOption,
    RecordedRequest,
    read_request,
    with_live_models,
)
from services.simulation.recorded_day.side_totals import SideTally
from services.simulation.recorded_day.sides import ACTIVE, DRAFT, SharedSides, shared_declarations
from services.simulation.recorded_day.sorted_archive import ArchivedRow, DaySpan, SaidLink, read_partition
from services.simulation.recorded_day.volumes_then import Shares, SliceVolumes, Use
from services.use_cases.decision_record import RecordUnreadable
from services.use_cases.degradation import LINKS_UNAVAILABLE, STATE_UNAVAILABLE

ROUND = 512
"""Requests decided together at the most."""
_DECISION = len(STATE_TOPICS)
_RESPONSE = STATE_TOPICS.index(RESPONSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionTerms:
    """What all partitions are simulated by. `plain` decides one by one with the plain engine."""

    folder: Path
    span: DaySpan
    groups: tuple[GroupRule, ...]
    attribution_ms: int
    log_end_ms: int
    said: tuple[SaidLink, ...] = ()
    plain: bool = False


class DayPartition:
    """Reads one partition and simulates it slice by slice. Raises SimulationRefused for records that make no sense."""

    def __init__(self, number: int, terms: PartitionTerms, shared: SharedSides) -> None:
        sides = shared.sides
        self._terms, self._sides = terms, sides
        self._totals = PartitionTotals()
        self._numbers = {str(offer.name): number for number, offer in enumerate(sides[ACTIVE].prepared.offers)}
        self._judging = ChoiceJudge({name: side.prepared for name, side in sides.items()}, ACTIVE)
        self._watch = StageWatch(self._totals.seconds)
        rows = list(read_partition(terms.folder, number))
        self._requests = with_live_models(_requests(row.value for row in rows if row.topic == _DECISION))
        self._answers = read_answers((row for row in rows if row.topic == _RESPONSE), terms.span.since_ms)
        rule = AttributionRule(window_ms=terms.attribution_ms, log_end_ms=terms.log_end_ms)
        self._accepted = self._answers.accepted(rule)
        self._customers = self._customers_of(rows, shared)
        self._contacts = {name: ContactsThen() for name in sides}
        self._volumes = {name: SliceVolumes(side.prepared.volumes) for name, side in sides.items()}
        self._tallies = {name: SideTally(side.prepared) for name, side in sides.items()}
        self._deciding = shared.deciding(together=not terms.plain)
        self._watch.mark("read")
        for customers in self._all_customers():
            for customer in {each.request.customer_id for each in self._requests}:
                customers.warm(customer, terms.span.since_ms)
        self._watch.mark("fold history")

    def _customers_of(self, rows: Sequence[ArchivedRow], shared: SharedSides) -> dict[str, CustomersThen]:
        """The customers as each side knows them; the same where both know the same."""
        terms, sides = self._terms, self._sides
        wanted = [row for row in rows if row.topic != _DECISION and row.time_ms < terms.span.until_ms]
        events = events_by_customer(wanted, self._answers.decoded)
        self._answers.decoded.clear()
        further = {name: attributes_labelled(side.strategy, terms.groups) for name, side in sides.items()}
        features = shared.features({each.models for each in self._requests}, further)
        active = CustomersThen(features[ACTIVE], sides[ACTIVE].strategy, events, terms.said)
        if shared_declarations(list(sides.values())):
            return {ACTIVE: active, DRAFT: active}
        return {ACTIVE: active, DRAFT: CustomersThen(features[DRAFT], sides[DRAFT].strategy, events, terms.said)}

    def _all_customers(self) -> list[CustomersThen]:
        return list({id(each): each for each in self._customers.values()}.values())

    @property
    def request_times(self) -> list[int]:
        """When its requests were made, ascending."""
        return [each.request.now_ms for each in self._requests]

    def used_before(self, side: str) -> dict[str, float]:
        """Units of volumes that this partition's customers had used in the running periods when the day began; those
        charged on reservation are not in the responses and count as unused."""
        strategy, prepared = self._sides[side].strategy, self._sides[side].prepared
        used: dict[str, float] = {}
        charged = {Outcome.IMPRESSION: "impression", Outcome.ACCEPT: "accept"}
        counted: set[tuple[str, str]] = set()
        for answer in self._answers.every:
            kind = charged.get(answer.outcome)
            if kind is None or answer.at_ms >= self._terms.span.since_ms or (answer.tracking_id, kind) in counted:
                continue
            counted.add((answer.tracking_id, kind))
            for name, units in use_of_offer(prepared.volumes, OfferName(answer.offer), answer.channel).items():
                volume = next(volume for volume in strategy.volumes if volume.id == name)
                period = period_at(volume, self._terms.span.since_ms, prepared.zone)
                if volume.charged_on == kind and period is not None and period.contains(answer.at_ms):
                    used[name] = used.get(name, 0.0) + units
        return used

    def run(self, until_ms: int, shares: Mapping[str, Shares], on_round: Callable[[int], None]) -> dict[str, Use]:
        """Simulates the requests before that moment that are not done yet; answers what became of the shares."""
        for name, volumes in self._volumes.items():
            volumes.begin(shares.get(name, {}))
        due: list[RecordedRequest] = []
        while self._totals.requests + len(due) < len(self._requests):
            request = self._requests[self._totals.requests + len(due)]
            if request.request.now_ms >= until_ms:
                break
            due.append(request)
        for chosen in _rounds(due):
            self._simulate(chosen)
            on_round(len(chosen))
        return {name: volumes.end(until_ms) for name, volumes in self._volumes.items()}

    def finished(self) -> PartitionTotals:
        """The sums."""
        totals = self._totals
        totals.sides = {name: tally.finished() for name, tally in self._tallies.items()}
        totals.events = sum(each.own.folded for each in self._all_customers())
        totals.unreadable = sum(each.own.unreadable for each in self._all_customers())
        return totals

    def _simulate(self, chosen: Sequence[RecordedRequest]) -> None:
        self._watch.start()
        snapshots = {ACTIVE: self._snapshots(ACTIVE, chosen)}
        shared = self._customers[DRAFT] is self._customers[ACTIVE]
        snapshots[DRAFT] = snapshots[ACTIVE] if shared else self._snapshots(DRAFT, chosen)
        self._watch.mark("read states")
        questions = {name: self._questions(name, chosen, snapshots[name]) for name in (ACTIVE, DRAFT)}
        drafts = self._deciding.drafts(questions)
        self._watch.mark("decide")
        settled = {name: [self._reserve(name, draft) for draft in drafts[name]] for name in (ACTIVE, DRAFT)}
        self._watch.mark("reserve")
        shown = {}
        for name, tally in self._tallies.items():
            tally.add_falls(drafts[name])
            shown[name] = [tally.add(*each) for each in zip(drafts[name], settled[name], strict=True)]
        for number, request in enumerate(chosen):
            self._compare(request, shown[ACTIVE][number], shown[DRAFT][number], drafts[ACTIVE][number])
            self._label(request, snapshots[ACTIVE][number])
        self._totals.requests += len(chosen)
        self._watch.mark("add up")
        self._judge(chosen, drafts)
        self._watch.mark("off-policy rows")

    def _snapshots(self, name: str, chosen: Sequence[RecordedRequest]) -> list[CustomerSnapshot]:
        customers, found = self._customers[name], []
        known = [each.request for each in chosen if STATE_UNAVAILABLE not in each.request.degraded_causes]
        customers.own.read_ahead((request.customer_id, request.now_ms) for request in known)
        for each in chosen:
            request = each.request
            if STATE_UNAVAILABLE in request.degraded_causes:
                found.append(UNKNOWN_CUSTOMER)
                continue
            linked = LINKS_UNAVAILABLE not in request.degraded_causes
            found.append(customers.snapshot(request.customer_id, request.now_ms, with_links=linked))
        return found

    def _questions(
        self, name: str, chosen: Sequence[RecordedRequest], snapshots: Sequence[CustomerSnapshot]
    ) -> list[Question]:
        contacts, side, volumes = self._contacts[name], self._sides[name], self._volumes[name]
        questions = []
        for each, snapshot in zip(chosen, snapshots, strict=True):
            self._bring_up(contacts, each)
            records = contacts.of(each.request.customer_id)
            view = volumes.view(each.prices)
            questions.append(Question(each.request, snapshot, records, side.scorers(each.models), view))
        return questions

    def _bring_up(self, contacts: ContactsThen, each: RecordedRequest) -> None:
        """The customer's ledger as of now: with the first request as recorded, later with what was answered since."""
        customer, now_ms = each.request.customer_id, each.request.now_ms
        answers = self._answers.of.get(customer, ())
        if contacts.knows(customer):
            contacts.catch_up(customer, answers, now_ms)
        elif each.ledger is not None or LEDGER_UNAVAILABLE not in each.request.degraded_causes:
            contacts.begin(customer, each.ledger or (), answers, now_ms)

    def _reserve(self, name: str, draft: Draft) -> tuple[PlacementSeating, ...]:
        """Reserves as in service: in the volumes, then in the ledger."""
        request, contacts, volumes = draft.reservation, self._contacts[name], self._volumes[name]
        if not request.positions or LEDGER_UNAVAILABLE in draft.request.degraded_causes:
            taken: list[int | None] = [0 if alternatives else None for alternatives in request.positions]
        elif volumes.plan.volumes:
            taken = volumes.reserve(draft, contacts, self._answers.seen, sure=not self._terms.plain)
        else:
            taken = contacts.reserve(draft.request.customer_id, request, sure=not self._terms.plain)
        return seat_placements(draft.slate, taken, allow_duplicates=request.allow_duplicates)

    def _compare(self, each: RecordedRequest, active: Sequence[str], draft: Sequence[str], how: Draft) -> None:
        """Whether the draft decides otherwise, and whether the active side chose what its record says."""
        totals = self._totals
        if list(active) != list(draft):
            totals.changed += 1
            before, after = active[0] if active else None, draft[0] if draft else None
            totals.changes[before or "", after or ""] += 1
            if len(totals.examples) < EXAMPLES:
                totals.examples.append(
                    ChangedDecision(
                        decision_id=each.request.decision_id,
                        customer_id=each.request.customer_id,
                        channel=each.request.channel,
                        active=before,
                        draft=after,
                    )
                )
        prepared = self._sides[ACTIVE].prepared
        if each.strategy_version != prepared.strategy.version:
            return
        totals.compared += 1
        if [option.treatment for option in each.options] == list(active):
            totals.same_choice += 1
            scores, numbers = how.scores.propensity, self._numbers
            totals.same_score += all(scores[numbers[option.offer]] == option.propensity for option in each.options)

    def _label(self, each: RecordedRequest, snapshot: CustomerSnapshot) -> None:
        customer, strategy = each.request.customer_id, self._sides[ACTIVE].strategy
        if customer not in self._totals.labels:
            if not is_granted(PERSONALISATION, strategy.consents, snapshot):
                snapshot = replace(snapshot, attributes={})  # no report goes by the profile of who refused that
            self._totals.labels[customer] = labels(strategy, self._terms.groups, snapshot)

    def _judge(self, chosen: Sequence[RecordedRequest], drafts: Mapping[str, Sequence[Draft]]) -> None:
        """Adds the recorded choices to the off-policy rows, where they can be judged."""
        rows, judged = self._totals.choices, []
        for number, each in enumerate(chosen):
            choice = self._choice(each)
            if isinstance(choice, str):
                rows.leave_out(choice)
                continue
            accepted = self._accepted.get(choice.tracking_id, False)
            judged.append(JudgedChoice(choice, accepted, {name: mine[number] for name, mine in drafts.items()}))
        self._judging.add(rows, judged)

    def _choice(self, each: RecordedRequest) -> RecordedOption | str:
        """What the active side chose, or why it cannot be judged."""
        if each.strategy_version != self._sides[ACTIVE].strategy.version:
            return "that another version of the strategy made"
        choice = choice_of(each.options, len(each.request.placements))
        if isinstance(choice, str):
            return choice
        if each.request.now_ms + self._terms.attribution_ms > self._terms.log_end_ms:
            return "whose attribution window is still open"
        return choice


def _requests(values: Iterable[bytes]) -> list[RecordedRequest]:
    """By time and id, a repeated record once."""
    found: dict[str, RecordedRequest] = {}
    for number, value in enumerate(values, 1):
        try:
            request = read_request(value)
        except RecordUnreadable as error:
            # Where and which field, never what the record says: it is about a customer.
            cause = error.__cause__
            field = (
                f"no {cause}" if isinstance(cause, KeyError) else f"a field is odd ({type(cause or error).__name__})"
            )
            raise SimulationRefused(f"decision record {number} of the day's partition is unreadable: {field}") from None
        found.setdefault(request.request.decision_id, request)
    return sorted(found.values(), key=lambda each: (each.request.now_ms, each.request.decision_id))


def _rounds(due: Sequence[RecordedRequest]) -> Iterator[list[RecordedRequest]]:
    """At most one request of each customer at a time, and at most ROUND."""
    waiting: dict[str, deque[RecordedRequest]] = {}
    for each in due:
        waiting.setdefault(each.request.customer_id, deque()).append(each)
    while waiting:
        current = [mine.popleft() for mine in waiting.values()]
        for start in range(0, len(current), ROUND):
            yield current[start : start + ROUND]
        waiting = {customer: mine for customer, mine in waiting.items() if mine}
