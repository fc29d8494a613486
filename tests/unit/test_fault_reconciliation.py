"""The judge of the fault campaign finds what it is there to find."""

import json
from collections import Counter
from typing import Any

import pytest

from loadtests.faults.bank import promises
from loadtests.faults.reconciliation import (
    Answered,
    Findings,
    LogFold,
    answers_against,
    archive_against,
    contacts_against,
    dead_letters_against,
    limits_against,
    responses_against,
    states_against,
)

CUSTOMER = "retail:1"
TRANSACTIONS, DECISIONS, RESPONSES = "bank.transactions.v1", "nbo.decisions.v1", "nbo.responses.v1"


@pytest.fixture
def fold() -> LogFold:
    """Two transactions, one of them twice; a note; two contacts, one of them answered; a poisoned record set aside."""
    made = LogFold()
    posted = [
        event("t1", "bank.transaction.posted", {"amount": 5}),
        event("t2", "bank.transaction.posted", {"amount": 7}),
    ]
    for offset, value in enumerate([*posted, posted[0], b"poison"]):
        made.take(TRANSACTIONS, 0, offset, CUSTOMER.encode(), value)
    made.take(DECISIONS, 0, 0, CUSTOMER.encode(), decision("D1", [("offer_0", "D1.0"), ("offer_1", "D1.1")]))
    answer = {"response_id": "r1", "tracking_id": "D1.0", "outcome": "click"}
    made.take(RESPONSES, 0, 0, CUSTOMER.encode(), event("r1", "nbo.response.recorded", answer))
    made.take("nbo.dead-letters.v1", 0, 0, None, json.dumps({"id": f"{TRANSACTIONS}/0/3"}).encode())
    return made


def event(id_: str, type_: str, data: dict[str, Any]) -> bytes:
    header = {"id": id_, "source": "core", "type": type_, "subject": CUSTOMER, "time": "2026-01-02T03:04:05.006Z"}
    return json.dumps(header | {"data": data}).encode()


def decision(id_: str, options: list[tuple[str, str]]) -> bytes:
    told = [{"offer": offer, "tracking_id": tracking} for offer, tracking in options]
    data = {
        "decision_id": id_, "customer_id": CUSTOMER, "strategy_version": "v", "coded_candidates": {"offers": "x"},
        "placements": [{"id": "banner", "options": told}],
    }  # fmt: skip
    return event(id_, "nbo.decision.made", data)


HELD = (2, 12, 1, None, ())
LEDGER = {CUSTOMER: {"D1.0": {"click"}, "D1.1": set[str]()}}


def test_what_agrees_with_the_log_is_not_found(fold: LogFold) -> None:
    findings = Findings()
    states_against(fold, {CUSTOMER: HELD}, findings)
    contacts_against(fold, LEDGER, findings)
    answered = Answered("D1", CUSTOMER, (("offer_0", "D1.0"), ("offer_1", "D1.1")))
    limits_against(fold, [answered], promises(), findings)
    answers_against(fold, [answered], set(), findings)
    responses_against(fold, ["r1"], findings)
    dead_letters_against(fold, findings)
    archive_against(fold, {place: Counter(offsets) for place, offsets in fold.offsets.items()}, findings)
    assert findings.all() == {}


@pytest.mark.parametrize(
    ("held", "name"),
    [
        ((1, 12, 1, None, ()), "lost"),
        ((2, 17, 1, None, ()), "doubled"),
        ((2, 12, 0, None, ()), "lost"),
        ((2, 12, 1, 4, ()), "wrong"),
        ((2, 12, 1, None, (("marketing", True),)), "wrong"),
    ],
)
def test_a_state_that_differs_is_found(fold: LogFold, held: Any, name: str) -> None:
    findings = Findings()
    states_against(fold, {CUSTOMER: held}, findings)
    assert list(findings.all()) == [name]


def test_a_contact_or_an_outcome_that_the_ledger_lost_is_found(fold: LogFold) -> None:
    findings = Findings()
    contacts_against(fold, {CUSTOMER: {"D1.0": set()}}, findings)
    assert [entry.split(":")[1] for entry in findings.contacts_lost] == ["1 D1.1", "1 D1.0 click"]


def test_a_cap_exceeded_by_answers_that_the_log_does_not_know_is_found(fold: LogFold) -> None:
    findings = Findings()
    more = [Answered(f"D{n}", CUSTOMER, (("offer_0", f"D{n}.0"),)) for n in range(2, 5)]
    limits_against(fold, more[:2], promises(), findings)
    assert findings.caps_exceeded == []
    limits_against(fold, more, promises(), findings)
    assert findings.caps_exceeded == ["retail:1 offer_0: 4 of 3"]


def test_a_volume_exceeded_over_all_customers_is_found(fold: LogFold) -> None:
    findings = Findings()
    many = [Answered(f"V{n}", f"retail:v{n}", (("offer_0", f"V{n}.0"),)) for n in range(150)]
    limits_against(fold, many, promises(), findings)
    assert findings.volumes_exceeded == ["v_scarce: 151 of 150"]


def test_an_answer_without_a_record_or_with_another_is_found(fold: LogFold) -> None:
    findings = Findings()
    other, nowhere = Answered("D1", CUSTOMER, ()), Answered("D9", CUSTOMER, ())
    answers_against(fold, [other, nowhere], set(), findings)
    assert len(findings.unexplained) == 2
    kept = Findings()
    answers_against(fold, [nowhere], {"D9"}, kept)
    assert kept.all() == {}, "the store alone may have it"


def test_what_was_acknowledged_and_is_not_in_the_log_is_found(fold: LogFold) -> None:
    findings = Findings()
    responses_against(fold, ["r1", "r2"], findings)
    assert findings.responses_lost == ["r2"]


def test_poison_that_was_passed_over_and_a_sound_record_set_aside_are_found(fold: LogFold) -> None:
    fold.take(TRANSACTIONS, 1, 0, b"poison", b"{}")
    fold.take("nbo.dead-letters.v1", 0, 1, None, json.dumps({"id": f"{TRANSACTIONS}/0/0"}).encode())
    findings = Findings()
    dead_letters_against(fold, findings)
    assert len(findings.dead_letters_wrong) == 2


def test_an_archive_that_lacks_a_record_or_has_it_twice_is_found(fold: LogFold) -> None:
    findings = Findings()
    archived = {place: Counter(offsets) for place, offsets in fold.offsets.items()}
    archived[TRANSACTIONS, 0] = Counter([0, 1, 1, 3])
    archive_against(fold, archived, findings)
    assert len(findings.archive_wrong) == 2
