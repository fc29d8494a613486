"""One running demo bank and one headless Chromium for all browser tests, on one loop for the whole session.

`open_page` opens a signed-in page in a language, theme and size; a page that logged an error or broke the content
security policy fails its test.
"""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from tests.browser.running_bank import RunningBank, running_bank

CHROMIUM = os.environ.get("KAIROS_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
HERE = Path(__file__).parent
SLOWEST_SECONDS = 300
"""Of a test with the start of the whole bank before it, on a machine that is busy otherwise."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here are browser tests, and share the session's loop."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(SLOWEST_SECONDS))
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: set KAIROS_TEST_CHROMIUM to run the browser tests")
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        await opened.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bank(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBank]:
    """The demo bank, served; not started where there is no browser."""
    async with running_bank(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, bank: RunningBank) -> AsyncIterator[Callable[..., Any]]:
    """Opens pages: `await open_page(locale="zh-CN", theme="dark", width=1024, height=768, person="Mei Lin")`."""
    expected: list[str] = []
    faults: list[str] = []
    async with AsyncExitStack() as stack:

        async def open_one(
            *,
            locale: str = "en",
            theme: str = "light",
            width: int = 1280,
            height: int = 800,
            person: str | None = "Mei Lin",
            expect_errors: bool = False,
        ) -> Page:
            context = await browser.new_context(
                base_url=bank.url,
                locale=locale,
                color_scheme="dark" if theme == "dark" else "light",
                viewport={"width": width, "height": height},
                reduced_motion="reduce",
            )
            stack.push_async_callback(context.close)
            if person is not None:
                answer = await context.request.post(
                    "/sign-in", form={"secret": person, "next": "/static/kairos.svg"}, headers={"origin": bank.url}
                )
                assert answer.ok, await answer.text()
            page = await context.new_page()
            page.set_default_timeout(8_000)
            if not expect_errors:
                page.on("console", lambda message: faults.append(message.text) if _is_fault(message) else None)
                page.on("pageerror", lambda error: faults.append(str(error)))
            return page

        yield open_one
    assert faults == expected, "\n".join(faults)


@pytest_asyncio.fixture(loop_scope="session")
async def page(open_page: Callable[..., Any]) -> Page:
    """A page in English, light, 1280 by 800, of Mei Lin's."""
    opened: Page = await open_page()
    return opened


def _is_fault(message: ConsoleMessage) -> bool:
    return message.type == "error"
