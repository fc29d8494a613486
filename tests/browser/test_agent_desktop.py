"""The agent's desktop: find a customer, make the next best offer, take the answer; by mouse, by keyboard, in both
languages, on a tablet, and while something is away."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.running_bank import RunningBank
from tests.browser.screens import check_accessibility, fits_its_width, picture


async def open_customer(page: Page, customer: str) -> None:
    """The customer's page with its offers on it."""
    await page.goto(f"/agent/{customer}")
    await expect(page.locator(".offer").first).to_be_visible()


async def with_three_offers(page: Page, bank: RunningBank) -> str:
    """Opens a customer of this test's own who has three offers."""
    customer = await bank.customer_with_offers()
    await open_customer(page, customer)
    await expect(page.locator("article.offer")).to_have_count(3)
    return customer


async def outcomes(bank: RunningBank, customer: str) -> dict[str, list[str]]:
    """By offer what the customer's contacts came to."""
    view: Any = await bank.customer(customer)
    found: dict[str, list[str]] = {}
    for contact in view["contacts"]:
        found.setdefault(contact["offer"], []).extend(contact["outcomes"])
    return found


async def offer_of(page: Page, slot: int) -> str:
    name = await page.locator(f"article#offer-{slot}").get_attribute("data-offer")
    assert name is not None
    return name


async def test_an_agent_finds_a_customer_and_sees_who_it_is_and_what_to_offer(page: Page, bank: RunningBank) -> None:
    customer = await with_three_offers(page, bank)
    await page.goto("/agent")
    await expect(page.get_by_role("textbox", name="Customer number")).to_be_focused()
    await page.keyboard.type(customer.removeprefix("retail:"))  # the prefix is optional
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(rf"/agent/{customer}$"))
    await expect(page.get_by_role("heading", name=customer)).to_be_visible()
    await expect(page.locator(".key-facts dd").first).to_contain_text("¥")
    await expect(page.locator("svg.chart")).to_have_count(4)
    card = page.locator("article.offer").first
    await expect(card.get_by_role("heading")).not_to_be_empty()
    await expect(card.locator(".script p")).not_to_be_empty()
    await page.goto("/agent")
    await expect(page.get_by_role("link", name=customer, exact=True)).to_be_visible()


async def test_what_stood_on_the_screen_counts_as_shown_once(page: Page, bank: RunningBank) -> None:
    customer = await with_three_offers(page, bank)
    shown = {await offer_of(page, slot) for slot in (1, 2, 3)}

    async def all_shown() -> bool:
        found = await outcomes(bank, customer)
        return all("impression" in found.get(offer, []) for offer in shown)

    await bank.until(all_shown, "impressions of all three")
    found = await outcomes(bank, customer)
    assert {offer: found[offer].count("impression") for offer in shown} == dict.fromkeys(shown, 1)


async def test_an_accepted_offer_is_recorded_and_the_next_best_takes_its_place(page: Page, bank: RunningBank) -> None:
    customer = await with_three_offers(page, bank)
    before = [await offer_of(page, slot) for slot in (1, 2, 3)]
    await page.locator("#offer-2").get_by_role("button", name="Accept").click()
    await expect(page.locator(".slot")).to_be_visible()
    assert "accept" in (await outcomes(bank, customer))[before[1]]
    assert [await offer_of(page, slot) for slot in (1, 3)] == [before[0], before[2]]  # the others stay where they are
    replacement = await page.locator(".slot .offer").get_attribute("data-offer")
    assert replacement not in before
    await expect(page.locator("#contacts .tag.good")).to_have_text("Accepted")
    await expect(page.locator("#said")).to_contain_text("accepted. Next:")


async def test_everything_can_be_done_with_the_keyboard_alone(page: Page, bank: RunningBank) -> None:
    customer = await with_three_offers(page, bank)
    first, second, third = [await offer_of(page, slot) for slot in (1, 2, 3)]
    await page.keyboard.press("2")
    await expect(page.locator("#offer-2")).to_be_focused()
    await page.keyboard.press("r")
    await expect(page.get_by_role("dialog", name="Why does the customer not want it?")).to_be_visible()
    await check_accessibility(page)
    await picture(page, "agent_reject", document=True)
    await page.keyboard.press("2")  # the second reason
    await expect(page.locator("#offer-2")).not_to_have_attribute("data-offer", second)
    await page.keyboard.press("3")
    await page.keyboard.press("l")
    await expect(page.locator("#offer-3")).not_to_have_attribute("data-offer", third)
    await page.keyboard.press("1")
    await page.keyboard.press("a")
    await expect(page.locator("#offer-1")).not_to_have_attribute("data-offer", first)
    found = await outcomes(bank, customer)
    assert "accept" in found[first]
    assert "reject" in found[second]
    assert "dismiss" in found[third]
    await page.keyboard.press("/")
    await page.keyboard.type("acra")  # keys are letters while somebody types
    await expect(page.locator("#wanted")).to_have_value("acra")


async def test_the_reason_of_a_rejection_is_on_record(page: Page, bank: RunningBank) -> None:
    customer = await with_three_offers(page, bank)
    offer = await offer_of(page, 1)
    await page.locator("#offer-1").get_by_role("button", name="Reject").click()
    await page.get_by_role("button", name="Has it elsewhere").click()
    await expect(page.locator("#offer-1")).not_to_have_attribute("data-offer", offer)
    assert "reject" in (await outcomes(bank, customer))[offer]
    await open_customer(page, customer)  # and whoever opens the customer next does not see it again
    assert offer not in [await card.get_attribute("data-offer") for card in await page.locator("article.offer").all()]


