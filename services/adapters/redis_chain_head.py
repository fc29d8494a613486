"""How far the chain of acts goes, kept in the store: it tells when the last acts are missing from the log."""

from datetime import datetime

import orjson

from services.adapters.redis_client import RedisClient
from services.use_cases.governance.chain import Head


class RedisChainHead:
    """Implements `governance.writer.HeadKeeper` under `<ns>:governance:head`."""

    def __init__(self, client: RedisClient, namespace: str) -> None:
        self._client = client
        self._key = f"{namespace}:governance:head"

    async def keep(self, head: Head, at: datetime) -> None:
        """Never goes back to fewer acts. Raises StoreUnavailable."""
        known = await self.kept()
        if known is not None and known.sequence >= head.sequence:
            return
        document = {
            "sequence": head.sequence,
            "hash": head.hash,
            "records": head.records,
            "records_hash": head.records_hash,
            "at": at.isoformat(),
        }
        await self._client.execute("SET", self._key, orjson.dumps(document))

    async def kept(self) -> Head | None:
        """The newest head kept; None where there is none, or what is there is none. Raises StoreUnavailable."""
        reply = await self._client.execute("GET", self._key)
        if not isinstance(reply, bytes):
            return None
        try:
            document = orjson.loads(reply)
            return Head(
                sequence=int(document["sequence"]),
                hash=str(document["hash"]),
                records=int(document["records"]),
                records_hash=str(document["records_hash"]),
            )
        except (ValueError, KeyError, TypeError):
            return None
