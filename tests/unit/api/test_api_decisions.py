"""The decision and response routes as a client sees them."""

import asyncio
import threading
from typing import Any

import httpx
import pytest

from services.ports import StoreUnavailable
from services.threaded_archive import ThreadedArchive

QUESTION = {
    "request_id": "q1",
    "customer_id": "retail:1",
    "channel": "mobile",
    "placements": [{"id": "home_banner", "count": 1}],
    "locale": "en",
}


async def test_a_question_is_answered_in_the_shape_of_the_contract(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/decisions", json=QUESTION)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert set(document) == {
        "decision_id", "request_id", "customer_id", "time", "placements", "strategy_version", "models", "arm",
        "personalised", "degraded", "degraded_causes", "feature_age_ms", "took_ms",
    }  # fmt: skip
    (option,) = document["placements"][0]["options"]
    assert set(option) == {
        "rank", "offer", "treatment", "tracking_id", "score", "propensity", "mandatory", "expires_at", "content",
        "attributes", "script", "reasons", "disclosure",
    }  # fmt: skip
    assert option["tracking_id"] == document["decision_id"] + ".0"


async def test_an_answer_has_options_or_a_fallback_and_never_both(client: httpx.AsyncClient) -> None:
    places = [{"id": "home_banner", "count": 3}, {"id": "card_page_tile"}]
    document = (await client.post("/v1/decisions", json=QUESTION | {"placements": places})).json()
    full, empty = document["placements"]
    assert len(full["options"]) == 2
    assert "fallback" not in full
    assert empty["fallback"] == {"treatment": "generic.mobile.card_page_tile", "content": {"title": "Welcome"}}
    assert empty["fallback_cause"] == "ALL_REJECTED"
    assert "options" not in empty


async def test_the_whole_circle_through_http(bank: Any, client: httpx.AsyncClient) -> None:
    decided = (await client.post("/v1/decisions", json=QUESTION)).json()
    option = decided["placements"][0]["options"][0]
    seen = {"response_id": "i1", "tracking_id": option["tracking_id"], "outcome": "impression"}
    refused = {"response_id": "x1", "tracking_id": option["tracking_id"], "outcome": "reject", "channel": "mobile"}
    taken = await client.post("/v1/responses", json=[seen, refused, refused])
    assert (taken.status_code, taken.json()) == (202, {"accepted": 2, "duplicates": 1, "rejected": []})
    bank.clock.moment += 1000
    again = (await client.post("/v1/decisions", json=QUESTION | {"request_id": "q2"})).json()
    assert again["placements"][0]["options"][0]["offer"] != option["offer"]
    why = (await client.get(f"/v1/decisions/{again['decision_id']}")).json()
    fate = {c["offer"]: (c["outcome"], c.get("rule"), c.get("reason")) for c in why["candidates"]}
    assert fate[option["offer"]] == ("rejected", "rejected_lately", "REJECTED_LATELY")
    portrait = (await client.get("/v1/customers/retail:1")).json()
    assert portrait["responses"][0]["outcomes"] == ["impression", "reject"]