async def test_why_not_another_offer_is_answered_in_words(page: Page, bank: RunningBank) -> None:
    await with_three_offers(page, bank)
    await page.get_by_role("button", name="Why this and not another offer?").first.click()
    dialog = page.get_by_role("dialog", name="Why this and not another offer?")
    await expect(dialog.get_by_role("heading", name="Not possible")).to_be_visible()
    await expect(dialog.get_by_role("row").filter(has_text="Companies")).not_to_have_count(0)
    await check_accessibility(page)
    await picture(page, "agent_why", document=True)
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()


@pytest.mark.parametrize(
    ("locale", "theme", "width", "height"),
    [
        ("en", "light", 1280, 800),
        ("zh-CN", "dark", 1280, 800),
        ("en", "dark", 1024, 768),
        ("zh-CN", "light", 820, 1180),
    ],
)
async def test_the_desktop_is_accessible_in_every_language_theme_and_size(
    open_page: Callable[..., Any], bank: RunningBank, locale: str, theme: str, width: int, height: int
) -> None:
    page: Page = await open_page(locale=locale, theme=theme, width=width, height=height)
    await with_three_offers(page, bank)
    assert await fits_its_width(page)
    await check_accessibility(page)
    await picture(page, f"agent_{locale}_{theme}_{width}", document=locale == "en")


async def test_what_the_law_has_said_stands_beside_the_offer_in_both_languages(
    open_page: Callable[..., Any], bank: RunningBank
) -> None:
    regulated = {offer.name: offer.disclosure for offer in bank.prepared.strategy.offers if offer.disclosure}
    assert len(regulated) >= 15
    checked = 0
    for locale in ("en", "zh-CN"):
        page: Page = await open_page(locale=locale)
        for _ in range(3):
            await with_three_offers(page, bank)
            for card in await page.locator("article.offer").all():
                disclosure = regulated.get(str(await card.get_attribute("data-offer")))
                shown = await card.locator(".law p").all_inner_texts()
                assert shown == ([] if disclosure is None else [disclosure[locale]])
                checked += disclosure is not None
    assert checked >= 2


async def test_an_unknown_customer_is_called_unknown(page: Page, bank: RunningBank) -> None:
    await open_customer(page, bank.new_customer())
    await expect(page.locator("#unknown")).to_be_visible()
    await check_accessibility(page)
    await page.goto("/agent?wanted=not%20a%20number")
    await expect(page.get_by_role("alert")).to_contain_text("A customer number has")
    await check_accessibility(page)


async def test_refused_marketing_and_personalisation_stand_out(page: Page, bank: RunningBank) -> None:
    customer = bank.new_customer()
    await bank.send(customer, "bank.profile.updated", {"attributes": {"age": 40, "city": "shanghai"}})
    for purpose in ("marketing", "personalisation"):
        await bank.send(customer, "bank.consent.changed", {"purpose": purpose, "granted": False})

    async def withdrawn() -> bool:
        view: Any = await bank.customer(customer)
        return view["known"] and not (view["consents"]["marketing"] or view["consents"]["personalisation"])

    await bank.until(withdrawn, "both consents withdrawn")
    await open_customer(page, customer)
    await expect(page.locator(".consent-marketing")).to_be_visible()
    await expect(page.locator(".consent-personalisation")).to_be_visible()
    await check_accessibility(page)
    await picture(page, "agent_no_marketing", document=True)


async def test_an_answer_that_cannot_be_recorded_is_kept_and_recorded_once_when_the_bus_is_back(
    open_page: Callable[..., Any], bank: RunningBank
) -> None:
    page: Page = await open_page(expect_errors=True)  # the browser logs the 503
    customer = await with_three_offers(page, bank)
    offer = await offer_of(page, 1)

    async def all_shown() -> bool:
        return "impression" in (await outcomes(bank, customer)).get(offer, [])

    await bank.until(all_shown, "the impression")
    async with bank.bus_down():
        await page.keyboard.press("1")
        await page.keyboard.press("a")
        await expect(page.locator("#pending")).to_contain_text("Answers not recorded yet: 1", timeout=15_000)
        await expect(page.locator("#offer-1")).to_have_class(re.compile("unsent"))
        await check_accessibility(page)
        await picture(page, "agent_bus_down", document=True)
        await page.reload()  # even closing the page loses nothing
        await expect(page.locator("#pending")).to_contain_text("Answers not recorded yet: 1")
    await expect(page.locator("#pending")).to_be_hidden(timeout=15_000)
    assert (await outcomes(bank, customer))[offer].count("accept") == 1


async def test_while_the_store_is_away_the_agent_is_told_and_nothing_is_recorded(
    open_page: Callable[..., Any], bank: RunningBank
) -> None:
    page: Page = await open_page(expect_errors=True)
    customer = await with_three_offers(page, bank)
    offer = await offer_of(page, 1)

    async def shown() -> bool:
        return "impression" in (await outcomes(bank, customer)).get(offer, [])

    await bank.until(shown, "the impression")
    async with bank.store_down():
        await page.keyboard.press("1")
        await page.keyboard.press("a")
        await expect(page.locator("#pending")).to_contain_text("Answers not recorded yet: 1", timeout=15_000)
    await expect(page.locator("#pending")).to_be_hidden(timeout=15_000)
    assert (await outcomes(bank, customer))[offer].count("accept") == 1
