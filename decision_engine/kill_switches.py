"""Kill switches: what a person has stopped is not offered, whatever it is worth and whoever asks.

A request carries the switches that are engaged, as sorted texts `kind:name`, so that its record can be computed again.
What they mean for a strategy's offers is found out once for each set of switches and channel; a request with none costs
nothing. Mandatory and service offers are stopped like all others.
"""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from decision_engine.offers import Offer
from decision_engine.propensity import Scorers
from decision_engine.rejections import PASSED, EngineRejection, Falls

Switches = tuple[str, ...]
"""The engaged switches, each `kind:name`, ascending."""
_MOST_KNOWN = 64
"""Sets of switches remembered; they change by hand."""


class SwitchKind(StrEnum):
    """What can be stopped. A `strategy` is named by its name or by one version, a `model` by its name."""

    OFFER = "offer"
    GROUP = "group"
    CHANNEL = "channel"
    MODEL = "model"
    STRATEGY = "strategy"


@dataclass(frozen=True, slots=True)
class KillPlan:
    """A strategy's offers by what can stop them. `known` is a memory, filled on use."""

    offers: tuple[str, ...]
    groups: tuple[str, ...]
    strategy: frozenset[str]
    """The texts of the switches that stop the strategy."""
    known: MutableMapping[tuple[Switches, str], Falls]


def switch_text(kind: str, name: str) -> str:
    """A switch as requests and records carry it."""
    return f"{kind}:{name}"


def plan_switches(offers: Sequence[Offer], name: str, version: str) -> KillPlan:
    """Lines up what switches can name."""
    return KillPlan(
        tuple(switch_text(SwitchKind.OFFER, offer.name) for offer in offers),
        tuple(switch_text(SwitchKind.GROUP, offer.group) for offer in offers),
        frozenset(switch_text(SwitchKind.STRATEGY, named) for named in (name, version)),
        {},
    )


def screen_switches(plan: KillPlan, switches: Switches, channel: str) -> Falls | None:
    """Which offers are stopped in the channel, not to be written to; None where nothing is."""
    if not switches:
        return None
    falls = plan.known.get((switches, channel))
    if falls is None:
        engaged = set(switches)
        everything = stops_everything(plan, switches, channel)
        pairs = zip(plan.offers, plan.groups, strict=True)
        stopped = [everything or offer in engaged or group in engaged for offer, group in pairs]
        falls = np.where(stopped, np.int16(EngineRejection.KILL_SWITCH), np.int16(PASSED))
        falls.flags.writeable = False
        if len(plan.known) >= _MOST_KNOWN:
            plan.known.clear()
        plan.known[switches, channel] = falls
    return falls


def stops_everything(plan: KillPlan, switches: Switches, channel: str) -> bool:
    """Whether the strategy or the channel as a whole is stopped."""
    return bool(switches) and (
        switch_text(SwitchKind.CHANNEL, channel) in switches or not plan.strategy.isdisjoint(switches)
    )


def without_stopped(scorers: Scorers, switches: Switches) -> Scorers:
    """The models that are not stopped; one that is counts as not there."""
    stopped = [name for name in scorers if switch_text(SwitchKind.MODEL, name) in switches] if switches else ()
    return {name: scorer for name, scorer in scorers.items() if name not in stopped} if stopped else scorers


def stops_offer(switches: Switches, offer: str, group: str | None, channel: str | None) -> bool:
    """Whether an offer made earlier is stopped in a channel by now. Who does not know its group (None) takes it as
    stopped while any group is."""
    if not switches:
        return False
    if switch_text(SwitchKind.OFFER, offer) in switches:
        return True
    if channel is not None and switch_text(SwitchKind.CHANNEL, channel) in switches:
        return True
    if group is None:
        return any(switch.startswith(f"{SwitchKind.GROUP}:") for switch in switches)
    return switch_text(SwitchKind.GROUP, group) in switches


def stops_version(switches: Switches, version: str) -> bool:
    """Whether the strategy of that version (`<name>-<hash>`) is stopped, by version or by name."""
    names = (version, version.rpartition("-")[0])
    return any(switch_text(SwitchKind.STRATEGY, name) in switches for name in names)
