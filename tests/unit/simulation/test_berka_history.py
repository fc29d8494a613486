"""Reading the Berka bank: the files' traps, the vocabulary, the order, the ids."""

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from event_schemas.codec import Event, decode
from event_schemas.profile import ProductOpened, ProfileUpdated
from event_schemas.transactions import TransactionPosted
from services.simulation.berka import BerkaUnreadable, read_berka
from services.simulation.berka_events import berka_events

PRAGUE = ZoneInfo("Europe/Prague")


def decoded(folder: Path, until: date | None = None) -> list[Event]:
    return [decode(timed.event.value) for timed in berka_events(folder, until)]


def postings(folder: Path) -> dict[str, TransactionPosted]:
    return {event.id: event for event in decoded(folder) if isinstance(event, TransactionPosted)}


@pytest.mark.parametrize(
    ("trans_id", "direction", "kind", "category"),
    [
        ("1", "credit", "cash_deposit", None),
        ("3", "credit", "interest", "interest"),
        ("4", "debit", "cash_withdrawal", "statement_fee"),
        ("5", "debit", "transfer_out", "household"),
        ("6", "debit", "transfer_out", None),
        ("7", "credit", "transfer_in", "pension"),
        ("8", "debit", "cash_withdrawal", None),
        ("9", "debit", "card", None),
        ("10", "debit", "cash_withdrawal", "penalty_interest"),
    ],
)
def test_each_code_becomes_the_published_words(
    berka_folder: Path, trans_id: str, direction: str, kind: str, category: str | None
) -> None:
    posting = postings(berka_folder)[f"trans-{trans_id}"].data

    assert (posting.direction, posting.kind, posting.category) == (direction, kind, category)


def test_money_is_exact_and_balances_stay_as_given(berka_folder: Path) -> None:
    known = postings(berka_folder)

    assert (known["trans-2"].data.amount, known["trans-2"].data.balance_after) == (110_050, 110_050)
    assert (known["trans-4"].data.amount, known["trans-4"].data.currency) == (1_460, "CZK")
    assert known["trans-9"].data.balance_after == -20_000


def test_the_partner_is_the_other_bank_and_account(berka_folder: Path) -> None:
    known = postings(berka_folder)

    assert (known["trans-5"].data.counterparty, known["trans-5"].data.counterparty_bank) == ("87144583", "YZ")
    assert known["trans-1"].data.counterparty is None


def test_transactions_fall_into_banking_hours_of_their_day(berka_folder: Path) -> None:
    moment = postings(berka_folder)["trans-7"].time.astimezone(PRAGUE)

    assert moment.date() == date(1993, 2, 20)
    assert 8 <= moment.hour < 18


def test_the_stream_is_in_time_order_and_an_account_opens_before_anything_else(berka_folder: Path) -> None:
    events = decoded(berka_folder)
    times = [event.time for event in events]
    first = {}
    for event in events:
        first.setdefault(event.subject, event.type)

    assert times == sorted(times)
    assert set(first.values()) == {"bank.profile.updated"}
    assert times[0] == datetime(1993, 1, 3, 7, tzinfo=PRAGUE)


def test_the_owner_is_the_profile_with_sex_and_age_from_the_birth_number(berka_folder: Path) -> None:
    profiles = {e.subject: e.data.attributes for e in decoded(berka_folder) if isinstance(e, ProfileUpdated)
                if "gender" in e.data.attributes}  # fmt: skip

    assert profiles["retail:1"]["gender"] == "female" and profiles["retail:1"]["age"] == 22
    assert profiles["retail:2"]["gender"] == "male" and profiles["retail:2"]["age"] == 47
    assert profiles["retail:2"]["disponents"] == 2
    assert profiles["retail:1"]["district_average_salary"] == 842_700
    assert "district_unemployment" not in profiles["retail:1"]
    assert profiles["retail:2"]["account_frequency"] == "weekly"


def test_cards_and_loans_open_products_only_up_to_the_end_of_the_log(berka_folder: Path) -> None:
    opened = {(e.subject, e.data.product) for e in decoded(berka_folder) if isinstance(e, ProductOpened)}

    assert opened == {
        ("retail:1", "current_account"),
        ("retail:2", "current_account"),
        ("retail:2", "personal_loan"),
        ("retail:2", "classic_card"),
    }


def test_accounts_without_transactions_in_the_log_are_left_out(berka_folder: Path) -> None:
    assert sorted(read_berka(berka_folder).accounts) == ["1", "2"]


def test_until_cuts_at_the_end_of_a_local_day(berka_folder: Path) -> None:
    assert {e.time.astimezone(PRAGUE).date() for e in decoded(berka_folder, date(1993, 1, 10))} == {
        date(1993, 1, 3), date(1993, 1, 10)
    }  # fmt: skip


def test_reading_twice_gives_the_same_bytes(berka_folder: Path) -> None:
    assert berka_events(berka_folder) == berka_events(berka_folder)


def test_a_folder_without_the_files_is_named_with_what_is_missing(tmp_path: Path, berka_folder: Path) -> None:
    (berka_folder / "loan.asc.gz").unlink()

    with pytest.raises(BerkaUnreadable, match=r"loan\.asc\.gz"):
        read_berka(berka_folder)
    with pytest.raises(BerkaUnreadable, match=r"account\.asc\.gz, card\.asc\.gz"):
        read_berka(tmp_path / "nowhere")
