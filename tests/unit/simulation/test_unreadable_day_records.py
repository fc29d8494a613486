"""A record of the day that cannot be read is named by place and field; what it says of a customer is not printed."""

import orjson
import pytest

from services.simulation.recorded_day.day_partition import _requests
from services.simulation.recorded_day.failures import SimulationRefused


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"data": {"customer_id": "retail:li-wei"}}, "record 1 of the day's partition is unreadable: no '"),
        ({"data": "retail:li-wei"}, "record 1 of the day's partition is unreadable: a field is odd ("),
        ("retail:li-wei", "record 1 of the day's partition is unreadable: a field is odd ("),
    ],
)
def test_no_part_of_an_unreadable_record_is_shown(record: object, said: str) -> None:
    with pytest.raises(SimulationRefused) as refused:
        _requests([orjson.dumps(record)])
    assert said in str(refused.value)
    assert "li-wei" not in str(refused.value) and refused.value.__cause__ is None
