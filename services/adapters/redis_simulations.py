"""Simulations in the store, so that every node answers for every other."""

from services.adapters.redis_client import RedisClient
from services.use_cases.governance.simulations import KEPT_SECONDS, Report


class RedisSimulations:
    """Implements `governance.simulations.SimulationStore` under `<ns>:simulation:<id>`; reports under their SHA-256."""

    def __init__(self, client: RedisClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def save(self, job_id: str, document: bytes, seconds: int) -> None:
        """How it stands, for so long."""
        await self._client.execute("SET", self._key(job_id), document, "EX", seconds)

    async def load(self, job_id: str) -> bytes | None:
        """How it stands."""
        return await self._get(self._key(job_id))

    async def save_report(self, digest: str, report: Report, seconds: int) -> None:
        """What came out, under its own hash."""
        await self._client.execute("SET", self._key(digest, "page"), report.page, "EX", seconds, timeout_s=5.0)
        await self._client.execute("SET", self._key(digest, "report"), report.document, "EX", seconds, timeout_s=5.0)

    async def report(self, digest: str) -> Report | None:
        """What came out; None where nothing has, or not any more."""
        document, page = await self._get(self._key(digest, "report")), await self._get(self._key(digest, "page"))
        return None if document is None or page is None else Report(document, page)

    async def cancel(self, job_id: str) -> None:
        """Asks whoever runs it to end it."""
        await self._client.execute("SET", self._key(job_id, "cancel"), b"1", "EX", KEPT_SECONDS)

    async def cancelled(self, job_id: str) -> bool:
        """Whether somebody asked for its end."""
        return await self._client.execute("EXISTS", self._key(job_id, "cancel")) == 1

    async def _get(self, key: str) -> bytes | None:
        reply = await self._client.execute("GET", key, timeout_s=5.0)
        return reply if isinstance(reply, bytes) else None

    def _key(self, job_id: str, part: str = "") -> str:
        return f"{self._namespace}:simulation:{job_id}{':' if part else ''}{part}"
