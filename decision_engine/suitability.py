"""Suitability of investment products: the customer's assessed risk level must reach the product's.

Whatever is missing, implausible or out of date refuses every investment product.
"""

from dataclasses import dataclass
from math import isfinite

from decision_engine.calendar_windows import DAY_MS
from decision_engine.customer import CustomerSnapshot
from decision_engine.features.definitions import Value
from decision_engine.rejections import EngineRejection
from decision_engine.strategy import SuitabilityGate

RISK_LEVELS = (1, 2, 3, 4, 5)
"""C1 to C5 of a customer, R1 to R5 of a product."""
_CLASS_NAMES = {f"C{level}": level for level in RISK_LEVELS}


@dataclass(frozen=True, slots=True)
class SuitabilityStanding:
    """The risk level a customer may be offered now (0: none), and what is said of products above it."""

    level: int
    refusal: EngineRejection


def assess_suitability(gate: SuitabilityGate | None, snapshot: CustomerSnapshot, now_ms: int) -> SuitabilityStanding:
    """Reads level and assessment date. An assessment dated in the future counts as missing; one exactly
    `valid_days` old still holds."""
    if gate is None:
        return SuitabilityStanding(0, EngineRejection.SUITABILITY_MISSING)
    level = _risk_level(snapshot.attributes.get(gate.level_attribute))
    assessed_ms = _moment(snapshot.attributes.get(gate.assessed_attribute))
    if level is None or assessed_ms is None or assessed_ms > now_ms:
        return SuitabilityStanding(0, EngineRejection.SUITABILITY_MISSING)
    if now_ms - assessed_ms > gate.valid_days * DAY_MS:
        return SuitabilityStanding(0, EngineRejection.SUITABILITY_STALE)
    return SuitabilityStanding(level, EngineRejection.SUITABILITY_TOO_LOW)


def _risk_level(value: Value | None) -> int | None:
    """1 to 5 as a whole number or as `C1` to `C5`; anything else is no assessment."""
    if isinstance(value, str):
        return _CLASS_NAMES.get(value)
    if value is None or isinstance(value, bool) or value not in RISK_LEVELS:
        return None
    return int(value)


def _moment(value: Value | None) -> float | None:
    """Epoch milliseconds; text and truth values are no date, and neither is anything infinite."""
    if value is None or isinstance(value, bool | str):
        return None
    return None if isinstance(value, float) and not isfinite(value) else value
