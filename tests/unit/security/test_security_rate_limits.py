"""How much one client may use: requests a second, requests at once, and a fair share when the node is full."""

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.authentication import ApiKeys, ApiScope
from services.api.errors import ApiError
from services.api.keys_file import load_api_keys
from services.api.rate_limits import Admission, RateLimit, Room
from services.ports import SettingsInvalid

QUESTION = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}]}


class Watch:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def accepted(admission: Admission, client: str, limit: RateLimit | None = None) -> bool:
    try:
        admission.take(client, limit)
    except ApiError as error:
        assert error.kind.status == 429
        return False
    return True


@given(rate=st.integers(5, 2_000), times=st.sampled_from([2, 3, 10]))
@settings(max_examples=25, deadline=None)
def test_at_twice_the_limit_the_limit_is_taken(rate: int, times: int) -> None:
    watch = Watch()
    admission = Admission(RateLimit(per_second=rate), monotonic_s=watch)
    while accepted(admission, "app"):  # what was saved up is gone
        pass
    taken = 0
    asked = rate * times * 20
    for _ in range(asked):
        watch.now += 20 / asked
        taken += accepted(admission, "app")
    assert taken == pytest.approx(rate * 20, rel=0.02)


def test_one_clients_haste_is_nobody_elses_wait() -> None:
    watch = Watch()
    admission = Admission(RateLimit(per_second=10), monotonic_s=watch)
    for _ in range(200):
        watch.now += 0.05
        accepted(admission, "hasty")
        accepted(admission, "hasty")
        if int(watch.now * 20) % 4 == 0:
            assert accepted(admission, "calm")


def test_a_refusal_says_when_to_come_back_and_that_is_enough() -> None:
    watch = Watch()
    admission = Admission(RateLimit(per_second=0.1), monotonic_s=watch)
    admission.take("app", None)
    with pytest.raises(ApiError) as refused:
        admission.take("app", None)
    assert refused.value.retry_after_s == 10
    watch.now += 10
    admission.take("app", None)


def test_a_list_counts_for_as_many_as_it_holds() -> None:
    watch = Watch()
    admission = Admission(RateLimit(per_second=100), monotonic_s=watch)
    admission.take("app", None)
    admission.charge("app", None, 499)
    watch.now += 4.0
    assert not accepted(admission, "app")
    watch.now += 0.02
    assert accepted(admission, "app")


def test_a_client_has_its_own_limit_or_what_holds_for_everybody() -> None:
    admission = Admission(RateLimit(per_second=1, burst=1, at_once=4), monotonic_s=Watch())
    own = RateLimit(per_second=5)
    assert [accepted(admission, "app", own) for _ in range(6)] == [True] * 5 + [False]
    assert [accepted(admission, "other") for _ in range(2)] == [True, False]
    unlimited = Admission(monotonic_s=Watch())
    assert all(accepted(unlimited, "app") for _ in range(1_000))


def test_a_client_works_on_so_many_at_once() -> None:
    admission, room = Admission(RateLimit(at_once=2)), Room(64)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(admission.working(room, "app", None))
        with pytest.raises(ApiError, match="2 requests at once"):
            stack.enter_context(admission.working(room, "app", None))
        stack.enter_context(admission.working(room, "other", None))
    assert (room.taken, room.at_work) == (0, {})


def test_in_a_full_node_nobody_has_more_than_a_fair_share() -> None:
    admission, room = Admission(), Room(64)
    with ExitStack() as stack:

        def enters(client: str) -> bool:
            try:
                stack.enter_context(admission.working(room, client, None))
            except ApiError:
                return False
            return True

        assert enters("calm")
        assert sum([enters("hasty") for _ in range(500)]) == 47
        assert all(enters("calm") for _ in range(15)), "the rest is for who has less"
        assert sum([enters("third") for _ in range(100)]) == 1
        assert room.taken == 64
    alone = Room(64)
    with ExitStack() as stack:
        assert sum([enters_alone(admission, alone, stack) for _ in range(100)]) == 64


def enters_alone(admission: Admission, room: Room, stack: ExitStack) -> bool:
    try:
        stack.enter_context(admission.working(room, "app", None))
    except ApiError:
        return False
    return True


@pytest.fixture
async def limited(connect: Any, bank: Any, make_key: Callable[..., Any]) -> httpx.AsyncClient:
    both = (ApiScope.DECIDE, ApiScope.READ, ApiScope.RESPOND)
    keys = ApiKeys([make_key("hasty", *both, limit=RateLimit(per_second=3, at_once=2)), make_key("calm", *both)])
    admission = Admission(RateLimit(per_second=1_000), bank.metrics, Watch())
    client: httpx.AsyncClient = await connect(authenticator=keys, admission=admission)
    return client


async def test_too_many_requests_are_429_with_when_to_come_back(limited: httpx.AsyncClient, bank: Any) -> None:
    hasty, calm = {"X-API-Key": "hasty"}, {"X-API-Key": "calm"}
    answers = [await limited.post("/v1/decisions", json=QUESTION, headers=hasty) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].headers["content-type"] == "application/problem+json"
    assert (await limited.get("/v1/dictionary", headers=hasty)).status_code == 429
    assert (await limited.post("/v1/decisions", json=QUESTION, headers=calm)).status_code == 200
    assert bank.metrics.seen["shed_total", "rate", "any"] == 2


async def test_too_many_requests_at_once_are_429(limited: httpx.AsyncClient, bank: Any) -> None:
    bank.store.gate = asyncio.Event()
    slow = QUESTION | {"timeout_ms": 1000}
    first = [
        asyncio.create_task(limited.post("/v1/decisions", json=slow, headers={"X-API-Key": "hasty"})) for _ in range(2)
    ]
    async with asyncio.timeout(5):
        while bank.store.reads < 2:
            await asyncio.sleep(0)
    third = await limited.post("/v1/decisions", json=slow, headers={"X-API-Key": "hasty"})
    bank.store.gate.set()
    assert third.status_code == 429
    assert {answer.status_code for answer in await asyncio.gather(*first)} == {200}


def entry(**more: Any) -> list[dict[str, Any]]:
    digest = sha256(b"secret").hexdigest()
    return [{"client": "app", "sha256": digest, "channels": None, "scopes": ["decide"], **more}]


def test_limits_stand_in_the_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(entry(limit={"per_second": 50, "burst": 100, "at_once": 8})))
    client = load_api_keys(file).identify([(b"x-api-key", b"secret")])
    assert client.limit == RateLimit(per_second=50, burst=100, at_once=8)


@pytest.mark.parametrize(
    "more",
    [
        {"limit": {}},
        {"limit": 7},
        {"limit": {"per_second": 0}},
        {"limit": {"per_second": -1}},
        {"limit": {"per_second": True}},
        {"limit": {"at_once": 1.5}},
        {"limit": {"burst": 0.5}},
        {"limit": {"per_hour": 1}},
        {"customers": []},
        {"customers": "retail:"},
        {"customers": ["everybody"]},
        {"customers": ["=M012"]},
        {"reason_needed": "yes"},
    ],
)
def test_a_faulty_bound_stops_the_start(tmp_path: Path, more: dict[str, Any]) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(entry(**more)))
    with pytest.raises(SettingsInvalid, match="entry 0"):
        load_api_keys(file)
