"""The marketing console: a marketer's whole path without a file or a restart, and every page's looks and manners."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.running_bank import RunningBank
from tests.browser.screens import PICTURES, check_accessibility, fits_its_width, picture

AUTHOR, APPROVER = "Mei Lin", "Wei Zhang"
SLOW_MS = 40_000
"""On a busy machine a check of all rules, or an act that is read back from the log, takes a while."""
COUNT_CLICKS = "document.addEventListener('click', e => { if (e.isTrusted && e.detail) counted(); }, true)"
PAGES = ["offers", "offers/dining_card", "caps", "levers", "experiments"]


@dataclass
class MarketerPath:
    """What a marketer's path took: real clicks of the mouse in both persons' pages, and seconds by step."""

    clicks: int = 0
    keys: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def count(self) -> None:
        self.clicks += 1


async def counted_page(open_page: Callable[..., Any], path: MarketerPath, person: str) -> Page:
    page: Page = await open_page(person=person)
    page.set_default_timeout(SLOW_MS)
    await page.expose_function("counted", path.count)
    await page.add_init_script(COUNT_CLICKS)
    return page


async def write(page: Page, *texts: str) -> None:
    """Writes into the field that has the focus, and on with Tab, as people do who do not reach for the mouse."""
    for text in texts:
        await page.keyboard.insert_text(text)
        await page.keyboard.press("Tab")


async def choose(page: Page, first_letters: str) -> None:
    """An entry of the list that has the focus, by its first letters."""
    await page.keyboard.type(first_letters)
    await page.keyboard.press("Tab")


async def begin_draft(page: Page, onward: str = "/console/in/active/offers/dining_card") -> str:
    """A draft at that page; answers the draft's part of the address."""
    await page.goto(onward)
    await page.get_by_role("button", name="Begin a draft").click()
    await expect(page.locator(".work-bar.in-draft")).to_be_visible()
    return page.url.split("/console/in/")[1].split("/")[0]


async def ask_for_offers(bank: RunningBank, customers: list[str], name: str) -> dict[str, Any]:
    """One decision a customer; what they came to, for who was offered `name`."""
    offered, versions = [], set()
    for customer in customers:
        body = {
            "request_id": f"{name}-{customer}-{monotonic()}",
            "customer_id": customer,
            "channel": "mobile",
            "placements": [{"id": "home_banner", "count": 3}],
            "locale": "en",
            "timeout_ms": 1000,
        }
        answer = (await bank.http.post("/v1/decisions", json=body)).json()
        versions.add(answer["strategy_version"])
        options = answer["placements"][0].get("options", [])
        offered += [option for option in options if option["offer"] == name]
    return {"offered": offered, "versions": versions}


async def new_offer(page: Page, title: str) -> None:
    """An offer with two treatments, a rule and a cap: one click into the first field, the rest by keyboard."""
    await page.get_by_role("link", name="Console").click()
    await page.get_by_role("button", name="New offer").click()
    await page.wait_for_url("**/offers/new")
    await page.get_by_label("Title · 中文").first.click()
    await write(page, f"{title}（中文）", title)
    await choose(page, "Credit cards")
    await write(page, "1200", "60", "")
    await page.keyboard.press("Tab")  # over "More fields"
    for placement in ("home_banner", "agent_panel"):
        await choose(page, placement)
        await write(page, f"{title} 中文", "首年免年费。", title, "No fee in the first year.")
        await page.keyboard.press("Tab")  # over "Talk script"
    await page.keyboard.press("Tab")  # over "Add a treatment"
    await page.keyboard.type("age >= 18 && card_spend_sum_30")
    await expect(page.locator(".completions [role=option]").first).to_be_visible()
    await page.keyboard.press("Enter")
    await page.keyboard.type(" >= 0")
    await expect(page.locator("#n-when-check .said")).to_have_text(
        "Age in years is at least 18 and Card spend within 30 days is at least 0.00 CNY"
    )
    await page.get_by_role("button", name="Who matches now?").click()
    await expect(page.locator("#n-when-matches .big")).to_be_visible(timeout=SLOW_MS)
    await page.get_by_label("Said if it does not hold · 中文").click()
    await write(page, "不满足条件", "Not for this customer", "2")
    await page.get_by_role("button", name="Add the offer").click()
    await page.wait_for_url("**/offers/*pass*")


async def simulate_and_submit(page: Page, path: MarketerPath) -> str:
    """Checks, simulates and hands the draft in; answers the version."""
    await page.get_by_role("link", name="Check and submit").click()
    await expect(page.locator("#check .notice.good")).to_be_visible(timeout=SLOW_MS)
    began = monotonic()
    await page.get_by_role("button", name="Simulate").click()
    await expect(page.locator("#simulation progress")).to_be_visible(timeout=SLOW_MS)
    await expect(page.locator("#simulation .report")).to_be_visible(timeout=150_000)
    path.seconds["simulation"] = monotonic() - began
    await page.get_by_label("What it is for").click()
    await page.keyboard.insert_text("Summer campaign")
    await page.get_by_role("button", name="Submit for approval").click()
    await page.wait_for_url("**/console/versions/*")
    return page.url.rpartition("/")[2]


