"""Decision search and explanation in the console: a complaint is answered from a customer's number."""

import re
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from decision_engine.experiment import Arm
from tests.browser.running_bank import RunningBank
from tests.browser.screens import check_accessibility, fits_its_width, picture

SLOW_MS = 40_000
FRAGMENT = {"x-kairos-fragment": "1"}


class Decided:
    """Decisions the tests look for: what was asked, and what was answered."""

    def __init__(self, answer: dict[str, Any], untouched: dict[str, Any]) -> None:
        self.answer = answer
        self.held_out = untouched

    @property
    def decision_id(self) -> str:
        return str(self.answer["decision_id"])

    @property
    def options(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.answer["placements"][0]["options"]
        return found


async def decide(bank: RunningBank, customer: str, name: str, placements: dict[str, int]) -> dict[str, Any]:
    body = {
        "request_id": f"{name}-{monotonic()}",
        "customer_id": customer,
        "channel": "mobile",
        "placements": [{"id": place, "count": count} for place, count in placements.items()],
        "locale": "en",
        "timeout_ms": 1000,
    }
    answer: dict[str, Any] = (await bank.http.post("/v1/decisions", json=body)).json()
    return answer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def decided(bank: RunningBank) -> Decided:
    """A decision with offers for a resident, one of which is accepted, and one for somebody in the control group."""
    for customer in bank.residents(60):
        answer = await decide(bank, customer, "complaint", {"home_banner": 3, "card_page_tile": 2})
        options = answer["placements"][0].get("options", [])
        if len(options) >= 2 and answer["personalised"]:
            break
    else:
        raise AssertionError("nobody has two offers")
    for outcome in ("impression", "accept"):
        said = {
            "response_id": f"r-{outcome}-{monotonic()}",
            "tracking_id": options[0]["tracking_id"],
            "outcome": outcome,
        }
        assert (await bank.http.post("/v1/responses", json=said)).status_code == 202
    held_out = await decide(bank, bank.new_customer(Arm.HOLDOUT), "control", {"home_banner": 2})
    assert "fallback_cause" in held_out["placements"][0]
    return Decided(answer, held_out)


async def archived(page: Page, bank: RunningBank, answer: dict[str, Any]) -> None:
    """Waits until the archive has the decision."""

    async def is_there() -> bool:
        found = await page.request.get(f"/console/decisions/list?q={answer['request_id']}", headers=FRAGMENT)
        return str(answer["decision_id"]) in await found.text()

    await bank.until(is_there, "the decision in the archive")


async def test_a_complaint_is_answered_from_the_customers_number_by_keyboard(
    page: Page, bank: RunningBank, decided: Decided
) -> None:
    await archived(page, bank, decided.answer)
    await page.goto("/console/decisions")
    await page.keyboard.press("/")
    await page.keyboard.type(decided.answer["customer_id"].removeprefix("retail:"))
    await page.keyboard.press("Enter")
    row = page.locator("table.decisions tbody tr").filter(has_text=decided.decision_id)
    await expect(row).to_have_count(1)
    await row.get_by_role("link").first.focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/console/decisions/{decided.decision_id}")
    shown = page.locator(".option")
    await expect(shown).to_have_count(sum(len(p.get("options", [])) for p in decided.answer["placements"]))
    for reason in decided.options[0]["reasons"]:
        await expect(shown.first).to_contain_text(reason["text"])
    await expect(page.locator("#responses")).to_contain_text("Accepted")
    await page.keyboard.press("r")
    await expect(page.locator("#replay .notice.good")).to_contain_text("Identical", timeout=SLOW_MS)


async def test_every_id_leads_to_the_decision(page: Page, bank: RunningBank, decided: Decided) -> None:
    await archived(page, bank, decided.answer)
    for asked in (decided.decision_id, decided.decision_id.lower(), decided.options[1]["tracking_id"]):
        await page.goto(f"/console/decisions?q={asked}")
        await page.wait_for_url(f"**/console/decisions/{decided.decision_id}**")
    assert await page.evaluate("document.querySelector('.option:target') !== null")
    await page.goto(f"/console/decisions?q={decided.answer['request_id']}")
    await expect(page.locator("table.decisions tbody tr")).to_have_count(1)


async def test_decisions_are_found_by_what_they_were_like(page: Page, bank: RunningBank, decided: Decided) -> None:
    await archived(page, bank, decided.held_out)
    await page.goto("/console/decisions")
    await page.get_by_text("Narrow down").click()
    await page.get_by_label("Arm").select_option("holdout")
    await page.get_by_label("With nothing to offer only").check()
    await page.get_by_role("button", name="Search").click()
    rows = page.locator("table.decisions tbody tr")
    await expect(rows.filter(has_text=decided.held_out["decision_id"])).to_have_count(1)
    assert await rows.count() == await rows.filter(has_text="control group").count()
    await picture(page, "console-decisions")
    await page.goto(f"/console/in/active/offers/{decided.options[0]['offer']}", timeout=SLOW_MS)
    await page.get_by_role("link", name="Decisions with this offer").click()
    await expect(rows.filter(has_text=decided.decision_id)).to_have_count(1)
    await page.goto("/console/decisions?from=2020-01-01&to=2026-01-01")
    await expect(page.get_by_role("alert")).to_contain_text("At most 31 days")
    await page.goto("/console/decisions?channel=nowhere")
    await expect(page.locator("#decision-list")).to_contain_text("No decision of these 2 days is like that")


async def test_candidates_are_filtered_sorted_and_leafed_through(page: Page, decided: Decided) -> None:
    await page.goto(f"/console/decisions/{decided.decision_id}")
    shown, table = page.locator("#candidates .shown"), page.locator("table.candidates tbody tr")
    total = int(re.findall(r"of (\d+)", await shown.inner_text())[0])
    assert total > 50
    await expect(table).to_have_count(50)
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator(".pager")).to_contain_text("2 of")
    await page.get_by_role("button", name="Priority").click()
    await expect(page.locator("th[aria-sort=descending]")).to_contain_text("Priority")
    amounts = [amount async for amount in priorities(page)]
    assert amounts == sorted(amounts, reverse=True)
    assert len(amounts) > 1
    await page.locator(".decision-funnel").get_by_role("button", name="Eligibility").click()
    await expect(page.get_by_label("Stage")).to_have_value("eligibility")
    await expect(table.first).to_contain_text("Eligibility")
    said = (await table.first.locator(".rule-said").inner_text()).strip()
    await page.get_by_label("Find an offer").fill(said.removeprefix("Needs: ").split()[0])
    await expect(shown).not_to_have_text(re.compile(rf"^{total} of"))
    await expect(page.get_by_label("Find an offer")).to_be_focused()
    await page.get_by_label("Find an offer").fill("nothing is called so")
    await expect(page.locator("#candidates")).to_contain_text("No candidate is like that")


