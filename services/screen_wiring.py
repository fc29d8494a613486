"""What the screens are wired to beyond what decisions need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import tzinfo
from pathlib import Path
from typing import TypeVar

from services.adapters.archive_search import ArchiveSearch
from services.adapters.redis_client import RedisClient
from services.adapters.redis_lead_marks import RedisLeadMarks
from services.adapters.registered_models import RegistryModels
from services.adapters.snapshot_shelf import FolderShelf
from services.api.runtime import DecisionPorts, LeadPorts
from services.api.screens.inbox_results import following_results
from services.api.stream_feed import OpenLog
from services.use_cases.observing.decision_proof import ProveDecisions

Read = TypeVar("Read")
ARCHIVE_READS = 2
"""Reads of the archive at once."""
ARCHIVE_WAITING = 8
"""Reads that wait for one of them to end; more are refused."""


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


def decision_ports(archive: Path, models: Path) -> DecisionPorts:
    """The archive of decisions, and the registry of the models that made them."""
    return DecisionPorts(log=ArchiveSearch(archive), proofs=ProveDecisions(RegistryModels(models)))
