"""Reads how slates are filled: repeats, limits, bundles."""

from collections.abc import Sequence

from decision_engine.identifiers import OfferName
from decision_engine.offers import Offer
from decision_engine.strategy import Bundle, SlateRules
from decision_engine.strategy_loading.section import Section, suggestion

_MOST = 1000
_MOST_CHILDREN = 9


def read_slate(root: Section, offers: Sequence[Offer], groups: Sequence[str], channels: Sequence[str]) -> SlateRules:
    """Reads `slate`; without it placements are filled one after another and an offer stands once."""
    section = root.section("slate")
    if section is None:
        return SlateRules()
    assignment = section.choice("assignment", ("by_value", "in_order"), "by_value")
    repeats, group_repeats = _duplicates(section.section("duplicates"))
    limits = section.section("limits")
    rules = SlateRules(
        by_value=assignment != "in_order",
        offer_repeats=repeats,
        group_repeats=group_repeats,
        groups=_limits(limits, "groups", "group", groups),
        channels=_limits(limits, "channels", "channel", channels),
        bundles=_bundles(section, [offer.name for offer in offers]),
    )
    if limits is not None:
        limits.finish()
    section.finish()
    return rules


def _duplicates(section: Section | None) -> tuple[int, int | None]:
    if section is None:
        return 1, None
    repeats = section.integer("offer", 1, least=1, most=_MOST)
    group_repeats = section.integer("group", least=1, most=_MOST) if section.has("group") else None
    section.finish()
    return repeats, group_repeats


def _limits(section: Section | None, key: str, what: str, known: Sequence[str]) -> dict[str, int]:
    """`{name: most}`."""
    named = None if section is None else section.section(key)
    if named is None:
        return {}
    names = named.keys()
    for name in names:
        if name not in known:
            named.problem(f"unknown {what} {name}{suggestion(name, known)}", name)
    limits = {name: named.integer(name, least=0, most=_MOST) for name in names}
    named.finish()
    return limits


def _bundles(section: Section, offers: Sequence[str]) -> tuple[Bundle, ...]:
    """An offer is in one bundle at most, so that nothing hangs on anything twice."""
    bundles = []
    seen: set[str] = set()
    for item in section.sections("bundles"):
        parent, children = item.text("parent"), item.texts("children")
        if not children and item.require("children") is not None:
            item.problem("needs at least one child", "children")
        if len(children) > _MOST_CHILDREN:
            item.problem(f"at most {_MOST_CHILDREN} children", "children")
        for key, name in (("parent", parent), *(("children", child) for child in children)):
            if name and name not in offers:
                item.problem(f"unknown offer {name}{suggestion(name, offers)}", key)
            elif name in seen:
                item.problem(f"{name} is in a bundle already", key)
            seen.add(name)
        bundles.append(Bundle(parent=OfferName(parent), children=tuple(OfferName(child) for child in children)))
        item.finish()
    return tuple(bundles)
