"""What leads have earned: of each conversion the highest revision counts, in whatever order they come."""

import itertools

import orjson
import pytest

from services.use_cases.leads.results import LeadResults


def event(conversion: str, revision: int, *credited: str, counted: bool = True, channel: str = "manager") -> bytes:
    credits_given = [
        {"decision_id": decision, "offer": "gold", "channel": channel, "last_touch": 1.0, "shared": 0.5, "value": 100}
        for decision in credited
    ]
    data = {
        "conversion_id": conversion, "revision": revision, "counted": counted, "time": "2026-11-22T00:00:00Z",
        "cause": {"type": "bank.product.opened"}, "credits": credits_given,
    }  # fmt: skip
    return orjson.dumps({"type": "nbo.conversion.attributed", "data": data})


def earned(results: LeadResults, decision: str) -> list[str]:
    return [credit.conversion_id for credit in results.of(decision)]


def test_the_highest_revision_counts_in_any_order() -> None:
    events = [event("c", 1, "a"), event("c", 2, "b"), event("c", 3, "b", counted=False), event("d", 1, "b")]
    for order in itertools.permutations(events):
        results = LeadResults()
        for value in order:
            results.take(value)
        assert (earned(results, "a"), earned(results, "b")) == ([], ["d"])


def test_a_repeat_changes_nothing_and_announces_nothing() -> None:
    results = LeadResults()
    results.take(event("c", 1, "a"))
    before = results.changes
    results.take(event("c", 1, "a"))
    assert (results.changes, earned(results, "a")) == (before, ["c"])


def test_other_channels_and_other_events_are_passed_over() -> None:
    results = LeadResults()
    results.take(event("c", 1, "a", channel="sms"))
    results.take(b'{"type": "nbo.other", "data": {}}')
    assert earned(results, "a") == []


def test_the_oldest_conversions_are_forgotten_beyond_the_bound() -> None:
    results = LeadResults(most=2)
    for number in range(4):
        results.take(event(f"c{number}", 1, "a"))
    assert earned(results, "a") == ["c2", "c3"]


def test_what_cannot_be_read_is_refused() -> None:
    for value in (b"", b"{}", b'{"type": "nbo.conversion.attributed", "data": {}}'):
        with pytest.raises((ValueError, KeyError, TypeError)):
            LeadResults().take(value)
