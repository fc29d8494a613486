"""What the screens are wired to beyond what decisions need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import tzinfo
from pathlib import Path

from services.adapters.redis_client import RedisClient
from services.adapters.redis_lead_marks import RedisLeadMarks
from services.adapters.snapshot_shelf import FolderShelf
from services.api.runtime import LeadPorts
from services.api.screens.inbox_results import following_results
from services.api.stream_feed import OpenLog


@asynccontextmanager
async def open_leads(client: RedisClient, namespace: str, conversions: OpenLog) -> AsyncIterator[LeadPorts]:
    """Marks on leads, and what leads have earned."""
    async with following_results(conversions) as results:
        yield LeadPorts(RedisLeadMarks(client, namespace), results)


@asynccontextmanager
async def open_shelf(folder: Path, zone: tzinfo) -> AsyncIterator[FolderShelf]:
    """The snapshots of all customers."""
    shelf = FolderShelf(folder, zone)
    try:
        yield shelf
    finally:
        await shelf.close()
