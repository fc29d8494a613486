"""The customer map: what it counts, where its parts lead to, and what the bank's own tools get."""

import asyncio
import csv
import io
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from decision_engine.features.compiled import compile_features
from decision_engine.features.updates import EVENT_FIELDS
from models.decision_log.state_snapshots import end_of_day, read_states, write_states
from services.commands.snapshot import snapshot_rows
from services.simulation.bank import BankConfig, BankStream
from services.simulation.in_process_states import InProcessStates
from tests.browser.running_bank import CUSTOMERS, HISTORY_DAYS, RunningBank
from tests.browser.screens import check_accessibility, fits_its_width, picture

MAKING_SECONDS = 100.0
"""It has a low priority, and a machine that is busy with other tests has little left for it."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def snapshots(bank: RunningBank) -> tuple[date, date]:
    """Everybody at the end of two days, a month apart: the same bank lived through again."""
    strategy = bank.prepared.strategy
    zone = ZoneInfo(strategy.time_zone)
    start = datetime.now(UTC).date() - timedelta(days=HISTORY_DAYS)
    days = (start + timedelta(days=5), start + timedelta(days=HISTORY_DAYS - 3))
    stream = BankStream(BankConfig(seed=1, customers=CUSTOMERS, companies=20, start=start))
    states, known = InProcessStates(compile_features(strategy.declarations, EVENT_FIELDS), strategy), set()
    for number in range(HISTORY_DAYS - 1):
        day = stream.next_day()
        states.add(day.events)
        known |= {timed.event.key for timed in day.events}
        if start + timedelta(days=number) in days:
            today = start + timedelta(days=number)
            rows = snapshot_rows(strategy, states, sorted(known), end_of_day(today, zone))
            write_states(folder_of(bank), today, rows)
    return days


def folder_of(bank: RunningBank) -> Path:
    return Path(bank.environment["KAIROS_SNAPSHOT_PATH"])


@pytest.fixture
def sizes(bank: RunningBank, snapshots: tuple[date, date]) -> dict[str, int]:
    """The segments of the newer snapshot as the service itself has read them, each customer by customer."""
    found = read_states(folder_of(bank), snapshots[1], ZoneInfo(bank.prepared.strategy.time_zone))
    return {
        segment.title["en"]: sum(
            bool(belongs) and allowed
            for belongs, allowed in zip(found.columns[segment.attribute], found.personalised, strict=True)
        )
        for segment in bank.prepared.strategy.segments
        if segment.attribute in found.columns
    }


async def test_the_map_counts_as_decisions_do(page: Page, snapshots: tuple[date, date], sizes: dict[str, int]) -> None:
    await page.goto("/map")
    await expect(page.locator("select[name=day]")).to_have_value(str(snapshots[1]))
    await expect(page.locator("select[name=before]")).to_have_value(str(snapshots[0]))
    rows = page.locator(".sizes tbody tr")
    shown = {}
    for number in range(await rows.count()):
        name = (await rows.nth(number).locator("th").inner_text()).strip()
        shown[name] = int((await rows.nth(number).locator("td").first.inner_text()).replace(",", ""))
    assert {name: size for name, size in shown.items() if name in sizes} == sizes
    assert sum(shown.values()) > 0
    assert await page.locator(".flow .ribbon").count() > 3
    assert await page.locator(".combos .bar").count() > 2
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, "map", document=True)
    await page.evaluate("document.querySelector('#flows').scrollIntoView()")
    await picture(page, "map_flows", document=True)
    await page.evaluate("document.querySelector('#combos').scrollIntoView()")
    await picture(page, "map_overlaps")


async def test_every_part_leads_to_its_customers_by_keys_alone(page: Page, snapshots: tuple[date, date]) -> None:
    assert snapshots
    await page.goto("/map")
    for part in (".sizes tbody a", ".flow a", ".combos a", ".matrix a"):
        await page.goto("/map")
        link = page.locator(part).first
        await link.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("h1 .tag")).to_be_visible()
        total = int((await page.locator("h1 .tag").inner_text()).replace(",", ""))
        assert total > 0
        assert await page.locator("tbody tr").count() == min(total, 50)
        await check_accessibility(page)
    await picture(page, "map_customers")


async def test_a_list_is_exported_with_a_reason_and_without_sensitive_attributes(
    page: Page, bank: RunningBank, snapshots: tuple[date, date], sizes: dict[str, int]
) -> None:
    assert snapshots
    await page.goto("/map")
    await page.locator(".sizes a", has_text="Wealth builders").click()
    await expect(page.locator("h1 .tag")).to_be_visible()
    await page.keyboard.press("e")
    await expect(page.locator("#export")).to_be_visible()
    names = await page.locator("#export input[name=column]").evaluate_all("all => all.map((one) => one.value)")
    assert "aum" in names
    assert "gender" not in names
    await page.locator("input[name=reason]").fill("event of the branch, ticket 4711")
    await picture(page, "map_export")
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Download CSV").click()
    text = Path(await (await started.value).path()).read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == sizes["Wealth builders"]
    assert all("wealth_builders" in row["segments"].split() for row in rows)
    log = Path(bank.environment["KAIROS_SNAPSHOT_PATH"]).parent / "api.log"
    assert "Mei Lin exports" in log.read_text()
    assert "ticket 4711" in log.read_text()
    history = (await bank.http.get("/v1/audit")).json()["acts"]
    assert any(act["type"] == "data.exported" and "ticket 4711" in act["comment"] for act in history)


async def test_what_is_sensitive_or_has_no_reason_is_not_exported(page: Page, bank: RunningBank) -> None:
    headers = {"origin": bank.url, "accept": "text/html"}
    for form in ({"reason": "r", "column": "gender"}, {"column": "aum"}, {"reason": "r", "inside": "nobody"}):
        answer = await page.context.request.post("/map/export", form=form, headers=headers)
        assert answer.status == 422, form


async def test_a_snapshot_is_made_in_the_background(
    page: Page, bank: RunningBank, snapshots: tuple[date, date]
) -> None:
    await page.goto("/map")
    wanted = snapshots[1] + timedelta(days=1)
    await page.locator("input[name=day]").fill(str(wanted))
    await page.get_by_role("button", name="Make a snapshot").click()
    await expect(page.locator("#making")).to_contain_text(str(wanted))
    file = folder_of(bank) / f"{wanted}.parquet"
    async with asyncio.timeout(MAKING_SECONDS):
        while not file.exists():
            await asyncio.sleep(0.2)
    await page.goto("/map")
    await expect(page.locator("select[name=day]")).to_have_value(str(wanted))
    os.remove(file)


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (820, 1180)])
async def test_the_map_is_chinese_dark_and_fits_a_tablet(
    open_page: Callable[..., Any], snapshots: tuple[date, date], width: int, height: int
) -> None:
    assert snapshots
    page: Page = await open_page(locale="zh-CN", theme="dark", width=width, height=height)
    await page.goto("/map")
    await expect(page.locator("h1")).to_have_text("客群地图")
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, f"map_zh_{width}")
    await page.close()
