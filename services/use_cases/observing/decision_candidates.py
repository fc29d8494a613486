"""The candidates of a decision as a list to filter, sort and leaf through."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from decision_engine.offers import Rule
from decision_engine.outcomes import Fate, Stage
from decision_engine.strategy import ContactLimit, QuietTime, Strategy, VolumeConstraint
from services.use_cases.observing.decision_view import CandidateView

PAGE = 50
"""Candidates a page."""
AS_ENDED = "ended"
"""The order in which they ended: what was offered, what was ranked lower, then stage by stage what was stopped."""
_FATES = {fate: place for place, fate in enumerate((Fate.OFFERED, Fate.RANKED_LOWER, Fate.REJECTED))}
_STAGES = {stage: place for place, stage in enumerate(Stage)}
NUMBERS: Mapping[str, Callable[[CandidateView], float | None]] = MappingProxyType(
    {
        "propensity": lambda one: one.propensity,
        "context_weight": lambda one: one.context_weight,
        "value": lambda one: one.value,
        "lever": lambda one: one.lever,
        "resource_cost": lambda one: one.resource_cost,
        "priority": lambda one: one.priority,
        "selection_probability": lambda one: one.selection_probability,
    }
)
"""The columns of numbers, which can be sorted by; `-` before the name is the largest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidatesWanted:
    """Which candidates; empty is all. `sort` is AS_ENDED, `offer`, or a column of numbers, with `-` for descending."""

    text: str = ""
    fate: str = ""
    stage: str = ""
    placement: str = ""
    sort: str = AS_ENDED
    page: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidatePage:
    """A page of the candidates wanted, `total` of them in all on `pages` pages."""

    rows: tuple[CandidateView, ...]
    total: int
    page: int
    pages: int


def candidate_page(
    candidates: Sequence[CandidateView], wanted: CandidatesWanted, text_of: Callable[[CandidateView], str]
) -> CandidatePage:
    """`text_of` is what the text is looked for in, and what `offer` sorts by."""
    sought = wanted.text.casefold().split()
    found = [
        one
        for one in candidates
        if (not wanted.fate or one.fate == wanted.fate)
        and (not wanted.stage or one.stage == wanted.stage)
        and (not wanted.placement or one.placement == wanted.placement)
        and (not sought or _has(text_of(one).casefold(), sought))
    ]
    pages = max(1, -(-len(found) // PAGE))
    page = min(max(1, wanted.page), pages)
    ordered = _sorted(found, wanted.sort, text_of)
    return CandidatePage(rows=tuple(ordered[(page - 1) * PAGE : page * PAGE]), total=len(found), page=page, pages=pages)


def _has(text: str, sought: Sequence[str]) -> bool:
    return all(word in text for word in sought)


def _sorted(found: Sequence[CandidateView], sort: str, text_of: Callable[[CandidateView], str]) -> list[CandidateView]:
    name = sort.removeprefix("-")
    if name == "offer":
        return sorted(found, key=lambda one: (text_of(one), one.number), reverse=sort.startswith("-"))
    number = NUMBERS.get(name)
    if number is None:
        return sorted(found, key=_as_ended)
    sign = -1 if sort.startswith("-") else 1
    # What has no number comes last, whichever way the others are sorted.
    return sorted(found, key=lambda one: ((n := number(one)) is None, sign * (n or 0.0), one.number))


def _as_ended(one: CandidateView) -> tuple[int, int, float, str, str]:
    stage = 0 if one.stage is None else -_STAGES[one.stage]  # those that came farthest first
    return _FATES[one.fate], stage, -(one.priority or 0.0), one.offer, one.treatment


@dataclass(frozen=True, slots=True)
class RuleFound:
    """What stopped a candidate, as its strategy declares it; all None where the engine itself did, or nobody knows."""

    condition: Rule | None = None
    limit: ContactLimit | None = None
    quiet: QuietTime | None = None
    volume: VolumeConstraint | None = None


def rule_found(strategy: Strategy, one: CandidateView) -> RuleFound:
    """The rule behind a rejection, by the stage and name the record has."""
    if one.stage in (Stage.ELIGIBILITY, Stage.APPLICABILITY, Stage.SUITABILITY):
        offer = next((offer for offer in strategy.offers if offer.name == one.offer), None)
        rules: Sequence[Rule] = () if offer is None else getattr(offer, one.stage.value)
        return RuleFound(condition=next((rule for rule in rules if rule.id == one.rule), None))
    if one.stage is Stage.CONTACT_POLICY:
        return RuleFound(
            limit=next((limit for limit in strategy.contact_limits if limit.id == one.rule), None),
            quiet=next((time for time in strategy.quiet_times if time.id == one.rule), None),
        )
    if one.stage is Stage.VOLUME:
        return RuleFound(volume=next((volume for volume in strategy.volumes if volume.id == one.rule), None))
    return RuleFound()
