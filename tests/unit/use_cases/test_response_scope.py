"""Response ids are told apart by whose they are, wherever they are remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_schemas.codec import encode_trusted
from event_schemas.topics import RESPONSES
from services.ports import Delivery
from services.use_cases.contacts_in_log import ContactsInLog
from services.use_cases.event_batches import read_batch
from services.use_cases.response_scope import response_source, scoped_response_id

CLIENT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)
ID = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128)


@given(CLIENT, ID, CLIENT, ID)
def test_two_responses_share_a_name_only_if_client_and_id_are_the_same(a: str, b: str, c: str, d: str) -> None:
    one, other = scoped_response_id(response_source(a), b), scoped_response_id(response_source(c), d)
    assert (one == other) == ((a, b) == (c, d))


@given(CLIENT)
def test_a_source_fits_an_event_whatever_the_client_is_called(client: str) -> None:
    source = response_source(client)
    assert source.isascii()
    assert 1 <= len(source) <= 256


@pytest.mark.parametrize(("source", "expected"), [("kairos", "r1"), ("kairos/app", "app/r1"), ("other", "other/r1")])
def test_ledger_and_rebuild_read_the_same_name_from_an_event(source: str, expected: str) -> None:
    time = "2026-11-21T09:50:00Z"
    data = {
        "response_id": "r1", "tracking_id": "d.0", "decision_id": "d", "customer_id": "retail:1", "offer": "gold",
        "group": "cards", "issue": "grow", "treatment": "gold.mobile.main", "channel": "mobile",
        "placement": "banner", "outcome": "click", "time": time, "decided_at": time,
    }  # fmt: skip
    header = {"id": "r1", "source": source, "subject": "retail:1", "time": time}
    value = encode_trusted("nbo.response.recorded", header, data)
    delivery = Delivery(RESPONSES, 0, 0, b"retail:1", value, ())
    (response,) = read_batch([delivery], None).responses["retail:1"]
    assert response.response_id == expected
    found, _ = ContactsInLog(scopes={}, outbound=frozenset()).read([delivery])
    assert found["retail:1"].response_ids == [expected]
