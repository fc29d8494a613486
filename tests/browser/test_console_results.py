"""How it goes, in the console: the funnel of what was decided, volumes, and the health of the models."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from event_schemas.topics import DECISIONS, RESPONSES
from models.evaluation.promotion_checks import Assessment, Check
from models.manifest import Manifest, Metric, TrainingData
from models.prior_scorer import BASE_RATE_SCHEMA
from models.registry import ModelRegistry
from services.adapters.control_topic import control_event
from services.adapters.parquet_archive import ArchiveReader
from services.bootstrap import open_publisher
from services.use_cases.model_acts import Act, promotion_of, proposal_of, retirement_of
from tests.browser.running_bank import RunningBank
from tests.browser.screens import check_accessibility, fits_its_width, picture

ASKED, SEEN, ACCEPTED = 90, 70, 16
READ_MS = 120_000
"""The process that reads the archive gives way to everything else on the machine."""
MODEL = "acquisition"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def archived(bank: RunningBank) -> Counter[str]:
    """Requests with their responses; of all that is archived afterwards, counted by itself."""
    ids, answered = set[str](), 0
    for number, customer in enumerate(bank.residents(ASKED)):
        channel, placement = (("mobile", "home_banner"), ("branch", "branch_tablet"))[number % 3 == 0]
        asked = {"customer_id": customer, "channel": channel, "placements": [{"id": placement, "count": 2}]}
        answer = (await bank.http.post("/v1/decisions", json=asked)).json()
        ids.add(answer["decision_id"])
        for option in answer["placements"][0].get("options", [])[:1]:
            if answered < SEEN:
                outcomes = ("impression", "accept") if answered % SEEN < ACCEPTED else ("impression",)
                for outcome in outcomes:
                    await _respond(bank, option["tracking_id"], outcome)
                answered += 1
    await bank.until(lambda: _are_archived(bank, ids), "decisions and responses are archived")
    return await asyncio.to_thread(_counted, _archive(bank))


async def _respond(bank: RunningBank, tracking_id: str, outcome: str) -> None:
    said = {"response_id": f"results-{tracking_id}-{outcome}", "tracking_id": tracking_id, "outcome": outcome}
    answer = await bank.http.post("/v1/responses", json=said)
    assert answer.status_code < 300, answer.text


def _archive(bank: RunningBank) -> ArchiveReader:
    return ArchiveReader(Path(bank.environment["KAIROS_ARCHIVE_PATH"]))


async def _are_archived(bank: RunningBank, decision_ids: set[str]) -> bool:
    def look() -> bool:
        archive = _archive(bank)
        known = {event.event_id for event in archive.read_events((DECISIONS,))}
        ours = [value for value in archive.iter_responses() if b'"results-' in value]
        return decision_ids <= known and len(ours) >= SEEN + ACCEPTED

    return await asyncio.to_thread(look)


def _counted(archive: ArchiveReader) -> Counter[str]:
    """What the funnel has to say of everything, counted one by one."""
    found: Counter[str] = Counter()
    heard: dict[str, set[str]] = {}
    for event in archive.read_events((RESPONSES,)):
        data = orjson.loads(event.value or b"")["data"]
        heard.setdefault(data["tracking_id"], set()).add(data["outcome"])
    decisions = {event.event_id: event.value or b"" for event in archive.read_events((DECISIONS,))}
    for value in decisions.values():
        options = [o for p in orjson.loads(value)["data"]["placements"] for o in p.get("options", ())]
        outcomes = [heard.get(option["tracking_id"], set()) for option in options]
        found["requests"] += 1
        found["answered"] += bool(options)
        found["offered"] += len(options)
        found["seen"] += sum(bool(each) for each in outcomes)
        found["accepted"] += sum(bool(each & {"accept", "convert"}) for each in outcomes)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def version(bank: RunningBank) -> AsyncIterator[str]:
    """A version of the acquisition model in service while the tests last, and another one proposed."""
    registry, now = ModelRegistry(Path(bank.environment["KAIROS_MODEL_PATH"])), datetime.now(UTC)
    first, second = (registry.save(_draft(auc), {"card.md": CARD}, now - timedelta(days=age)) for auc, age in PAIR)
    act = Act(event_id="results-proposal", at=now, actor="learner")
    assessment = Assessment(
        reason="schedule",
        checks=(Check("ranks", "passed", "AUC is above 0.5 beyond doubt (0.812 from 0.781)"),),
        champion=first.version,
    )
    promoted = promotion_of(first, event_id="results-promotion", at=now, actor="Lin", approved_by="Zhao")
    asked = proposal_of(second, assessment, Act(event_id=act.event_id, at=now + timedelta(seconds=1), actor="learner"))
    async with open_publisher(bank.settings) as publisher:
        await publisher.publish([control_event(promoted), control_event(asked)])
        yield first.version
        ended = retirement_of(MODEL, event_id="results-end", at=datetime.now(UTC), actor="Lin", role="champion")
        await publisher.publish([control_event(ended)])


PAIR = ((0.794, 12), (0.812, 1))
CARD = b"# Model card: acquisition\n\nAcceptance by newcomers.\n\n## Limits\n\n- few cases of farmers\n"


def _draft(auc: float) -> Manifest:
    day = 86_400_000
    until_ms = round(datetime.now(UTC).timestamp() * 1000)
    return Manifest(
        name=MODEL, version="", kind="prior", created_at="", files={}, schema=BASE_RATE_SCHEMA, reason="schedule",
        metrics={
            "auc": Metric(value=auc, low=auc - 0.03, high=auc + 0.03),
            "log_loss_gain": Metric(value=0.0123, low=0.0071, high=0.0175),
            "calibration_error": Metric(value=0.0041),
        },
        data=TrainingData(
            since_ms=until_ms - 30 * day, until_ms=until_ms, held_out_since_ms=until_ms - 6 * day, rows=18_200,
            positives=913, label="accepted", attribution_seconds=604_800, fingerprint="f",
        ),
    )  # fmt: skip


async def read(page: Page) -> None:
    """Until the figures are there."""
    await expect(page.locator("#h-funnel")).to_be_visible(timeout=READ_MS)


async def step(page: Page, name: str) -> int:
    """What the funnel says of one step."""
    row = page.locator(".funnel tr", has=page.get_by_role("rowheader", name=name, exact=True))
    return int((await row.locator("td").first.inner_text()).replace(",", ""))


async def test_the_funnel_counts_what_is_archived_and_is_worked_by_keys(page: Page, archived: Counter[str]) -> None:
    await page.goto("/console/results?days=30")
    await read(page)
    shown = {
        "requests": await step(page, "Requests"),
        "answered": await step(page, "With an offer"),
        "offered": await step(page, "Offered"),
        "seen": await step(page, "Seen"),
        "accepted": await step(page, "Accepted"),
    }
    assert shown == dict(archived)
    await expect(page.locator("#lift .notice")).to_contain_text("not enough yet", timeout=READ_MS)
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, "console_results_top")
    await page.evaluate("document.querySelector('#h-funnel').closest('section').scrollIntoView({block: 'start'})")
    await page.evaluate("scrollBy(0, -200)")
    await picture(page, "console-results", document=True)
    await page.locator("#by-offer").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#by-group")).to_be_focused()
    await expect(page.locator("#by-group")).to_be_checked()
    await expect(page.locator(".rows thead th").first).to_have_text("Group")
    assert "by=group" in page.url
    await page.locator("#channel").focus()
    await page.keyboard.press("b")
    await expect(page.locator("#channel")).to_have_value("branch")
    await expect(page.locator(".funnel tr").nth(1)).not_to_contain_text(str(archived["requests"]))
    kept = page.url
    await page.goto("/console")
    await page.goto(kept)
    await read(page)
    await expect(page.locator("#by-group")).to_be_checked()
    await expect(page.locator("#channel")).to_have_value("branch")
    href = await page.get_by_role("link", name="Find these decisions").get_attribute("href")
    assert href is not None
    assert "channel=branch" in href
    assert "fallback=1" in href


async def test_own_days_and_a_limit_of_worth(page: Page, archived: Counter[str]) -> None:
    assert archived["requests"]
    await page.goto("/console/results")
    await read(page)
    await page.locator("#weak").fill("100000")
    await expect(page.get_by_text("best priority below ¥100,000")).to_be_visible(timeout=READ_MS)
    await page.locator("#days-own").check(force=True)
    await page.locator("#from").fill("2020-01-01")
    await page.locator("#to").fill("2020-01-31")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("#figures .notice")).to_contain_text("No request of these days", timeout=READ_MS)
    await check_accessibility(page)


async def test_volumes_and_caps(page: Page, bank: RunningBank, archived: Counter[str]) -> None:
    assert archived["requests"]
    await page.goto("/console/volumes")
    rows = page.locator("#volumes tbody tr")
    assert await rows.count() == len(bank.prepared.strategy.volumes)
    await expect(page.locator("#caps table")).to_be_visible(timeout=READ_MS)
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, "console-volumes", document=True)
    await page.locator("#days-7").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#days-30")).to_be_checked()
    await expect(page.locator("#caps table")).to_be_visible(timeout=READ_MS)


async def test_models_say_who_serves_and_who_waits(page: Page, bank: RunningBank, version: str) -> None:
    async def told() -> bool:
        await page.goto("/console/models")
        return version in await page.locator("main").inner_text()

    await bank.until(told, "the node has read of the promotion")
    card = page.locator("section", has=page.get_by_role("heading", name=MODEL))
    await expect(card.get_by_text("approved by Zhao")).to_be_visible()
    await expect(card.get_by_text("Waits for a second person")).to_be_visible()
    await expect(card.get_by_text("AUC is above 0.5 beyond doubt")).to_be_visible()
    await expect(card.locator("[id^=drift] .notice")).to_contain_text("not enough yet", timeout=READ_MS)
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, "console_models")
    await card.get_by_role("link", name="Model card").first.click()
    await expect(page.locator("article h1")).to_have_text("Model card: acquisition")
    await check_accessibility(page)


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (820, 1180)])
async def test_all_of_it_in_chinese_in_the_dark_and_on_a_tablet(
    open_page: Callable[..., Any], archived: Counter[str], version: str, width: int, height: int
) -> None:
    assert archived["requests"]
    assert version
    page: Page = await open_page(locale="zh-CN", theme="dark", width=width, height=height)
    for path, title, part in (
        ("results", "成效", "#h-funnel"),
        ("volumes", "总量余额", "#caps table"),
        ("models", "模型", "section h2"),
    ):
        await page.goto(f"/console/{path}")
        await expect(page.locator("h1")).to_have_text(title)
        await expect(page.locator(part).first).to_be_visible(timeout=READ_MS)
        await check_accessibility(page)
        assert await fits_its_width(page), path
        await picture(page, f"console_{path}_zh_{width}")
    await page.close()
