"""Labelled examples from the decision log: what was served, joined with what the customer did.

A row is one option that was seen: it has an impression, and its attribution window is over. It is positive when an
accept or convert came within the window after the first impression. Options never shown teach nothing about liking,
and options whose window is still open are left out whether or not they were accepted already, because taking only the
early acceptances would count the quick ones twice as often as the slow.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from decision_engine.features.definitions import Value
from decision_engine.outcomes import Outcome

LABEL = "accept or convert after an impression"
_POSITIVE = frozenset({Outcome.ACCEPT, Outcome.CONVERT})


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFacts:
    """What the catalogue says of an offer, as scorers see it; `attributes` are its numeric ones. `newcomers` names the
    model that scores the offer for customers who hold none of the `group_products`; facts `of_newcomers` are that
    model's own."""

    offer: str
    group: str
    issue: str
    model: str
    value: float
    base_rate: float
    attributes: Mapping[str, float] = field(default_factory=dict)
    newcomers: str | None = None
    group_products: tuple[str, ...] = ()
    of_newcomers: bool = False

    def concerns(self, holdings: Collection[str]) -> bool:
        """Whether the model these facts are for has a say about who holds these products."""
        return not self.of_newcomers or not any(product in holdings for product in self.group_products)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOption:
    """An option of a decision. `selection_probability` is the chance exploration gave it its rank."""

    tracking_id: str
    placement: str
    rank: int
    offer: str
    treatment: str
    mandatory: bool = False
    propensity: float | None = None
    selection_probability: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedCandidate:
    """A scored candidate of a placement: its priority is `propensity * boost - cost`. `selection_probability` is the
    chance to stand where it stood; of one not offered, to stand at any of the places asked for."""

    placement: str
    offer: str
    treatment: str
    propensity: float
    boost: float
    cost: float = 0.0
    selection_probability: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedDecision:
    """A decision as recorded: attributes and context are those that were served."""

    decision_id: str
    customer_id: str
    decided_ms: int
    channel: str
    arm: str
    personalised: bool
    models: Mapping[str, str]
    attributes: Mapping[str, Value]
    context: Mapping[str, Value]
    options: tuple[LoggedOption, ...]
    candidates: tuple[LoggedCandidate, ...] = ()
    experiments: Mapping[str, str] = field(default_factory=dict)
    """The arm in each experiment beside the standing one, whose arm is `arm`."""
    holdings: frozenset[str] = frozenset()
    """The products the customer held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedResponse:
    """An outcome of a tracked option."""

    response_id: str
    tracking_id: str
    decision_id: str
    outcome: Outcome
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One labelled row before it becomes numbers."""

    decision: LoggedDecision
    offer: OfferFacts
    accepted: bool
    delay_ms: int | None = None
    """From the first impression to the acceptance that counts; None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionRule:
    """How long after the first impression an acceptance counts, and up to when the log is complete."""

    window_ms: int
    log_end_ms: int


@dataclass(slots=True)
class _Contact:
    first_impression_ms: int | None = None
    positive_ms: list[int] = field(default_factory=list)

    def add(self, outcome: Outcome, at_ms: int) -> None:
        """Counts one response."""
        if outcome is Outcome.IMPRESSION:
            first = self.first_impression_ms
            self.first_impression_ms = at_ms if first is None else min(first, at_ms)
        elif outcome in _POSITIVE:
            self.positive_ms.append(at_ms)

    def delay_ms(self) -> int | None:
        """From the first impression to the first acceptance after it; None without either."""
        seen = self.first_impression_ms
        if seen is None:
            return None
        return min((moment - seen for moment in self.positive_ms if moment >= seen), default=None)


def join_examples(
    decisions: Iterable[LoggedDecision],
    responses: Iterable[LoggedResponse],
    offers: Mapping[str, OfferFacts],
    rule: AttributionRule,
) -> list[Example]:
    """The labelled rows of all options of these offers, in order of decision time and id.

    Decisions made without personalisation are left out: who declined it is not to be learnt from.

    Responses may be repeated and in any order; repeated decisions count once.
    """
    contacts = _contacts(responses)
    rows: dict[str, Example] = {}
    for decision in decisions:
        for option in decision.options if decision.personalised else ():
            facts, contact = offers.get(option.offer), contacts.get(option.tracking_id)
            accepted = None if contact is None else _label(contact, rule)
            if facts is not None and contact is not None and accepted is not None:
                delay = contact.delay_ms() if accepted else None
                rows[option.tracking_id] = Example(decision=decision, offer=facts, accepted=accepted, delay_ms=delay)
    ordered = sorted(rows.items(), key=lambda row: (row[1].decision.decided_ms, row[0]))
    return [example for _, example in ordered]


def accepted_within(responses: Iterable[LoggedResponse], rule: AttributionRule) -> dict[str, bool]:
    """For every tracking id with a closed window after an impression, whether it was accepted."""
    labels = {tracking_id: _label(contact, rule) for tracking_id, contact in _contacts(responses).items()}
    return {tracking_id: label for tracking_id, label in labels.items() if label is not None}


def _contacts(responses: Iterable[LoggedResponse]) -> dict[str, _Contact]:
    """By tracking id. A response recorded more than once counts once, at its earliest: a repeat that brought no time of
    its own was given the moment it came."""
    earliest: dict[tuple[str, str], tuple[int, Outcome]] = {}
    for response in responses:
        name, said = (response.tracking_id, response.response_id), (response.at_ms, response.outcome)
        earliest[name] = min(said, earliest.get(name, said))
    contacts: dict[str, _Contact] = {}
    for (tracking_id, _), (at_ms, outcome) in earliest.items():
        contacts.setdefault(tracking_id, _Contact()).add(outcome, at_ms)
    return contacts


def _label(contact: _Contact, rule: AttributionRule) -> bool | None:
    seen = contact.first_impression_ms
    if seen is None or seen + rule.window_ms > rule.log_end_ms:
        return None
    return any(seen <= moment < seen + rule.window_ms for moment in contact.positive_ms)
