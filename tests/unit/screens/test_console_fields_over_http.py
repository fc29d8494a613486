"""What the console lets people write by fields, over HTTP: each change is in the draft's
files, and what is wrong stands at its field."""

import asyncio
import re
from collections.abc import AsyncIterator
from html import unescape
from types import ModuleType
from typing import Any

import httpx
import pytest
import pytest_asyncio

from decision_engine.features.compiled import compile_features
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.prepared import prepare
from services.adapters.file_strategy_source import load_strategy_texts
from services.adapters.yaml_source import read_source
from services.api.app import create_app
from services.use_cases.authoring.matching import SampledStates
from services.use_cases.authoring.source_nodes import SourceNode
from services.use_cases.authoring.tools import AuthoringTools
from services.use_cases.make_decision import Live

FILES = {
    "strategy.yaml": """# What the bank is
name: small
time_zone: Asia/Shanghai
currency: CNY
locales: [zh-CN, en]
consents: [{name: marketing, default: granted, text: {zh-CN: 营销, en: Marketing}}]
profile:
  - {name: age, type: int, theme: basic, description: {zh-CN: 年龄, en: Age in years}}
  - {name: open_complaints, type: int, theme: basic, default: 0, description: {zh-CN: 投诉, en: Open complaints}}
  - {name: manager_id, type: string, theme: basic, description: {zh-CN: 客户经理, en: Manager}}
  - {name: next_maturity_at, type: timestamp, theme: basic, description: {zh-CN: 到期, en: Next maturity}}
features:
  - name: spend
    source: bank.transaction.posted
    aggregate: sum
    field: amount
    windows: [7d]
    theme: transaction
    description: {zh-CN: 消费, en: Spend}
context:
  - {name: page, type: string, description: {zh-CN: 页面, en: Page}}
models: [{name: cross_sell, required: false, learns_from: [age]}]
issues: [{name: grow, title: {zh-CN: 提升, en: Grow}}]
groups: [{name: cards, issue: grow, model: cross_sell, title: {zh-CN: 卡, en: Cards}}]
placements:
  - id: outbound_message
    channel: sms
    max_count: 1
    fallback: {treatment: generic.sms.none, content: {zh-CN: {title: 无}, en: {title: None}}}
  - id: inbox_lead
    channel: manager
    max_count: 3
    fallback: {treatment: generic.manager.none, content: {zh-CN: {title: 无}, en: {title: None}}}
experiment: {salt: "2026-11", shares: {random_eligible: 0.16, holdout: 0.02}}  # left untouched
portrait:
  facts: [age]
  amounts: []
  series: [{attribute: spend_7d, title: {zh-CN: 消费, en: Spend}, unit: money}]
""",
    "offers.yaml": """offers:
  # The oldest of our cards
  - name: dining_card
    group: cards
    title: {zh-CN: 美食卡, en: Dining card}
    value: 15000
    base_rate: 0.03
    treatments:
      - {name: text, channel: sms, placements: [outbound_message], content: {zh-CN: {title: 卡}, en: {title: Card}}}
      - {name: lead, channel: manager, placements: [inbox_lead], content: {zh-CN: {title: 卡}, en: {title: Card}}}
  - name: gold_card
    group: cards
    title: {zh-CN: 金卡, en: Gold card}
    value: 25000
    base_rate: 0.02
    treatments:
      - {name: lead, channel: manager, placements: [inbox_lead], content: {zh-CN: {title: 金}, en: {title: Gold}}}
""",
    "contact_policy.yaml": """contact_policy:
  outbound: [sms, manager]  # where the bank comes to the customer
  limits:
    - {id: weekly, scope: offer, limit: 3, window: 7d, code: CAP, text: {zh-CN: 三次, en: Three times}}
""",
    "triggers.yaml": """# What starts a contact by itself
triggers:
  # Money came in
  - name: large_inflow
    title: {zh-CN: 大额到账, en: Large inflow}
    on: {event: bank.transaction.posted, where: 'direction == "credit"'}
    contact: {placement: inbox_lead, recipient: manager_id}
  - name: journey
    title: {zh-CN: 出行, en: Journey}
    on:
      sequence:
        - {event: bank.channel.search, where: 'topic == "fx"'}
        - {event: bank.transaction.posted}
      within: 14d
    contact: {placement: outbound_message}
""",
}
STRATEGY, _ = load_strategy_texts(FILES)
PREPARED = prepare(STRATEGY)
ORIGIN = "http://bank"


class Nobody:
    """A store without states."""

    async def sample(self, layout: str, most: int) -> SampledStates:
        return SampledStates(states=(), population=0, whole=True)


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


