"""The embedded servers start, answer, and end with their parent however it ends."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from event_schemas.topics import ALL_TOPICS, TRANSACTIONS
from services.adapters.embedded_servers import EmbeddedServers, embedded_valkey, free_port
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.ports import BusUnavailable, OutgoingEvent

pytestmark = pytest.mark.servers

PARENT = """
import asyncio, signal, sys
from pathlib import Path
from services.adapters.embedded_servers import EmbeddedServers
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born without it
async def main():
    async with EmbeddedServers.start(Path(sys.argv[1])) as servers:
        print(servers.valkey.pid, servers.broker.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_no_server_outlives_its_parent(tmp_path: Path, ending: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert all(alive(pid) for pid in pids)
    os.kill(parent.pid, ending)
    parent.wait(timeout=20)
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in pids)


async def test_topics_are_created_once_with_equal_partitions(servers: EmbeddedServers) -> None:
    first = await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=3, replication=1)
    again = await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=3, replication=1)
    assert first == [topic.name for topic in ALL_TOPICS]
    assert again == []
    names = [topic.name for topic in ALL_TOPICS]
    async with KafkaEventStream(servers.bootstrap_servers, names) as stream:
        assert len(stream.assigned()) == 3 * len(names)


async def test_what_is_published_comes_back_in_order_of_its_key(servers: EmbeddedServers) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=2, replication=1)
    events = [OutgoingEvent(topic=TRANSACTIONS, key=f"retail:{i % 3}", value=b"%d" % i) for i in range(30)]
    async with KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher:
        positions = await publisher.publish(events)
    assert len(set(positions)) == 30
    received: dict[bytes, list[int]] = {}
    async with KafkaEventStream(servers.bootstrap_servers, [TRANSACTIONS]) as stream:
        while sum(map(len, received.values())) < 30:
            for delivery in await stream.poll(100, 1.0):
                received.setdefault(delivery.key or b"", []).append(int(delivery.value or b""))
    assert received == {f"retail:{k}".encode(): list(range(k, 30, 3)) for k in range(3)}


async def test_a_group_member_resumes_where_the_last_one_committed(servers: EmbeddedServers) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=1, replication=1)
    async with KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher:
        await publisher.publish([OutgoingEvent(topic=TRANSACTIONS, key="retail:1", value=b"%d" % i) for i in range(10)])
    async with KafkaEventStream(servers.bootstrap_servers, [TRANSACTIONS], "g", session_timeout_ms=2000) as first:
        taken = await poll_some(first, 4)
        await first.commit({(TRANSACTIONS, 0): taken[3].offset + 1})
    async with KafkaEventStream(servers.bootstrap_servers, [TRANSACTIONS], "g", session_timeout_ms=2000) as second:
        assert (await poll_some(second, 1))[0].value == b"4"


async def test_the_outbox_keeps_what_was_enqueued_until_it_is_acknowledged(servers: EmbeddedServers) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=1, replication=1)
    async with KafkaEventPublisher(servers.bootstrap_servers, idempotence=False, outbox_limit=5) as publisher:
        for i in range(5):
            publisher.enqueue(OutgoingEvent(topic=TRANSACTIONS, key="retail:1", value=b"%d" % i))
        with pytest.raises(BusUnavailable, match="outbox holds 5"):
            publisher.enqueue(OutgoingEvent(topic=TRANSACTIONS, key="retail:1", value=b"6"))
        await asyncio.wait_for(publisher.flush(), 5)
        assert publisher.backlog == 0
    async with KafkaEventStream(servers.bootstrap_servers, [TRANSACTIONS]) as stream:
        assert [d.value for d in await poll_some(stream, 5)] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_missing_broker_is_named(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(BusUnavailable, match=address):
        async with KafkaEventPublisher(address, idempotence=False):
            pass


async def test_valkey_comes_back_on_its_port_with_its_append_only_file(tmp_path: Path) -> None:
    async def command(port: int, *words: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((" ".join(words) + "\r\n").encode())
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer

    async with embedded_valkey(tmp_path, append_only=True) as valkey:
        assert await command(valkey.port, "SET", "a", "1") == b"+OK\r\n"
    async with embedded_valkey(tmp_path, valkey.port, append_only=True) as again:
        assert again.port == valkey.port
        assert await command(again.port, "GET", "a") == b"$1\r\n"


async def poll_some(stream: KafkaEventStream, at_least: int) -> list:
    taken: list = []
    while len(taken) < at_least:
        taken += await stream.poll(100, 1.0)
    return taken
