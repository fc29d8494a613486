"""One attribute of one customer: what it means, what it is now, and which events it comes from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from decision_engine.features.calendar_units import HOURS, MINUTE_MS, MINUTES, first_day
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.definitions import AttributeInfo, AttributeType, Value
from decision_engine.features.evidence import NOTHING_BEHIND, Evidence
from decision_engine.features.local_days import HOUR_MS
from decision_engine.features.provenance import AttributeUnknown, Provenance, day_begins, provenance
from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId
from services.ports import Clock, DecisionStore
from services.use_cases.linked_customers import with_linked
from services.use_cases.make_decision import Live
from services.use_cases.wire_time import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceView:
    """The attribute as of `time`. Times are RFC 3339 or None; what is not known is None.

    `newest_event_at` is exact where the state knows the newest event's time; where it knows only the minute, hour, day,
    week or month, it is when that began, and `newest_event_within` names the unit (m, h, d, w, mo).
    """

    customer_id: str
    time: str
    strategy_version: str
    name: str
    value: Value | None
    type: str
    theme: str
    description: Mapping[str, str]
    sensitive: bool
    default: Value | None
    definition: str
    source: str
    aggregate: str | None
    where: str | None
    field: str | None
    window: str | None
    window_from: str | None
    window_until: str | None
    rows: int
    """What the state keeps for it: day rows, values, accounts or moments."""
    events: int | None
    newest_event_at: str | None
    newest_event_within: str | None
    parts: tuple[str, ...]
    """The attributes a derived one is computed from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewAttribute:
    """Reads one attribute of one customer."""

    live: Callable[[], Live]
    store: DecisionStore
    clock: Clock

    async def __call__(self, customer_id: CustomerId, name: str) -> ProvenanceView:
        """The view; of an unknown customer without a value. Raises AttributeUnknown for a name the strategy does not
        declare, and StoreUnavailable."""
        live = self.live()
        reader = live.states or self.store
        info = live.prepared.strategy.dictionary.get(name)
        if info is None:
            raise AttributeUnknown(f"the strategy declares no attribute {name}")
        state = (await reader.read_for_decision(customer_id, None)).state
        now_ms = self.clock.now_ms()
        if name in live.features.infos:
            found = provenance(live.features, state, now_ms, name)
        else:
            snapshot = read_snapshot(live.features, state, now_ms)
            linked = await with_linked(live, reader, customer_id, snapshot, now_ms)
            found = _elsewhere(info, linked.attributes.get(name))
        return _view(live, customer_id, now_ms, found)


def _elsewhere(info: AttributeInfo, value: Value | None) -> Provenance:
    """What comes from the state of another subject."""
    return Provenance(
        info=info,
        value=value,
        aggregate=None,
        where=None,
        field=None,
        window=None,
        window_from_ms=None,
        window_until_ms=None,
        evidence=NOTHING_BEHIND,
        parts=(),
    )


def _view(live: Live, customer_id: CustomerId, now_ms: int, found: Provenance) -> ProvenanceView:
    info, evidence = found.info, found.evidence
    newest_ms = _newest_ms(live.features, evidence)
    return ProvenanceView(
        customer_id=customer_id,
        time=rfc3339(now_ms),
        strategy_version=live.prepared.strategy.version,
        name=info.name,
        value=_shown(found.value, info.type),
        type=info.type,
        theme=info.theme,
        description=info.description,
        sensitive=info.sensitive,
        default=info.default,
        definition=info.definition,
        source=info.source,
        aggregate=found.aggregate,
        where=found.where,
        field=found.field,
        window=found.window,
        window_from=_moment(found.window_from_ms),
        window_until=_moment(found.window_until_ms),
        rows=evidence.rows,
        events=evidence.events,
        newest_event_at=_moment(newest_ms),
        newest_event_within=evidence.bucket_unit,
        parts=found.parts,
    )


def _newest_ms(features: CompiledFeatures, evidence: Evidence) -> int | None:
    if evidence.newest_bucket is None or evidence.bucket_unit is None:
        return evidence.newest_ms
    unit, bucket = evidence.bucket_unit, evidence.newest_bucket
    if unit in (MINUTES, HOURS):
        return bucket * (MINUTE_MS if unit == MINUTES else HOUR_MS)
    return day_begins(features.day_of, first_day(unit, bucket))


def _moment(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else rfc3339(epoch_ms)


def _shown(value: Value | None, kind: AttributeType) -> Value | None:
    return rfc3339(int(value)) if value is not None and kind is AttributeType.TIMESTAMP else value
