"""Which act is allowed when: the state machine of strategy versions. Writers ask it before they act, and readers again
before they take an act, so that an act against the rules has no effect whoever wrote it.

draft -> submitted -> approved (by another person) -> canary -> active -> retired; submitted -> declined.
"""

from event_schemas.control import (
    ChainedAct,
    DataExport,
    KillSwitch,
    StrategyAct,
    StrategyActivated,
    StrategyApproved,
    StrategyDeclined,
    StrategyRetired,
    StrategyRolledBack,
    StrategySimulation,
    StrategySubmitted,
)
from services.use_cases.governance.chain import ChainedEvent
from services.use_cases.governance.state import GovernanceState, Status, StrategyRecord
from services.use_cases.persons import person, same_person

_OPEN = (Status.SUBMITTED, Status.APPROVED, Status.CANARY, Status.ACTIVE)
_RETIRABLE = (Status.SUBMITTED, Status.APPROVED, Status.CANARY)
_ACTIVATABLE = (Status.APPROVED, Status.CANARY)


def refusal(state: GovernanceState, event: ChainedEvent) -> str | None:
    """Why the act is against the rules, naming act, version and reason; None when it is allowed."""
    data = event.data
    if not person(_actor(data)):
        return f"{_act(event)}: nobody is named who does this"
    if isinstance(data, KillSwitch):
        return _kill_switch(state, data)
    if isinstance(data, StrategySimulation | DataExport):
        return None
    why = _strategy(state, event, data)
    return None if why is None else f"{_act(event)} {data.version}: {why}"


def approver_refusal(record: StrategyRecord, actor: str) -> str | None:
    """Why this person may not approve the version; None when they may."""
    if record.submitted_by is not None and same_person(actor, record.submitted_by):
        return f"{actor} submitted it; another person has to approve it"
    if any(same_person(actor, editor) for editor in record.edited_by):
        return f"{actor} worked on it; another person has to approve it"
    return None


def _actor(data: ChainedAct) -> str:
    return data.actor if isinstance(data, StrategyAct | StrategySimulation | KillSwitch | DataExport) else ""


def _act(event: ChainedEvent) -> str:
    return _WORDS[event.type.rpartition(".")[2]]


_WORDS = {
    "submitted": "submit",
    "simulated": "record a simulation of",
    "approved": "approve",
    "declined": "decline",
    "activated": "activate",
    "rolled_back": "roll back to",
    "retired": "retire",
    "set": "kill switch",
    "exported": "record an export",
}


def _kill_switch(state: GovernanceState, switch: KillSwitch) -> str | None:
    known = state.kill_switches.get((switch.kind, switch.name))
    if not switch.engaged and (known is None or not known.engaged):
        return f"release {switch.kind} {switch.name}: it is not stopped"
    return None


def _strategy(state: GovernanceState, event: ChainedEvent, act: StrategyAct) -> str | None:
    record = state.versions.get(act.version)
    if isinstance(event, StrategySubmitted):
        return _submission(state, record, act)
    if isinstance(event, StrategyApproved):
        return _approval(record, act)
    if isinstance(event, StrategyDeclined):
        return _of_status(record, (Status.SUBMITTED,), "only what waits for approval can be declined")
    if isinstance(event, StrategyRetired):
        return _of_status(
            record, _RETIRABLE, "only what is submitted, approved or a canary can be retired; an active version is "
            "replaced or rolled back"
        )  # fmt: skip
    if isinstance(event, StrategyActivated):
        return _activation(state, record, act)
    if isinstance(event, StrategyRolledBack):
        return _rollback(state, act)
    return None


def _submission(state: GovernanceState, record: StrategyRecord | None, act: StrategyAct) -> str | None:
    if not act.files:
        return "a submission brings the whole files"
    if record is not None and record.status in _OPEN:
        return f"it is {record.status} already; another version has another content"
    if _activated(state) == act.version:
        return "it is the active version: nothing differs"
    return None


def _approval(record: StrategyRecord | None, act: StrategyAct) -> str | None:
    why = _of_status(record, (Status.SUBMITTED,), "only what is submitted can be approved")
    return approver_refusal(record, act.actor) if why is None and record is not None else why


def _activation(state: GovernanceState, record: StrategyRecord | None, act: StrategyAct) -> str | None:
    share = None if act.share is None or act.share >= 1 else act.share
    if share is not None and state.canary is not None and state.canary.version != act.version:
        return f"{state.canary.version} is the canary; retire, activate or roll it back first"
    if share is not None and _activated(state) is None and act.previous_version is None:
        return "nothing decides for the other customers"
    if not state.governed:
        return None
    if share is None and _activated(state) == act.version:
        return "it is active already"
    return _of_status(record, _ACTIVATABLE, "only approved versions can be activated")


def _rollback(state: GovernanceState, act: StrategyAct) -> str | None:
    if not state.governed:
        return None
    if _activated(state) == act.version:
        return None if state.canary is not None else "it is active, and there is no canary to take back"
    if act.version not in state.decided:
        return "it never decided, so there is no way back to it"
    return None


def _activated(state: GovernanceState) -> str | None:
    """What an act of the chain made active. Acts of before the chain stand in other partitions, of which nobody can
    say when they are read: no rule may hang on them."""
    return state.activations[-1].version if state.activations else None


def _of_status(record: StrategyRecord | None, wanted: tuple[Status, ...], rule: str) -> str | None:
    if record is None:
        return f"no such version was submitted; {rule}"
    return None if record.status in wanted else f"it is {record.status}; {rule}"
