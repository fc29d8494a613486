"""Reads the standing experiment, the holdouts of issues, and the strategy's own experiments."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.experiment import CONTROL_ARMS
from decision_engine.experiment_arms import TOLERANCE, equal_rooms
from decision_engine.experiment_layers import CONTROL
from decision_engine.identifiers import OfferName
from decision_engine.offers import Offer
from decision_engine.strategy import (
    DatedLever,
    Experiment,
    ExperimentLayer,
    Exploration,
    IssueHoldout,
    LayerArm,
    LeverChange,
)
from decision_engine.strategy_loading.explorations import read_scheme
from decision_engine.strategy_loading.section import Section, distinct, suggestion

SLUG = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""Names of experiments and arms stand in the decision record, which knows small letters only."""
ARMS = tuple(arm.value for arm in CONTROL_ARMS)
"""Control arms the standing experiment can have beside the full arbitration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What experiments refer to."""

    offers: tuple[Offer, ...]
    groups: tuple[str, ...]
    issues: tuple[str, ...]
    levers: tuple[DatedLever, ...] = ()
    """Changes of levers that stand apart from the offers."""

    def of(self, kind: str) -> Sequence[str]:
        """The names of one kind."""
        if kind == "offer":
            return [offer.name for offer in self.offers]
        return self.groups if kind == "group" else self.issues


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiments:
    """All experiments of a strategy beside the standing one."""

    holdouts: tuple[IssueHoldout, ...]
    layers: tuple[ExperimentLayer, ...]


def read_experiments(root: Section, standing: Experiment, names: Names) -> Experiments:
    """Reads `holdouts` and `experiments`, and checks that none can interfere with another or the standing one."""
    holdout_sections, layer_sections = root.sections("holdouts"), root.sections("experiments")
    holdouts = tuple(_holdout(section, names) for section in holdout_sections)
    layers = tuple(_layer(section, names) for section in layer_sections)
    sections = (*holdout_sections, *layer_sections)
    distinct(sections, [*(holdout.name for holdout in holdouts), *(layer.name for layer in layers)], "name")
    salts = [*(holdout.salt for holdout in holdouts), *(layer.salt for layer in layers)]
    distinct(sections, salts, "salt")
    for section, salt in zip(sections, salts, strict=True):
        if salt and salt == standing.salt:
            section.problem("is the salt of the standing experiment: the same customers would be in both", "salt")
    _check_exploration(layer_sections, layers)
    _check_levers(layer_sections, layers, names)
    return Experiments(holdouts=holdouts, layers=layers)


def read_standing(root: Section, strategy_name: str) -> Experiment:
    """Without one nobody is in a control arm; the salt then is the strategy's name."""
    section = root.section("experiment")
    if section is None:
        return Experiment(salt=strategy_name, shares={})
    salt = section.text("salt")
    shares, rooms = _shares(section, "shares"), _shares(section, "rooms")
    for arm in rooms:
        if shares.get(arm, 0.0) > rooms[arm] + TOLERANCE:
            section.problem(f"the share of {arm} is larger than its room", "shares")
    section.finish()
    return Experiment(salt=salt, shares=shares, rooms=rooms)


def _shares(section: Section, key: str) -> Mapping[str, float]:
    node = section.section(key)
    if node is None:
        return {}
    shares = {arm: node.number(arm, 0.0, least=0, most=1) for arm in ARMS}
    node.finish()
    _check_total(section, key, sum(shares.values()))
    return {arm: share for arm, share in shares.items() if share > 0}


def _check_total(section: Section, key: str, total: float) -> None:
    if total > 1 + TOLERANCE:
        section.problem(f"the {key} add up to {total:g}, at most 1 is possible", key)


def _holdout(section: Section, names: Names) -> IssueHoldout:
    issue = _known(section, "issue", names.of("issue"))
    holdout = IssueHoldout(
        name=section.name("name", SLUG) if section.has("name") else f"holdout_{issue}",
        issue=issue,
        share=section.number("share", least=0, most=1),
        salt=section.text("salt"),
    )
    section.finish()
    return holdout


def _layer(section: Section, names: Names) -> ExperimentLayer:
    name, salt = section.name("name", SLUG), section.text("salt")
    sections = section.sections("arms")
    if not sections:
        section.problem("needs at least one arm beside the control", "arms")
    read = [_arm(arm, names) for arm in sections]
    distinct(sections, [arm.name for arm, _ in read], "name")
    arms = _with_rooms(section, read)
    section.finish()
    return ExperimentLayer(name=name, salt=salt, arms=arms)


