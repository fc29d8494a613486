"""How far a partition has been dealt with while its records are worked on side by side and end out of order."""

from dataclasses import dataclass, field

Partition = tuple[str, int]
"""Topic and partition."""


@dataclass(slots=True)
class _Standing:
    committed: int
    open: dict[int, None] = field(default_factory=dict)
    """Offsets taken and not done, in their order."""
    newest: int = 0


class OpenOffsets:
    """Everything before `to_commit` is done, in every partition."""

    def __init__(self) -> None:
        self._standing: dict[Partition, _Standing] = {}
        self.open = 0
        """Records taken and not done."""

    def take(self, partition: Partition, offset: int) -> bool:
        """A record is to be worked on; False when it is in hand already or done."""
        standing = self._standing.setdefault(partition, _Standing(offset))
        if offset in standing.open or offset < standing.newest:
            return False
        standing.open[offset] = None
        standing.newest = offset + 1
        self.open += 1
        return True

    def done(self, partition: Partition, offset: int) -> None:
        """The record is dealt with; nothing for one whose partition was given up meanwhile."""
        standing = self._standing.get(partition)
        if standing is not None and offset in standing.open:
            del standing.open[offset]
            self.open -= 1

    def to_commit(self) -> dict[Partition, int]:
        """By partition the first offset that is not done, where that has moved on."""
        moved = {}
        for partition, standing in self._standing.items():
            position = next(iter(standing.open), standing.newest)
            if position > standing.committed:
                moved[partition] = position
        return moved

    def committed(self, positions: dict[Partition, int]) -> None:
        """These have been committed."""
        for partition, position in positions.items():
            standing = self._standing.get(partition)
            if standing is not None:
                standing.committed = max(standing.committed, position)

    def give_up(self, partition: Partition) -> None:
        """Another member has the partition now."""
        standing = self._standing.pop(partition, None)
        if standing is not None:
            self.open -= len(standing.open)
