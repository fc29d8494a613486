"""`kairos erase` says what is wrong with what it was given."""

import pytest

from services.__main__ import main


def test_a_customer_that_is_none_is_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["erase", "1787"]) == 1
    assert "A customer is written retail:<id> or corp:<id>" in capsys.readouterr().err
