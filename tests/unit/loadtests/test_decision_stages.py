"""Sampled stacks become a table of stages: every sample counts once, for the innermost function that has a stage."""

import pytest

from loadtests.decision_stages import OTHER, STAGES, stages_of

WITHIN = ["hot_routes.py:HotRoutes.decide", "httptools_impl.py:RequestResponseCycle.run_asgi"]


def test_times_add_up_to_the_time_measured() -> None:
    stacks = [
        (["lignum_form.py:LignumForm.margins", "scoring.py:_score", "engine.py:decide", *WITHIN], 3),
        (["scoring.py:score_offers", "engine.py:decide", *WITHIN], 1),
        (["condition_bits.py:ConditionBits.evaluate", "engine.py:decide", *WITHIN], 2),
        (["make_decision.py:MakeDecision._settled", *WITHIN], 4),
    ]
    found = stages_of(1_000.0, stacks)
    assert found.samples == 10
    assert found.by_stage == pytest.approx({"model": 400.0, "rules and gates": 200.0, OTHER: 400.0})
    assert sum(found.by_stage.values()) == pytest.approx(found.cpu_us)


def test_what_a_stage_calls_counts_for_it_unless_it_is_a_stage_of_its_own() -> None:
    stacks = [
        (["decoder.py:JSONDecoder.raw_decode", "customer_facts.py:customer_facts", *WITHIN], 1),
        (["redis_client.py:RedisClient._send", "make_decision.py:MakeDecision._reserve", *WITHIN], 1),
    ]
    assert set(stages_of(2.0, stacks).by_stage) == {"state: decode, windows, facts", "store and ledger: client"}


def test_no_sample_at_all_is_no_table() -> None:
    assert stages_of(1_000.0, []).by_stage == {}


def test_no_beginning_belongs_to_two_stages() -> None:
    beginnings = [beginning for _, several in STAGES for beginning in several]
    assert len(beginnings) == len(set(beginnings))