class Author:
    """Somebody at work in a draft."""

    def __init__(self, client: httpx.AsyncClient, desk: Any, reads: list[str]) -> None:
        self.client = client
        self.reads = reads
        self.desk = desk
        self.draft = ""

    async def begin(self) -> None:
        answer = await self.client.post("/console/drafts", data={"next": "/console/in/active/triggers"})
        self.draft = answer.headers["x-kairos-go"].split("/in/")[1].split("/")[0]

    async def get(self, path: str, **query: str) -> str:
        answer = await self.client.get(f"/console/in/{self.draft or 'active'}/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return unescape(answer.text)

    async def post(self, path: str, **fields: str) -> httpx.Response:
        answer = await self.client.post(f"/console/in/{self.draft}/{path}", data=fields)
        assert answer.status_code == 200, answer.text
        return answer

    async def files(self) -> dict[str, str]:
        return dict(await self.desk.draft_files(self.draft))

    async def strategy(self) -> Any:
        return load_strategy_texts(await self.files())[0]


@pytest_asyncio.fixture
async def author(small_bank: ModuleType, governance_bench: ModuleType) -> AsyncIterator[Author]:
    bench = governance_bench.Bench(serving=STRATEGY.version)
    bench.kept[STRATEGY.version] = FILES
    governance = await bench.desk()
    live = Live.of(PREPARED, compile_features(STRATEGY.declarations, EVENT_FIELDS), {})
    reads: list[str] = []

    def read(text: str) -> SourceNode:
        reads.append(text)
        return read_source(text)

    tools = AuthoringTools(read=read, load=load_strategy_texts, sample=Nobody())
    bank = small_bank.Bank(live=live)
    app = create_app(bank.runtime(sessions=Held(), authoring=tools, governance=governance))
    headers = {"origin": ORIGIN, "x-kairos-fragment": "1", "accept-language": "en"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN, headers=headers) as client:
        signed_in = await client.post("/sign-in", data={"secret": "Mei Lin"}, headers={"accept": "text/html"})
        client.headers["cookie"] = signed_in.headers["set-cookie"].partition(";")[0]
        yield Author(client, governance, reads)


def faults_of(page: str, field_id: str) -> str:
    """What stands under the field."""
    found = re.search(rf'id="{re.escape(field_id)}-faults">(.*?)</ul>', page, re.DOTALL)
    return "" if found is None else " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


async def test_whoever_signs_in_does_not_wait_for_the_files_later(author: Author) -> None:
    await author.client.get("/sign-in")
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))
    before = len(author.reads)
    assert before == len(FILES)
    assert "Dining card" in await author.get("offers")
    assert len(author.reads) == before


@pytest.mark.parametrize("locale", ["en", "zh-CN"])
async def test_every_list_and_every_trigger_has_its_page(author: Author, locale: str) -> None:
    author.client.headers["accept-language"] = locale
    for place in ("caps", "levers", "experiments", "portrait", "triggers", "triggers/new", "triggers/journey"):
        page = await author.get(place)
        assert "console_fields." not in page
        assert "readonly" in page or place == "triggers", "what is active is not edited"
    listed = await author.get("triggers")
    assert listed.count("<tr><td>") == len(STRATEGY.triggers)
    said = "Direction is “credit”" if locale == "en" else "方向为“credit”"
    assert said in listed


async def test_a_trigger_is_added_mended_and_removed(author: Author) -> None:
    await author.begin()
    fields = {
        "name": "quiet_login",
        "title.zh-CN": "登录",
        "title.en": "A login",
        "shape": "event",
        "event/on.event": "bank.channel.login",
        "when": "age >= no_such",
        "contact.placement": "outbound_message",
        "cooldown": "often",
    }
    made = await author.post("triggers/new/change", **fields)
    assert made.headers["x-kairos-go"] == f"/console/in/{author.draft}/triggers/quiet_login"
    page = await author.get("triggers/quiet_login")
    assert "unknown name no_such" in page
    assert "'often' is no duration" in faults_of(page, "t-cooldown")
    ref = re.search(r'name="_ref" value="([^"]+)"', page)
    assert ref is not None
    mended = await author.post(
        "triggers/quiet_login/change", _ref=ref[1], **(fields | {"when": "age >= 18", "cooldown": "7d"})
    )
    assert "Saved" in mended.text
    found = next(t for t in (await author.strategy()).triggers if t.name == "quiet_login")
    assert (found.when, found.cooldown_ms) == ("age >= 18", 7 * 86_400_000)
    assert (await author.files())["triggers.yaml"].startswith(FILES["triggers.yaml"].rstrip("\n"))
    gone = await author.post("triggers/quiet_login/change", _ref=ref[1], _form="drop")
    assert gone.headers["x-kairos-go"].endswith("/triggers")
    assert (await author.files())["triggers.yaml"].rstrip() == FILES["triggers.yaml"].rstrip()


async def test_a_trigger_without_a_name_stays_on_the_page_with_what_was_written(author: Author) -> None:
    await author.begin()
    answer = await author.post("triggers/new/change", **{"name": "", "title.en": "Kept", "shape": "moment"})
    page = unescape(answer.text)
    assert faults_of(page, "t-name") == "This is needed."
    assert 'value="Kept"' in page
    assert (await author.files()) == FILES


