"""What leads have earned: conversions credited to them, as `nbo.conversion.attributed` says.

Of each conversion the highest revision counts; a correction takes back what an earlier revision said.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.use_cases.leads.lead import CHANNEL
from services.use_cases.wire_time import epoch_ms

ATTRIBUTED = "nbo.conversion.attributed"
MOST_CONVERSIONS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What a conversion owes a lead: `last_touch` and `shared` are its shares of it, `value` what the whole conversion
    is worth (minor units); `cause` the type of the event that showed it."""

    conversion_id: str
    offer: str
    at_ms: int
    cause: str
    last_touch: float
    shared: float
    value: int


class LeadResults:
    """Credits by decision, of the newest conversions that owe the inbox's channel something."""

    def __init__(self, most: int = MOST_CONVERSIONS) -> None:
        self._most = most
        self._conversions: OrderedDict[str, tuple[int, tuple[tuple[str, Credit], ...]]] = OrderedDict()
        self._credits: dict[str, dict[str, Credit]] = {}
        self.changes = 0
        """How often something was learnt."""

    def of(self, decision_id: str) -> tuple[Credit, ...]:
        """The credits of one decision, in the order of conversions."""
        return tuple(sorted(self._credits.get(decision_id, {}).values(), key=lambda credit: credit.at_ms))

    def take(self, value: bytes) -> None:
        """Takes one event of the topic in; what is no conversion is passed over. Raises ValueError, KeyError or
        TypeError for what cannot be read."""
        event = orjson.loads(value)
        if event["type"] != ATTRIBUTED:
            return
        data = event["data"]
        name, revision = str(data["conversion_id"]), int(data["revision"])
        known = self._conversions.get(name)
        if known is not None and known[0] >= revision:
            return
        credits_found = _credits(data) if data["counted"] else ()
        self._forget(name)
        self._conversions[name] = revision, credits_found
        for decision_id, credit in credits_found:
            self._credits.setdefault(decision_id, {})[f"{name}/{credit.offer}"] = credit
        self.changes += 1 if credits_found or (known is not None and known[1]) else 0
        if len(self._conversions) > self._most:
            self._forget(next(iter(self._conversions)))

    def _forget(self, name: str) -> None:
        for decision_id, credit in self._conversions.pop(name, (0, ()))[1]:
            found = self._credits.get(decision_id, {})
            found.pop(f"{name}/{credit.offer}", None)
            if not found:
                self._credits.pop(decision_id, None)


def _credits(data: Mapping[str, Any]) -> tuple[tuple[str, Credit], ...]:
    return tuple(
        (
            str(credit["decision_id"]),
            Credit(
                conversion_id=str(data["conversion_id"]),
                offer=str(credit["offer"]),
                at_ms=epoch_ms(data["time"]),
                cause=str(data["cause"]["type"]),
                last_touch=float(credit["last_touch"]),
                shared=float(credit["shared"]),
                value=int(credit["value"]),
            ),
        )
        for credit in data["credits"]
        if credit["channel"] == CHANNEL
    )
