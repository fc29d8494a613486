"""The agent's desktop over HTTP: who may, what is decided and recorded through it, and what it says when parts fail."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from jinja2 import PackageLoader

from decision_engine.contact_ledger import decode_records
from decision_engine.triggers.definitions import Contact, EventPattern, Pattern, Shape, Trigger
from services.api.app import create_app
from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client
from services.api.screens.agent_arrivals import arrivals_of
from services.api.screens.inbox_board import Standing
from services.use_cases.decision_replay import replay_decision
from services.use_cases.leads.lead import Lead
from services.use_cases.leads.marks import Mark, Stage

ORIGIN = "http://bank"
OURS = {"origin": ORIGIN, "x-kairos-fragment": "1", "accept-language": "en"}
DISCLOSURE = {"zh-CN": "须知", "en": "Mind this"}


class Held:
    """Sessions and recent customers in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.order: list[tuple[str, int]] = []

    async def load(self, digest: str) -> bytes | None:
        return self.values.get(digest)

    async def save(self, digest: str, value: bytes, seconds: int) -> None:
        self.values[digest] = value

    async def remove(self, digest: str) -> None:
        self.values.pop(digest, None)

    async def opened(self, person: str, customer_id: str, at_ms: int) -> None:
        self.order.insert(0, (customer_id, at_ms))

    async def recent(self, person: str) -> list[tuple[str, int]]:
        return self.order


@pytest.fixture
def bank(small_bank: ModuleType) -> Any:
    offers = [small_bank.offer(f"offer_{n}", value=10_000 * (6 - n), disclosure=DISCLOSURE) for n in range(5)]
    return small_bank.Bank(live=small_bank.live(*offers))


@asynccontextmanager
async def desk(bank: Any, secret: str = "Mei Lin", **overrides: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A signed-in person's client; cookies are sent although the test speaks without TLS."""
    held = Held()
    app = create_app(bank.runtime(sessions=held, recent=held, **overrides))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN, headers=OURS) as client:
        signed_in = await client.post("/sign-in", data={"secret": secret}, headers={"accept": "text/html"})
        cookie = signed_in.headers.get("set-cookie", "")
        client.headers["cookie"] = cookie.partition(";")[0]
        assert cookie == "" or all(part in cookie for part in ("__Host-", "HttpOnly", "Secure", "SameSite=strict"))
        yield client


def cards(page: str) -> list[dict[str, str]]:
    """The offers of a page or fragment: slot, offer, tracking id, title."""
    found = re.findall(r'data-slot="(\d)" data-offer="(\w+)" data-tracking="([^"]+)" data-title="([^"]+)"', page)
    return [dict(zip(("slot", "offer", "tracking_id", "title"), one, strict=True)) for one in found]


def answer_to(card: dict[str, str], others: list[dict[str, str]], outcome: str, **more: str) -> dict[str, Any]:
    kept = [other["offer"] for other in others if other is not card]
    return {**card, "customer_id": "retail:1", "channel": "contact_centre", "outcome": outcome, "kept": kept, **more}


def responses(bank: Any) -> list[dict[str, Any]]:
    events = [orjson.loads(event.value) for event in bank.bus.events if event.topic == "nbo.responses.v1"]
    return [event["data"] for event in events]


async def test_what_stays_on_the_screen_is_reserved_once(bank: Any) -> None:
    """Three places and two replacements are five contacts; an answer sent again makes no further one."""
    async with desk(bank) as client:
        shown = cards((await client.get("/agent/1")).text)
        assert len(decode_records(bank.store.ledgers["retail:1"])) == 3
        for slot in (0, 1):
            sent = answer_to(shown[slot], shown, "later")
            for _ in range(2):
                (shown[slot],) = cards((await client.post("/agent/answers", data=sent)).text)
    records = decode_records(bank.store.ledgers["retail:1"])
    assert len({record.offer for record in records}) == len(records) == 5
    assert sorted(card["offer"] for card in shown) == ["offer_2", "offer_3", "offer_4"]
    asked = [orjson.loads(event.value)["data"] for event in bank.bus.events if event.topic == "nbo.decisions.v1"]
    assert [data.get("shown") for data in asked] == [None, ["offer_1", "offer_2"], ["offer_2", "offer_3"]]
    assert [len(data["taken"]) for data in asked] == [3, 1, 1]
    for record in (event.value for event in bank.bus.events if event.topic == "nbo.decisions.v1"):
        assert replay_decision(record, bank.live.prepared, bank.live.wording, {}) == record


async def test_the_best_three_stand_on_the_page_with_script_and_disclosure(bank: Any) -> None:
    async with desk(bank) as client:
        page = (await client.get("/agent/1")).text
        assert [card["offer"] for card in cards(page)] == ["offer_0", "offer_1", "offer_2"]
        assert page.count("Good day") == 3
        assert page.count("Mind this") == 3
        assert "Recent contacts" in page
        assert re.search(r'id="bank-age"[^>]*>Bank data', page)
        assert 'id="response-age"' not in page, "nobody has answered anything yet"
        assert "retail:1" in (await client.get("/agent")).text  # among those opened lately


