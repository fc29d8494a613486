"""What the bank's own events in the archive say of its customers: attributes as they were told, and products opened.

These come whether or not anybody was offered anything, so outcomes taken from them are the same measure in a holdout
as outside it. Customers who had themselves erased are left out.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from decision_engine.features.definitions import Value
from event_schemas.envelope import epoch_ms
from event_schemas.topics import PROFILE_UPDATES
from models.decision_log.archive_files import archive_files, read_rows
from models.evaluation.full_report.customer_groups import History

_UPDATED, _OPENED, _ERASED = "bank.profile.updated", "bank.product.opened", "bank.customer.erased"
_KINDS = frozenset({_UPDATED, _OPENED, _ERASED})


@dataclass(frozen=True, slots=True, kw_only=True)
class BankBooks:
    """By attribute and customer the values over time; by customer when wanted products were opened (epoch
    milliseconds, in order of time). `any_opened` says whether the archive holds openings of any product at all."""

    attributes: Mapping[str, Mapping[str, History]]
    opened: Mapping[str, tuple[int, ...]]
    any_opened: bool
    erased: frozenset[str] = frozenset()
    """Customers who are in none of the above."""


def read_books(root: Path, attributes: Collection[str], products: Collection[str]) -> BankBooks:
    """Reads the archived profile topic; nothing is an error, unreadable events are passed over."""
    told: dict[str, dict[str, list[tuple[int, Value]]]] = {name: defaultdict(list) for name in attributes}
    opened: dict[str, list[int]] = defaultdict(list)
    erased: set[str] = set()
    any_opened = False
    for kind, subject, at_ms, data in _events(root):
        if kind == _ERASED:
            erased.add(subject)
        elif kind == _OPENED:
            any_opened = True
            if data.get("product") in products:
                opened[subject].append(at_ms)
        elif isinstance(values := data.get("attributes"), dict):
            for name in told.keys() & values.keys():
                if isinstance(values[name], str | int | float):
                    told[name][subject].append((at_ms, values[name]))
    return BankBooks(
        attributes={
            name: {who: sorted(history, key=lambda entry: entry[0]) for who, history in found.items()
                   if who not in erased}
            for name, found in told.items()
        },
        opened={who: tuple(sorted(moments)) for who, moments in opened.items() if who not in erased},
        any_opened=any_opened,
        erased=frozenset(erased),
    )  # fmt: skip


def _events(root: Path) -> Iterator[tuple[str, str, int, Mapping[str, object]]]:
    """Kind, customer, moment and data of each event of the three kinds."""
    for file in archive_files(root, PROFILE_UPDATES):
        for row in read_rows(file, ("type", "subject", "time", "value")):
            kind, subject, moment, value = (row[name] for name in ("type", "subject", "time", "value"))
            if not isinstance(kind, str) or kind not in _KINDS or not isinstance(subject, str):
                continue
            if not isinstance(moment, datetime) or not isinstance(value, str):
                continue
            try:
                data = json.loads(value).get("data")
            except (ValueError, AttributeError):
                continue
            yield kind, subject, epoch_ms(moment), data if isinstance(data, dict) else {}
