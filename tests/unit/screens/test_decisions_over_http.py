"""Decision search and explanation over HTTP: who may see what, what is hidden, what cannot be told."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from html import unescape
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest

from decision_engine.offers import Rule
from event_schemas.topics import DECISIONS, RESPONSES
from services.adapters.archive_search import ArchiveSearch
from services.adapters.parquet_archive import ParquetArchive
from services.adapters.registered_models import RegistryModels
from services.api.app import create_app
from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client
from services.api.customer_scope import CustomerScope
from services.api.runtime import DecisionPorts
from services.ports import Delivery, StrategyUnknown
from services.use_cases.authoring.tools import AuthoringTools
from services.use_cases.observing.decision_proof import ProveDecisions

ORIGIN = "http://bank"
OURS = {"origin": ORIGIN, "x-kairos-fragment": "1", "accept-language": "en"}
SCOPES = frozenset({ApiScope.READ, ApiScope.DECIDE, ApiScope.RESPOND})
NOBODY_HAS_IT = Rule(id="has_phone", when='phone == "none"', code="NO_PHONE", text={"en": "Wrong phone"})


class Held:
    """Sessions in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def load(self, digest: str) -> bytes | None:
        return self.values.get(digest)

    async def save(self, digest: str, value: bytes, seconds: int) -> None:
        self.values[digest] = value

    async def remove(self, digest: str) -> None:
        self.values.pop(digest, None)


class Acts:
    """A desk of governance without versions."""

    def state(self) -> Any:
        return SimpleNamespace(versions={}, drafts={}, engaged=())

    def active_version(self) -> None:
        return None


class Forgotten:
    """An archive of strategies that has none."""

    def prepared(self, version: str) -> Any:
        raise StrategyUnknown(version)


@pytest.fixture
def bank(small_bank: ModuleType) -> Any:
    offers = (*small_bank.OFFERS, small_bank.offer("call_back", eligibility=(NOBODY_HAS_IT,)))
    return small_bank.Bank(live=small_bank.live(*offers))


class Looking:
    """A person at the screens of the small bank, whose bus goes into an archive when it is told to."""

    def __init__(self, bank: Any, root: Path, client: httpx.AsyncClient) -> None:
        self.bank = bank
        self.client = client
        self._root = root / "archive"

    async def decide(self, name: str = "q", customer: str = "retail:1", channel: str = "mobile") -> dict[str, Any]:
        place = {"mobile": "home_banner", "contact_centre": "agent_panel"}[channel]
        body = {"request_id": name, "customer_id": customer, "channel": channel, "locale": "en",
                "placements": [{"id": place, "count": 2}]}  # fmt: skip
        answer: dict[str, Any] = (await self.client.post("/v1/decisions", json=body)).json()
        return answer

    def archive(self) -> None:
        """Everything published so far, newly archived."""
        with ParquetArchive(self._root) as archive:
            for topic in (DECISIONS, RESPONSES):
                known = archive.positions().get((topic, 0))
                begin = 0 if known is None else known.next_offset
                events = [event for event in self.bank.bus.events if event.topic == topic]
                deliveries = [
                    Delivery(topic, 0, place, event.key.encode(), event.value, ())
                    for place, event in enumerate(events)
                    if place >= begin
                ]
                archive.append(deliveries)

    async def get(self, path: str, status: int = 200) -> str:
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        return unescape(answer.text)


@asynccontextmanager
async def looking(
    bank: Any, root: Path, secret: str = "Mei Lin", seconds: float = 4.0, **overrides: Any
) -> AsyncIterator[Looking]:
    tools = AuthoringTools(load=lambda _: None, read=lambda _: None, sample=None)  # type: ignore[arg-type, return-value]
    ports = DecisionPorts(
        log=ArchiveSearch(root / "archive", seconds), proofs=ProveDecisions(RegistryModels(root / "models"))
    )
    runtime = bank.runtime(sessions=Held(), authoring=tools, governance=Acts(), decisions=ports, **overrides)
    transport = httpx.ASGITransport(create_app(runtime))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=OURS) as client:
        signed_in = await client.post("/sign-in", data={"secret": secret}, headers={"accept": "text/html"})
        client.headers["cookie"] = signed_in.headers.get("set-cookie", "").partition(";")[0]
        client.headers["x-api-key"] = secret
        yield Looking(bank, root, client)


