"""Up to when what a record tells may have happened: by its own arrival, so that reading it again says the same."""

import pytest

from services.ports import Delivery
from services.use_cases.event_batches import FUTURE_TOLERANCE_MS, latest_ms

NOW = 1_795_000_000_000
DAY = 86_400_000


@pytest.mark.parametrize(
    ("arrived_ms", "from_ms"),
    [
        pytest.param(NOW - DAY, NOW - DAY, id="read long after"),
        pytest.param(NOW - 3, NOW - 3, id="read at once"),
        pytest.param(NOW + DAY, NOW, id="of a clock ahead of ours"),
        pytest.param(0, NOW, id="not known"),
        pytest.param(-1, NOW, id="without a time, as Kafka says it"),
    ],
)
def test_the_arrival_counts_where_there_is_one(arrived_ms: int, from_ms: int) -> None:
    record = Delivery("t", 0, 0, b"k", b"{}", (), arrived_ms)
    assert latest_ms(record, NOW) == from_ms + FUTURE_TOLERANCE_MS
