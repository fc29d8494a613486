"""Who is here now, on the agent's first page: an arrival appears by itself and leads to the customer's offers."""

from playwright.async_api import Page, expect

from tests.browser.running_bank import RunningBank
from tests.browser.screens import check_accessibility, picture
from tests.browser.test_inbox import arrives

PATIENCE_MS = 30_000


async def test_an_arrival_appears_by_itself_and_leads_to_the_customer(page: Page, bank: RunningBank) -> None:
    page.set_default_timeout(PATIENCE_MS)
    await page.goto("/agent")
    arrivals = page.locator("#arrivals")
    customer = await arrives(bank)
    row = arrivals.locator("li", has_text=customer)
    await expect(row).to_contain_text("In the branch", timeout=PATIENCE_MS)
    await expect(row).to_contain_text("B001")
    await check_accessibility(page)
    await picture(page, "agent-arrivals")
    await row.get_by_role("link", name=customer).click()
    await page.wait_for_url(f"**/agent/{customer}?channel=branch")
    await expect(page.locator("#bank-age")).to_contain_text("Bank data")
    await expect(page.locator(".segmented [aria-current=true]")).to_have_text("Branch")
