"""A small campaign of faults, the same every time; the whole of it is `make faults`."""

import os
from pathlib import Path

import pytest

from loadtests.faults import report
from loadtests.faults.campaign import Order, run
from loadtests.faults.catalogue import kinds, plan
from loadtests.faults.load import Rates

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
ROLES = ("api-0", "api-1", "builder-0", "builder-1", "pacer")
SMALL = (
    "builder_killed",
    "cap_of_one_raced",
    "repeated_events",
    "store_killed_without_file",
    "malformed_events",
    "same_request_at_once",
    "broker_cut",
    "store_refused",
    "same_response_again",
    "store_flushed",
    "api_killed",
    "hostile_bodies",
    "store_killed_with_file",
)


async def test_a_small_campaign_loses_doubles_and_exceeds_nothing(tmp_path: Path) -> None:
    """On the embedded broker, or, where `make test-kafka` runs, on an Apache Kafka of its own, which is killed too."""
    broker = "kafka" if "KAIROS_TEST_KAFKA" in os.environ else "embedded"
    available = kinds(durable_broker=broker == "kafka")
    names = (*SMALL, "broker_killed") if broker == "kafka" else SMALL
    order = Order(
        broker=broker,
        seed=8,
        plan=[available[name] for name in names],
        rates=Rates(events=10.0, decisions=6.0, responses=3.0),
        roles=ROLES,
    )
    outcome = await run(order, tmp_path)
    assert report.holds(outcome), report.table(outcome)
    assert len(outcome.struck) == len(names) + 1
    assert outcome.answers > 50, "something was decided meanwhile"


def test_a_campaign_is_repeated_by_its_seed_and_leaves_no_kind_out() -> None:
    available = kinds(durable_broker=True)
    first, again = plan(available, [], 200, seed=5), plan(available, [], 200, seed=5)
    assert [kind.name for kind in first] == [kind.name for kind in again]
    assert {kind.name for kind in first} == {name for name, kind in available.items() if not kind.long}
    assert [kind.name for kind in plan(available, [], 200, seed=6)] != [kind.name for kind in first]
    assert {kind.group for kind in plan(available, ["store"], 40, seed=1)} == {"store"}
    with pytest.raises(ValueError, match="nothing_like_it"):
        plan(available, ["nothing_like_it"], 1, seed=1)