def keys(*clients: Client) -> ApiKeys:
    return ApiKeys([ApiKey(sha256=sha256(client.name.encode()).digest(), client=client) for client in clients])


def ids(page: str) -> list[str]:
    return re.findall(r'href="/console/decisions/(\w{26})"', page)


async def test_a_decision_is_explained_candidate_by_candidate(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path) as people:
        answer = await people.decide()
        page = await people.get(f"/console/decisions/{answer['decision_id']}")
        offered = [option["offer"] for option in answer["placements"][0]["options"]]
        assert offered == ["gold_card", "cash_plan"]
        assert re.findall(r'class="rank"[^>]*>(\d)<', page) == ["1", "2"]
        assert "You spend a lot" in page
        assert "Needs: Age is at least 60" in page  # the rule that stopped the pension, in words
        assert "Not yet" in page
        assert "Was: Age: <b>40</b>" in page
        assert "2 of 2" not in page
        assert "4 of 4 candidates" in page
        chinese = await people.client.get(
            f"/console/decisions/{answer['decision_id']}", headers={"accept-language": "zh-CN"}
        )
        assert "消费较高" in chinese.text


async def test_candidates_are_filtered_by_stage_fate_and_words(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path) as people:
        base = f"/console/decisions/{(await people.decide())['decision_id']}/candidates"
        wanted = {
            "stage=eligibility": {"no_pension", "call_back"},
            "fate=offered": {"gold_card", "cash_plan"},
            "text=not+yet": {"no_pension"},
            "text=PHONE": {"call_back"},
            "text=age": {"no_pension"},
            "stage=consent": set(),
            "sort=made+up&page=77": {"gold_card", "cash_plan", "no_pension", "call_back"},
        }
        for query, offers in wanted.items():
            shown = await people.get(f"{base}?{query}")
            assert set(re.findall(r"<code>(\w+)\.mobile\.main<", shown)) == offers, query
        ordered = await people.get(f"{base}?fate=offered&sort=-value")
        assert re.findall(r">(\w+)\.mobile\.main<", ordered) == ["gold_card", "cash_plan"]
        ordered = await people.get(f"{base}?fate=offered&sort=value")
        assert re.findall(r">(\w+)\.mobile\.main<", ordered) == ["cash_plan", "gold_card"]


async def test_sensitive_values_are_for_auditors(bank: Any, tmp_path: Path) -> None:
    clerk = Client(name="clerk", channels=None, scopes=SCOPES)
    auditor = Client(name="auditor", channels=None, scopes=SCOPES | {ApiScope.AUDIT})
    for person, seen in ((clerk, False), (auditor, True)):
        async with looking(bank, tmp_path, person.name, authenticator=keys(person)) as people:
            answer = await people.decide(person.name)
            page = await people.get(f"/console/decisions/{answer['decision_id']}")
            assert "Phone" in page
            assert ("13800000000" in page) is seen  # neither among what was known nor at the rule that reads it
            assert "Was: Phone: <b>" in page


async def test_decisions_of_other_channels_are_as_if_they_were_not_there(bank: Any, tmp_path: Path) -> None:
    agent = Client(name="agent", channels=frozenset({"contact_centre"}), scopes=SCOPES)
    everybody = Client(name="everybody", channels=None, scopes=SCOPES)
    both = keys(agent, everybody)
    async with looking(bank, tmp_path, "everybody", authenticator=both) as people:
        theirs = (await people.decide("theirs"))["decision_id"]
        mine = (await people.decide("mine", channel="contact_centre"))["decision_id"]
        people.archive()
        assert set(ids(await people.get("/console/decisions/list"))) == {theirs, mine}
    async with looking(bank, tmp_path, "agent", authenticator=both) as people:
        assert set(ids(await people.get("/console/decisions/list"))) == {mine}
        assert ids(await people.get("/console/decisions/list?channel=mobile")) == []
        await people.get(f"/console/decisions/{mine}")
        for part in ("", "/candidates", "/replay", "/responses", "/score/gold_card"):
            await people.get(f"/console/decisions/{theirs}{part}", 404)


