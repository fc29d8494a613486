"""A connection that was cut a moment ago is a bus that is away, in whatever way the event loop says so."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.metadata import MetadataRequest

from services.adapters.kafka_connection import SteadyConnection
from services.adapters.kafka_event_stream import KafkaEventStream
from services.ports import BusUnavailable

CUT = [ConnectionResetError(), KafkaConnectionError()]


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


async def test_a_fault_of_our_own_is_not_taken_for_a_bus_that_is_away() -> None:
    stream = KafkaEventStream("127.0.0.1:1", ["t"])
    stream._consumer = CutConsumer(RuntimeError("a fault"))
    with pytest.raises(RuntimeError, match="a fault"):
        await stream.poll(1, 0.0)


@asynccontextmanager
async def connected() -> AsyncIterator[SteadyConnection]:
    """To a server that says nothing."""
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = SteadyConnection("127.0.0.1", port)
        connection._reader, connection._writer = await asyncio.open_connection("127.0.0.1", port)
        connection._read_task = connection._create_reader_task()
        try:
            yield connection
        finally:
            connection.close()
            await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.parametrize(
    "write", [lambda to: to.send(ApiVersionRequest()), lambda to: to._send_sasl_token(b"token")], ids=["send", "token"]
)
def test_writing_to_a_connection_that_was_cut_tells_of_a_lost_one_on_uvloop(
    write: Callable[[SteadyConnection], Any],
) -> None:
    async def cut() -> None:
        async with connected() as connection:
            writer = connection._writer
            writer.transport.abort()
            await asyncio.sleep(0)  # the loop hears of it, and the connection's reader not yet
            with pytest.raises(RuntimeError, match="closed"):
                writer.write(b"so says the loop itself")
            with pytest.raises(KafkaConnectionError, match="was cut"):
                write(connection)
            assert not connection.connected()

    uvloop.run(cut())


async def test_a_request_that_a_broker_does_not_know_costs_no_connection() -> None:
    async with connected() as connection:
        with pytest.raises(IncompatibleBrokerVersion):
            connection.send(MetadataRequest(["t"]))
        assert connection.connected()