async def priorities(page: Page) -> Any:
    for cell in await page.locator("table.candidates td.strong").all():
        yield float(re.sub(r"[^\d.-]", "", await cell.inner_text()))


async def test_a_chance_says_where_it_comes_from(page: Page, decided: Decided) -> None:
    await page.goto(f"/console/decisions/{decided.decision_id}")
    chance = page.locator("table.candidates").get_by_role("button", name=re.compile("^Why .*%")).first
    await chance.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#score-dialog")).to_contain_text("base rate")  # this bank has no model yet
    await check_accessibility(page)
    await page.keyboard.press("Escape")
    await expect(page.locator("#score-dialog")).not_to_be_visible()


async def test_the_agents_why_leads_to_the_whole_explanation(page: Page, bank: RunningBank) -> None:
    customer = await bank.customer_with_offers()
    await page.goto(f"/agent/{customer}")
    await page.get_by_role("button", name="Why this and not another offer?").first.click()
    await page.get_by_role("link", name="Explain this decision in full").click()
    await page.wait_for_url("**/console/decisions/*")
    await expect(page.locator("table.candidates tbody tr").first).to_be_visible()


async def test_an_unknown_decision_is_said_to_be_unknown(open_page: Callable[..., Any]) -> None:
    page: Page = await open_page(expect_errors=True)
    await page.goto("/console/decisions/01JD7ZK3V8Q4X9T2M5R6W7Y8AB")
    await expect(page.locator("main")).to_contain_text("No record of this decision is kept")


@pytest.mark.parametrize(
    ("locale", "theme", "size"),
    [
        ("en", "light", (1280, 800)),
        ("zh-CN", "dark", (1280, 800)),
        ("en", "dark", (1024, 768)),
        ("zh-CN", "light", (820, 1180)),
    ],
    ids=str,
)
async def test_search_and_explanation_are_accessible_in_language_theme_and_size(
    open_page: Callable[..., Any],
    bank: RunningBank,
    decided: Decided,
    locale: str,
    theme: str,
    size: tuple[int, int],
) -> None:
    page: Page = await open_page(locale=locale, theme=theme, width=size[0], height=size[1])
    await archived(page, bank, decided.answer)
    name = f"{locale}-{theme}-{size[0]}"
    await page.goto("/console/decisions?degraded=")
    await expect(page.locator("table.decisions tbody tr").first).to_be_visible()
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, f"decisions-{name}")
    await page.goto(f"/console/decisions/{decided.decision_id}")
    await expect(page.locator("#responses table")).to_be_visible()
    for theme_part in await page.locator("details.theme").all():
        await theme_part.evaluate("part => { part.open = true; }")
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, f"decision-{name}")
    if name == "en-light-1280":
        await picture(page, "console-decision", document=True)
    await page.locator("#candidates-title").evaluate("title => title.scrollIntoView()")
    await picture(page, f"decision-candidates-{name}")
