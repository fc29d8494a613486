"""The store client: one write a loop turn, deadlines, and what happens when the server is late, refuses or dies."""

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.adapters.embedded_servers import EmbeddedServer, embedded_valkey
from services.adapters.redis_address import RedisAddress
from services.adapters.redis_client import ClientLimits, RedisClient, ReplyError
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.ports import SettingsInvalid, StoreUnavailable

pytestmark = pytest.mark.servers


def url_of(server: EmbeddedServer, credentials: str = "", database: int = 0) -> str:
    return f"redis://{credentials}127.0.0.1:{server.port}/{database}"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with embedded_valkey(tmp_path) as running:
        yield running


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[RedisClient]:
    async with RedisClient.open(url_of(server), library=FUNCTION_LIBRARY) as opened:
        yield opened


async def test_replies_come_in_the_order_of_the_commands(client: RedisClient) -> None:
    replies = await client.execute_many([("SET", "a", b"\x00\xff"), ("GET", "a"), ("INCRBY", "n", 7), ("GET", "none")])
    assert replies == [b"OK", b"\x00\xff", 7, None]


async def test_callers_of_one_turn_share_a_few_reads_of_the_server(client: RedisClient) -> None:
    async def reads() -> int:
        info = await client.execute("INFO", "stats")
        assert isinstance(info, bytes)
        return next(int(line.split(b":")[1]) for line in info.splitlines() if line.startswith(b"total_reads_processed"))

    await client.execute_many([("SET", f"k{i}", i) for i in range(500)])
    before = await reads()
    replies = await asyncio.gather(*(client.execute("GET", f"k{i}") for i in range(500)))
    assert replies == [str(i).encode() for i in range(500)]
    assert await reads() - before < 20


async def test_a_refused_command_fails_alone(client: RedisClient) -> None:
    await client.execute("SET", "text", "abc")
    refused, answered = await asyncio.gather(
        client.execute("INCR", "text"), client.execute("GET", "text"), return_exceptions=True
    )
    assert isinstance(refused, ReplyError)
    assert isinstance(refused, StoreUnavailable), "what every adapter promises to raise"
    assert answered == b"abc"


async def test_a_late_server_is_unavailable_within_the_deadline_and_its_late_reply_harms_nobody(
    client: RedisClient,
) -> None:
    await client.execute_many([("SET", "a", "1"), ("SET", "b", "2")])
    await client.execute("CLIENT", "PAUSE", 400, "ALL")
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await client.execute("GET", "a", timeout_s=0.05)
    assert asyncio.get_running_loop().time() - began < 0.3
    assert await client.execute_many([("GET", "b"), ("GET", "a")], timeout_s=5) == [b"2", b"1"]


async def test_each_caller_has_a_deadline_of_its_own(server: EmbeddedServer) -> None:
    async with RedisClient.open(url_of(server), limits=ClientLimits(lanes=1)) as single:
        await single.execute("CLIENT", "PAUSE", 600, "ALL")
        began = asyncio.get_running_loop().time()
        ended: dict[float, float] = {}

        async def ask(timeout_s: float) -> None:
            try:
                await single.execute("GET", "a", timeout_s=timeout_s)
            finally:
                ended[timeout_s] = asyncio.get_running_loop().time() - began

        deadlines = (0.3, 0.05, 5.0, 0.15)
        outcomes = await asyncio.gather(*map(ask, deadlines), return_exceptions=True)
    assert [isinstance(outcome, StoreUnavailable) for outcome in outcomes] == [True, True, False, True]
    assert all(deadline - 0.005 <= ended[deadline] <= ended[5.0] for deadline in (0.05, 0.15, 0.3))


