"""The judge of restarts blames what is lost or doubled, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from loadtests.balanced_client import BalancedClient
from loadtests.restart_cluster import Restart
from loadtests.restart_judge import Verdict, blame, judge_requests
from loadtests.restart_load import Acknowledged

DECISION = {"data": {"request_id": "r-1"}}


def taken() -> Acknowledged:
    found = Acknowledged()
    found.decisions["r-1"].add("d-1")
    found.responses["x-1"] = "t-1", "click"
    return found


def test_what_was_answered_and_logged_once_is_right() -> None:
    verdict = Verdict()
    judge_requests({"d-1": DECISION}, {"x-1": {}}, taken(), verdict)
    assert verdict.holds


def test_an_answer_that_the_log_does_not_have_is_lost() -> None:
    verdict = Verdict()
    judge_requests({}, {}, taken(), verdict)
    assert [line.split(":")[0] for line in verdict.lost] == ["decision for r-1", "response x-1"]
    assert not verdict.holds


def test_a_request_decided_on_twice_is_doubled() -> None:
    verdict = Verdict()
    judge_requests({"d-1": DECISION, "d-2": DECISION}, {"x-1": {}}, taken(), verdict)
    assert verdict.doubled == ["request r-1: 2 decisions"]


@pytest.mark.parametrize(
    ("held", "expected", "lost", "doubled"),
    [(3, 3, 0, 0), (2, 3, 1, 0), (None, 3, 1, 0), (4, 3, 0, 1), (1, None, 0, 1), ("a", "b", 0, 1)],
)
def test_less_is_lost_and_more_is_doubled(held: object, expected: object, lost: int, doubled: int) -> None:
    verdict = Verdict()
    blame(verdict, "retail:1 count", held, expected)
    assert (len(verdict.lost), len(verdict.doubled)) == (lost, doubled)


def test_nothing_compared_is_nothing_proven() -> None:
    assert not Verdict().holds


@pytest.mark.parametrize(
    ("by", "seconds", "status", "clean"),
    [("SIGTERM", 3.0, 0, True), ("SIGTERM", 12.0, 0, False), ("SIGTERM", 1.0, 1, False), ("SIGKILL", 0.1, -9, True)],
)
def test_who_is_told_to_stop_ends_by_itself_and_soon(by: str, seconds: float, status: int, clean: bool) -> None:
    assert Restart("api", by, seconds, status).is_clean is clean


Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


async def asked(handler: Handler, *, keyed: bool) -> BalancedClient:
    """A client that has sent one request to two nodes that are ready."""
    client = BalancedClient(httpx.MockTransport(handler))
    async with client.open_to(["http://a", "http://b"]):
        async with asyncio.timeout(5):
            while not (client.is_ready("http://a") and client.is_ready("http://b")):
                await asyncio.sleep(0)
        await client.post("/v1/decisions", {}, keyed=keyed)
    return client


def refusing(nodes: set[str]) -> Handler:
    """Both are ready; those refuse connections for anything else."""

    async def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/readyz" and request.url.host in nodes:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, json={})

    return handle


async def test_a_refused_connection_is_tried_on_the_other_node_where_a_key_makes_it_safe() -> None:
    for node in ("a", "b"):
        client = await asked(refusing({node}), keyed=True)
        assert (client.asked.answered, client.asked.failures) == (1, [])
    client = await asked(refusing({"a", "b"}), keyed=True)
    assert (client.asked.answered, len(client.asked.failures)) == (0, 1)
    client = await asked(refusing({"a", "b"}), keyed=False)
    assert (client.asked.retried, len(client.asked.failures)) == (0, 1)


async def test_a_connection_that_breaks_is_a_failed_request() -> None:
    async def breaking(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/readyz":
            raise httpx.ReadError("reset", request=request)
        return httpx.Response(200, json={})

    client = await asked(breaking, keyed=True)
    assert (client.asked.retried, len(client.asked.failures)) == (0, 1)
