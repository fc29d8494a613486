"""What becomes of a version, pressed in a browser: declined, for a share, widened, later, rolled back, retired; drafts
thrown away and brought up to date; and the history of it all."""

import asyncio
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Page, expect

from services.use_cases.governance.audit import verified
from tests.browser.running_bank import RunningBank
from tests.browser.screens import check_accessibility, fits_its_width, picture

AUTHOR, APPROVER = "Mei Lin", "Wei Zhang"
SLOW_MS = 40_000
WORTHS = itertools.count(20_000 + os.getpid() % 10_000 * 10)
"""What the first card is worth in one version after the other."""


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A check of all rules, or an act that is read back from the log, takes a while on a busy machine."""
    expect.set_options(timeout=SLOW_MS)
    yield
    expect.set_options(timeout=5_000)


async def active_files(bank: RunningBank) -> tuple[str, dict[str, str]]:
    """What decides for everybody, and its files."""
    version = (await bank.http.get("/v1/strategies")).json()["strategies"][0]["version"]
    return version, (await bank.http.get(f"/v1/strategies/{version}/files")).json()["files"]


async def submitted(bank: RunningBank, title: str, *, actor: str = AUTHOR) -> str:
    """A version whose first card is worth another value, handed in through the API; answers its name."""
    _, files = await active_files(bank)
    value = next(WORTHS)
    text = re.sub(r"value: \d+", f"value: {value}", files["offers_cards.yaml"], count=1)
    body = {"files": {**files, "offers_cards.yaml": text}, "title": title, "actor": actor, "comment": f"{title}: why"}
    answer = await bank.http.post("/v1/strategies", json=body)
    assert answer.status_code == 201, answer.text
    version: str = answer.json()["version"]
    return version


async def simulated(bank: RunningBank, version: str) -> None:
    """Simulated through the API against what is active, on the day the decisions of this session are archived under."""

    async def begun() -> object:
        answer = await bank.http.post("/v1/simulations", json={"version": version, "actor": AUTHOR})
        return answer.json().get("id") if answer.status_code == 202 else None

    job = await bank.until(begun, "a simulation begins")

    async def done() -> object:
        found = (await bank.http.get(f"/v1/simulations/{job}")).json()
        assert found["state"] in ("running", "done"), found
        return found["state"] == "done"

    async with asyncio.timeout(120):
        while not await done():
            await asyncio.sleep(0.3)


async def recorded_decisions(bank: RunningBank) -> None:
    """Something to simulate on."""
    archive = Path(bank.settings.archive_path)
    if any(archive.glob("topic=nbo.decisions*/*/*.parquet")):
        return
    for customer in bank.residents(20):
        body = {"customer_id": customer, "channel": "mobile", "placements": [{"id": "home_banner", "count": 2}]}
        answer = await bank.http.post("/v1/decisions", json={"request_id": f"release-{customer}", **body})
        assert answer.status_code == 200, answer.text

    async def archived() -> bool:
        return any(archive.glob("topic=nbo.decisions*/*/*.parquet"))

    await bank.until(archived, "decisions are archived")


async def approved(bank: RunningBank, title: str) -> str:
    await recorded_decisions(bank)
    version = await submitted(bank, title)
    await simulated(bank, version)
    answer = await bank.http.post(f"/v1/strategies/{version}/approve", json={"actor": APPROVER, "comment": "fine"})
    assert answer.status_code == 200, answer.text
    return version


async def opened(open_page: Callable[..., Any], path: str, **how: Any) -> Page:
    page: Page = await open_page(**{"person": APPROVER, **how})
    page.set_default_timeout(SLOW_MS)
    await page.goto(path)
    return page


async def test_a_submission_is_declined_with_a_reason_and_may_be_withdrawn(
    bank: RunningBank, open_page: Callable[..., Any]
) -> None:
    version = await submitted(bank, "Too dear")
    page = await opened(open_page, f"/console/versions/{version}")
    await page.get_by_role("button", name="Decline").click()
    await expect(page.locator("#answer-refusal [role=alert]")).to_contain_text("Say what and why")
    await page.locator("#a-comment").fill("the fee is above the list")
    await page.get_by_role("button", name="Decline").click()
    await expect(page.locator("h1 + p .tag", has_text="declined")).to_be_visible()
    await expect(page.get_by_text(f"{APPROVER}: the fee is above the list")).to_be_visible()
    other = await submitted(bank, "Second thoughts")
    await page.goto(f"/console/versions/{other}")
    await page.locator("#w-comment").fill("a slip of the pen")
    await page.get_by_role("button", name="Withdraw").click()
    await expect(page.locator("h1 + p .tag", has_text="retired")).to_be_visible()


async def test_approving_needs_no_mouse(bank: RunningBank, open_page: Callable[..., Any]) -> None:
    await recorded_decisions(bank)
    version = await submitted(bank, "By keyboard")
    await simulated(bank, version)
    page = await opened(open_page, "/console/approvals")
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.evaluate("version => document.activeElement.getAttribute('href')?.endsWith(version)", version):
            break
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/versions/{version}")
    await page.keyboard.press("a")
    await expect(page.locator("#share")).to_be_visible()
    await expect(page.locator("h1 + p .tag", has_text="approved")).to_be_visible()
    for _ in range(60):  # and on to retiring it
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent.trim() === 'Retire'"):
            break
    await page.keyboard.press("Enter")
    await expect(page.locator("h1 + p .tag", has_text="retired")).to_be_visible()


@pytest.mark.timeout(280)
async def test_a_canary_is_widened_then_for_all_then_rolled_back(
    bank: RunningBank, open_page: Callable[..., Any]
) -> None:
    before, _ = await active_files(bank)
    version = await approved(bank, "Widened")
    page = await opened(open_page, f"/console/versions/{version}")
    await page.locator("#share").fill("0")
    await page.get_by_role("button", name="Activate").click()
    await expect(page.locator("#activate-refusal [role=alert]")).to_contain_text("above 0")
    for share in ("10", "50"):
        await page.locator("#share").fill(share)
        await page.locator("#act-comment").fill(f"{share} per cent")
        await page.get_by_role("button", name=re.compile("Activate|Widen")).last.click()
        await expect(page.locator("h1 + p .tag", has_text=f"for {share}%")).to_be_visible()
    await check_accessibility(page)
    await picture(page, "console-canary")
    await page.get_by_role("button", name="Widen").click()  # 100: everybody
    await expect(page.locator("h1 + p .tag", has_text="active")).to_be_visible()

    async def decides() -> bool:
        return (await active_files(bank))[0] == version

    await bank.until(decides, "the version is active")
    await page.get_by_role("button", name="Roll back").click()
    await expect(page.locator("#roll-back")).to_be_visible()
    await page.locator("#rb-comment").fill("too many calls")
    await check_accessibility(page)
    await page.locator("#roll-back").get_by_role("button", name="Roll back").click()
    await page.wait_for_url("**/console/approvals")
    await expect(page.locator("#now-title").locator("xpath=ancestor::section")).to_contain_text(before)

    async def decides_again() -> bool:
        return (await active_files(bank))[0] == before

    await bank.until(decides_again, "the version before decides again")
    await page.goto(f"/console/versions/{version}")
    await expect(page.locator("h1 + p .tag", has_text="retired")).to_be_visible()


@pytest.mark.timeout(280)
async def test_an_activation_waits_for_its_moment_and_retiring_cancels_it(
    bank: RunningBank, open_page: Callable[..., Any]
) -> None:
    before, _ = await active_files(bank)
    version = await approved(bank, "Tomorrow")
    page = await opened(open_page, f"/console/versions/{version}")
    zone = ZoneInfo(bank.prepared.strategy.time_zone)
    for shift, past in ((timedelta(days=-1), True), (timedelta(days=1), False)):
        moment = datetime.now(UTC).astimezone(zone) + shift
        await page.locator("#at").fill(moment.strftime("%Y-%m-%dT%H:%M"))
        await page.get_by_role("button", name="Activate").click()
        if past:
            await expect(page.locator("#activate-refusal [role=alert]")).to_contain_text("has passed")
    await expect(page.get_by_text("It becomes active")).to_be_visible()
    assert (await active_files(bank))[0] == before
    await page.goto("/console/approvals")
    await expect(page.get_by_text("scheduled", exact=False).first).to_be_visible()
    await page.goto(f"/console/versions/{version}")
    await page.get_by_role("button", name="Retire").click()
    await expect(page.locator("h1 + p .tag", has_text="retired")).to_be_visible()
    await page.goto("/console/approvals")
    await expect(page.locator("#now-title").locator("xpath=ancestor::section")).not_to_contain_text(version)


async def begin_draft(page: Page, title: str) -> str:
    await page.goto("/console/drafts")
    await page.locator("#draft-title").fill(title)
    await page.get_by_role("button", name="Begin a draft").click()
    await expect(page.locator(".work-bar.in-draft")).to_be_visible()
    return page.url.split("/console/in/")[1].split("/")[0]


async def set_worth(page: Page, draft: str, offer: str, value: str) -> None:
    await page.goto(f"/console/in/{draft}/offers/{offer}")
    await page.get_by_label("Worth of an acceptance").fill(value)
    form = page.locator("form", has=page.get_by_label("Expected acceptance"))
    await form.get_by_role("button", name="Save").click()
    await expect(page.locator(".tag.good", has_text="Saved")).to_be_visible()


async def test_a_draft_is_thrown_away_after_asking(open_page: Callable[..., Any]) -> None:
    page = await opened(open_page, "/console/drafts", person=AUTHOR)
    draft = await begin_draft(page, "Never mind")
    await page.goto(f"/console/drafts/{draft}")
    await page.locator("details.more-fields > summary").last.click()
    await page.get_by_role("button", name="Throw away").first.click()
    await expect(page.locator("#discard")).to_be_visible()
    await page.locator("#discard").get_by_role("button", name="Cancel").click()
    await expect(page.locator("#discard")).to_be_hidden()
    await page.get_by_role("button", name="Throw away").first.click()
    await page.locator("#discard").get_by_role("button", name="Throw away").click()
    await page.wait_for_url("**/console/drafts")
    await expect(page.get_by_text("Never mind")).to_have_count(0)


@pytest.mark.timeout(280)
async def test_an_outdated_draft_is_brought_up_to_date_with_conflicts_shown(
    bank: RunningBank, open_page: Callable[..., Any]
) -> None:
    page = await opened(open_page, "/console/drafts", person=AUTHOR)
    clash, calm = await begin_draft(page, "Clash"), ""
    _, files = await active_files(bank)
    first = re.findall(r"^  - name: (\w+)", files["offers_cards.yaml"], re.MULTILINE)
    await set_worth(page, clash, first[0], "151.11")
    await set_worth(page, clash, first[1], "141.11")
    calm = await begin_draft(page, "Calm")
    await set_worth(page, calm, first[1], "142.22")
    version = await approved(bank, "In between")
    answer = await bank.http.post(f"/v1/strategies/{version}/activate", json={"actor": APPROVER})
    assert answer.status_code == 200, answer.text

    await page.goto(f"/console/drafts/{calm}")
    await page.get_by_role("link", name="Bring up to date").click()
    await expect(page.get_by_text("Both sides changed different things")).to_be_visible()
    await check_accessibility(page)
    await page.get_by_role("button", name="Bring up to date").click()
    await page.wait_for_url(f"**/console/drafts/{calm}")
    await expect(page.locator("ins", has_text="14222")).to_be_visible()
    await expect(page.locator(".changes .change")).to_have_count(1)
    await expect(page.get_by_role("link", name="Bring up to date")).to_have_count(0)

    await page.goto(f"/console/drafts/{clash}/rebase")
    await expect(page.locator("fieldset.conflict")).to_have_count(1)
    await expect(page.locator("fieldset.conflict legend")).to_contain_text(first[0])
    await expect(page.locator("fieldset.conflict pre").first).to_contain_text("15111")
    await expect(page.locator("fieldset.conflict pre").nth(1)).not_to_contain_text("15111")
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, "console-rebase", document=True)
    await page.get_by_role("radio", name="This draft").check()
    await page.get_by_role("button", name="Bring up to date").click()
    await page.wait_for_url(f"**/console/drafts/{clash}")
    await expect(page.locator(".changes .change")).to_have_count(2)
    await expect(page.locator("ins", has_text="15111")).to_be_visible()
    await expect(page.locator("ins", has_text="14111")).to_be_visible()
    back = await bank.http.post(f"/v1/strategies/{version}/rollback", json={"actor": APPROVER, "comment": "tidying up"})
    assert back.status_code == 200, back.text


async def test_the_history_is_filtered_paged_verified_and_exported(
    bank: RunningBank, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    version = await submitted(bank, "For the history")
    answer = await bank.http.post(
        f"/v1/strategies/{version}/approve", json={"actor": AUTHOR, "comment": "approving my own"}
    )
    assert answer.status_code == 409
    for engaged in (True, False) * 30:
        body = {"kind": "offer", "name": "dining_card", "engaged": engaged, "actor": APPROVER, "comment": "drill"}
        assert (await bank.http.post("/v1/kill-switches", json=body)).status_code == 200
    page = await opened(open_page, "/console/history")
    await expect(page.locator("#chain-title + .tag.good")).to_have_text("sound")
    await expect(page.locator("table.acts tbody tr")).to_have_count(50)
    await check_accessibility(page)
    assert await fits_its_width(page)
    await picture(page, "console-history", document=True)
    await page.get_by_role("link", name="Older").click()
    await page.wait_for_url("**before=*")
    assert await page.locator("table.acts tbody tr").count() >= 10
    await page.goto("/console/history")
    await page.keyboard.press("/")
    await page.keyboard.type("mei lin")
    await page.locator("#h-about").fill(version)
    await page.keyboard.press("Enter")
    await expect(page.locator("table.acts tbody tr")).to_have_count(1)
    row = page.locator("table.acts tbody tr").first
    await expect(row).to_contain_text("For the history: why")
    await row.get_by_role("link").first.click()
    await page.wait_for_url(f"**/versions/{version}")
    await page.goto("/console/history")
    await page.locator("#h-kind").select_option("kill_switch.set")
    await page.locator("#h-outcome").select_option("broken")
    await page.get_by_role("button", name="Look").click()
    await expect(page.get_by_text("No act fits.")).to_be_visible()
    await page.get_by_role("button", name="Verify the log on the bus").click()
    await expect(page.locator("#verified .notice.good")).to_contain_text("are what they were")
    await page.locator("#noted-head").fill("0" * 64)
    await page.get_by_role("button", name="Verify the log on the bus").click()
    await expect(page.locator("#verified .notice.bad")).to_contain_text("no act has the hash")
    await page.get_by_role("button", name="Export the log").click()
    await page.locator("#export-reason").fill("yearly audit")
    async with page.expect_download() as download:
        await page.locator("#export-acts").get_by_role("button", name="Export the log").click()
    file = tmp_path / "acts.jsonl"
    await (await download.value).save_as(file)
    lines = file.read_bytes().splitlines()
    assert json.loads(lines[0])["type"].startswith("nbo.control.")
    faults, head = verified([*lines], None, None)
    assert faults == [] and head.records == len(lines)
    await page.goto("/console/history?kind=data.exported")
    await expect(page.locator("table.acts tbody tr").first).to_contain_text("yearly audit")
    await expect(page.locator("table.acts tbody tr").first).to_contain_text(f"{len(lines)} rows")


@pytest.mark.timeout(280)
async def test_a_report_opens_on_a_node_that_did_not_make_it(
    bank: RunningBank, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    from services.adapters.embedded_servers import free_port
    from services.adapters.role_processes import RoleProcess
    from tests.e2e.deployed import until_ready

    await recorded_decisions(bank)
    version = await submitted(bank, "Seen elsewhere")
    await simulated(bank, version)
    port = free_port()
    role = RoleProcess(
        arguments=["api"],
        environment={**bank.environment, "KAIROS_PORT": str(port)},
        log=tmp_path / "api.log",
    )
    await role.start()
    try:
        await until_ready(f"http://127.0.0.1:{port}", [role], 90)
        page: Page = await open_page(person=None)
        page.set_default_timeout(SLOW_MS)
        other = f"http://127.0.0.1:{port}"
        signed_in = await page.context.request.post(
            f"{other}/sign-in", form={"secret": APPROVER, "next": "/static/kairos.svg"}, headers={"origin": other}
        )
        assert signed_in.ok
        await page.goto(f"{other}/console/versions/{version}")
        await expect(page.locator("#simulation .report")).to_be_visible()
        await check_accessibility(page)
        await page.get_by_role("link", name="Report", exact=True).first.click()
        await page.wait_for_url("**/simulations/reports/*")
        await expect(page.locator(".report .tiles")).to_be_visible()
        await check_accessibility(page)
        assert await fits_its_width(page)
        await picture(page, "console-report")
        await page.get_by_role("link", name="whole report", exact=False).click()
        await page.wait_for_url("**/whole")
        await expect(page.locator("body")).to_contain_text(version)
    finally:
        await role.stop()


@pytest.mark.parametrize(("locale", "theme", "width"), [("zh-CN", "dark", 1280), ("zh-CN", "light", 820)])
async def test_versions_drafts_and_history_are_accessible_in_chinese_and_on_a_tablet(
    bank: RunningBank, open_page: Callable[..., Any], locale: str, theme: str, width: int
) -> None:
    version = await submitted(bank, f"可访问 {width}")
    page = await opened(
        open_page, "/console/drafts", person=AUTHOR, locale=locale, theme=theme, width=width, height=900
    )
    await page.get_by_role("button", name="新建草稿").or_(page.locator("button[data-key=n]")).first.click()
    await expect(page.locator(".work-bar.in-draft")).to_be_visible()
    draft = page.url.split("/console/in/")[1].split("/")[0]
    for path in (
        f"/console/drafts/{draft}",
        f"/console/in/{draft}/offers/dining_card",
        f"/console/versions/{version}",
        "/console/history",
        "/console/approvals",
        "/console/switches",
    ):
        await page.goto(path)
        if path.endswith("dining_card"):  # with every form open
            await page.evaluate("document.querySelectorAll('main details').forEach((each) => { each.open = true; })")
        if path.endswith(draft):
            await expect(page.locator("#check .notice")).to_be_visible()
        await check_accessibility(page)
        assert await fits_its_width(page), path
        await picture(page, f"console-release-{path.split('/')[2]}-{width}")
