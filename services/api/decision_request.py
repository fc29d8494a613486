"""From a checked body to a decision command: names and types are held against the live strategy."""

import re
from collections.abc import Mapping
from hashlib import blake2b

from decision_engine.decision import PlacementRequest
from decision_engine.engine import TRIGGER
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.identifiers import CustomerId, PlacementId
from decision_engine.strategy import Strategy
from services.api.authentication import Client
from services.api.errors import FORBIDDEN, INVALID, ApiError, FieldError
from services.api.schemas import DecisionBody
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.make_decision import Live
from services.use_cases.wire_time import epoch_ms

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def decision_command(
    body: DecisionBody, raw: bytes, client: Client, live: Live, default_timeout_ms: int, started_s: float
) -> DecisionCommand:
    """The command. Raises ApiError naming every field the strategy does not know, or when the channel is not the
    client's to speak for."""
    strategy = live.prepared.strategy
    errors = _placement_errors(body, strategy)
    context = _context(body, strategy, errors)
    if not client.speaks_for(body.channel):
        raise ApiError(FORBIDDEN, "The client does not speak for this channel.")
    if errors:
        raise ApiError(INVALID, "See errors.", errors)
    return DecisionCommand(
        client=client.name,
        request_id=body.request_id,
        body_hash=blake2b(raw, digest_size=16).digest() if body.request_id is not None else b"",
        customer_id=CustomerId(body.customer_id),
        channel=body.channel,
        placements=tuple([PlacementRequest(id=PlacementId(p.id), count=p.count) for p in body.placements]),
        locale=live.wording.locale(body.locale),
        context=context,
        allow_duplicates=body.allow_duplicates,
        dry_run=body.dry_run,
        timeout_ms=body.timeout_ms or default_timeout_ms,
        started_s=started_s,
    )


def _placement_errors(body: DecisionBody, strategy: Strategy) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, asked in enumerate(body.placements):
        placement = strategy.placements.get(PlacementId(asked.id))
        if placement is None or placement.channel != body.channel:
            if all(known.channel != body.channel for known in strategy.placements.values()):
                return [FieldError("channel", "unknown_channel", "The strategy has no placement in this channel")]
            message = "The strategy has no such placement in this channel"
            errors.append(FieldError(f"placements[{index}].id", "unknown_placement", message))
        elif asked.count > placement.max_count:
            message = f"At most {placement.max_count} options for this placement"
            errors.append(FieldError(f"placements[{index}].count", "too_many", message))
        if asked.id in seen:
            errors.append(FieldError(f"placements[{index}].id", "duplicate", "Each placement may be asked for once"))
        seen.add(asked.id)
    return errors


def _context(body: DecisionBody, strategy: Strategy, errors: list[FieldError]) -> Mapping[str, Value]:
    """The context with timestamps as epoch milliseconds; what is wrong with it is added to `errors`."""
    if not body.context:
        return body.context
    declared = {attribute.name: attribute.type for attribute in strategy.declarations.context}
    context: dict[str, Value] = {}
    for name, value in body.context.items():
        kind = declared.get(name)
        if kind is None:
            errors.append(FieldError(f"context.{name}", "unknown_field", "The strategy declares no such context"))
            continue
        carried = _carried(kind, value)
        if carried is None:
            errors.append(FieldError(f"context.{name}", "wrong_type", f"Must be of type {kind}"))
        elif name == TRIGGER and strategy.triggers and not any(each.name == carried for each in strategy.triggers):
            errors.append(FieldError(f"context.{name}", "unknown_trigger", "The strategy declares no such trigger"))
        else:
            context[name] = carried
    return context


def _carried(kind: AttributeType, value: Value) -> Value | None:
    """The value as conditions compare it, or None when it is of another type."""
    if kind is AttributeType.TIMESTAMP:
        return _timestamp(value)
    if kind is AttributeType.STRING:
        return value if isinstance(value, str) and not _CONTROL.search(value) else None
    if kind is AttributeType.BOOL:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool | str) or (kind is AttributeType.INT and not isinstance(value, int)):
        return None
    return value


def _timestamp(value: Value) -> int | None:
    if isinstance(value, str):
        try:
            return epoch_ms(value)
        except (ValueError, OverflowError):
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
