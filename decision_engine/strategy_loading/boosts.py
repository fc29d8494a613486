"""Reads the boosts: what the outcomes of contacts add to context weights, and how fast it fades."""

from decision_engine.outcomes import ContactStatus, Outcome
from decision_engine.strategy import Boost
from decision_engine.strategy_loading.document import ScalarNode
from decision_engine.strategy_loading.section import Section, distinct, suggestion
from decision_engine.strategy_loading.windows import duration_seconds

_MOST_WEIGHT = 10_000


def read_boosts(root: Section) -> tuple[Boost, ...]:
    """The rules in the order they are written."""
    sections = root.sections("boosts")
    boosts = tuple(_boost(section) for section in sections)
    distinct(sections, [boost.id for boost in boosts], "id")
    return boosts


def _boost(section: Section) -> Boost:
    weight = section.number("weight", least=-_MOST_WEIGHT, most=_MOST_WEIGHT)
    most = section.number("most", abs(weight), least=0, most=_MOST_WEIGHT)
    if section.has("most") and most < abs(weight):
        section.problem(f"{most:g} is less than one boost gives, {abs(weight):g}", "most")
    if weight < 0 and most >= 100:
        section.problem("boosts against an offer must add up to less than 100 percent: say so with `most`", "most")
    boost = Boost(
        id=section.name("id"),
        after=_outcomes(section),
        of=section.choice("of", ("offer", "group"), "offer"),
        weight=weight,
        half_life_seconds=duration_seconds(section, "half_life") or 1,
        most=most,
    )
    section.finish()
    return boost


def _outcomes(section: Section) -> int:
    """One outcome, or a list of them of which any counts."""
    outcomes = tuple(Outcome)
    node = section.require("after")
    names = (section.text("after"),) if isinstance(node, ScalarNode) else section.texts("after")
    statuses = 0
    for name in names:
        if name in outcomes:
            statuses |= ContactStatus[name.upper()]
        elif name:
            section.problem(f"{name!r} is none of {', '.join(outcomes)}{suggestion(name, outcomes)}", "after")
    if node is not None and not names:
        section.problem("needs at least one outcome", "after")
    return int(statuses)
