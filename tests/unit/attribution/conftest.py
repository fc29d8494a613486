"""Builders of touches, conversions and terms."""

from collections.abc import Callable
from typing import Any

import pytest

from decision_engine.attribution import AttributionTerms, Conversion, ConversionRule, SharedModel, Touch
from decision_engine.outcomes import Outcome

DAY = 86_400_000


@pytest.fixture
def make_terms() -> Callable[..., AttributionTerms]:
    def make(**overrides: Any) -> AttributionTerms:
        defaults: dict[str, Any] = {
            "window_ms": 30 * DAY,
            "click_window_ms": 60 * DAY,
            "offered": ("manager",),
            "conversions": (ConversionRule(outcome=Outcome.CONVERT),),
            "shared": SharedModel.LINEAR,
            "half_life_ms": 7 * DAY,
            "once_ms": 30 * DAY,
            "late_ms": 7 * DAY,
        }
        return AttributionTerms(**(defaults | overrides))

    return make


@pytest.fixture
def make_touch() -> Callable[..., Touch]:
    def make(number: int, **overrides: Any) -> Touch:
        defaults: dict[str, Any] = {
            "tracking_id": f"D{number}.0",
            "offer": "gold_card",
            "treatment": "gold_card.mobile.main",
            "channel": "mobile",
            "placement": "home_banner",
        }
        return Touch(**(defaults | overrides))

    return make


@pytest.fixture
def make_conversion() -> Callable[..., Conversion]:
    def make(name: str, at_ms: int, **overrides: Any) -> Conversion:
        defaults: dict[str, Any] = {
            "id": name,
            "at_ms": at_ms,
            "offers": ("gold_card",),
            "cause_type": "bank.product.opened",
            "cause_id": f"core/{name}",
        }
        return Conversion(**(defaults | overrides))

    return make
