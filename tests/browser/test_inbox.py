"""The relationship manager's inbox: leads within a second, one person's at a time, none lost and none twice."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from services.adapters.embedded_servers import free_port
from services.adapters.role_processes import RoleProcess
from tests.browser.running_bank import RunningBank
from tests.browser.screens import check_accessibility, fits_its_width, picture
from tests.e2e.deployed import until_ready

VIP = {
    "age": 48, "segment": "private", "vip": True, "aum": 800_000_000, "risk_level": 4, "credit_score": 760,
    "overdue_days": 0, "income_band": 6, "risk_assessed_at": "2026-10-20T00:00:00Z", "locale": "zh-CN",
    "branch_id": "B001",
}  # fmt: skip
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


async def vip(bank: RunningBank, manager: str | None = None) -> str:
    """A VIP whom everything is known of before anything happens."""
    customer = bank.new_customer()
    await bank.send(
        customer, "bank.profile.updated", {"attributes": VIP | ({"manager_id": manager} if manager else {})}
    )
    came_in = {"account_id": "1", "direction": "credit", "kind": "transfer_in", "amount": 20_000_000, "currency": "CNY"}
    moment = datetime.now(UTC) - timedelta(days=5)
    await bank.send(customer, "bank.transaction.posted", came_in | {"balance_after": 50_000_000}, at=moment)

    async def known() -> bool:
        themes = (await bank.customer(customer))["attributes"]
        values = {each["name"]: each["value"] for theme in themes.values() for each in theme}  # type: ignore[attr-defined]
        return bool(values.get("vip") and values.get("balance") == 50_000_000)

    await bank.until(known, f"{customer} is known")
    return customer


async def arrives(bank: RunningBank, manager: str | None = None) -> str:
    """A VIP who walks into the branch now."""
    customer = await vip(bank, manager)
    await bank.send(customer, "bank.channel.branch_arrival", {"branch_id": "B001", "recognised_by": "face"})
    return customer


def row(page: Page, customer: str) -> Any:
    return page.locator("#leads [data-lead]").filter(has_text=customer)


async def open_inbox(page: Page, show: str = "mine", url: str = "") -> None:
    await page.goto(f"{url}/inbox?show={show}")
    await expect(page.locator("#live")).to_have_attribute("data-state", "live")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def attributor(bank: RunningBank, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[None]:
    """Somebody who credits conversions."""
    log = tmp_path_factory.mktemp("attributor") / "attributor.log"
    role = RoleProcess(arguments=["attributor"], environment=bank.environment, log=log)
    await role.start()
    yield
    await role.stop()


@asynccontextmanager
async def further_node(bank: RunningBank, log: Path, port: int) -> AsyncIterator[str]:
    """Another API node of the same bank."""
    role = RoleProcess(arguments=["api"], environment=bank.environment | {"KAIROS_PORT": str(port)}, log=log)
    await role.start()
    try:
        url = f"http://127.0.0.1:{port}"
        await until_ready(url, [role], 60.0)
        yield url
    finally:
        await role.stop()


async def test_an_arrival_is_on_the_screen_within_a_second(page: Page, bank: RunningBank) -> None:
    customer = await vip(bank)
    await open_inbox(page, "arrivals")
    began = monotonic()
    await bank.send(customer, "bank.channel.branch_arrival", {"branch_id": "B001", "recognised_by": "face"})
    await expect(row(page, customer)).to_be_visible()
    print(f"arrival to screen: {monotonic() - began:.3f} s")
    detail, current = page.locator("#detail"), page.locator('#leads [data-lead]:has([aria-current="true"])')
    for _ in range(await page.locator("#leads [data-lead]").count()):
        await page.keyboard.press("j")
        shown = re.search(r"retail:\d+", await current.inner_text())
        assert shown is not None
        await expect(detail).to_contain_text(shown[0])
        if shown[0] == customer:
            break
    await expect(detail.locator(".option")).to_have_count(3)
    await expect(detail.locator(".script").first).to_contain_text("What to say")
    await expect(detail).to_contain_text("Grade A")
    await expect(detail).to_contain_text("B001")
    await expect(detail.locator(".portrait")).to_contain_text("Wealthy")
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, "inbox", document=True)


async def test_a_lead_is_taken_closed_and_answered_by_keys_alone(page: Page, bank: RunningBank) -> None:
    customer = await arrives(bank, "Mei Lin")
    await open_inbox(page)
    await expect(row(page, customer)).to_be_visible()
    await row(page, customer).locator("button").press("Enter")
    await expect(page.locator("#detail")).to_contain_text(customer)
    await page.keyboard.press("t")
    await expect(page.locator("#detail")).to_contain_text("Taken by you")
    await expect(row(page, customer)).to_contain_text("You")
    await page.keyboard.press("d")
    await expect(page.locator("#lead-done")).to_be_visible()
    await check_accessibility(page)
    await picture(page, "inbox_done")
    await page.keyboard.press("2")
    await expect(page.locator("#detail")).to_contain_text("Interested")
    await expect(row(page, customer)).to_have_count(0)

    async def answered() -> bool:
        found = await bank.customer(customer)
        return any("click" in contact["outcomes"] for contact in found["responses"])  # type: ignore[attr-defined]

    await bank.until(answered, "the response is in the ledger")
    await page.reload()
    await expect(page.locator("#live")).to_have_attribute("data-state", "live")
    await expect(row(page, customer)).to_have_count(0)
    await page.get_by_text("What you have closed").click()
    await expect(page.locator("#closed")).to_contain_text(customer)


async def test_what_is_not_now_is_a_dismissal_unless_nobody_was_reached(page: Page, bank: RunningBank) -> None:
    for key, outcomes in (("1", ["dismiss"]), ("4", [])):
        customer = await arrives(bank, "Mei Lin")
        await open_inbox(page)
        await row(page, customer).locator("button").click()
        await expect(page.locator("#detail")).to_contain_text(customer)
        await page.keyboard.press("n")
        await page.keyboard.press(key)
        await expect(page.locator("#detail [data-closed]")).to_be_visible()
        contacts = (await bank.customer(customer))["contacts"]
        assert all(contact["outcomes"] == outcomes for contact in contacts)  # type: ignore[attr-defined]


async def test_of_two_managers_one_has_the_lead_and_both_see_who(
    open_page: Callable[..., Any], bank: RunningBank, tmp_path: Path
) -> None:
    customer = await arrives(bank)
    mei = await open_page(person="Mei Lin", expect_errors=True)
    async with further_node(bank, tmp_path / "api.log", free_port()) as url:
        wang: Page = await open_page(person="Wang Bo", expect_errors=True)
        await open_inbox(mei)
        await open_inbox(wang, url=url)
        for page in (mei, wang):
            await row(page, customer).locator("button").click()
            await expect(page.locator("#detail")).to_contain_text(customer)
        answers = await asyncio.gather(*(press_take(page, customer) for page in (mei, wang)))
        assert sorted(answers) == [200, 409]
        first, second = (mei, wang) if answers[0] == 200 else (wang, mei)
        winner = "Mei Lin" if first is mei else "Wang Bo"
        await expect(row(second, customer)).to_contain_text(winner)
        await expect(second.locator("#detail")).to_contain_text(f"Taken by {winner}")
        await first.keyboard.press("b")
        await expect(row(second, customer)).not_to_contain_text(winner)
        await expect(second.locator("#detail").get_by_role("button", name="Take")).to_be_visible()
        await first.close()
        await second.close()


async def press_take(page: Page, customer: str) -> int:
    async with page.expect_response("**/take") as answered:
        await page.locator("#detail").get_by_role("button", name="Take").click()
    return (await answered.value).status


async def test_leads_for_another_manager_are_not_among_mine(page: Page, bank: RunningBank) -> None:
    theirs, anybodys = await arrives(bank, "M404"), await arrives(bank)
    await open_inbox(page, "all")
    await expect(row(page, theirs)).to_be_visible()
    await open_inbox(page, "mine")
    await expect(row(page, anybodys)).to_be_visible()
    await expect(row(page, theirs)).to_have_count(0)


async def test_no_lead_is_lost_or_doubled_when_the_line_is_cut_and_the_node_restarts(
    open_page: Callable[..., Any], bank: RunningBank, tmp_path: Path
) -> None:
    page: Page = await open_page(expect_errors=True)
    port = free_port()
    seen = []
    async with further_node(bank, tmp_path / "first.log", port) as url:
        await open_inbox(page, "all", url)
        seen.append(await arrives(bank))
        await expect(row(page, seen[0])).to_have_count(1)
        await page.context.set_offline(True)
        seen.append(await arrives(bank))
        await page.context.set_offline(False)
        await expect(row(page, seen[1])).to_have_count(1)
    await expect(page.locator("#live")).to_have_attribute("data-state", "lost")
    seen.append(await arrives(bank))
    async with further_node(bank, tmp_path / "second.log", port):
        await expect(page.locator("#live")).to_have_attribute("data-state", "live", timeout=15_000)
        await expect(row(page, seen[2])).to_have_count(1)
        seen.append(await arrives(bank))
        await expect(row(page, seen[3])).to_have_count(1)
        for customer in seen:
            await expect(row(page, customer)).to_have_count(1)
        ids = await page.locator("#leads [data-lead]").evaluate_all("rows => rows.map((row) => row.dataset.lead)")
        assert len(ids) == len(set(ids))
        await page.close()


async def test_an_overtaken_lead_leaves_with_a_note(page: Page, bank: RunningBank) -> None:
    customer = await arrives(bank)
    await open_inbox(page, "all")
    await row(page, customer).locator("button").click()
    await expect(page.locator("#detail")).to_contain_text(customer)
    lead = await page.locator("#detail [data-detail]").get_attribute("data-detail")
    tracking = await page.locator("#detail input[name=tracking_id]").first.get_attribute("value")
    body = {"response_id": f"elsewhere-{lead}", "tracking_id": tracking, "outcome": "reject", "channel": "manager"}
    await bank.http.post("/v1/responses", json=body)
    await expect(row(page, customer)).to_contain_text("Overtaken")
    await expect(row(page, customer)).to_have_count(0)


@pytest.mark.usefixtures("attributor")
async def test_what_a_lead_earned_is_shown_without_anybody_typing_it(page: Page, bank: RunningBank) -> None:
    customer = await arrives(bank, "Mei Lin")
    await open_inbox(page)
    await row(page, customer).locator("button").click()
    await expect(page.locator("#detail")).to_contain_text(customer)
    await page.keyboard.press("t")
    await expect(page.locator("#detail")).to_contain_text("Taken by you")
    offers = (await bank.customer(customer))["contacts"]
    products = {offer.name: offer.product for offer in bank.prepared.strategy.offers}
    product = next(found for each in offers if (found := products.get(each["offer"])))  # type: ignore[attr-defined]
    await bank.send(customer, "bank.product.opened", {"product": product, "account_id": "9"})
    await expect(row(page, customer).locator("[data-result]")).to_be_visible(timeout=20_000)
    await expect(page.locator("#detail")).to_contain_text("Credited to this lead")


async def test_the_inbox_is_chinese_dark_and_fits_a_tablet(open_page: Callable[..., Any], bank: RunningBank) -> None:
    customer = await arrives(bank)
    for width, height in ((1024, 768), (820, 1180)):
        page: Page = await open_page(locale="zh-CN", theme="dark", width=width, height=height)
        await open_inbox(page, "arrivals")
        await row(page, customer).locator("button").click()
        await expect(page.locator("#detail")).to_contain_text("贵宾到店")
        await expect(page.locator("#detail")).to_contain_text("话术")
        await check_accessibility(page)
        assert await fits_its_width(page)
        await picture(page, f"inbox_zh_{width}")
        await page.close()


async def test_the_inbox_needs_a_person_and_acts_need_the_screen_itself(bank: RunningBank) -> None:
    assert (await bank.http.get("/inbox")).status_code == 303
    assert (await bank.http.get("/inbox/stream", headers={"accept": "text/event-stream"})).status_code == 401
    async with httpx.AsyncClient(base_url=bank.url, trust_env=False) as other:
        answer = await other.post("/inbox/leads/abc/take", headers={"sec-fetch-site": "cross-site"})
        assert answer.status_code in (401, 403)
