"""How far the triggers have seen the log, whatever the layout of the states they were matched beside.

Whoever folds events for somebody who serves matches them, too, and notes in the store up to where. Whoever only makes
states notes before every batch up to where it may fold what no trigger sees. A builder that takes a partition over then
knows what it is to read once more, for its triggers alone; the positions in the states keep it from counting twice,
those in the trigger memories from matching twice.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from services.use_cases.event_batches import Unmatched

Partition = tuple[str, int]
"""Topic and partition."""
_log = logging.getLogger(__name__)


class MatchedStore(Protocol):
    """What triggers have seen of each partition, and what states of this layout may hold unseen. Raises
    StoreUnavailable."""

    async def record_progress(self, positions: Mapping[Partition, int]) -> None: ...

    async def record_matched(self, positions: Mapping[Partition, int]) -> None:
        """As `record_progress`, and in the same step that the triggers have seen as much."""
        ...

    async def mark_unmatched(self, positions: Mapping[Partition, int]) -> None: ...

    async def matched(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]: ...

    async def unmatched(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]: ...

    async def begin_matching(self, positions: Mapping[Partition, int]) -> None: ...


class TriggerProgress:
    """Follows one builder's partitions. `serving` says whether its events are held against the triggers in force, were
    it none of them; it may begin to serve, but not cease to."""

    def __init__(self, store: MatchedStore, *, serving: bool) -> None:
        self._store = store
        self.serving = serving
        self.spans: dict[Partition, Unmatched] = {}
        """Of the partitions owned those where states and triggers have not come equally far."""

    async def take_over(self, reached: Mapping[Partition, int]) -> dict[Partition, int]:
        """Of partitions whose states in the store reach up to these offsets those to be read from an earlier one for
        the triggers, and from which. Raises StoreUnavailable."""
        if not self.serving:
            await self._store.mark_unmatched(reached)
            return {}
        matched, unmatched = await self._store.matched(reached), await self._store.unmatched(reached)
        # Where nobody has ever matched, triggers begin with what comes now.
        await self._store.begin_matching({p: at for p, at in reached.items() if at and matched[p] is None})
        again: dict[Partition, int] = {}
        for partition, position in reached.items():
            since, until = matched[partition], unmatched[partition] or 0
            if since is None:
                continue
            self.spans[partition] = Unmatched(since, until)
            if since < min(until, position):
                again[partition] = since
                _log.info(
                    *("triggers have not seen %s/%d from %d to %d", *partition, since, until),
                    extra={"action": "read it again for the triggers"},
                )
        return again

    async def are_at(self, positions: Mapping[Partition, int]) -> bool:
        """Whether triggers have seen as much. Raises StoreUnavailable."""
        matched = await self._store.matched(positions)
        return all((matched[partition] or 0) >= position for partition, position in positions.items())

    async def begin(self, positions: Mapping[Partition, int]) -> None:
        """Before a batch up to these offsets is folded. Raises StoreUnavailable."""
        if not self.serving:
            await self._store.mark_unmatched(positions)

    async def record(self, positions: Mapping[Partition, int]) -> None:
        """After it. Raises StoreUnavailable."""
        if self.serving:
            await self._store.record_matched(positions)
        else:
            await self._store.record_progress(positions)

    def lost(self, positions: Mapping[Partition, int]) -> None:
        """The store has lost what it held from these offsets on, the memories of the triggers with it."""
        for partition, offset in positions.items():
            if partition in self.spans and offset < self.spans[partition].since:
                self.spans[partition] = Unmatched(offset, 0)

    def forget(self, partitions: Collection[Partition]) -> None:
        """They are no longer owned."""
        for partition in partitions:
            self.spans.pop(partition, None)
