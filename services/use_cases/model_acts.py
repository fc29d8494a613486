"""The control events of the life of a model version: put in service, given a share, put in the shadow, retired.

The control topic is compacted by subject. Each role of a model has a subject of its own, so that the newest act on one
does not wipe out that on another.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from event_schemas.control import (
    Challenge,
    Declination,
    ModelChallenged,
    ModelDeclined,
    ModelPromoted,
    ModelProposed,
    ModelRetired,
    ModelShadowed,
    Promotion,
    Proposal,
    Retirement,
    Shadowing,
)
from models.evaluation.promotion_checks import Assessment, findings
from models.manifest import Manifest, content_hash
from services.ports import ShellError
from services.use_cases.persons import person, same_person

Role = Literal["champion", "challenger", "shadow"]
_SOURCE = "kairos/models"


class ApprovalMissing(ShellError):
    """An act that changes what customers get has not been approved by a second person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What every such act has: its id, when it is done, by whom, and who approved it."""

    event_id: str
    at: datetime
    actor: str
    approved_by: str | None = None

    def require_second_person(self) -> None:
        """Raises ApprovalMissing when nobody approved, or only the actor."""
        if not person(self.approved_by or ""):
            raise ApprovalMissing("a second person has to approve this: name who did with --approved-by")
        if same_person(self.approved_by or "", self.actor):
            raise ApprovalMissing(f"{self.actor} cannot approve what {self.actor} does: another person has to")


def promotion_of(
    manifest: Manifest,
    *,
    event_id: str,
    at: datetime,
    actor: str,
    approved_by: str | None = None,
    previous_version: str | None = None,
) -> ModelPromoted:
    """The event that puts a registered version in service everywhere."""
    return ModelPromoted(
        id=event_id,
        source=_SOURCE,
        subject=subject_of(manifest.name),
        time=at,
        data=Promotion(
            name=manifest.name,
            version=manifest.version,
            path=manifest.version,
            checksum=content_hash(manifest),
            schema_hash=manifest.schema.hash,
            metrics={name: metric.value for name, metric in manifest.metrics.items() if np.isfinite(metric.value)},
            actor=actor,
            approved_by=approved_by,
            previous_version=previous_version,
            reason=manifest.reason,
        ),
    )


def proposal_of(manifest: Manifest, assessment: Assessment, act: Act, comment: str | None = None) -> ModelProposed:
    """The event that asks for approval of a registered version."""
    return ModelProposed(
        id=act.event_id,
        source=_SOURCE,
        subject=_proposal_subject(manifest.name),
        time=act.at,
        data=Proposal(
            name=manifest.name,
            version=manifest.version,
            checksum=content_hash(manifest),
            reason=assessment.reason,
            compared_with=assessment.champion,
            checks=dict(findings(assessment)),
            actor=act.actor,
            comment=comment,
        ),
    )


def declination_of(proposal: Proposal, act: Act, comment: str | None) -> ModelDeclined:
    """The event that ends a proposal; it replaces it on the compacted topic."""
    return ModelDeclined(
        id=act.event_id,
        source=_SOURCE,
        subject=_proposal_subject(proposal.name),
        time=act.at,
        data=Declination(name=proposal.name, version=proposal.version, actor=act.actor, comment=comment),
    )


def challenge_of(manifest: Manifest, act: Act, share: float) -> ModelChallenged:
    """The event that gives a registered version a share of the customers."""
    return ModelChallenged(
        id=act.event_id,
        source=_SOURCE,
        subject=subject_of(manifest.name, "challenger"),
        time=act.at,
        data=Challenge(
            name=manifest.name,
            version=manifest.version,
            path=manifest.version,
            checksum=content_hash(manifest),
            schema_hash=manifest.schema.hash,
            share=share,
            actor=act.actor,
            approved_by=act.approved_by,
        ),
    )


def shadowing_of(manifest: Manifest, act: Act, sample: float) -> ModelShadowed:
    """The event that has a registered version score without deciding."""
    return ModelShadowed(
        id=act.event_id,
        source=_SOURCE,
        subject=subject_of(manifest.name, "shadow"),
        time=act.at,
        data=Shadowing(
            name=manifest.name,
            version=manifest.version,
            path=manifest.version,
            checksum=content_hash(manifest),
            schema_hash=manifest.schema.hash,
            sample=sample,
            actor=act.actor,
        ),
    )


def retirement_of(
    name: str, *, event_id: str, at: datetime, actor: str, role: Role = "champion", comment: str | None = None
) -> ModelRetired:
    """The event that ends a role everywhere; it replaces the act before it on the compacted topic."""
    return ModelRetired(
        id=event_id,
        source=_SOURCE,
        subject=subject_of(name, role),
        time=at,
        data=Retirement(name=name, role=role, actor=actor, comment=comment),
    )


def subject_of(name: str, role: Role = "champion") -> str:
    """What the acts on one role of a model are about."""
    return f"model:{name}" if role == "champion" else f"model:{name}:{role}"


def _proposal_subject(name: str) -> str:
    return f"model:{name}:proposal"
