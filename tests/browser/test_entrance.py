"""Signing in and out, languages and themes, and what the screens refuse."""

import re
from collections.abc import Callable
from typing import Any

import httpx
from playwright.async_api import Page, expect

from tests.browser.running_bank import RunningBank
from tests.browser.screens import check_accessibility, fits_its_width, picture


async def test_a_person_signs_in_by_name_and_comes_to_where_they_wanted(open_page: Callable[..., Any]) -> None:
    page: Page = await open_page(person=None)
    await page.goto("/agent?looking=around")
    await expect(page).to_have_title("Sign in · Kairos")
    await check_accessibility(page)
    await picture(page, "sign_in")
    await page.keyboard.type("Mei Lin")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"/agent\?looking=around$"))
    await expect(page.locator(".person .name")).to_have_text("Mei Lin")


async def test_signing_out_ends_the_session_everywhere(page: Page) -> None:
    await page.goto("/agent")
    cookies = await page.context.cookies()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page).to_have_title("Sign in · Kairos")
    await page.context.add_cookies(cookies)  # even whoever kept the cookie
    await page.goto("/agent")
    await expect(page).to_have_title("Sign in · Kairos")


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(page: Page) -> None:
    await page.goto("/agent")
    (cookie,) = [c for c in await page.context.cookies() if c["name"].endswith("kairos_session")]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert await page.evaluate("document.cookie") == ""


async def test_language_and_theme_follow_the_person(open_page: Callable[..., Any]) -> None:
    page: Page = await open_page(locale="zh-CN", theme="dark", width=820, height=1180)
    await page.goto("/agent")
    await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    assert await fits_its_width(page)
    await page.get_by_role("button", name="English").click()
    await expect(page.locator("html")).to_have_attribute("lang", "en")
    await expect(page).to_have_url(re.compile("/agent$"))
    for theme in ("dark", "light", "auto"):
        await page.locator("button[name=theme]").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", theme)


async def test_a_request_from_another_site_is_refused(page: Page, bank: RunningBank) -> None:
    await page.goto("/agent")
    cookies = {c["name"]: c["value"] for c in await page.context.cookies()}
    async with httpx.AsyncClient(base_url=bank.url, cookies=cookies, trust_env=False) as other:
        assert (await other.get("/agent")).status_code == 200
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://elsewhere.example"}, {}):
            for path in ("/sign-out", "/sign-in", "/preferences", "/agent/answers"):
                answer = await other.post(path, data={"secret": "x"}, headers=headers)
                assert answer.status_code == 403, (path, headers)


async def test_no_page_may_be_framed_or_run_inline_scripts(bank: RunningBank) -> None:
    answer = await bank.http.get("/sign-in")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


async def test_files_are_asked_for_again_and_not_sent_again(bank: RunningBank) -> None:
    first = await bank.http.get("/static/base.css")
    again = await bank.http.get("/static/base.css", headers={"if-none-match": first.headers["etag"]})
    assert first.status_code == 200
    assert first.headers["cache-control"] == "no-cache"
    assert again.status_code == 304
    assert (await bank.http.get("/static/nothing.js")).status_code == 404
