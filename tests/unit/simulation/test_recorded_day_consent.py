"""A simulated day's report does not go by the profile of who refused personalisation."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from decision_engine.customer import CustomerSnapshot
from services.adapters.file_strategy_source import load_strategy_file
from services.simulation.recorded_day.day_partition import DayPartition
from services.simulation.recorded_day.group_rules import UNKNOWN, GroupRule
from services.simulation.recorded_day.partition_totals import PartitionTotals
from services.simulation.recorded_day.sides import ACTIVE

STRATEGY = load_strategy_file(Path(__file__).parents[3] / "deploy" / "strategies" / "starbucks")


def test_who_refused_personalisation_is_in_no_known_group() -> None:
    partition: Any = SimpleNamespace(
        _sides={ACTIVE: SimpleNamespace(strategy=STRATEGY)},
        _terms=SimpleNamespace(groups=(GroupRule("gender"),)),
        _totals=PartitionTotals(),
    )
    for name, granted in (("retail:ann", True), ("retail:bob", False)):
        request: Any = SimpleNamespace(request=SimpleNamespace(customer_id=name))
        snapshot = CustomerSnapshot(
            known=True, attributes={"gender": "female"}, consents={"personalisation": granted}
        )  # fmt: skip
        DayPartition._label(partition, request, snapshot)

    assert partition._totals.labels == {
        "retail:ann": (("gender", "female"),),
        "retail:bob": (("gender", UNKNOWN),),
    }
