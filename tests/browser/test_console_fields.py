"""Writing by fields in the console: a trigger, an experiment's arms, what must be said by law."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.screens import check_accessibility, fits_its_width, picture

SLOW_MS = 40_000
"""A draft's files are loaded anew whenever they are saved; on a busy machine that takes a while."""
expect.set_options(timeout=SLOW_MS)


async def begin_draft(page: Page, onward: str) -> str:
    """A draft at that page; answers the draft's part of the address."""
    page.set_default_timeout(SLOW_MS)
    await page.goto(f"/console/in/active/{onward}")
    await page.get_by_role("button", name="Begin a draft").click()
    await expect(page.locator(".work-bar.in-draft")).to_be_visible()
    return page.url.split("/in/")[1].split("/")[0]


async def test_a_trigger_is_written_checked_and_saved(page: Page) -> None:
    draft = await begin_draft(page, "triggers")
    await page.keyboard.press("n")
    await page.wait_for_url("**/triggers/new")
    await page.get_by_label("Name").fill("two_large_purchases")
    await page.get_by_label("Title · 中文").fill("连续大额消费")
    await page.get_by_label("Title · English").fill("Two large purchases")
    await page.get_by_label("Shape").select_option("count")
    shape = page.locator(".shape-count")
    await expect(shape).to_be_visible()
    await expect(page.locator(".shape-event")).to_be_hidden()
    await shape.locator("select").select_option("bank.transaction.posted")
    box = shape.locator("textarea")
    await box.fill('direction == "debit" && amont >= 300000')
    await expect(shape.locator(".rule-check")).to_contain_text("unknown name amont")
    await box.fill('direction == "debit" && amo')
    await expect(shape.locator(".completions [role=option]").first).to_contain_text("amount")
    await page.keyboard.press("Enter")
    await page.keyboard.type(" >= 300000")
    await expect(shape.locator(".rule-check .said")).to_have_text(
        "Direction is “debit” and amount is at least 3,000.00 CNY"
    )
    await shape.get_by_label("At least so many").fill("2")
    await shape.get_by_label("Within").fill("24h")
    await page.locator("#t-when").fill("age >= 18 && event.amount >= 500000")
    await expect(page.locator("#t-when-check .said")).to_contain_text("the event's amount is at least 5,000.00 CNY")
    await page.locator("section", has=page.locator("#t-guards")).get_by_role("button", name="Who matches").last.click()
    await expect(page.locator("#t-when-matches .matches")).to_contain_text("event.amount")
    await page.get_by_label("Placement").first.select_option("outbound_message")
    await page.get_by_label("Offers of the groups").fill("instalments")
    await page.get_by_role("button", name="Add a further contact").click()
    wave = page.locator("#t-waves .one-row").first
    await wave.get_by_label("So long after").fill("2d")
    await wave.get_by_label("Placement").select_option("outbound_message")
    await page.get_by_label("Not again within").fill("often")
    await check_accessibility(page)
    await page.get_by_role("button", name="Add the trigger").click()
    await page.wait_for_url("**/triggers/two_large_purchases")
    await expect(page.locator("#t-cooldown-faults")).to_contain_text("is no duration")
    await page.get_by_label("Not again within").fill("7d")
    await page.locator(".trigger-form").get_by_role("button", name="Save").click()
    await expect(page.locator(".tag.good", has_text="Saved")).to_be_visible()
    await expect(page.locator(".trigger-form .faults")).to_have_count(0)
    await expect(page.locator("#work-state.good")).to_be_visible()
    await page.evaluate("scrollTo(0, 0)")
    await picture(page, "console-trigger", document=True)
    await page.goto(f"/console/in/{draft}/triggers")
    row = page.locator("tbody tr", has_text="two_large_purchases")
    await expect(row).to_contain_text("So many events: a transaction (Direction is “debit” and amount is at least")
    await expect(row).to_contain_text("+1 later")
    await page.goto(f"/console/drafts/{draft}")
    await expect(page.locator("ins").filter(has_text="Two large purchases").first).to_be_visible()


