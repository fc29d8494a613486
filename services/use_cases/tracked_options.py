"""What a later response needs to know of the options a decision offered."""

from decision_engine.contact_ledger import contact_flags
from decision_engine.decision import Decision
from services.ports import TrackedOption
from services.use_cases.decision_answer import Wording


def tracked_options(decision: Decision, channel: str, wording: Wording) -> list[TrackedOption]:
    """One for each option of the decision."""
    tracked = []
    for placement in decision.placements:
        for option in placement.options:
            offer, _ = wording.treatments[option.candidate.treatment]
            tracked.append(
                TrackedOption(
                    tracking_id=option.tracking_id,
                    decision_id=decision.decision_id,
                    customer_id=decision.customer_id,
                    offer=offer.name,
                    group=offer.group,
                    issue=offer.issue,
                    treatment=option.candidate.treatment,
                    channel=channel,
                    placement=placement.id,
                    decided_ms=decision.now_ms,
                    flags=contact_flags(mandatory=option.mandatory, outbound=channel in wording.outbound),
                )
            )
    return tracked
