"""The audit record is written unchecked on the hot path, so here it is held to the published schema, field by field."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

from event_schemas.codec import MAX_RECORD_BYTES, decode
from services.use_cases.decision_answer import word
from services.use_cases.decision_record import DecisionInputs, encode_record

Make = Callable[..., Any]


def names_in(value: Any, path: str = "") -> set[str]:
    """The paths of all fields that are not null, lists looked into."""
    if isinstance(value, Mapping):
        return {
            found for name, inner in value.items() if inner is not None for found in names_in(inner, f"{path}.{name}")
        }
    if isinstance(value, list | tuple):
        return {path}.union(*(names_in(inner, f"{path}[]") for inner in value))
    return {path}


@pytest.mark.parametrize("placement", ["home_banner", "wealth_page_tile", "outbound_message"])
def test_every_field_of_a_record_is_in_the_schema(
    customer: Make, creditworthy: Mapping[str, Any], placement: str
) -> None:
    person = customer(**creditworthy, segment="affluent", aum=30_000_000, risk_level=3)
    person.posts("credit", "transfer_in", 9_000_000, days_ago=3, balance_after=25_000_000)
    person.consents("marketing", granted=True)
    person.holds("current_account")
    request, decision = person.asks_in_full(placement, 3, page="wealth")
    inputs = DecisionInputs(
        client="mobile-bank",
        request_id="q-1",
        request=request,
        ledger=b"\x00" * 64,
        feature_layout="0" * 16,
        took_ms=1.9,
    )
    record = encode_record(decision, inputs, word(person.prepared.strategy))
    assert len(record) < MAX_RECORD_BYTES // 4
    event = decode(record)
    written = orjson.loads(record)["data"]
    understood = event.data.model_dump(mode="json", exclude_unset=True)
    assert names_in(written) == names_in(understood)
    assert understood["attributes"] == written["attributes"]
