"""Reads the contact policy: caps, cool-downs, suppressions, and when channels keep quiet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.contact_ledger import ContactClock, Direction, Scope
from decision_engine.outcomes import ContactStatus, Outcome
from decision_engine.strategy import ContactLimit, ContactWindow, QuietTime, RelatedContacts
from decision_engine.strategy_loading.quiet_times import read_applies_to, read_channels, read_quiet_times
from decision_engine.strategy_loading.section import CODE, Section, distinct, suggestion
from decision_engine.strategy_loading.windows import contact_window, minimum_distance

DEFAULT_RESERVATION_SECONDS = 600
MOST_CONTACTS = 200
"""What a limit may count at the most: a ledger holds 256 contacts, and beyond that it can only refuse."""
_SCOPES = {scope.name.lower(): scope for scope in Scope}
_RELATED = {"offer": Scope.OFFER, "group": Scope.GROUP}
_DIRECTIONS = {"inbound": Direction.INBOUND, "outbound": Direction.OUTBOUND}
_ANY_CONTACT = int(ContactStatus.RESERVED | ContactStatus.ANY_RESPONSE)
_ANSWERS = int(ContactStatus.ANY_RESPONSE & ~ContactStatus.IMPRESSION)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPolicy:
    """How long a reservation holds, the limits in the order they are tried, the channels in which the bank comes to
    the customer, and when channels keep quiet."""

    reservation_seconds: int
    limits: tuple[ContactLimit, ...]
    outbound_channels: tuple[str, ...] = ()
    quiet_times: tuple[QuietTime, ...] = ()


def read_contact_policy(
    root: Section, locales: Sequence[str], names: Mapping[Scope, Sequence[str]]
) -> ContactPolicy:  # fmt: skip
    """`names` holds, by scope, what a limit may be narrowed to."""
    section = root.section("contact_policy")
    if section is None:
        return ContactPolicy(reservation_seconds=DEFAULT_RESERVATION_SECONDS, limits=())
    seconds = section.integer("reservation_seconds", DEFAULT_RESERVATION_SECONDS, least=1, most=7 * 86_400)
    sections = section.sections("limits")
    limits = tuple(_limit(limit, locales, names) for limit in sections)
    distinct(sections, [limit.id for limit in limits], "id")
    outbound = read_channels(section, "outbound", names[Scope.CHANNEL])
    quiet_times = read_quiet_times(section, names[Scope.CHANNEL])
    section.finish()
    return ContactPolicy(
        reservation_seconds=seconds,
        limits=limits,
        outbound_channels=tuple(sorted(outbound)),
        quiet_times=quiet_times,
    )


def _limit(section: Section, locales: Sequence[str], names: Mapping[Scope, Sequence[str]]) -> ContactLimit:
    scope = _SCOPES.get(section.choice("scope", tuple(_SCOPES)), Scope.ALL)
    unanswered = section.flag("without_response", default=False)
    statuses = _statuses(section, unanswered=unanswered)
    by_outcome = statuses != _ANY_CONTACT and not statuses & ContactStatus.IMPRESSION
    window, most = _measure(section)
    limit = ContactLimit(
        id=section.name("id"),
        scope=scope,
        of=_of(section, scope, names),
        statuses=statuses,
        # An impression is the contact itself; every other outcome comes later and is what the window counts from.
        clock=ContactClock.OUTCOME if by_outcome else ContactClock.CONTACT,
        window=window,
        limit=most,
        code=section.name("code", CODE),
        text=section.local_text("text", locales),
        without=_ANSWERS if unanswered else 0,
        direction=_DIRECTIONS.get(section.choice("direction", tuple(_DIRECTIONS), "any"), Direction.ANY),
        related=_related(section, scope, names),
        applies_to=read_applies_to(section),
    )
    section.finish()
    return limit


def _measure(section: Section) -> tuple[ContactWindow, int]:
    """The window and the limit; a minimum distance is a limit of one contact in a window with an open start."""
    if section.has("min_distance"):
        for key in ("window", "limit", "on", "without_response"):
            if section.has(key):
                section.problem(f"a minimum distance is since the last contact; leave `{key}` out", key)
        return minimum_distance(section), 1
    return contact_window(section), section.integer("limit", least=1, most=MOST_CONTACTS)


def _of(section: Section, scope: Scope, names: Mapping[Scope, Sequence[str]]) -> str | None:
    of = section.optional_text("of")
    if of is None:
        return None
    if scope is Scope.ALL:
        section.problem("scope all has no parts; leave `of` out", "of")
    elif of not in names[scope]:
        section.problem(f"unknown {scope.name.lower()} {of}{suggestion(of, names[scope])}", "of")
    return of


def _related(section: Section, scope: Scope, names: Mapping[Scope, Sequence[str]]) -> RelatedContacts | None:
    """The offer or group whose contacts are counted in place of those of the scope."""
    related = section.section("related")
    if related is None:
        return None
    if scope is not Scope.ALL and not section.has("of"):
        section.problem("says what is counted; say with `of` what is held back, or use scope all", "related")
    given = [kind for kind in _RELATED if related.has(kind)]
    found = [RelatedContacts(scope=_RELATED[kind], name=related.text(kind)) for kind in given]
    related.finish()
    if len(found) != 1:
        section.problem("must be {offer: …} or {group: …}", "related")
        return None
    known = names[found[0].scope]
    if found[0].name and found[0].name not in known:
        related.problem(f"unknown {given[0]} {found[0].name}{suggestion(found[0].name, known)}", given[0])
    return found[0]


def _statuses(section: Section, *, unanswered: bool) -> int:
    """The outcomes that count; by default any contact, reserved or responded to, and where only those without a
    response count, impressions."""
    if unanswered:
        if section.has("on"):
            section.problem("what has no response has only been shown; leave `on` out", "on")
        return int(ContactStatus.IMPRESSION)
    outcomes = tuple(Outcome)
    named = section.texts("on")
    if section.has("on") and not named:
        section.problem("needs at least one outcome; leave it out to count every contact", "on")
    statuses = 0
    for name in named:
        if name not in outcomes:
            section.problem(f"{name!r} is none of {', '.join(outcomes)}{suggestion(name, outcomes)}", "on")
        else:
            statuses |= ContactStatus[name.upper()]
    return statuses or _ANY_CONTACT