async def test_a_caller_that_gives_up_leaves_the_others_their_own_replies(client: RedisClient) -> None:
    await client.execute_many([("SET", f"k{i}", i) for i in range(20)])
    calls = [asyncio.create_task(client.execute("GET", f"k{i}")) for i in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    replies = await asyncio.gather(*calls, return_exceptions=True)
    assert replies[1::2] == [str(i).encode() for i in range(1, 20, 2)]
    assert all(isinstance(reply, asyncio.CancelledError) for reply in replies[::2])


async def test_more_commands_than_the_bound_are_refused_at_once(server: EmbeddedServer) -> None:
    async with RedisClient.open(url_of(server), limits=ClientLimits(max_in_flight=10)) as bounded:
        calls = await asyncio.gather(*(bounded.execute("PING") for _ in range(25)), return_exceptions=True)
        assert sum(reply == b"PONG" for reply in calls) == 10
        assert sum(isinstance(reply, StoreUnavailable) for reply in calls) == 15
        assert await bounded.execute("PING") == b"PONG"


async def test_a_killed_server_is_unavailable_and_is_found_again_with_its_functions(tmp_path: Path) -> None:
    async with (
        embedded_valkey(tmp_path) as first,
        RedisClient.open(url_of(first), library=FUNCTION_LIBRARY) as client,
    ):
        assert await client.call("kairos_advance", ("clock",), (5,)) == b"5"
        waiting = asyncio.create_task(client.execute("BLPOP", "nothing", 0, timeout_s=5))
        await asyncio.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailable) as lost:
            await waiting
        assert lost.value.__cause__ is not None
        with pytest.raises(StoreUnavailable):
            await client.execute("PING")
        async with embedded_valkey(tmp_path, first.port):
            assert await until_answered(client) == b"7"


async def until_answered(client: RedisClient) -> object:
    for _ in range(200):
        try:
            return await client.call("kairos_advance", ("clock",), (7,))
        except StoreUnavailable:
            await asyncio.sleep(0.02)
    raise AssertionError("the client never found the restarted server")


async def test_no_server_is_unavailable_at_open(server: EmbeddedServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    await server.process.wait()
    with pytest.raises(StoreUnavailable, match="away"):
        async with RedisClient.open(url_of(server)):
            pass


async def test_user_password_and_database_of_the_url_are_used(server: EmbeddedServer, client: RedisClient) -> None:
    await client.execute("ACL", "SETUSER", "builder", "on", ">s%ret", "~*", "&*", "+@all")
    await client.execute("ACL", "SETUSER", "default", "resetpass", ">other")
    async with RedisClient.open(url_of(server, "builder:s%25ret@", 3)) as admitted:
        assert await admitted.execute("ACL", "WHOAMI") == b"builder"
        await admitted.execute("SET", "in-three", "1")
    assert await client.execute("EXISTS", "in-three") == 0
    with pytest.raises(StoreUnavailable, match="WRONGPASS"):
        async with RedisClient.open(url_of(server, "builder:wrong@")):
            pass


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
async def test_tls_is_spoken_and_the_certificate_checked(server: EmbeddedServer, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
        sink.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer), return_exceptions=True)

    proxy = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    async with proxy:
        address = f"rediss://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/0"
        async with RedisClient.open(f"{address}?ssl_ca_certs={certificate}") as client:
            assert await client.execute("PING") == b"PONG"
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            async with RedisClient.open(address):
                pass


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://localhost", "redis://"),
        ("redis://localhost/zero", "database"),
        ("redis://localhost?max_conections=3", "max_conections"),
    ],
)
def test_an_unreadable_address_is_named(url: str, complaint: str) -> None:
    with pytest.raises(SettingsInvalid, match=complaint):
        RedisAddress.parse(url)


def test_the_text_of_an_address_hides_the_password() -> None:
    address = RedisAddress.parse("redis://me:secret@store.bank:6380/2?client_name=builder")
    assert str(address) == "store.bank:6380"
    assert address.greeting() == [("AUTH", "me", "secret"), ("CLIENT", "SETNAME", "builder"), ("SELECT", 2)]