async def test_an_answer_is_recorded_once_and_the_next_best_comes(bank: Any) -> None:
    async with desk(bank) as client:
        shown = cards((await client.get("/agent/1")).text)
        sent = answer_to(shown[1], shown, "accept")
        first = await client.post("/agent/answers", data=sent)
        again = await client.post("/agent/answers", data=sent)  # as a browser that heard nothing does
    assert (first.status_code, again.status_code) == (200, 200)
    (replacement,) = cards(first.text)
    assert (replacement["slot"], replacement["offer"]) == ("2", "offer_3")
    assert [card["offer"] for card in cards(again.text)] == ["offer_3"]
    assert [(r["outcome"], r["offer"], r["detail"]["by"]) for r in responses(bank)] == [("accept", "offer_1", "agent")]


async def test_later_is_a_dismissal_and_a_rejection_needs_its_reason(bank: Any) -> None:
    async with desk(bank) as client:
        shown = cards((await client.get("/agent/1")).text)
        assert (await client.post("/agent/answers", data=answer_to(shown[0], shown, "reject"))).status_code == 422
        assert (await client.post("/agent/answers", data=answer_to(shown[0], shown, "maybe"))).status_code == 422
        rejected = answer_to(shown[0], shown, "reject", reason="too_expensive")
        assert (await client.post("/agent/answers", data=rejected)).status_code == 200
        assert (await client.post("/agent/answers", data=answer_to(shown[1], shown, "later"))).status_code == 200
    found = [(r["outcome"], r["detail"]["reason"]) for r in responses(bank)]
    assert found == [("reject", "too_expensive"), ("dismiss", "later")]


async def test_what_was_shown_is_recorded_once(bank: Any) -> None:
    async with desk(bank) as client:
        shown = cards((await client.get("/agent/1")).text)
        for _ in range(2):
            data = {"tracking_id": [card["tracking_id"] for card in shown]}
            assert (await client.post("/agent/shown", data=data)).status_code == 204
    assert [r["outcome"] for r in responses(bank)] == ["impression"] * 3


async def test_an_offer_still_on_the_screen_is_withdrawn_when_it_may_not_be_made_any_more(
    bank: Any, small_bank: ModuleType
) -> None:
    async with desk(bank) as client:
        shown = cards((await client.get("/agent/1")).text)
        bank.store.states["retail:1"] = small_bank.state(bank.live.features, {"age": 17})
        rule = small_bank.Rule(id="adult", when="age >= 18", code="UNDER_AGE", text={"en": "Too young"})
        offers = [small_bank.offer(f"offer_{n}", eligibility=(rule,) if n == 2 else ()) for n in range(5)]
        bank.live = small_bank.live(*offers)
        answered = (await client.post("/agent/answers", data=answer_to(shown[0], shown, "accept"))).text
    assert "offer_2" in answered.partition("data-gone=")[2].partition(">")[0]
    assert "Too young" in answered
    assert "offer_1" not in answered.partition("data-gone=")[2].partition(">")[0]


async def test_with_the_bus_away_the_answer_is_a_503_to_send_again(bank: Any) -> None:
    async with desk(bank) as client:
        shown = cards((await client.get("/agent/1")).text)
        bank.bus.gone = True
        sent = answer_to(shown[0], shown, "accept")
        refused = await client.post("/agent/answers", data=sent)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["title"] == "The service cannot take this just now"
        bank.bus.gone = False
        assert (await client.post("/agent/answers", data=sent)).status_code == 200
    assert [r["outcome"] for r in responses(bank)] == ["accept"]


async def test_a_decision_without_the_ledger_says_so(bank: Any) -> None:
    bank.store.fail.add("reserve")
    async with desk(bank) as client:
        page = (await client.get("/agent/1")).text
    assert "Decided with less than usual" in page
    assert "Earlier contacts could not be read" in page


async def test_a_customer_who_cannot_be_read_is_not_called_unknown(bank: Any) -> None:
    bank.store.fail.add("read")
    async with desk(bank) as client:
        page = (await client.get("/agent/1")).text
    assert 'id="unreadable"' in page
    assert 'id="unknown"' not in page
    assert "The customer&#39;s data could not be read" in page


