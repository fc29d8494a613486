"""What is remembered of one customer for attribution, and how facts change it.

Facts come from several topics in any order. Merging takes the first moment of each kind, so the order they arrive in
does not matter for what is attributed in the end; what was published before a fact came is published again, corrected.
Everything is bounded: the newest touches, conversions and unseen decisions are kept, by the times of the events.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from decision_engine.attribution import Attributed, AttributionTerms, Conversion, Touch, attribute
from decision_engine.outcomes import Outcome

MAX_TOUCHES = 64
"""More contacts than these before one conversion dilute credit to nothing."""
MAX_CONVERSIONS = 32
MAX_UNSEEN = 16
"""Decisions of which no option has been seen yet; without its decision a touch lacks the arm, no more."""
_ENGAGED = frozenset({Outcome.CLICK, Outcome.ACCEPT})


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedOption:
    """An option as a decision offered it."""

    tracking_id: str
    offer: str
    treatment: str
    placement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision was made, in an arm; its options may be seen, or not."""

    decision_id: str
    at_ms: int
    channel: str
    arm: str
    experiments: Mapping[str, str]
    options: tuple[DecidedOption, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A response to an option; `conversion` where the strategy takes it for one."""

    option: DecidedOption
    channel: str
    outcome: Outcome
    at_ms: int
    conversion: Conversion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """An event of the bank's own that the strategy takes for a conversion."""

    conversion: Conversion


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """The customer is to be forgotten, with everything up to that moment."""

    at_ms: int


Fact = Decided | Answered | Converted | Erased


@dataclass(frozen=True, slots=True)
class Published:
    """What was last said of a conversion: its revision, and a digest of the rest. Once `settled` nothing more is said,
    because what it was computed from is no longer all known."""

    revision: int
    digest: str
    settled: bool = False


@dataclass(slots=True, kw_only=True)
class AttributionMemory:
    """One customer's. Ids to what is known; `newest_ms` is the newest moment of any fact."""

    touches: dict[str, Touch] = field(default_factory=dict)
    unseen: dict[str, Decided] = field(default_factory=dict)
    conversions: dict[str, Conversion] = field(default_factory=dict)
    published: dict[str, Published] = field(default_factory=dict)
    newest_ms: int = 0
    erased_ms: int = 0


def conversion_id(customer_id: str, cause_type: str, cause_id: str) -> str:
    """The same for the same cause every time it is read."""
    return blake2b(f"{customer_id}\n{cause_type}\n{cause_id}".encode(), digest_size=16).hexdigest()


def moment_of(fact: Fact) -> int:
    """When it happened (epoch milliseconds)."""
    return fact.conversion.at_ms if isinstance(fact, Converted) else fact.at_ms


def remember(memory: AttributionMemory, facts: Iterable[Fact], terms: AttributionTerms) -> tuple[Attributed, ...]:
    """Takes the facts into the memory, in place; answers what is to be published now: conversions whose credits are
    new or have changed, with their revisions."""
    for fact in facts:
        _take(memory, fact, terms)
    found = attribute(memory.conversions.values(), tuple(memory.touches.values()), terms)
    settled_ms = memory.newest_ms - terms.late_ms
    still_open = [one for one in found if one.conversion.at_ms >= settled_ms and not _is_settled(memory, one)]
    news = tuple(news for one in still_open if (news := _news(memory, one)) is not None)
    _forget_old(memory, terms, still_open)
    return news


def _is_settled(memory: AttributionMemory, found: Attributed) -> bool:
    before = memory.published.get(found.conversion.id)
    return before is not None and before.settled


def _news(memory: AttributionMemory, found: Attributed) -> Attributed | None:
    """The conversion as it is to be published, noted as such; None where nothing is new about it."""
    before, digest = memory.published.get(found.conversion.id), _digest(found)
    if (before is None and not found.credits) or (before is not None and before.digest == digest):
        return None
    revision = found.revision if before is None else max(found.revision, before.revision + 1)
    memory.published[found.conversion.id] = Published(revision, digest)
    return replace(found, revision=revision)


def _take(memory: AttributionMemory, fact: Fact, terms: AttributionTerms) -> None:
    if isinstance(fact, Erased):
        _erase(memory, fact.at_ms)
        return
    at_ms = moment_of(fact)
    if at_ms <= memory.erased_ms:
        return
    memory.newest_ms = max(memory.newest_ms, at_ms)
    if isinstance(fact, Converted):
        memory.conversions.setdefault(fact.conversion.id, fact.conversion)
    elif isinstance(fact, Decided):
        _decided(memory, fact, lead=fact.channel in terms.offered)
    else:
        _answered(memory, fact)


def _decided(memory: AttributionMemory, fact: Decided, *, lead: bool) -> None:
    if fact.decision_id in memory.unseen:
        return
    memory.unseen[fact.decision_id] = fact
    for option in fact.options:
        touch = memory.touches.get(option.tracking_id)
        if touch is None and lead:
            touch = _touch(option, fact.channel, fact, facts=1)
        elif touch is not None and touch.arm is None:
            # Where the two differ, the decision knows better than the answer what was offered, and where.
            known = _touch(option, fact.channel, fact, facts=touch.facts + 1)
            touch = replace(known, seen_ms=touch.seen_ms, engaged_ms=touch.engaged_ms)
        if touch is not None:
            memory.touches[option.tracking_id] = replace(touch, offered_ms=fact.at_ms) if lead else touch


def _answered(memory: AttributionMemory, fact: Answered) -> None:
    name = fact.option.tracking_id
    touch = memory.touches.get(name)
    if touch is None:
        decision = memory.unseen.get(name.rpartition(".")[0])
        decided = () if decision is None else decision.options
        option = next((option for option in decided if option.tracking_id == name), fact.option)
        touch = _touch(option, fact.channel, decision, facts=1 if decision is None else 2)
    else:
        touch = replace(touch, facts=touch.facts + 1)
    # Whatever the answer, who answers has seen it.
    touch = replace(touch, seen_ms=_first(touch.seen_ms, fact.at_ms))
    if fact.outcome in _ENGAGED:
        touch = replace(touch, engaged_ms=_first(touch.engaged_ms, fact.at_ms))
    memory.touches[name] = touch
    if fact.conversion is not None:
        memory.conversions.setdefault(fact.conversion.id, fact.conversion)


def _touch(option: DecidedOption, channel: str, decision: Decided | None, facts: int) -> Touch:
    return Touch(
        tracking_id=option.tracking_id,
        offer=option.offer,
        treatment=option.treatment,
        channel=channel if decision is None else decision.channel,
        placement=option.placement,
        arm=None if decision is None else decision.arm,
        experiments={} if decision is None else decision.experiments,
        facts=facts,
    )


def _first(known_ms: int | None, at_ms: int) -> int:
    return at_ms if known_ms is None else min(known_ms, at_ms)


def _erase(memory: AttributionMemory, at_ms: int) -> None:
    """Everything up to the moment goes; what belongs to a later relationship stays."""
    memory.erased_ms = max(memory.erased_ms, at_ms)
    memory.touches = {name: touch for name, touch in memory.touches.items() if touch.newest_ms > at_ms}
    memory.unseen = {name: decided for name, decided in memory.unseen.items() if decided.at_ms > at_ms}
    memory.conversions = {name: one for name, one in memory.conversions.items() if one.at_ms > at_ms}
    memory.published = {name: one for name, one in memory.published.items() if name in memory.conversions}


def _forget_old(memory: AttributionMemory, terms: AttributionTerms, still_open: Sequence[Attributed]) -> None:
    """What no conversion that is still open can use, and what is beyond the bounds."""
    known = memory.newest_ms - max(terms.late_ms, terms.once_ms)
    unusable = memory.newest_ms - terms.longest_ms - terms.late_ms
    _forget_touches(memory, unusable, still_open)
    conversions = [one for one in memory.conversions.values() if one.at_ms >= known]
    memory.conversions = {one.id: one for one in _newest(conversions, MAX_CONVERSIONS)}
    memory.published = {name: one for name, one in memory.published.items() if name in memory.conversions}
    unseen = sorted(memory.unseen.values(), key=lambda decided: (decided.at_ms, decided.decision_id))
    memory.unseen = {decided.decision_id: decided for decided in unseen[-MAX_UNSEEN:]}


def _forget_touches(memory: AttributionMemory, unusable_ms: int, still_open: Sequence[Attributed]) -> None:
    """Touches that were credited go last. When one must go after all, its conversions stay as they were published:
    less knowledge is no correction."""
    kept = [touch for touch in memory.touches.values() if touch.newest_ms >= unusable_ms]
    credited = {credit.touch.tracking_id for found in still_open for credit in found.credits}
    if len(kept) > MAX_TOUCHES:
        kept.sort(key=lambda t: (t.tracking_id in credited, t.engaged_ms is not None, t.newest_ms, t.tracking_id))
        kept = kept[-MAX_TOUCHES:]
    memory.touches = {touch.tracking_id: touch for touch in kept}
    for found in still_open:
        before = memory.published.get(found.conversion.id)
        if before is not None and any(credit.touch.tracking_id not in memory.touches for credit in found.credits):
            memory.published[found.conversion.id] = replace(before, settled=True)


def _newest(conversions: Sequence[Conversion], most: int) -> Sequence[Conversion]:
    return sorted(conversions, key=lambda one: (one.at_ms, one.id))[-most:]


def _digest(found: Attributed) -> str:
    said = [
        found.superseded_by or "",
        *(
            f"{credit.touch.tracking_id} {credit.kind} {credit.at_ms} {credit.last_touch} {credit.shared}"
            f" {credit.touch.arm}"
            for credit in found.credits
        ),
    ]
    return blake2b("\n".join(said).encode(), digest_size=8).hexdigest()
