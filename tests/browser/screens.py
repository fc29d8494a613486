"""What browser tests do with a page: look at it, take its picture, and ask axe about it."""

import os
from pathlib import Path

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "var/screenshots"
GRAVE = {"serious", "critical"}
DOCUMENT_HEIGHT = 560
"""Pixels from the top that a guide's picture shows, so that it stays below 150 KB."""


async def picture(page: Page, name: str, *, document: bool = False) -> Path:
    """A screenshot below `var/screenshots`; with `document`, where KAIROS_TEST_PICTURES=1, also one of the guides'."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name}.png"
    await page.screenshot(path=path, animations="disabled")
    if document and os.environ.get("KAIROS_TEST_PICTURES"):
        folder = ROOT / "docs/screenshots"
        folder.mkdir(parents=True, exist_ok=True)
        size = page.viewport_size or {"width": 1280, "height": DOCUMENT_HEIGHT}
        await page.screenshot(
            path=folder / f"{name}.png",
            animations="disabled",
            clip={"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], DOCUMENT_HEIGHT)},
        )
    return path


async def check_accessibility(page: Page) -> None:
    """Fails with every serious or critical violation axe-core finds in the page as it stands."""
    results = await Axe().run(page)
    grave = [
        f"{found['impact']} {found['id']}: {found['help']}\n  "
        + "\n  ".join(str(node["html"])[:200] for node in found["nodes"][:4])
        for found in results.response["violations"]
        if found["impact"] in GRAVE
    ]
    assert grave == [], "\n".join(grave)


async def fits_its_width(page: Page) -> bool:
    """Whether nothing makes the page scroll sideways."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))
