"""Reads the contact policy: caps, cool-downs, suppressions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.contact_ledger import ContactClock, Scope
from decision_engine.outcomes import ContactStatus, Outcome
from decision_engine.strategy import ContactLimit
from decision_engine.strategy_loading.section import CODE, Section, distinct, suggestion
from decision_engine.strategy_loading.windows import contact_window

DEFAULT_RESERVATION_SECONDS = 600
_SCOPES = {scope.name.lower(): scope for scope in Scope}
_ANY_CONTACT = int(ContactStatus.RESERVED | ContactStatus.ANY_RESPONSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPolicy:
    """How long a reservation holds, and the limits in the order they are tried."""

    reservation_seconds: int
    limits: tuple[ContactLimit, ...]


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
    section.finish()
    return ContactPolicy(reservation_seconds=seconds, limits=limits)


def _limit(section: Section, locales: Sequence[str], names: Mapping[Scope, Sequence[str]]) -> ContactLimit:
    scope = _SCOPES.get(section.choice("scope", tuple(_SCOPES)), Scope.ALL)
    statuses = _statuses(section)
    by_outcome = statuses != _ANY_CONTACT and not statuses & ContactStatus.IMPRESSION
    limit = ContactLimit(
        id=section.name("id"),
        scope=scope,
        of=_of(section, scope, names),
        statuses=statuses,
        # An impression is the contact itself; every other outcome comes later and is what the window counts from.
        clock=ContactClock.OUTCOME if by_outcome else ContactClock.CONTACT,
        window=contact_window(section),
        limit=section.integer("limit", least=1, most=1_000),
        code=section.name("code", CODE),
        text=section.local_text("text", locales),
    )
    section.finish()
    return limit


def _of(section: Section, scope: Scope, names: Mapping[Scope, Sequence[str]]) -> str | None:
    of = section.optional_text("of")
    if of is None:
        return None
    if scope is Scope.ALL:
        section.problem("scope all has no parts; leave `of` out", "of")
    elif of not in names[scope]:
        section.problem(f"unknown {scope.name.lower()} {of}{suggestion(of, names[scope])}", "of")
    return of


def _statuses(section: Section) -> int:
    """The outcomes that count; by default any contact, reserved or responded to."""
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
