"""The archiver's part of erasure: what it takes out of files, and whom it tells."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from services.adapters.archive_erasures import ArchiveErasures
from services.adapters.redis_client import RedisClient
from services.adapters.system_clock import SystemClock
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import open_publisher
from services.erasure_wiring import erasures_in_store, pseudonyms_of
from services.ports import StoreUnavailable
from services.settings import Settings
from services.use_cases.erasure.proofs import Proofs

_log = logging.getLogger(__name__)
Tell = Callable[[], Awaitable[None]]


def archive_erasures(settings: Settings, root: Path) -> ArchiveErasures | None:
    """Of an archive and the snapshots beside it; None where erasure is not set up."""
    pseudonyms = pseudonyms_of(settings)
    if pseudonyms is None:
        return None
    return ArchiveErasures(root, settings.snapshot_path, pseudonyms, SystemClock().now_ms)


@asynccontextmanager
async def archive_teller(settings: Settings, erasures: ArchiveErasures) -> AsyncIterator[Tell]:
    """Tells the bus, which keeps the proof, and then the store, from which progress is read; a store that is away is
    passed over. What it yields raises BusUnavailable."""
    client: RedisClient | None = None
    async with open_publisher(settings) as publisher:
        proofs = Proofs(publisher=publisher, ids=UlidIds(), source="kairos/archiver")

        async def tell() -> None:
            nonlocal client
            accounts = erasures.untold()
            if not accounts:
                return
            await proofs.performed(accounts)
            try:
                client = client or RedisClient.lazy(settings.redis_url)
                progress = erasures_in_store(settings, client)
                for person, account in accounts:
                    await progress.performed(person, account)
            except StoreUnavailable as error:
                _log.warning("the progress of %d erasures is on the bus alone: %s", len(accounts), error)
            erasures.told(len(accounts))

        try:
            yield tell
        finally:
            if client is not None:
                await client.close()