def _with_rooms(section: Section, read: Sequence[tuple[LayerArm, float | None]]) -> tuple[LayerArm, ...]:
    """The arms with their rooms, equal parts of what is left for those that say nothing."""
    given = {arm.name: room for arm, room in read if room is not None}
    _check_total(section, "arms", sum(arm.share for arm, _ in read))
    if sum(given.values()) > 1 + TOLERANCE:
        section.problem(f"the rooms add up to {sum(given.values()):g}, at most 1 is possible", "arms")
    rooms = equal_rooms([arm.name for arm, _ in read], given)
    return tuple(
        LayerArm(
            name=arm.name,
            share=arm.share,
            room=rooms[arm.name],
            levers=arm.levers,
            withhold=arm.withhold,
            exploration=arm.exploration,
        )
        for arm, _ in read
    )


def _arm(section: Section, names: Names) -> tuple[LayerArm, float | None]:
    name = section.name("name", SLUG)
    if name == CONTROL:
        section.problem(f"{CONTROL} is everyone who is in no other arm; name the others only", "name")
    share = section.number("share", least=0, most=1)
    room = None if section.get("room") is None else section.number("room", least=0, most=1)
    if room is not None and share > room:
        section.problem("the share is larger than the room", "share")
    levers = tuple(_lever(change, names) for change in section.sections("levers"))
    withhold = tuple(_offers(section, names))
    exploration = _exploration(section)
    if not levers and not withhold and exploration is None:
        section.problem("changes nothing; give it levers, withhold or exploration")
    section.finish()
    arm = LayerArm(name=name, share=share, room=0.0, levers=levers, withhold=withhold, exploration=exploration)
    return arm, room


def _lever(section: Section, names: Names) -> LeverChange:
    kinds = [kind for kind in ("issue", "group", "offer") if section.has(kind)]
    found = {kind: _known(section, kind, names.of(kind)) for kind in kinds}
    if len(found) > 1:
        section.problem("give one of issue, group and offer, or none for all offers")
    change = LeverChange(add=section.number("add", least=-10_000, most=10_000), **found)
    section.finish()
    return change


def _offers(section: Section, names: Names) -> Sequence[OfferName]:
    """The offers an arm withholds; mandatory and service messages are owed to everyone."""
    by_name = {offer.name: offer for offer in names.offers}
    found = []
    for text in section.texts("withhold"):
        offer = by_name.get(OfferName(text))
        if offer is None:
            section.problem(f"unknown offer {text}{suggestion(text, tuple(by_name))}", "withhold")
        elif offer.mandatory or offer.purpose != "marketing":
            section.problem(f"{text} is mandatory or a service message, which nobody may be denied", "withhold")
        else:
            found.append(offer.name)
    return found


def _exploration(section: Section) -> Exploration | None:
    node = section.section("exploration")
    return None if node is None else read_scheme(node)


def _known(section: Section, key: str, known: Sequence[str]) -> str:
    name = section.text(key)
    if name and name not in known:
        section.problem(f"unknown {key} {name}{suggestion(name, known)}", key)
    return name


def _check_exploration(sections: Sequence[Section], layers: Sequence[ExperimentLayer]) -> None:
    exploring = [
        (section, layer.name)
        for section, layer in zip(sections, layers, strict=True)
        if any(arm.exploration is not None for arm in layer.arms)
    ]
    for section, name in exploring[1:]:
        section.problem(f"only one experiment may change the exploration, and {exploring[0][1]} does; not {name}")


def _check_levers(sections: Sequence[Section], layers: Sequence[ExperimentLayer], names: Names) -> None:
    """In whatever arms a customer is and whatever changes hold, every lever stays above -100 percent."""
    for offer in names.offers:
        worst = offer.lever + sum(min(0.0, change.lever) for change in names.levers if change.concerns(offer))
        for section, layer in zip(sections, layers, strict=True):
            worst += min((0.0, *(arm.added(offer) for arm in layer.arms)))
            if worst <= -100:
                section.problem(f"the lever of {offer.name} could fall to {worst:g}; it must stay above -100")
                break
