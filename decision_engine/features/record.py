"""The part of a state that is no number: profile, consents and holdings, as a small JSON document.

Every entry keeps the event time it stems from, so that events arriving in any order leave the same record. Only
events that touch the record pay for reading it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from decision_engine.errors import DAMAGE, StateUnreadable
from decision_engine.features.definitions import AttributeType, Value

MAX_ACCOUNTS = 64
"""Accounts remembered per product; beyond, the one that moved longest ago is forgotten."""
ANY_ACCOUNT = ""
"""Stands for the account where an event named none."""
_NO_PRODUCTS: frozenset[str] = frozenset()


@dataclass(slots=True)
class Record:
    """`profile`: name to time and value. `consents`: purpose to time and answer. `holdings`: product to account to the
    times it was last opened and last closed (0 = never)."""

    profile: dict[str, tuple[int, Value]] = field(default_factory=dict)
    consents: dict[str, tuple[int, bool]] = field(default_factory=dict)
    holdings: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)

    def set_attributes(self, attributes: Mapping[str, Value], types: Mapping[str, AttributeType], time_ms: int) -> None:
        """Takes declared attributes whose value is of the declared type; the newest wins, of equally new the larger."""
        for name, value in attributes.items():
            fitting = _fitting(value, types.get(name))
            if fitting is None:
                continue
            known = self.profile.get(name)
            if known is None or (time_ms, fitting) > known:
                self.profile[name] = (time_ms, fitting)

    def set_consent(self, purpose: str, time_ms: int, *, granted: bool) -> None:
        """The newest answer wins; of equally new ones the refusal."""
        known = self.consents.get(purpose)
        if known is None or time_ms > known[0] or (time_ms == known[0] and not granted):
            self.consents[purpose] = (time_ms, granted)

    def open_product(self, product: str, account: str, time_ms: int) -> None:
        """The account was opened at that time."""
        opened, closed = self.holdings.get(product, {}).get(account, (0, 0))
        self._set_account(product, account, (max(opened, time_ms), closed))

    def close_product(self, product: str, account: str, time_ms: int) -> None:
        """The account was closed at that time; without an account, all that were opened by then."""
        opened, closed = self.holdings.get(product, {}).get(account, (0, 0))
        self._set_account(product, account, (opened, max(closed, time_ms)))

    def _set_account(self, product: str, account: str, times: tuple[int, int]) -> None:
        accounts = self.holdings.setdefault(product, {})
        accounts[account] = times
        if len(accounts) > MAX_ACCOUNTS:
            del accounts[min(accounts, key=lambda name: (max(accounts[name]), name))]


def _fitting(value: Value, declared: AttributeType | None) -> Value | None:
    """The value as the declared type holds it, or None when it is of another type."""
    match declared, value:
        case AttributeType.BOOL, bool():
            return value
        case ((AttributeType.INT | AttributeType.TIMESTAMP | AttributeType.DOUBLE), bool()):
            return None
        case ((AttributeType.INT | AttributeType.TIMESTAMP), int()):
            return value
        case AttributeType.DOUBLE, int() | float():
            return float(value)
        case AttributeType.STRING, str():
            return value
        case _:
            return None


def _is_held(accounts: Mapping[str, Sequence[int]]) -> bool:
    """Whether an account was opened after it was last closed; at the same moment the closing counts."""
    closed_all = accounts[ANY_ACCOUNT][1] if ANY_ACCOUNT in accounts else 0
    return any(opened > closed and opened > closed_all for opened, closed in accounts.values())


_DECODE = json.JSONDecoder().raw_decode
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class RecordView(NamedTuple):
    """What a snapshot shows of a record beside the profile: newest answers, products held."""

    consents: Mapping[str, bool]
    holdings: frozenset[str]
    accounts: Mapping[str, Mapping[str, Sequence[int]]]
    """Product to account to the times it was last opened and last closed."""


NOTHING_RECORDED = RecordView({}, frozenset(), {})


class RecordMemory:
    """A customer's record as it was last viewed, for whoever reads the same customer again and again."""

    __slots__ = ("_document", "_profile", "_view")

    def __init__(self) -> None:
        self._document = b""
        self._profile: dict[str, Value] = {}
        self._view = NOTHING_RECORDED

    def view(self, document: bytes, profile_names: Mapping[str, str], attributes: dict[str, Value]) -> RecordView:
        """As `view_record`, always by the same `profile_names`."""
        if document != self._document:
            self._profile = {}
            self._view = view_record(document, profile_names, self._profile)
            self._document = document
        attributes.update(self._profile)
        return self._view


def view_record(document: bytes, profile_names: Mapping[str, str], attributes: dict[str, Value]) -> RecordView:
    """The view of a stored record, without the times; sets the newest profile values as attributes. What a damaged one
    raises is `errors.DAMAGE`."""
    if not document:
        return NOTHING_RECORDED
    stored, _ = _DECODE(document.decode("utf-8", "surrogatepass"))
    for _, values in stored["p"]:
        for number, value in values.items():
            attributes[profile_names[number]] = value
    consents, accounts = stored["c"], stored["h"]
    if consents:
        consents = {purpose: granted == 1 for purpose, (_, granted) in consents.items()}
    held = frozenset([product for product in accounts if _is_held(accounts[product])]) if accounts else _NO_PRODUCTS
    return RecordView(consents, held, accounts)


def read_record(document: bytes, profile: tuple[str, ...]) -> Record:
    """The record as stored; `profile` gives the attribute names their numbers in the document. Raises
    StateUnreadable."""
    if not document:
        return Record()
    try:
        return _record(document, profile)
    except DAMAGE as cause:
        raise StateUnreadable("the record of the stored state is damaged") from cause


def _record(document: bytes, profile: tuple[str, ...]) -> Record:
    stored, _ = _DECODE(document.decode("utf-8", "surrogatepass"))
    record = Record()
    for time_ms, values in stored["p"]:
        for number, value in values.items():
            record.profile[profile[int(number)]] = (time_ms, value)
    for purpose, (time_ms, granted) in stored["c"].items():
        record.consents[purpose] = (time_ms, bool(granted))
    for product, accounts in stored["h"].items():
        record.holdings[product] = {account: (opened, closed) for account, (opened, closed) in accounts.items()}
    return record


def write_record(record: Record, profile: tuple[str, ...]) -> bytes:
    """The record as stored: values grouped by time, since one event sets many; keys sorted, so equal records are
    equal bytes."""
    groups: dict[int, dict[str, Value]] = {}
    for number, name in enumerate(profile):
        known = record.profile.get(name)
        if known is not None:
            groups.setdefault(known[0], {})[str(number)] = known[1]
    stored = {
        "p": sorted(groups.items()),
        "c": {purpose: (time_ms, int(granted)) for purpose, (time_ms, granted) in sorted(record.consents.items())},
        "h": {product: dict(sorted(accounts.items())) for product, accounts in sorted(record.holdings.items())},
    }
    return _ENCODE(stored).encode("utf-8", "surrogatepass")
