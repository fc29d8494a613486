"""Governance as documents."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime

from event_schemas.envelope import epoch_ms
from services.use_cases.governance.simulations import SimulationJob
from services.use_cases.governance.state import (
    Decides,
    Draft,
    GovernanceState,
    HistoryEntry,
    KillSwitchState,
    Simulation,
    StrategyRecord,
)
from services.use_cases.wire_time import rfc3339

Document = dict[str, object]


def record_view(state: GovernanceState, record: StrategyRecord) -> Document:
    """A version, who did what with it, and its simulations; without its files."""
    view = _plain(record) | {"files": sorted(record.files)}
    canary = state.canary
    if canary is not None and canary.version == record.version:
        view["share"] = canary.share
    if state.scheduled is not None and state.scheduled.version == record.version:
        view["scheduled"] = decides_view(state.scheduled)
    view["simulations"] = [simulation_view(each) for each in state.simulations.get(record.version, ())]
    return view


def draft_view(draft: Draft) -> Document:
    """A draft without its texts."""
    return _plain(draft) | {"status": "draft", "changed": sorted(draft.changed)}


def simulation_view(simulation: Simulation) -> Document:
    """A recorded simulation."""
    return _plain(simulation)


def decides_view(decides: Decides | None) -> Document | None:
    """A version that decides."""
    return None if decides is None else _plain(decides)


def switch_view(switch: KillSwitchState) -> Document:
    """A kill switch."""
    return _plain(switch)


def history_view(entry: HistoryEntry) -> Document:
    """One line of the history."""
    return _plain(entry)


def job_view(job: SimulationJob) -> Document:
    """A simulation under way, or ended."""
    return _plain(job)


def _plain(value: object) -> Document:
    """The fields of a value; absent ones are left out, moments are RFC 3339."""
    if not is_dataclass(value):
        raise TypeError(type(value).__name__)
    named = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: _shown(part) for name, part in named.items() if part is not None}


def _shown(value: object) -> object:
    if isinstance(value, datetime):
        return rfc3339(epoch_ms(value))
    return dict(value) if isinstance(value, Mapping) else value
