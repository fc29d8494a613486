"""The endpoints of governance: who may do what, what is refused and how, and simulations from the first to the last."""

import asyncio
from collections.abc import Callable
from hashlib import sha256
from types import ModuleType
from typing import Any

import httpx
import orjson
import pytest

from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client
from services.use_cases.governance.simulations import Report, SimulationFailed, Simulations

DOCUMENT = {
    "period": {"since": "2026-11-20T00:00:00Z", "until": "2026-11-21T00:00:00Z"},
    "active": "bank-0",
    "draft": "bank-1",
    "requests": 1000,
    "customers": {"gained": 3, "lost": 1, "equal": 6},
    "all": {"name": "all", "active": {"value": 10.5, "options": 7}, "draft": {"value": 11.5, "options": 7}},
    "changed": 42,
}


class Kept:
    """What simulations keep in the store."""

    def __init__(self) -> None:
        self.jobs: dict[str, bytes] = {}
        self.reports: dict[str, Report] = {}
        self.ended: set[str] = set()

    async def save(self, job_id: str, document: bytes, seconds: int) -> None:
        self.jobs[job_id] = document

    async def load(self, job_id: str) -> bytes | None:
        return self.jobs.get(job_id)

    async def save_report(self, job_id: str, report: Report, seconds: int) -> None:
        self.reports[job_id] = report

    async def report(self, job_id: str) -> Report | None:
        return self.reports.get(job_id)

    async def cancel(self, job_id: str) -> None:
        self.ended.add(job_id)

    async def cancelled(self, job_id: str) -> bool:
        return job_id in self.ended


