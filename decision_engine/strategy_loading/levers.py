"""Reads changes of levers and context weights that stand apart from the offers, usually in a file of their own, so
that business can turn them without touching an offer; each may hold for a time only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from decision_engine.offers import ContextWeight, Offer
from decision_engine.strategy import DatedLever
from decision_engine.strategy_loading.conditions import read_condition
from decision_engine.strategy_loading.moments import read_moment
from decision_engine.strategy_loading.rules import Language, read_lever
from decision_engine.strategy_loading.section import Section, suggestion

_SCOPES = ("offer", "group", "issue")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverNames:
    """What a change may be about, by scope, and the bank's time zone."""

    names: Mapping[str, Sequence[str]]
    time_zone: str


def lever_names(offers: Sequence[Offer], groups: Sequence[str], issues: Sequence[str], time_zone: str) -> LeverNames:
    """Collects the names."""
    names = {"offer": [offer.name for offer in offers], "group": groups, "issue": issues}
    return LeverNames(names=names, time_zone=time_zone)


def read_lever_changes(root: Section, offers: Sequence[Offer], known: LeverNames) -> tuple[DatedLever, ...]:
    """Reads `levers`: they add to those of issue, group and offer."""
    changes = []
    lowest = {offer.name: offer.lever for offer in offers}
    for section in root.sections("levers"):
        scope, name = _scope(section, known)
        since, until = _period(section, known)
        change = DatedLever(scope=scope, name=name, lever=read_lever(section), from_ms=since, until_ms=until)
        for offer in offers:
            if change.lever < 0 and change.concerns(offer):
                lowest[offer.name] += change.lever
                if lowest[offer.name] <= -100:
                    section.problem(f"with this the levers of {offer.name} may add up to {lowest[offer.name]:g}; "
                                    "they must stay above -100", "lever")  # fmt: skip
                    break
        section.finish()
        changes.append(change)
    return tuple(changes)


def with_added_weights(
    root: Section, offers: Sequence[Offer], language: Language, known: LeverNames
) -> tuple[Offer, ...]:
    """The offers with what `context_weights` adds to theirs."""
    added: dict[str, tuple[ContextWeight, ...]] = {}
    for section in root.sections("context_weights"):
        scope, name = _scope(section, known)
        since, until = _period(section, known)
        weight = ContextWeight(
            when=read_condition(section, "when", language.vocabulary),
            weight=read_lever(section, "weight"),
            from_ms=since,
            until_ms=until,
        )
        section.finish()
        concerned = DatedLever(scope=scope, name=name, lever=0.0)
        for offer in offers:
            if weight.when and concerned.concerns(offer):
                added[offer.name] = (*added.get(offer.name, ()), weight)
    return tuple(
        replace(offer, context_weights=offer.context_weights + added[offer.name]) if offer.name in added else offer
        for offer in offers
    )


def _scope(section: Section, known: LeverNames) -> tuple[str, str]:
    given = [scope for scope in _SCOPES if section.has(scope)]
    if len(given) != 1:
        section.problem("needs exactly one of offer, group, issue")
        return "offer", ""
    scope = given[0]
    name = section.text(scope)
    if name and name not in known.names[scope]:
        section.problem(f"unknown {scope} {name}{suggestion(name, known.names[scope])}", scope)
    return scope, name


def _period(section: Section, known: LeverNames) -> tuple[int | None, int | None]:
    since, until = read_moment(section, "from", known.time_zone), read_moment(section, "until", known.time_zone)
    if since is not None and until is not None and since >= until:
        section.problem("until must be later than from", "until")
    return since, until
