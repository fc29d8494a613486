"""Names that lead back to nobody, and what an erasure adds up to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.commands.erase import erasure_lines, is_customer
from services.ports import SettingsInvalid
from services.use_cases.erasure.proofs import ARCHIVE, PLACES, SNAPSHOTS, STORE, Erasure, Performed
from services.use_cases.erasure.pseudonyms import Pseudonyms

KEY = b"a key that is long enough"


def performed(place: str, erased_ms: int = 10, left: int = 0, **removed: int) -> Performed:
    return Performed(place=place, erased_ms=erased_ms, at_ms=20, removed=removed, left=left)


@settings(max_examples=50)
@given(st.from_regex(r"(retail|corp):[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_a_pseudonym_is_the_same_under_one_key_and_another_under_another(customer: str) -> None:
    assert Pseudonyms(KEY).of(customer) == Pseudonyms(KEY).of(customer)
    assert Pseudonyms(KEY).of(customer) != Pseudonyms(KEY + b"!").of(customer)
    assert Pseudonyms(b"k" * 100).of(customer) != Pseudonyms(b"k" * 64).of(customer)
    assert len(Pseudonyms(KEY).of(customer)) == 32
    assert is_customer(customer)


def test_a_key_that_can_be_guessed_is_refused_and_none_is_shown() -> None:
    with pytest.raises(SettingsInvalid, match="at least 16"):
        Pseudonyms(b"short")
    assert KEY.decode() not in repr(Pseudonyms(KEY))


def test_an_erasure_is_done_when_nothing_is_left_in_any_place() -> None:
    erasure = Erasure(10)
    for place in PLACES:
        assert not erasure.done
        erasure.take(performed(place))
    assert erasure.done
    erasure.take(performed(STORE, left=1))
    assert not erasure.done


def test_accounts_of_one_erasure_add_up_and_those_of_an_earlier_one_count_no_more() -> None:
    erasure = Erasure(10)
    erasure.take(performed(STORE, 5, decisions=9))
    erasure.take(performed(STORE, decisions=2, left=1))
    erasure.take(performed(STORE, decisions=1, contacts=3))
    assert erasure.places[STORE].removed == {"contacts": 3, "decisions": 3}
    assert erasure.places[STORE].left == 0


def test_the_proof_says_for_each_place_what_was_removed_and_when() -> None:
    erasure = Erasure(10)
    erasure.take(performed(STORE, decisions=2))
    erasure.take(performed(ARCHIVE, records=1_234, left=2))
    lines = "\n".join(erasure_lines("f00", erasure))
    assert "erasure f00: running" in lines
    assert "removed 2 decisions; nothing left" in lines
    assert "removed 1,234 records; 2 LEFT" in lines
    assert f"{SNAPSHOTS:<10} not gone through yet" in lines