class Work:
    """Ends when it is told to."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.failure: str | None = None

    async def __call__(self, asked: Any, on_stage: Callable[[str, int, int], None]) -> Report:
        on_stage("deciding", 40, 100)
        await self.may_end.wait()
        if self.failure:
            raise SimulationFailed(self.failure)
        return Report(orjson.dumps(DOCUMENT), b"<html>")


@pytest.fixture
def bench(governance_bench: ModuleType) -> Any:
    return governance_bench.Bench()


@pytest.fixture
async def client(connect: Callable[..., Any], bench: Any) -> httpx.AsyncClient:
    opened: httpx.AsyncClient = await connect(governance=await bench.desk())
    return opened


async def post(client: httpx.AsyncClient, path: str, actor: str | None = "wang", **body: Any) -> httpx.Response:
    return await client.post(f"/v1/{path}", json=body | ({} if actor is None else {"actor": actor}))


async def test_a_version_goes_from_submission_to_everybody_and_back(client: httpx.AsyncClient, bench: Any) -> None:
    answer = await post(client, "strategies", files=bench.files("bank-1"), comment="more", title="Autumn")
    assert (answer.status_code, answer.json()["status"]) == (201, "submitted")
    assert (await post(client, "strategies/bank-1/approve", "li")).json()["approved_by"] == "li"
    assert (await post(client, "strategies/bank-1/activate", "li", share=0.1)).json()["share"] == 0.1
    listed = (await client.get("/v1/strategies")).json()["strategies"]
    assert [(each["version"], each["status"], each.get("share")) for each in listed[1:]] == [("bank-1", "canary", 0.1)]
    assert (await post(client, "strategies/bank-1/activate", "li")).status_code == 200
    back = await post(client, "strategies/bank-1/rollback", "zhao", comment="errors")
    assert back.json()["version"] == "bank-0"
    acts = (await client.get("/v1/audit")).json()
    assert acts["sound"]
    assert [act["type"] for act in acts["acts"]][:2] == ["strategy.rolled_back", "strategy.activated"]
    first_page = (await client.get("/v1/audit", params={"limit": 2})).json()
    rest = (await client.get("/v1/audit", params={"before": first_page["next_before"]})).json()
    assert len(rest["acts"]) == 3
    assert "next_before" not in rest


async def test_files_come_back_exactly_and_differences_are_told(client: httpx.AsyncClient, bench: Any) -> None:
    await post(client, "strategies", files=bench.files("bank-1", "# 注释\r\n"))
    assert (await client.get("/v1/strategies/bank-1/files")).json()["files"] == bench.files("bank-1", "# 注释\r\n")
    found = (await client.get("/v1/strategies/bank-1/diff")).json()
    assert found["against"] == "bank-0"
    assert found["files"][0]["name"] == "strategy.yaml"
    assert (await client.get("/v1/strategies/bank-9/files")).status_code == 404


async def test_what_the_rules_forbid_is_a_conflict_that_says_why(client: httpx.AsyncClient, bench: Any) -> None:
    await post(client, "strategies", files=bench.files("bank-1"))
    own = await post(client, "strategies/bank-1/approve", "WANG")
    assert own.status_code == 409
    assert own.headers["content-type"] == "application/problem+json"
    assert "another person has to approve" in own.json()["detail"]
    assert (await post(client, "strategies/bank-7/approve", "li")).status_code == 404
    broken = await post(client, "strategies", files={"strategy.yaml": ""})
    assert broken.status_code == 422
    assert broken.json()["errors"][0]["path"] == "strategy.yaml"
    assert (await post(client, "strategies/bank-1/activate", "li", share=7)).status_code == 422
    assert (await post(client, "strategies/bank-1/approve", None)).json()["errors"][0]["path"] == "actor"


async def test_a_submission_may_be_large_and_a_decision_may_not(client: httpx.AsyncClient, bench: Any) -> None:
    large = {**bench.files("bank-1"), "offers.yaml": "#" * 400_000}
    assert (await post(client, "strategies", files=large)).status_code == 201
    too_large = {**bench.files("bank-2"), **{f"{n}.yaml": "#" * 400_000 for n in range(3)}}
    assert (await post(client, "strategies", files=too_large)).status_code == 413
    assert (await client.post("/v1/decisions", content=b" " * 70_000)).status_code == 413


async def test_a_kill_switch_is_engaged_and_released(client: httpx.AsyncClient) -> None:
    await post(client, "kill-switches", kind="offer", name="gold_card", comment="wrong rate")
    switches = (await client.get("/v1/kill-switches")).json()["kill_switches"]
    assert [(each["name"], each["engaged"], each["actor"]) for each in switches] == [("gold_card", True, "wang")]
    assert (await post(client, "kill-switches", kind="offer", name="gold_card", engaged=False)).status_code == 200
    again = await post(client, "kill-switches", kind="offer", name="gold_card", engaged=False)
    assert again.status_code == 409


async def test_each_act_needs_its_scope_and_the_key_says_who_acts(connect: Callable[..., Any], bench: Any) -> None:
    scopes = {"wang": ApiScope.AUTHOR, "li": ApiScope.APPROVE, "sun": ApiScope.STOP, "zhao": ApiScope.AUDIT}
    keys = ApiKeys(
        [
            ApiKey(
                sha256=sha256(name.encode()).digest(),
                client=Client(name=name, channels=None, scopes=frozenset({scope, ApiScope.READ})),
            )
            for name, scope in scopes.items()
        ]
    )
    client = await connect(governance=await bench.desk(), authenticator=keys)

    async def status(who: str, method: str, path: str, /, **body: Any) -> int:
        answer = await client.request(method, f"/v1/{path}", headers={"x-api-key": who}, json=body or None)
        return int(answer.status_code)

    assert await status("li", "POST", "strategies", files=bench.files("bank-1")) == 403
    assert await status("wang", "POST", "strategies", files=bench.files("bank-1"), actor="li") == 422
    assert await status("wang", "POST", "strategies", files=bench.files("bank-1")) == 201
    assert await status("wang", "POST", "strategies/bank-1/approve", comment="x") == 403
    assert await status("li", "POST", "strategies/bank-1/approve", comment="x") == 200
    assert await status("li", "POST", "kill-switches", kind="offer", name="a") == 403
    assert await status("sun", "POST", "kill-switches", kind="offer", name="a") == 200
    assert await status("sun", "GET", "audit") == 403
    assert await status("zhao", "GET", "audit") == 200
    history = (await client.get("/v1/audit", headers={"x-api-key": "zhao"})).json()["acts"]
    assert [act["actor"] for act in history] == ["sun", "li", "wang"]


async def test_a_simulation_is_watched_recorded_and_opens_the_way_to_approval(
    connect: Callable[..., Any], bench: Any
) -> None:
    desk, work, kept = await bench.desk(requires_simulation=True), Work(), Kept()
    bench.new_id = ulids()
    simulations = Simulations(desk, kept, work, bench)
    client = await connect(governance=desk, simulations=simulations)
    await post(client, "strategies", files=bench.files("bank-1"))
    assert (await post(client, "strategies/bank-1/approve", "li")).status_code == 409
    begun = await post(client, "simulations", version="bank-1")
    assert begun.status_code == 202
    busy = await post(client, "simulations", version="bank-1")
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
    path = f"/v1/simulations/{begun.json()['id']}"
    assert (await client.get(path)).json()["state"] == "running"
    work.may_end.set()
    while (shown := (await client.get(path)).json())["state"] == "running":
        await asyncio.sleep(0)
    assert (shown["state"], shown["recorded"], shown["report"]["changed"]) == ("done", True, 42)
    recorded = desk.state().simulations["bank-1"][0]
    assert (recorded.compared_with, recorded.decisions, recorded.figures["draft.value"]) == ("bank-0", 1000, 11.5)
    assert recorded.report_digest == sha256(orjson.dumps(DOCUMENT)).hexdigest()
    assert (await post(client, "strategies/bank-1/approve", "li")).status_code == 200


async def test_a_simulation_is_cancelled_or_fails_with_its_reason(connect: Callable[..., Any], bench: Any) -> None:
    desk, work, kept = await bench.desk(), Work(), Kept()
    bench.new_id = ulids()
    simulations = Simulations(desk, kept, work, bench)
    client = await connect(governance=desk, simulations=simulations)
    begun = (await post(client, "simulations", files=bench.files("bank-1"))).json()["id"]
    ended = await client.delete(f"/v1/simulations/{begun}")
    assert (ended.status_code, ended.json()["state"]) == (202, "cancelled")
    work.may_end.set()
    work.failure = "the archive has no decisions"
    begun = (await post(client, "simulations", files=bench.files("bank-1"))).json()["id"]
    while (shown := (await client.get(f"/v1/simulations/{begun}")).json())["state"] == "running":
        await asyncio.sleep(0)
    assert (shown["state"], shown["error"]) == ("failed", "the archive has no decisions")
    assert not desk.state().simulations
    both = await post(client, "simulations", files=bench.files("bank-1"), version="bank-1")
    assert both.status_code == 422
    assert (await client.get("/v1/simulations/01ARZ3NDEKTSV4RRFFQ69G5FAV")).status_code == 404


def ulids() -> Callable[[], str]:
    number = iter(range(10**6))
    return lambda: f"01ARZ3NDEKTSV4RRFFQ{next(number):07}"
