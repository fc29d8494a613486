"""`kairos models propose | proposals | approve | decline | rollback`: who lets a version serve, and the way back."""

import argparse
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from event_schemas.codec import Event
from event_schemas.control import ModelPromoted, Promotion, Proposal
from models.evaluation.promotion_checks import (
    CHECKS_FILE,
    Assessment,
    asked_again,
    decode_assessment,
    figure_checks,
    recent_check,
)
from models.manifest import Manifest, content_hash
from models.registry import ModelRegistry
from services.commands.models_now import ModelsNow
from services.ports import ShellError
from services.use_cases.model_acts import Act, challenge_of, declination_of, promotion_of, proposal_of

ACTS = ("propose", "approve", "decline", "rollback")
ROLLBACK = "rollback"
"""The reason of a promotion that goes back; going back from it would serve again what was taken out."""


class ProposalUnknown(ShellError):
    """There is no such proposal to answer, or no version to go back to."""


class ProposalLapsed(ShellError):
    """Time has overtaken a proposal: what was found then no longer speaks for the version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What time may do to a proposal: it holds for so many days, and `replay` logs have no age."""

    proposal_days: int
    replay: bool = False

    def now_ms(self, at: datetime) -> int | None:
        """The moment rows' ages are taken at; None where they say nothing."""
        return None if self.replay else round(at.timestamp() * 1000)


