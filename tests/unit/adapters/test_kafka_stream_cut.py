"""A connection that was cut a moment ago is a bus that is away, in whatever way the client says so."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from services.adapters.kafka_event_stream import KafkaEventStream
from services.ports import BusUnavailable

CUT = [RuntimeError("the handler is closed"), ConnectionResetError(), KafkaConnectionError()]


class CutConsumer:
    """Owns a partition, and can ask nobody."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("t", 0)}

    async def _fail(self, *_: Any, **__: Any) -> None:
        raise self._error

    commit = getmany = position = end_offsets = _fail


@pytest.mark.parametrize("error", CUT)
async def test_whoever_reads_hears_that_the_bus_is_away(error: Exception) -> None:
    stream = KafkaEventStream("127.0.0.1:1", ["t"])
    stream._consumer = CutConsumer(error)
    for asking in (stream.poll(1, 0.0), stream.commit({("t", 0): 1}), stream.positions(), stream.lag()):
        with pytest.raises(BusUnavailable):
            await asking
