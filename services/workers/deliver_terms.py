"""What is agreed with one receiver of webhooks, and how often and after which pauses it is tried."""

from collections.abc import Callable
from dataclasses import dataclass

LONGEST_RETRY_AFTER_S = 3_600.0
"""A receiver may ask for so long a pause, not for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryTerms:
    """At most `tries`; pauses from `first_pause_s`, doubled each time up to `longest_pause_s`, times a factor between
    0.5 and 1."""

    tries: int = 10
    first_pause_s: float = 1.0
    longest_pause_s: float = 300.0

    def pause_s(self, failures: int, jitter: Callable[[], float]) -> float:
        """The pause after so many failures in a row; `jitter` yields 0 to 1."""
        longest = min(self.longest_pause_s, self.first_pause_s * (1 << min(failures - 1, 16)))
        return longest * (0.5 + 0.5 * jitter())


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Who gets what: messages in these channels, only those for these recipients where any are named (and those for
    nobody in particular). Up to `at_once` customers are served side by side."""

    name: str
    channels: frozenset[str]
    recipients: frozenset[str] | None = None
    retries: RetryTerms = RetryTerms()
    at_once: int = 8

    def wants(self, channel: str | None, recipient: str | None) -> bool:
        """Whether the message is for this receiver. What names no channel (a notice whose trigger is gone) is for all:
        who does not know the offer ignores it."""
        return (channel is None or channel in self.channels) and (
            self.recipients is None or recipient is None or recipient in self.recipients
        )
