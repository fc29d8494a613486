"""What a process remembers of its own answers, and what a claim says before there is one."""

from time import perf_counter
from typing import Any

import pytest

from services.use_cases import idempotent_answers
from services.use_cases.idempotent_answers import (
    DecisionInFlight,
    IdempotencyConflict,
    IdempotentAnswers,
    claim_of,
    kept_answer,
)

ONE, OTHER = b"1" * 16, b"2" * 16


@pytest.fixture
def answers(bank: Any) -> IdempotentAnswers:
    return IdempotentAnswers(bank.store)


def test_an_answer_is_remembered_for_its_body_until_the_store_tells(answers: IdempotentAnswers) -> None:
    assert answers.remembered("app:r", ONE) is None
    answers.remember("app:r", ONE, b"{}")
    assert answers.remembered("app:r", ONE) == b"{}"
    with pytest.raises(IdempotencyConflict):
        answers.remembered("app:r", OTHER)
    answers.forget("app:r")
    assert answers.remembered("app:r", ONE) is None
    answers.forget("app:r")


def test_an_answer_is_forgotten_after_its_time(answers: IdempotentAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotent_answers, "REMEMBERED_S", -1.0)
    answers.remember("app:r", ONE, b"{}")
    assert answers.remembered("app:r", ONE) is None


def test_the_oldest_answers_make_room(answers: IdempotentAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotent_answers, "MAX_REMEMBERED", 2)
    for name in ("a", "b", "a", "c"):
        answers.remember(name, ONE, name.encode())
    assert [answers.remembered(name, ONE) for name in ("a", "b", "c")] == [b"a", None, b"c"]


async def test_a_claim_tells_the_body_it_was_made_for(answers: IdempotentAnswers, bank: Any) -> None:
    claim = claim_of("app:r", ONE, "01J")
    bank.store.answers["app:r"] = claim.value
    with pytest.raises(IdempotencyConflict):
        await answers.earlier("app:r", claim.value, OTHER, perf_counter() + 60)
    with pytest.raises(DecisionInFlight):
        await answers.earlier("app:r", claim.value, ONE, perf_counter() + 0.02)
    bank.store.answers["app:r"] = kept_answer(ONE, b"{}")
    assert await answers.earlier("app:r", claim.value, ONE, perf_counter() + 60) == b"{}"


async def test_waiting_ends_with_the_budget_though_the_store_is_silent(answers: IdempotentAnswers, bank: Any) -> None:
    bank.store.hang.add("claimed")
    with pytest.raises(DecisionInFlight):
        await answers.earlier("app:r", b"claimed", ONE, perf_counter() + 0.02)


def test_no_two_attempts_have_the_same_claim() -> None:
    assert claim_of("app:r", ONE, "01J") != claim_of("app:r", ONE, "01K")
    assert not claim_of("app:r", b"answer:", "01J").value.startswith(b"answer:")