async def test_one_answer_a_request_id_and_409_for_another_body(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/v1/decisions", json=QUESTION) for _ in range(100)))
    assert len({answer.content for answer in answers}) == 1
    other = await client.post("/v1/decisions", json=QUESTION | {"locale": "zh-CN"})
    assert (other.status_code, other.json()["type"]) == (409, "urn:kairos:problem:conflict")


async def test_a_locale_nobody_has_becomes_the_nearest_one(client: httpx.AsyncClient) -> None:
    for wanted, title in (("en-GB", "gold_card title"), ("fr-FR", "gold_card 标题"), (None, "gold_card 标题")):
        question = {name: value for name, value in QUESTION.items() if name not in ("locale", "request_id")}
        if wanted:
            question["locale"] = wanted
        document = (await client.post("/v1/decisions", json=question | {"dry_run": True})).json()
        assert document["placements"][0]["options"][0]["content"]["title"] == title
        assert document["trace"]


async def test_a_timestamp_in_the_context_is_text_on_the_wire(bank: Any, client: httpx.AsyncClient) -> None:
    question = QUESTION | {"context": {"since": "2026-11-21T09:50:00+00:00", "page": "cards", "basket": 3}}
    assert (await client.post("/v1/decisions", json=question)).status_code == 200
    record = next(iter(bank.store.records.values()))
    assert b'"context":{"since":1795254600000,"page":"cards","basket":3}' in record


async def test_too_many_at_once_are_told_to_come_back(bank: Any, connect: Any) -> None:
    client = await connect(max_in_flight=3)
    bank.store.gate = asyncio.Event()
    taken = [
        asyncio.create_task(client.post("/v1/decisions", json=QUESTION | {"request_id": str(n)})) for n in range(2)
    ]
    while bank.store.reads < 2:
        await asyncio.sleep(0)
    shed = await client.post("/v1/decisions", json=QUESTION)
    assert (shed.status_code, shed.headers["retry-after"]) == (503, "1")
    bank.store.gate.set()
    assert [answer.status_code for answer in await asyncio.gather(*taken)] == [200, 200]
    assert (await client.post("/v1/decisions", json=QUESTION)).status_code == 200, "room again"


async def test_away_bus_or_store_is_503_for_responses(bank: Any, client: httpx.AsyncClient) -> None:
    decided = (await client.post("/v1/decisions", json=QUESTION)).json()
    body = {
        "response_id": "r",
        "tracking_id": decided["placements"][0]["options"][0]["tracking_id"],
        "outcome": "click",
    }
    bank.bus.gone = True
    answer = await client.post("/v1/responses", json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    bank.bus.gone = False
    bank.store.fail.add("tracked")
    assert (await client.post("/v1/responses", json=body)).status_code == 503
    bank.store.fail.clear()
    assert (await client.post("/v1/responses", json=body)).json()["accepted"] == 1


async def test_the_views_of_a_store_that_is_away_are_503(bank: Any, client: httpx.AsyncClient) -> None:
    bank.store.fail |= {"read", "record"}
    for path in ("/v1/customers/retail:1", f"/v1/decisions/{'0' * 26}"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")


@pytest.mark.parametrize("odd", ["01J", "a" * 26, "8" + "0" * 25, "0" * 27, "0" * 25 + "U", "0" * 26 + "%0A"])
async def test_what_is_no_decision_id_is_not_searched_for(bank: Any, client: httpx.AsyncClient, odd: str) -> None:
    bank.store.fail.add("record")
    assert (await client.get(f"/v1/decisions/{odd}")).status_code == 404


class SlowArchive:
    """An archive that finds nothing, and not before it is let go."""

    def __init__(self) -> None:
        self.reading, self.most, self.done = 0, 0, 0
        self.lock, self.go = threading.Lock(), threading.Event()

    def read_decision(self, _: str) -> bytes | None:
        with self.lock:
            self.reading += 1
            self.most = max(self.most, self.reading)
        self.go.wait(10)
        with self.lock:
            self.reading -= 1
            self.done += 1
        return None


async def test_the_archive_is_read_by_two_at_once_and_waited_for_by_eight(connect: Any) -> None:
    archive = SlowArchive()
    client = await connect(archive=ThreadedArchive(archive))
    asking = [asyncio.create_task(client.get(f"/v1/decisions/{number:026}")) for number in range(13)]
    refused, _ = await asyncio.wait(asking, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    while len(refused) < 3:
        more, _ = await asyncio.wait(set(asking) - refused, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert more, "the rest is waiting"
        refused |= more
    archive.go.set()
    answers = await asyncio.gather(*asking)
    assert {task.result().status_code for task in refused} == {429}
    assert {task.result().headers["retry-after"] for task in refused} == {"1"}
    assert sorted(answer.status_code for answer in answers) == [404] * 10 + [429] * 3
    assert (archive.most, archive.done) == (2, 10)
    assert (await client.get(f"/v1/decisions/{99:026}")).status_code == 404


async def test_an_unexpected_failure_says_nothing_about_itself(
    bank: Any, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(*_: object) -> None:
        raise RuntimeError("secret-13800000000")

    monkeypatch.setattr(bank.store, "read_for_decision", break_down)
    for answer in (await client.post("/v1/decisions", json=QUESTION), await client.get("/v1/customers/retail:1")):
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert "secret" not in answer.text


async def test_readiness_asks_every_dependency(connect: Any) -> None:
    async def well() -> None:
        return None

    async def gone() -> None:
        raise StoreUnavailable

    ready = await (await connect(checks={"store": well})).get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"store": True})
    not_ready = await (await connect(checks={"store": gone, "bus": well})).get("/readyz")
    assert (not_ready.status_code, not_ready.json()["checks"]) == (503, {"store": False, "bus": True})
    assert (await (await connect(checks={"store": gone})).get("/livez")).status_code == 200