async def test_arms_are_added_changed_and_must_add_up(page: Page) -> None:
    draft = await begin_draft(page, "experiments")
    await expect(page.locator(".share-key", has_text="Holdout").first).to_contain_text(re.compile(r"Holdout\s*\d"))
    await page.get_by_text("Add an experiment").first.click()
    new = page.locator("form", has=page.locator("#experiment-new-1"))
    await new.get_by_label("Name").first.fill("cards_push")
    await new.get_by_label("Salt").fill("cards-1")
    await new.get_by_role("button", name="Add an arm").click()
    arm = new.locator("#experiment-new-arms > .one-row").first
    await arm.get_by_label("Name").fill("stronger")
    await arm.get_by_label("Share").fill("70")
    await arm.get_by_role("button", name="Add a change").click()
    await arm.locator("#experiment-new-arms-0-levers-0-1").select_option("group:cards")
    await arm.locator("#experiment-new-arms-0-levers-0-2").fill("20")
    await new.get_by_role("button", name="Add an experiment").click()
    await expect(page.locator("h3", has_text="cards_push")).to_be_visible()
    own = page.locator("form.sheet-entry", has=page.locator("h3", has_text="cards_push"))
    await expect(own.locator(".share-key")).to_contain_text("Control 30.0%")
    await own.get_by_role("button", name="Add an arm").click()
    second = own.locator(".rows > .one-row:not([hidden])").nth(1)
    await expect(second).to_be_visible()
    await own.locator("#experiment-0-arms-1-1").fill("without_gold")
    await own.locator("#experiment-0-arms-1-2").fill("60")
    await own.locator("#experiment-0-arms-1-4").fill("gold_card")
    await own.get_by_role("button", name="Save").click()
    await expect(own.locator(".faults").first).to_contain_text("the arms add up to 1.3, at most 1 is possible")
    await own.locator("#experiment-0-arms-0-2").fill("15")
    await own.locator("#experiment-0-arms-1-2").fill("25")
    await own.get_by_role("button", name="Save").click()
    await expect(own.locator(".share-key")).to_contain_text("Control 60.0%")
    await expect(own.locator(".faults")).to_have_count(0)
    await own.evaluate("form => scrollTo(0, form.getBoundingClientRect().top + scrollY - 60)")
    await picture(page, "console-arms", document=True)
    await check_accessibility(page)
    await page.goto(f"/console/drafts/{draft}")
    await expect(page.locator("ins").filter(has_text="without_gold").first).to_be_visible()


async def test_what_the_law_has_said_is_written_in_both_languages(page: Page) -> None:
    await begin_draft(page, "offers/dining_card")
    facts = page.locator("form", has=page.get_by_label("Expected acceptance"))
    await facts.get_by_label("What must be said by law · English").fill("Fees and interest as in the contract.")
    await facts.get_by_role("button", name="Save").click()
    missing = facts.locator(".field", has=page.get_by_label("What must be said by law · 中文")).locator(".faults")
    await expect(missing).to_contain_text("is missing")
    await facts.get_by_label("What must be said by law · 中文").fill("年费与利率以合同为准。")
    await facts.get_by_role("button", name="Save").click()
    await expect(page.locator(".tag.good", has_text="Saved")).to_be_visible()
    await expect(page.locator(".must-say").first).to_contain_text("以合同为准")
    await expect(page.locator(".must-say", has_text="as in the contract").first).to_be_visible()
    await picture(page, "console-disclosure")


@pytest.mark.parametrize(
    ("locale", "theme", "size"),
    [("en", "light", (1280, 800)), ("zh-CN", "dark", (1024, 768)), ("en", "light", (820, 1180))],
)
async def test_pages_of_fields_are_accessible_in_language_theme_and_size(
    open_page: Callable[..., Any], locale: str, theme: str, size: tuple[int, int]
) -> None:
    page: Page = await open_page(locale=locale, theme=theme, width=size[0], height=size[1])
    page.set_default_timeout(SLOW_MS)
    for name in ("caps", "levers", "experiments", "portrait", "triggers", "triggers/journey_planned"):
        await page.goto(f"/console/in/active/{name}")
        await check_accessibility(page)
        assert await fits_its_width(page), name
        await picture(page, f"fields-{name.replace('/', '-')}-{locale}-{size[0]}")