async def approve_and_activate(page: Page, title: str) -> None:
    await page.goto("/console")
    await page.get_by_role("link", name="Approvals").click()
    await page.get_by_role("row").filter(has_text="waits for approval").get_by_role("link").click()
    await expect(page.locator("ins").filter(has_text=title).first).to_be_visible()
    await page.get_by_role("button", name="Approve").click()
    await expect(page.locator("#share")).to_be_visible(timeout=SLOW_MS)
    await page.get_by_role("button", name="Activate").click()
    await expect(page.locator("#share")).to_have_count(0, timeout=SLOW_MS)


@pytest.mark.timeout(280)
async def test_a_marketer_brings_an_offer_live_by_clicks_alone(
    bank: RunningBank, open_page: Callable[..., Any]
) -> None:
    """New offer with two treatments, rule and cap; checked, simulated, submitted, approved by another, live."""
    path, title = MarketerPath(), "Summer pass"
    customers = bank.residents(40)
    await ask_for_offers(bank, customers, "before")  # a recorded day to simulate on
    archive = bank.settings.archive_path

    async def archived() -> bool:
        return any(Path(archive).rglob("*.parquet"))

    await bank.until(archived, "decisions are archived")
    author = await counted_page(open_page, path, AUTHOR)
    began = monotonic()
    await author.goto("/")
    await new_offer(author, title)
    path.seconds["writing"] = monotonic() - began
    await picture(author, "console-offer", document=True)
    version = await simulate_and_submit(author, path)
    await author.screenshot(path=PICTURES / "console-version.png")

    await author.reload()
    await author.get_by_role("button", name="Approve").click()
    await expect(author.locator("#answer-refusal [role=alert]")).to_contain_text(
        "another person has to approve it", timeout=SLOW_MS
    )
    clicks_of_refusal = 1

    approver = await counted_page(open_page, path, APPROVER)
    await approve_and_activate(approver, title)
    await picture(approver, "console-approval", document=True)
    name = "summer_pass"

    async def live() -> bool:
        found = await ask_for_offers(bank, customers[:3], name)
        return version in found["versions"]

    await bank.until(live, "the version decides")
    found = await ask_for_offers(bank, customers, name)
    path.seconds["all"] = monotonic() - began
    assert found["versions"] == {version}
    assert found["offered"], "nobody was offered it"
    assert found["offered"][0]["content"]["title"] == title
    path.clicks -= clicks_of_refusal
    assert path.clicks < 30, path.clicks
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / "marketer_path.json").write_text(json.dumps({"clicks": path.clicks, "seconds": path.seconds}))

    await stop_at_once(approver, name, "the campaign is over")

    async def gone() -> bool:
        return not (await ask_for_offers(bank, customers[:5], name))["offered"]

    await bank.until(gone, "what is stopped is offered no more")


async def stop_at_once(page: Page, offer: str, why: str) -> None:
    await page.goto(f"/console/switches?kind=offer&name={offer}")
    await page.locator("#s-why").fill(why)
    await page.get_by_role("button", name="Stop now").click()
    await expect(page.locator("tbody tr", has_text=offer).locator(".tag.bad")).to_be_visible(timeout=SLOW_MS)


async def test_a_problem_stands_at_the_field_it_belongs_to(page: Page) -> None:
    await begin_draft(page)
    await page.get_by_label("Expected acceptance").fill("")
    await page.get_by_label("Worth of an acceptance").fill("9.999")
    await page.locator("form", has=page.get_by_label("Expected acceptance")).get_by_role("button", name="Save").click()
    fault = page.locator(".field", has=page.get_by_label("Worth of an acceptance")).locator(".faults")
    await expect(fault).to_have_text("An amount with at most two decimals is needed here.")
    await page.get_by_label("Worth of an acceptance").fill("99.5")
    await page.locator("form", has=page.get_by_label("Expected acceptance")).get_by_role("button", name="Save").click()
    missing = page.locator(".field", has=page.get_by_label("Expected acceptance")).locator(".faults")
    await expect(missing).to_have_text("is missing")
    await expect(page.get_by_label("Worth of an acceptance")).to_have_value("99.5")


async def test_a_rule_says_where_it_is_wrong_while_it_is_written(page: Page) -> None:
    await begin_draft(page)
    await page.locator(".layer", has_text="Applicability").locator(".adding summary").click()
    editor = page.locator("#applicability-new")
    await editor.fill("age >= 18 && citi == 1")
    check = page.locator("#applicability-new-check")
    await expect(check).to_contain_text("unknown name citi")
    await expect(check).to_contain_text("character 14")
    await editor.fill('city == "beijing"')
    await expect(check.locator(".said")).to_have_text("City of residence is “beijing”")


async def test_who_matches_now_is_counted_and_named(page: Page, bank: RunningBank) -> None:
    await page.goto("/console/in/active/offers/dining_card")
    await page.get_by_role("button", name="Who may have it now").click()
    matches = page.locator("#offer-matches .matches")
    await expect(matches).to_contain_text("recorded customers were asked")
    assert int((await matches.locator(".big").inner_text()).replace(",", "")) >= 0