async def test_a_customers_decisions_come_page_by_page_and_none_twice(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path) as people:
        made = []
        for number in range(120):
            bank.clock.moment += (number % 3) * 1000  # some in the same millisecond
            made.append((await people.decide(f"q{number}", customer=f"retail:{1 + number % 2}"))["decision_id"])
            if number % 40 == 7:
                people.archive()
        people.archive()
        seen: list[str] = []
        path = "/console/decisions/list?q=1"
        for _ in range(2):
            page = await people.get(path)
            seen += ids(page)
            older = re.search(r'data-get="(/console/decisions/list[^"]*before=[^"]+)"', page)
            path = "" if older is None else older[1]
        assert path == ""
        assert seen == made[::2][::-1]


async def test_ids_lead_to_the_page_and_requests_are_searched_for(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path) as people:
        answer = await people.decide("claim-77")
        people.archive()
        tracking = answer["placements"][0]["options"][1]["tracking_id"]
        led = await people.client.get("/console/decisions", params={"q": f" {tracking.lower()} "})
        assert led.headers["location"] == f"/console/decisions/{answer['decision_id']}#option-{tracking[27:]}"
        assert ids(await people.get("/console/decisions/list?q=claim-77")) == [answer["decision_id"]]
        assert ids(await people.get("/console/decisions/list?q=claim-7")) == []
        assert "At most 31 days" in await people.get("/console/decisions?q=1&from=2020-01-01")
        assert "no date" in await people.get("/console/decisions/list?from=yesterday")
        assert "cannot be searched for" in await people.get("/console/decisions/list?q=a%20b")
        assert "cannot be searched for" in await people.get("/console/decisions/list?before=7")


async def test_what_a_search_could_not_look_at_is_said(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path, seconds=0.0) as people:
        await people.decide()
        people.archive()
        page = await people.get("/console/decisions/list")
        assert "cut short: it is complete back to" in page
        assert ids(page) == []


async def test_responses_are_listed_once_each(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path) as people:
        answer = await people.decide()
        tracking = answer["placements"][0]["options"][0]["tracking_id"]
        for outcome in ("impression", "accept"):
            said = {"response_id": f"r-{outcome}", "tracking_id": tracking, "outcome": outcome}
            assert (await people.client.post("/v1/responses", json=said)).status_code == 202
        bank.bus.events += [event for event in bank.bus.events if event.topic == RESPONSES]  # published again
        people.archive()
        shown = await people.get(f"/console/decisions/{answer['decision_id']}/responses")
        assert [re.sub(r"\s+", " ", row) for row in re.findall(r"<td>(Shown|Accepted)", shown)] == ["Shown", "Accepted"]


async def test_a_decision_is_computed_again_and_a_changed_record_is_found_out(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path) as people:
        for number in (2, 3):
            bank.store.states[f"retail:{number}"] = bank.store.states["retail:1"]
        first, second, third = [(await people.decide(f"q{n}", f"retail:{n}"))["decision_id"] for n in (1, 2, 3)]
        assert "Identical" in await people.get(f"/console/decisions/{first}/replay")
        for decision_id, name, value, said in (
            (second, "card_spend_sum_30d", 5, "Different from byte"),
            (third, "age", 17, "it wants to reserve something else"),
        ):
            record = orjson.loads(bank.store.records[decision_id])
            record["data"]["attributes"][name] = value
            bank.store.records[decision_id] = orjson.dumps(record)
            assert said in await people.get(f"/console/decisions/{decision_id}/replay")
        assert "placements" in await people.get(f"/console/decisions/{second}/replay")


async def test_of_a_forgotten_strategy_the_answer_is_shown_without_its_reasons(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path, strategies=Forgotten()) as people:
        decision_id = (await people.decide())["decision_id"]
        record = orjson.loads(bank.store.records[decision_id])
        record["data"]["strategy_version"] = "strategy-0"
        bank.store.records[decision_id] = orjson.dumps(record)
        page = await people.get(f"/console/decisions/{decision_id}")
        assert "(strategy-0) is not kept here" in page
        assert "gold_card" in page
        assert "13800000000" not in page or "Phone" not in page
        assert "cannot be computed again" in await people.get(f"/console/decisions/{decision_id}/replay")
        assert "not kept any more" in await people.get(f"/console/decisions/{decision_id}/score/gold_card")


