"""The Berka bank as a stream of CloudEvents: account openings with the owner's profile, cards, loans, transactions.

A customer is `retail:<account_id>`. Ids are those of the source, so publishing again changes nothing.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from services.simulation.berka import (
    ACCOUNT_OPENING_SECOND,
    Account,
    BerkaBank,
    Card,
    Loan,
    Transaction,
    end_of_day,
    local_moment,
    read_berka,
    second_of_day,
)
from services.simulation.cloud_events import EventHead, Json, TimedEvent, cloud_event, epoch_ms

SOURCE = "berka"
CURRENCY = "CZK"

DIRECTIONS = {"PRIJEM": "credit", "VYDAJ": "debit", "VYBER": "debit"}
KINDS = {
    "VKLAD": "cash_deposit",
    "VYBER": "cash_withdrawal",
    "PREVOD Z UCTU": "transfer_in",
    "PREVOD NA UCET": "transfer_out",
    "VYBER KARTOU": "card",
}
CATEGORIES = {
    "UROK": "interest",
    "SLUZBY": "statement_fee",
    "SIPO": "household",
    "DUCHOD": "pension",
    "POJISTNE": "insurance",
    "UVER": "loan_payment",
    "SANKC. UROK": "penalty_interest",
}
FREQUENCIES = {
    "POPLATEK MESICNE": "monthly",
    "POPLATEK TYDNE": "weekly",
    "POPLATEK PO OBRATU": "after_transaction",
}


def berka_events(folder: Path, until: date | None = None) -> list[TimedEvent]:
    """Everything up to the end of `until` (default: the last day of the transaction log), in time order.

    Raises BerkaUnreadable.
    """
    bank = read_berka(folder)
    last_ms = epoch_ms(end_of_day(min(until, bank.log_end) if until else bank.log_end))
    events = sorted(_all_events(bank), key=lambda placed: (placed[0].at_ms, placed[1]))
    return [timed for timed, _ in events if timed.at_ms <= last_ms]


def _all_events(bank: BerkaBank) -> Iterator[tuple[TimedEvent, int]]:
    """Each event with its place among those of the same second: openings, then products, then transactions."""
    for account in bank.accounts.values():
        yield _profile(account), 0
        yield _account_opened(account), 1
    for card in bank.cards:
        yield _card_issued(card), 2
        yield _card_on_profile(card, bank.accounts[card.account_id]), 2
    for loan in bank.loans:
        yield _loan_granted(loan), 3
    for position, transaction in enumerate(bank.transactions):
        yield _transaction(transaction), 4 + position


def _profile(account: Account) -> TimedEvent:
    district = account.district
    attributes: dict[str, Json] = {
        "age": _age(account, account.opened),
        "gender": account.owner.gender,
        "account_frequency": FREQUENCIES[account.frequency],
        "disponents": account.persons,
        "district": district.number,
        "district_region": district.region,
        "district_inhabitants": district.inhabitants,
        "district_cities": district.cities,
        "district_urban_ratio": district.urban_ratio,
        "district_average_salary": district.average_salary,
        "district_entrepreneurs": district.entrepreneurs,
        "district_crimes": district.crimes,
    }
    if district.unemployment is not None:
        attributes["district_unemployment"] = district.unemployment
    at_ms = epoch_ms(local_moment(account.opened, ACCOUNT_OPENING_SECOND))
    head = _head(f"profile-{account.account_id}", "bank.profile.updated", account.account_id, at_ms)
    return cloud_event(head, {"attributes": attributes})


def _account_opened(account: Account) -> TimedEvent:
    at_ms = epoch_ms(local_moment(account.opened, ACCOUNT_OPENING_SECOND))
    head = _head(f"account-{account.account_id}", "bank.product.opened", account.account_id, at_ms)
    return cloud_event(
        head,
        {"product": "current_account", "account_id": account.account_id, "opened_on": account.opened.isoformat()},
    )


def _card_issued(card: Card) -> TimedEvent:
    key = f"card-{card.card_id}"
    at_ms = epoch_ms(local_moment(card.issued, second_of_day(key)))
    return cloud_event(
        _head(key, "bank.product.opened", card.account_id, at_ms),
        {"product": f"{card.type}_card", "account_id": card.account_id, "opened_on": card.issued.isoformat()},
    )


def _card_on_profile(card: Card, account: Account) -> TimedEvent:
    at_ms = epoch_ms(local_moment(card.issued, second_of_day(f"card-{card.card_id}")))
    head = _head(f"profile-card-{card.card_id}", "bank.profile.updated", card.account_id, at_ms)
    return cloud_event(head, {"attributes": {"card_type": card.type, "age": _age(account, card.issued)}})


def _loan_granted(loan: Loan) -> TimedEvent:
    key = f"loan-{loan.loan_id}"
    at_ms = epoch_ms(local_moment(loan.granted, second_of_day(key)))
    data: dict[str, Json] = {
        "product": "personal_loan",
        "account_id": loan.account_id,
        "opened_on": loan.granted.isoformat(),
        "amount": loan.amount,
        "currency": CURRENCY,
    }
    return cloud_event(_head(key, "bank.product.opened", loan.account_id, at_ms), data)


def _transaction(transaction: Transaction) -> TimedEvent:
    key = f"trans-{transaction.trans_id}"
    at_ms = epoch_ms(local_moment(transaction.day, second_of_day(key)))
    data: dict[str, Json] = {
        "account_id": transaction.account_id,
        "direction": DIRECTIONS[transaction.type],
        "amount": transaction.amount,
        "currency": CURRENCY,
        "balance_after": transaction.balance,
        "kind": _kind(transaction),
    }
    if transaction.k_symbol:
        data["category"] = CATEGORIES.get(transaction.k_symbol, "other")
    if transaction.partner:
        bank, _, account = transaction.partner.partition(":")
        data |= {"counterparty": account, "counterparty_bank": bank}
    return cloud_event(_head(key, "bank.transaction.posted", transaction.account_id, at_ms), data)


def _kind(transaction: Transaction) -> str:
    if transaction.operation:
        return KINDS[transaction.operation]
    if transaction.k_symbol == "UROK":
        return "interest"
    return "cash_withdrawal" if transaction.type == "VYBER" else "other"


def _age(account: Account, on: date) -> int:
    """Whole years of the owner's life on that day."""
    birth = account.owner.birth
    return on.year - birth.year - ((on.month, on.day) < (birth.month, birth.day))


def _head(event_id: str, event_type: str, account_id: str, at_ms: int) -> EventHead:
    return EventHead(id=event_id, type=event_type, source=SOURCE, subject=f"retail:{account_id}", at_ms=at_ms)