def add_approval_acts(acts: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-commands and their arguments."""
    acts.add_parser("proposals", help="versions that passed their checks and wait for a second person")
    for name, text in (
        ("propose", "ask a second person to let a version serve"),
        ("approve", "put a proposed version in service, or give it a share first"),
        ("decline", "say no to a proposed version"),
    ):
        act = acts.add_parser(name, help=text)
        act.add_argument("version")
        act.add_argument("--actor", default=os.environ.get("USER", "operator"), help="who does this (default: you)")
        act.add_argument("--comment")
        if name == "approve":
            act.add_argument("--share", type=share_between, help="of the customers, above 0 and below 1 (default: all)")
    rollback = acts.add_parser("rollback", help="put back in service what served before")
    rollback.add_argument("name", help="the model's name")
    rollback.add_argument("--actor", default=os.environ.get("USER", "operator"), help="who does this (default: you)")
    rollback.add_argument("--approved-by", help="the second person; must not be the actor")


def proposal_lines(now: ModelsNow, at: datetime, terms: Terms) -> list[str]:
    """The open proposals with what was found of each; those that have lapsed are said to have."""
    if not now.proposals:
        return ["nothing waits for approval"]
    lines = []
    for version, proposal in sorted(now.proposals.items()):
        against = f", compared with {proposal.compared_with}" if proposal.compared_with else ""
        lapses = now.proposed_at[version] + timedelta(days=terms.proposal_days)
        until = f"{'lapsed' if at > lapses else 'holds until'} {lapses.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        lines += [f"{version} proposed by {proposal.actor} ({proposal.reason}{against}), {until}"]
        lines += [f"  {name}: {finding}" for name, finding in proposal.checks.items()]
    return lines


def recorded_problems(manifest: Manifest, registry: ModelRegistry, now_ms: int | None) -> tuple[str, ...]:
    """What the checks made at the fit found against the version, beside what its own figures say; those that time
    changes as they would be found at that moment (None: the log has no age)."""
    own = {check.name for check in figure_checks(manifest)}
    return tuple(p for p in _assessment(manifest, registry, now_ms).problems if p.split(":")[0] not in own)


def proposing(
    manifest: Manifest, registry: ModelRegistry, act: Act, comment: str | None, now_ms: int | None = None
) -> Event:
    """The proposal of a registered version, with the checks kept beside it, or those its manifest allows."""
    return proposal_of(manifest, _assessment(manifest, registry, now_ms), act, comment)


def approving(now: ModelsNow, manifest: Manifest, act: Act, share: float | None, terms: Terms) -> Event:
    """The act that a proposal asked for, done in its proposer's name. Raises ProposalUnknown, ProposalLapsed,
    ApprovalMissing."""
    proposal = _open_proposal(now, manifest.version)
    if proposal.checksum != content_hash(manifest):
        raise ProposalUnknown(f"{manifest.version} is not what was proposed: its manifest differs from the proposal's")
    _require_current(now.proposed_at[manifest.version], manifest, act.at, terms)
    done = replace(act, actor=proposal.actor, approved_by=act.actor)
    done.require_second_person()
    if share is not None:
        return challenge_of(manifest, done, share)
    return promotion_in_place_of(serving_version(now, manifest.name), manifest, done)


def declining(now: ModelsNow, version: str, act: Act, comment: str | None) -> Event:
    """The end of a proposal. Raises ProposalUnknown."""
    return declination_of(_open_proposal(now, version), act, comment)


def rolling_back(now: ModelsNow, name: str, registry: ModelRegistry, act: Act) -> tuple[Manifest, Event]:
    """The promotion of what served before. Raises ProposalUnknown, ApprovalMissing, RegistryError."""
    act.require_second_person()
    serving = now.roles.get(("champion", name))
    if not isinstance(serving, Promotion):
        raise ProposalUnknown(f"{name}: no version is in service")
    if serving.previous_version is None:
        raise ProposalUnknown(f"{name}: {serving.version} replaced nothing; `kairos models retire {name}` ends it")
    if serving.reason == ROLLBACK:
        left = f"{serving.version} serves since the rollback of {serving.previous_version}"
        raise ProposalUnknown(f"{name}: {left}; to serve another version promote it by its name")
    manifest = registry.verify(serving.previous_version)
    event = promotion_in_place_of(serving.version, manifest, act)
    return manifest, event.model_copy(update={"data": event.data.model_copy(update={"reason": ROLLBACK})})


def share_between(text: str) -> float:
    """A share above 0 and below 1, for argparse."""
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"a share above 0 and below 1 (is {text})")
    return share


def serving_version(now: ModelsNow, name: str) -> str | None:
    """What is in service under that name."""
    found = now.roles.get(("champion", name))
    return None if found is None else found.version


def promotion_in_place_of(before: str | None, manifest: Manifest, act: Act) -> ModelPromoted:
    """The promotion of a version that remembers what served before it."""
    return promotion_of(
        manifest,
        event_id=act.event_id,
        at=act.at,
        actor=act.actor,
        approved_by=act.approved_by,
        previous_version=None if before == manifest.version else before,
    )


def _open_proposal(now: ModelsNow, version: str) -> Proposal:
    proposal = now.proposals.get(version)
    if proposal is None:
        waiting = ", ".join(sorted(now.proposals)) or "none"
        raise ProposalUnknown(f"{version} is not proposed, or a later promotion ended its proposal; waiting: {waiting}")
    return proposal


def _require_current(proposed_at: datetime, manifest: Manifest, at: datetime, terms: Terms) -> None:
    """Asks again what time changes: how old the proposal is, and what the version learnt from."""
    propose = f"`kairos models propose {manifest.version}` asks anew, with the checks of today"
    age = at - proposed_at
    if age > timedelta(days=terms.proposal_days):
        raise ProposalLapsed(
            f"{manifest.version} was proposed {age / timedelta(days=1):.1f} days ago, and a proposal holds for "
            f"{terms.proposal_days} (KAIROS_PROPOSAL_DAYS); {propose}"
        )
    recent = recent_check(manifest, terms.now_ms(at))
    if recent.outcome == "failed":
        raise ProposalLapsed(f"{manifest.version}: {recent.name}: {recent.finding}; train a new version")


def _assessment(manifest: Manifest, registry: ModelRegistry, now_ms: int | None) -> Assessment:
    checks = registry.file(manifest.version, CHECKS_FILE)
    by_hand = Assessment(reason="person", checks=figure_checks(manifest))
    return asked_again(by_hand if checks is None else decode_assessment(checks), manifest, now_ms)