async def test_nobody_signed_in_is_led_to_sign_in_and_parts_say_401(bank: Any) -> None:
    app = create_app(bank.runtime(sessions=Held()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
        page = await client.get("/agent/1?channel=branch", headers={"accept": "text/html"})
        part = await client.get("/agent/1/contacts", headers=OURS)
        start = await client.get("/", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/sign-in?next=%2Fagent%2F1%3Fchannel%3Dbranch")
    assert (part.status_code, part.headers["content-type"]) == (401, "application/problem+json")
    assert start.headers["location"] == "/sign-in?next=%2F"


async def test_scopes_and_channels_bind_people_as_they_bind_programs(bank: Any) -> None:
    def key(secret: str, channels: set[str] | None, *scopes: ApiScope) -> ApiKey:
        client = Client(
            name=secret, channels=None if channels is None else frozenset(channels), scopes=frozenset(scopes)
        )
        return ApiKey(sha256=sha256(secret.encode()).digest(), client=client)

    keys = ApiKeys([key("reader", None, ApiScope.READ), key("app", {"mobile"}, ApiScope.SERVE)])
    async with desk(bank, "reader", authenticator=keys) as reader:
        assert (await reader.get("/agent/1")).status_code == 403
        assert (await reader.post("/agent/shown", data={"tracking_id": "x"})).status_code == 403
    async with desk(bank, "app", authenticator=keys) as app:
        page = (await app.get("/agent/1")).text
        assert cards(page) == []
        assert "speaks for no channel" in page
    async with desk(bank, "a guess", authenticator=keys) as nobody:
        assert (await nobody.get("/agent/1")).status_code == 401


@pytest.mark.parametrize("wanted", ["<script>", "retail:", "a b", "x" * 65, "other:1"])
async def test_what_is_no_customer_number_is_said_to_be_none(bank: Any, wanted: str) -> None:
    async with desk(bank) as client:
        page = await client.get("/agent", params={"wanted": wanted})
        assert "A customer number has letters" in page.text
        assert "<script>" not in page.text
        assert (await client.get(f"/agent/{wanted.replace('/', '')}")).status_code in (422, 404)


async def test_why_lists_every_candidate_with_its_reason(bank: Any) -> None:
    async with desk(bank) as client:
        page = (await client.get("/agent/1")).text
        address = re.search(r'data-why="([^"]+)"', page)
        assert address is not None
        why = (await client.get(address[1])).text
        assert why.count("<tr><td>offer_") == 5
        assert ("Offered" in why, "Possible, ranked lower" in why) == (True, True)
        assert (await client.get("/agent/decisions/01ARZ3NDEKTSV4RRFFQ69G5FAV/candidates")).status_code == 404
        assert (await client.get("/agent/decisions/nonsense/candidates")).status_code == 404


def arrival(trigger: str, *, at_ms: int, event: dict[str, str], by: str | None = None) -> Standing:
    lead = Lead(
        id=f"{trigger}-{at_ms}", decision_id="d", customer_id=f"retail:{at_ms}", trigger=trigger, title=trigger,
        locale="en", grade="A", recipient=None, urgent=True, wave=0, at_ms=at_ms, expires_ms=None, event=event,
        options=(),
    )  # fmt: skip
    return Standing(lead, None if by is None else Mark(stage=Stage.TAKEN, by=by, at_ms=at_ms), ())


def test_who_is_here_is_told_by_kind_newest_first_and_by_channel() -> None:
    def trigger(name: str, source: str) -> Trigger:
        return Trigger(
            name=name,
            title={"en": name.title()},
            pattern=Pattern(shape=Shape.EVENT, steps=(EventPattern(source=source),)),
            contact=Contact(placement="inbox_lead", channel="manager"),
        )

    triggers = (trigger("came", "bank.channel.branch_arrival"), trigger("called", "bank.channel.call_started"),
                trigger("other", "bank.transaction.posted"))  # fmt: skip
    live: Any = SimpleNamespace(prepared=SimpleNamespace(strategy=SimpleNamespace(triggers=triggers)))
    leads = [
        arrival("came", at_ms=1, event={"branch_id": "B1"}),
        arrival("other", at_ms=2, event={}),
        arrival("called", at_ms=3, event={}),
        arrival("came", at_ms=4, event={"purpose": "appointment"}, by="Wei Zhang"),
    ]
    found = arrivals_of(leads, live, ("branch", "contact_centre"), "en")
    assert [(each.kind, each.at_ms, each.by, each.branch) for each in found] == [
        ("appointment", 4, "Wei Zhang", ""), ("call", 3, None, ""), ("branch", 1, None, "B1"),
    ]  # fmt: skip
    assert [each.kind for each in arrivals_of(leads, live, ("contact_centre",), "en")] == ["call"]
    assert found[1].title == "Called"


async def test_what_a_node_shows_is_fixed_as_it_starts(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that is edited, or half written, under a running node changes nothing there."""
    async with desk(bank) as client:

        def half_written(*_: object) -> None:
            raise AssertionError("read while the node runs")

        monkeypatch.setattr(PackageLoader, "get_source", half_written)
        for path in ("/agent", "/agent/1", "/agent/<", "/screens/status"):
            assert (await client.get(path)).status_code in (200, 422)


async def test_without_leads_nobody_asks_who_is_here(bank: Any) -> None:
    async with desk(bank) as client:
        assert 'id="arrivals"' not in (await client.get("/agent")).text