async def test_base_rates_are_said_to_be_base_rates(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path) as people:
        decision_id = (await people.decide())["decision_id"]
        shown = await people.get(f"/console/decisions/{decision_id}/score/gold_card")
        assert "base rate the business expects" in shown
        assert "does not have this offer" in await people.get(f"/console/decisions/{decision_id}/score/nothing")


async def test_the_log_is_read_over_the_interface_too(bank: Any, tmp_path: Path) -> None:
    agent = Client(name="agent", channels=frozenset({"contact_centre"}), scopes=SCOPES)
    everybody = Client(name="everybody", channels=None, scopes=SCOPES)
    decider = Client(name="decider", channels=None, scopes=frozenset({ApiScope.DECIDE}))
    async with looking(bank, tmp_path, "everybody", authenticator=keys(agent, everybody, decider)) as people:
        made = [await people.decide(f"q{n}", channel=("mobile", "contact_centre")[n % 2]) for n in range(4)]
        people.archive()
        found = (await people.client.get("/v1/decision-log", params={"limit": 3})).json()
        assert (len(found["decisions"]), found["complete"], found["archived_until"]) == (3, True, made[0]["time"])
        rest = (await people.client.get("/v1/decision-log", params={"limit": 3, "before": found["next"]})).json()
        listed = [one["decision_id"] for one in found["decisions"] + rest["decisions"]]
        assert listed == sorted((one["decision_id"] for one in made), reverse=True)
        assert rest["next"] is None
        one = (await people.client.get("/v1/decision-log", params={"request_id": "q2"})).json()["decisions"]
        assert [option["offer"] for option in one[0]["options"]] == [
            option["offer"] for option in made[2]["placements"][0].get("options", [])
        ]
        for query, field in (({"before": "x"}, "before"), ({"from": "2020-01-01T00:00:00Z"}, "from"),
                             ({"limit": 0}, "limit"), ({"offer": "a b"}, "offer")):  # fmt: skip
            refused = await people.client.get("/v1/decision-log", params=query)
            assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, field)
        people.client.headers["x-api-key"] = "agent"
        theirs = (await people.client.get("/v1/decision-log")).json()["decisions"]
        assert {one["channel"] for one in theirs} == {"contact_centre"}
        people.client.headers["x-api-key"] = "decider"
        assert (await people.client.get("/v1/decision-log")).status_code == 403


async def test_who_may_see_some_customers_finds_decisions_of_those_only(bank: Any, tmp_path: Path) -> None:
    own = CustomerScope.of(["retail:2"])
    owner = Client(name="owner", channels=None, scopes=SCOPES, customers=own)
    everybody = Client(name="everybody", channels=None, scopes=SCOPES)
    async with looking(bank, tmp_path, "everybody", authenticator=keys(owner, everybody)) as people:
        theirs, foreign = await people.decide("q1", "retail:2"), await people.decide("q2", "retail:1")
        people.archive()
        people.client.headers["x-api-key"] = "owner"
        assert (await people.client.get("/v1/decision-log")).status_code == 403
        assert (await people.client.get("/v1/decision-log", params={"customer_id": "retail:1"})).status_code == 404
        found = await people.client.get("/v1/decision-log", params={"customer_id": "retail:2"})
        assert [one["decision_id"] for one in found.json()["decisions"]] == [theirs["decision_id"]]
        assert (await people.client.get(f"/v1/decisions/{foreign['decision_id']}")).status_code == 404


async def test_the_screens_show_decisions_of_ones_own_customers_only(bank: Any, tmp_path: Path) -> None:
    owner = Client(name="owner", channels=None, scopes=SCOPES, customers=CustomerScope.of(["retail:2"]))
    async with looking(bank, tmp_path, "owner", authenticator=keys(owner)) as people:
        theirs = await people.decide("q1", "retail:2")
        people.archive()
        await people.get("/console/decisions/list", 403)
        await people.get("/console/decisions/list?q=retail:1", 404)
        assert theirs["decision_id"] in await people.get("/console/decisions/list?q=retail:2")
        await people.get(f"/console/decisions/{theirs['decision_id']}")
