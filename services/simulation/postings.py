"""Postings by column: one day's money movements before they become events.

A posting names its wording by number: the constant part of its JSON (kind, category, channel, country) is written
once per wording, so that making an event is one string substitution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.simulation.population import Ints

NO_COUNTERPARTY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The words of one sort of posting. `partner` prefixes the counterparty's number."""

    kind: str
    direction: str
    category: str | None = None
    channel: str = "batch"
    country: str | None = None
    own_account: bool = False
    partner: str = "p"

    @property
    def json(self) -> str:
        """The constant members, to stand behind the amounts."""
        members = [f'"kind":"{self.kind}"', f'"channel":"{self.channel}"']
        if self.category:
            members.append(f'"category":"{self.category}"')
        if self.country:
            members.append(f'"merchant_country":"{self.country}"')
        if self.own_account:
            members.append('"own_account":true')
        return ",".join(members)


@dataclass(frozen=True, slots=True)
class Postings:
    """Equally long columns: customer position, second of the local day, minor units, wording, counterparty."""

    customer: Ints
    second: Ints
    amount: Ints
    wording: Ints
    counterparty: Ints


class WordingTable:
    """Numbers wordings in order of first use."""

    def __init__(self) -> None:
        self._numbers: dict[Wording, int] = {}
        self.wordings: list[Wording] = []

    def number(self, wording: Wording) -> int:
        """The number of a wording."""
        if wording not in self._numbers:
            self._numbers[wording] = len(self.wordings)
            self.wordings.append(wording)
        return self._numbers[wording]


def join(parts: Sequence[Postings]) -> Postings:
    """All postings in one set of columns."""
    return Postings(
        np.concatenate([part.customer for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.amount for part in parts]),
        np.concatenate([part.wording for part in parts]),
        np.concatenate([part.counterparty for part in parts]),
    )


def minor_units(amounts: NDArray[np.floating[Any]], step: int = 1) -> Ints:
    """Positive whole amounts, rounded to `step` minor units."""
    return np.maximum(np.round(amounts / step).astype(np.int64) * step, step)


def balances_after(postings: Postings, signs: Ints, opening: Ints) -> tuple[Ints, Ints]:
    """The balance after each posting of one day, in the order of seconds, and every customer's closing balance."""
    order = np.lexsort((np.arange(len(postings.second)), postings.second, postings.customer))
    signed = (postings.amount * signs)[order]
    customers = postings.customer[order]
    running = np.cumsum(signed)
    starts = np.flatnonzero(np.r_[True, customers[1:] != customers[:-1]]) if len(customers) else np.zeros(0, np.int64)
    before = np.r_[0, running][starts]
    lengths = np.diff(np.r_[starts, len(customers)])
    after = opening[customers] + running - np.repeat(before, lengths)
    result = np.empty_like(after)
    result[order] = after
    closing = opening.copy()
    closing += np.bincount(customers, signed, len(opening)).astype(np.int64)
    return result, closing
