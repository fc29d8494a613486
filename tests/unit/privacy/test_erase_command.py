"""`kairos erase` says what is wrong with what it was given."""

import pytest

from decision_engine.identifiers import CustomerId
from services.__main__ import main
from services.commands.erase import unfinished
from services.use_cases.erasure.proofs import PLACES, Erasure, Performed


def test_a_customer_that_is_none_is_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["erase", "1787"]) == 1
    assert "A customer is written retail:<id> or corp:<id>" in capsys.readouterr().err


def test_who_waited_in_vain_is_told_what_is_still_awaited_and_of_whom() -> None:
    known = Erasure(erased_ms=5)
    known.take(Performed(place="store", erased_ms=5, at_ms=6, removed={"state": 1}))
    known.take(Performed(place="archive", erased_ms=5, at_ms=7, removed={"records": 2}, left=3))
    told = unfinished(CustomerId("retail:1787"), known, 30.0)
    assert "after 30 s" in told
    assert "store " not in told
    assert "archive    3 left: a running kairos archiver" in told
    assert "snapshots  not gone through yet" in told
    everything = unfinished(CustomerId("retail:1787"), None, 1.0)
    assert all(f"  {place}" in everything for place in PLACES)