async def test_an_experiment_is_added_its_arms_changed_and_its_shares_shown(author: Author) -> None:
    await author.begin()
    arms = {
        "name": "cards_push",
        "salt": "cards-1",
        "arms.0.name": "stronger",
        "arms.0.share": "10",
        "arms.0.levers.0.scope": "group:cards",
        "arms.0.levers.0.add": "20",
    }
    page = unescape((await author.post("experiments/change", _form="experiment.new", **arms)).text)
    assert "Control <b>90.0%" in page
    ref = re.search(r'name="_form" value="experiment.0"><input type="hidden" name="_ref" value="([^"]+)"', page)
    assert ref is not None
    more = arms | {"arms.0.share": "70", "arms.1.name": "other", "arms.1.share": "60", "arms.1.withhold": "gold_card"}
    page = unescape((await author.post("experiments/change", _form="experiment.0", _ref=ref[1], **more)).text)
    assert "the arms add up to 1.3, at most 1 is possible" in page
    more["arms.0.share"], more["arms.1.share"] = "15", "25"
    page = unescape((await author.post("experiments/change", _form="experiment.0", _ref=ref[1], **more)).text)
    assert "Control <b>60.0%" in page
    (layer,) = (await author.strategy()).experiments
    assert [(arm.name, arm.share) for arm in layer.arms] == [("stronger", 0.15), ("other", 0.25)]


async def test_the_holdout_is_seen_and_the_standing_shares_are_changed(author: Author) -> None:
    await author.begin()
    page = await author.get("experiments")
    assert "Holdout <b>2.0%" in page
    assert "Full arbitration <b>82.0%" in page
    ref = re.search(r'value="standing.0"><input type="hidden" name="_ref" value="([^"]+)"', page)
    assert ref is not None
    await author.post("experiments/change", _form="standing.0", _ref=ref[1], **{"shares.holdout": "5"})
    assert (await author.strategy()).experiment.shares["holdout"] == 0.05


async def test_what_the_law_has_said_reasons_and_weights_of_an_offer_are_written(author: Author) -> None:
    await author.begin()
    texts = {"disclosure.zh-CN": "以合同为准。", "disclosure.en": "As in the contract."}
    page = unescape((await author.post("offers/dining_card/change", _form="facts", **texts)).text)
    assert page.count("Must be said:</b> As in the contract.") >= 2, "previews show it"
    reason = {"when": "age >= 30", "code": "OF_AGE", "text.zh-CN": "年龄合适", "text.en": "The right age"}
    page = unescape((await author.post("offers/dining_card/change", _form="reasons.new", **reason)).text)
    assert "“The right age”" in page
    weight = {"when": 'context.page == "cards"', "weight": "-25"}
    page = unescape((await author.post("offers/dining_card/change", _form="context_weights.new", **weight)).text)
    assert "<b>-25 %</b>" in page
    offer = (await author.strategy()).offer("dining_card")
    assert offer.disclosure == {"zh-CN": "以合同为准。", "en": "As in the contract."}
    assert offer.reasons[-1].code == "OF_AGE"
    assert offer.context_weights[-1].weight == -25.0


@pytest.mark.parametrize(
    ("sheet", "form", "fields", "expected"),
    [
        ("caps", "quiet.new", {"id": "lunch", "channels": "sms", "from": "12:00", "to": "13:00"}, "id: lunch"),
        ("caps", "holiday.new", {"id": "ny", "channels": "sms", "dates": "2027-01-01"}, "dates: [2027-01-01]"),
        ("caps", "limit.new", {"id": "apart", "scope": "offer", "min_distance": "3d", "code": "APART",
                               "text.zh-CN": "近", "text.en": "Soon"}, "min_distance: 3d"),
        ("caps", "service.new", {"id": "blocked", "when": "open_complaints > 3", "issues": "grow", "code": "BLOCKED",
                                 "text.zh-CN": "先", "text.en": "First"}, "when: open_complaints > 3"),
        ("levers", "weight.new", {"scope": "group:cards", "when": "age < 30", "weight": "12"}, "weight: 12"),
    ],
)  # fmt: skip
async def test_entries_of_the_contact_policy_and_weights_are_added(
    author: Author, sheet: str, form: str, fields: dict[str, str], expected: str
) -> None:
    await author.begin()
    page = (await author.post(f"{sheet}/change", _form=form, **fields)).text
    assert "Saved" in page
    await author.strategy()
    assert expected in "".join((await author.files()).values()).replace('"', "").replace("'", "")


async def test_boxes_of_triggers_know_their_event(author: Author) -> None:
    form = {"shape": "event", "event/on.event": "bank.transaction.posted", "when": "event.amount >= 500"}
    said = await author.get("rules/check", _field="when", _names="guard", **form)
    assert "The event's amount is at least 5.00 CNY" in said
    filter_ = {**form, "event/on.where": "amont > 5"}
    assert "unknown name amont" in await author.get("rules/check", _field="event/on.where", _names="event", **filter_)
    rows = await author.get("rules/complete", _field="when", _names="guard", _text="event.dir", _at="9", **form)
    assert '"insert":"event.direction"' in rows
    rows = await author.get("rules/complete", _field="event/on.where", _names="event", _text="ag", _at="2", **form)
    assert '"insert":"age"' not in rows
    matches = await author.get("rules/matches", _field="when", _names="guard", **form)
    assert "event.amount" in matches