async def test_levers_are_edited_in_place_and_undone(page: Page) -> None:
    draft = await begin_draft(page, "/console/in/active/levers")
    await page.get_by_text("Add a lever").first.click()
    await page.locator("#lever-new-1").select_option("group:cards")
    await page.locator("#lever-new-2").fill("15")
    await page.get_by_role("button", name="Add a lever").click()
    row = page.locator(".sheet-row").first
    await expect(row.locator("#lever-0-2")).to_have_value("15")
    await row.locator("#lever-0-2").fill("-20")
    await row.locator("#lever-0-3").fill("2026-11-01")
    async with page.expect_response(lambda response: "/levers/change" in response.url):
        await row.get_by_role("button", name="Save").click()
    await page.goto(f"/console/drafts/{draft}")
    await expect(page.locator("ins").filter(has_text="-20")).to_be_visible()
    await page.goto(f"/console/in/{draft}/levers")
    await page.locator(".sheet-row").first.get_by_role("button", name="Remove").click()
    await expect(page.locator("#lever-0-2")).to_have_count(0)
    await page.goto(f"/console/drafts/{draft}")
    await expect(page.get_by_text("No offer, rule or setting differs")).to_be_visible()


async def test_two_who_write_in_one_draft_notice_each_other(open_page: Callable[..., Any]) -> None:
    first: Page = await open_page(person=AUTHOR)
    await begin_draft(first)
    second: Page = await open_page(person=APPROVER)
    await second.goto(first.url)
    for page, value in ((second, "77"), (first, "88")):
        await page.get_by_label("Worth of an acceptance").fill(value)
    for page in (second, first):
        form = page.locator("form", has=page.get_by_label("Expected acceptance"))
        await form.get_by_role("button", name="Save").click()
        if page is second:
            await expect(page.locator(".tag.good", has_text="Saved")).to_be_visible()
    await expect(first.locator(".notice.bad")).to_contain_text("saved revision 2 since you opened it")
    await second.reload()
    await expect(second.get_by_label("Worth of an acceptance")).to_have_value("77")


async def test_a_kill_switch_asks_why_and_is_released_again(page: Page) -> None:
    await page.goto("/console/in/active/offers/dining_card")
    await page.get_by_role("link", name="Stop now").click()
    await page.get_by_role("button", name="Stop now").click()
    await expect(page.locator("#switch-refusal [role=alert]")).to_contain_text("Say what and why")
    await page.locator("#s-why").fill("wrong fee in the text")
    await page.get_by_role("button", name="Stop now").click()
    await expect(page.locator("tbody tr", has_text="dining_card").locator(".tag.bad")).to_be_visible()
    await page.goto("/console")
    await page.locator("#q").fill("dining_card")
    await expect(page.locator("#offer-list tr", has_text="dining_card").locator(".tag.bad")).to_have_text("Stopped")
    await page.goto("/console/switches")
    row = page.locator("tbody tr", has_text="dining_card")
    await row.locator("input[name=comment]").fill("text mended")
    await row.get_by_role("button", name="Release").click()
    await expect(row.locator(".tag.bad")).to_have_count(0)


async def test_offers_are_found_by_keyboard_alone(page: Page) -> None:
    await page.goto("/console")
    await page.keyboard.press("/")
    await page.keyboard.type("platinum")
    await expect(page.locator("#offer-list p").first).to_have_text(re.compile(r"2 of \d+ offers"))
    await expect(page.locator("#offer-list tbody tr")).to_have_count(2)
    for _ in range(12):
        await page.keyboard.press("Tab")
        if await page.evaluate("() => document.activeElement.closest('tbody') !== null"):
            break
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/offers/platinum_*")
    await page.keyboard.press("e")
    await expect(page.locator(".work-bar.in-draft")).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "theme", "size"),
    [("en", "light", (1280, 800)), ("zh-CN", "dark", (1280, 800)), ("zh-CN", "light", (1024, 768)),
     ("en", "dark", (820, 1180))],
)  # fmt: skip
async def test_every_page_is_accessible_in_language_theme_and_size(
    open_page: Callable[..., Any], locale: str, theme: str, size: tuple[int, int]
) -> None:
    page: Page = await open_page(locale=locale, theme=theme, width=size[0], height=size[1])
    for name in (*(f"in/active/{each}" for each in PAGES), "drafts", "approvals", "switches"):
        await page.goto(f"/console/{name}")
        await check_accessibility(page)
        assert await fits_its_width(page), name
        if size == (1280, 800) and locale == "en":
            await picture(page, f"console-{name.replace('/', '-')}")
    await page.goto("/console/in/active/offers")
    await page.get_by_role("button", name="New offer" if locale == "en" else "新建产品").click()
    await page.wait_for_url("**/offers/new")
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, f"console-new-{locale}-{size[0]}", document=locale == "en" and size[0] == 1280)
