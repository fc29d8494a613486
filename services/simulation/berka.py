"""Reads the Berka bank (PKDD'99, a Czech bank 1993-1998) from its gzip files.

The files are semicolon-separated, quoted, latin-1; dates are YYMMDD. The order of events within a day is not
recorded, so `second_of_day` spreads a day over banking hours by a stable hash of the transaction.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from decision_engine.identifiers import key64
from services.ports import ShellError

PRAGUE = ZoneInfo("Europe/Prague")
OPENING_HOUR, BANKING_SECONDS = 8, 10 * 3600
"""Banking hours are 8:00 to 18:00 local time."""
ACCOUNT_OPENING_SECOND = 7 * 3600
"""Accounts open before the day's first transaction, which may fall on the same day."""
WOMAN_MONTH_OFFSET = 50
"""A woman's birth number has 50 added to the month."""
REQUIRED_FILES = ("account", "card", "client", "disp", "district", "loan", "trans")


class BerkaUnreadable(ShellError):
    """The folder does not hold the Berka files, or one of them is not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The person who owns an account."""

    client_id: str
    gender: str
    birth: date


@dataclass(frozen=True, slots=True, kw_only=True)
class District:
    """What is known of the place an account is kept in: 1995-96 figures, the salary in haler a month."""

    number: int
    region: str
    inhabitants: int
    cities: int
    urban_ratio: float
    average_salary: int
    unemployment: float | None
    entrepreneurs: int
    crimes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account, its owner, how many persons may dispose of it (the owner included), and its place."""

    account_id: str
    frequency: str
    opened: date
    owner: Owner
    persons: int
    district: District


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One line of the transaction log; amounts in haler (hundredths of a koruna)."""

    trans_id: str
    account_id: str
    day: date
    type: str
    operation: str
    amount: int
    balance: int
    k_symbol: str
    partner: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card issued on an account."""

    card_id: str
    account_id: str
    type: str
    issued: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """A loan granted; the amount in haler, the duration in months."""

    loan_id: str
    account_id: str
    granted: date
    amount: int
    months: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BerkaBank:
    """The accounts that have transactions, everything that happened on them, and the day the log ends."""

    accounts: Mapping[str, Account]
    transactions: tuple[Transaction, ...]
    cards: tuple[Card, ...]
    loans: tuple[Loan, ...]
    log_end: date


def read_berka(folder: Path) -> BerkaBank:
    """The bank in `folder`, restricted to accounts whose transactions are in the log. Raises BerkaUnreadable."""
    missing = [name for name in REQUIRED_FILES if not _path(folder, name).is_file()]
    if missing:
        names = ", ".join(f"{name}.asc.gz" for name in missing)
        raise BerkaUnreadable(f"{folder} lacks {names}; give the folder that holds the Berka gzip files")
    try:
        return _read(folder)
    except (KeyError, ValueError, OSError) as error:
        raise BerkaUnreadable(f"{folder}: {error!r} while reading the Berka files") from error


def second_of_day(key: str) -> int:
    """The second of the local day at which the thing named `key` happens: stable, within banking hours."""
    return OPENING_HOUR * 3600 + key64(key) % BANKING_SECONDS


def local_moment(day: date, second: int) -> datetime:
    """The UTC moment of a second of a local day in Prague."""
    hour, rest = divmod(second, 3600)
    local = datetime(day.year, day.month, day.day, hour, rest // 60, rest % 60, tzinfo=PRAGUE)
    return local.astimezone(UTC)


def end_of_day(day: date) -> datetime:
    """The last millisecond of a local day in Prague, in UTC."""
    tomorrow = datetime(day.year, day.month, day.day, tzinfo=PRAGUE) + timedelta(days=1)
    return tomorrow.astimezone(UTC) - timedelta(milliseconds=1)


def _read(folder: Path) -> BerkaBank:
    transactions = tuple(_transaction(row) for row in _rows(folder, "trans"))
    active = {transaction.account_id for transaction in transactions}
    dispositions = list(_rows(folder, "disp"))
    account_of = {row["disp_id"]: row["account_id"] for row in dispositions}
    cards = tuple(_card(row, account_of[row["disp_id"]]) for row in _rows(folder, "card"))
    loans = tuple(_loan(row) for row in _rows(folder, "loan"))
    return BerkaBank(
        accounts=_accounts(folder, active, dispositions),
        transactions=transactions,
        cards=tuple(card for card in cards if card.account_id in active),
        loans=tuple(loan for loan in loans if loan.account_id in active),
        log_end=max(transaction.day for transaction in transactions),
    )


def _accounts(folder: Path, active: set[str], dispositions: list[dict[str, str]]) -> dict[str, Account]:
    clients = {row["client_id"]: row for row in _rows(folder, "client")}
    districts = {row["A1"]: _district(row) for row in _rows(folder, "district")}
    owner_of = {row["account_id"]: clients[row["client_id"]] for row in dispositions if row["type"] == "OWNER"}
    persons = Counter(row["account_id"] for row in dispositions)
    return {
        row["account_id"]: Account(
            account_id=row["account_id"],
            frequency=row["frequency"],
            opened=_day(row["date"]),
            owner=_owner(owner_of[row["account_id"]]),
            persons=persons[row["account_id"]],
            district=districts[row["district_id"]],
        )
        for row in _rows(folder, "account")
        if row["account_id"] in active
    }


def _owner(row: dict[str, str]) -> Owner:
    number = row["birth_number"]
    month = int(number[2:4])
    woman = month > WOMAN_MONTH_OFFSET
    birth = date(1900 + int(number[:2]), month - WOMAN_MONTH_OFFSET if woman else month, int(number[4:6]))
    return Owner(client_id=row["client_id"], gender="female" if woman else "male", birth=birth)


def _district(row: dict[str, str]) -> District:
    return District(
        number=int(row["A1"]),
        region=row["A3"],
        inhabitants=int(row["A4"]),
        cities=int(row["A9"]),
        urban_ratio=float(row["A10"]),
        average_salary=int(row["A11"]) * 100,
        unemployment=None if row["A13"] == "?" else float(row["A13"]),
        entrepreneurs=int(row["A14"]),
        crimes=int(row["A16"]),
    )


def _transaction(row: dict[str, str]) -> Transaction:
    bank, account = row["bank"].strip(), row["account"].strip()
    return Transaction(
        trans_id=row["trans_id"],
        account_id=row["account_id"],
        day=_day(row["date"]),
        type=row["type"],
        operation=row["operation"],
        amount=_haler(row["amount"]),
        balance=_haler(row["balance"]),
        k_symbol=row["k_symbol"].strip(),
        partner=f"{bank}:{account}" if bank and account else None,
    )


def _card(row: dict[str, str], account_id: str) -> Card:
    return Card(card_id=row["card_id"], account_id=account_id, type=row["type"], issued=_day(row["issued"][:6]))


def _loan(row: dict[str, str]) -> Loan:
    return Loan(
        loan_id=row["loan_id"],
        account_id=row["account_id"],
        granted=_day(row["date"]),
        amount=_haler(row["amount"]),
        months=int(row["duration"]),
    )


def _day(text: str) -> date:
    return date(1900 + int(text[:2]), int(text[2:4]), int(text[4:6]))


def _haler(text: str) -> int:
    """Exact hundredths from decimal text; a float would lose some."""
    sign = -1 if text.startswith("-") else 1
    whole, _, fraction = text.lstrip("-").partition(".")
    return sign * (int(whole) * 100 + int(fraction.ljust(2, "0")[:2] or 0))


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.asc.gz"


def _rows(folder: Path, name: str) -> Iterator[dict[str, str]]:
    with gzip.open(_path(folder, name), "rt", encoding="latin-1", newline="") as lines:
        yield from csv.DictReader(lines, delimiter=";")
