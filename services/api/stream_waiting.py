"""Who waits for what: streams sleep until something arrives for their channel and recipient."""

import asyncio
from collections.abc import Iterable

Whose = tuple[str | None, str | None]
"""A channel and a recipient of it; None where a message names none."""


class Waiting:
    """One event for all streams that ask for the same channel and recipient (None: for all of the channel)."""

    def __init__(self) -> None:
        self._by_channel: dict[str, dict[str | None, asyncio.Event]] = {}

    def event(self, channel: str, recipient: str | None) -> asyncio.Event:
        """Is set with the next arrival that may be for them."""
        return self._by_channel.setdefault(channel, {}).setdefault(recipient, asyncio.Event())

    def wake(self, arrived: Iterable[Whose]) -> None:
        """Sets the events of everybody whom one of these may concern: what names no recipient is for the channel."""
        for channel, recipient in arrived:
            if channel is None or (waiting := self._by_channel.get(channel)) is None:
                continue
            if recipient is None:
                del self._by_channel[channel]
                woken = list(waiting.values())
            else:
                woken = [event for key in (None, recipient) if (event := waiting.pop(key, None)) is not None]
            for event in woken:
                event.set()

    def wake_all(self) -> None:
        """Sets the events of everybody."""
        self.wake([(channel, None) for channel in self._by_channel])
