"""Who is here now, for agents: customers who came into a branch, with or without an appointment, or who call."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.api.screens.formats import localized
from services.api.screens.inbox_board import Standing
from services.use_cases.leads.lead import APPOINTMENT, arrival_triggers, call_triggers
from services.use_cases.make_decision import Live

MOST_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalView:
    """An arrival: `kind` is `branch`, `appointment` or `call`, `channel` the one to serve the customer in, `by` who has
    taken the lead of it already."""

    customer_id: str
    kind: str
    channel: str
    title: str
    grade: str | None
    branch: str
    purpose: str
    at_ms: int
    by: str | None


def arrivals_of(
    open_leads: Sequence[Standing], live: Live, channels: Collection[str], locale: str
) -> tuple[ArrivalView, ...]:  # fmt: skip
    """Those of the open leads that say that a customer is here, in channels the agent works in, the newest first. A
    lead is open until it expires, is overtaken or closed, so whoever has left by then is not among them."""
    strategy = live.prepared.strategy
    came, called = arrival_triggers(strategy), call_triggers(strategy)
    titles = {trigger.name: trigger.title for trigger in strategy.triggers}
    found = []
    for standing in open_leads:
        lead = standing.lead
        channel = "branch" if lead.trigger in came else "contact_centre" if lead.trigger in called else ""
        if channel not in channels:
            continue
        arranged = lead.event.get("purpose") == APPOINTMENT
        found.append(
            ArrivalView(
                customer_id=lead.customer_id,
                kind="call" if channel == "contact_centre" else "appointment" if arranged else "branch",
                channel=channel,
                title=localized(titles.get(lead.trigger), locale, lead.title),
                grade=lead.grade,
                branch=str(lead.event.get("branch_id", "")),
                purpose="" if arranged else str(lead.event.get("purpose", "")),
                at_ms=lead.at_ms,
                by=None if standing.mark is None else standing.mark.by,
            )
        )
    return tuple(sorted(found, key=lambda view: -view.at_ms)[:MOST_SHOWN])
