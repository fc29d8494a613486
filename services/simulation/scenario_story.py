"""What the customer of a scenario has seen so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Options:
    """The options last seen, inbound or outbound, that an answer may be about."""

    channel: str = ""
    options: Sequence[Mapping[str, object]] = ()


@dataclass(slots=True)
class Story:
    """What the customer has seen so far: the options last seen, every offer's newest option with its channel, and the
    decisions of the contacts that came."""

    last: Options = field(default_factory=Options)
    offers: dict[str, tuple[str, Mapping[str, object]]] = field(default_factory=dict)
    contacts: set[str] = field(default_factory=set)

    def sees(self, channel: str, options: Sequence[Mapping[str, object]]) -> None:
        """Options appear in a channel."""
        self.last = Options(channel, options)
        self.offers |= {str(option["offer"]): (channel, option) for option in options}

    def option(self, offer: str | None) -> tuple[str, Mapping[str, object]] | None:
        """The channel and option of an offer, without one the first last seen; None where it was not offered."""
        if offer is not None:
            return self.offers.get(offer)
        return (self.last.channel, self.last.options[0]) if self.last.options else None
