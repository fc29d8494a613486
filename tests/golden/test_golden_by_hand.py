"""Golden decisions worked out by hand: what must come out, with the arithmetic beside it, and nothing else.

Each case in `decisions/by_hand` names what differs from an adult with a balance of 8,000, no contacts and the model
below, and the facts that were derived for it. `strategy` holds further sections of the golden bank's strategy.
"""

import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from decision_engine.decision import Candidate, Decision
from decision_engine.fallback import FallbackCause
from decision_engine.outcomes import Fate
from decision_engine.prepared import prepare
from services.adapters.file_strategy_source import load_strategy_file

FOLDER = Path(__file__).parent / "decisions"
MODEL = {
    "gold_card": 0.02, "travel_card": 0.08, "growth_fund": 0.05, "insight": 0.3, "card_expiring": 0.5, "tips": 0.2,
}  # fmt: skip
REQUEST = (
    "now",
    "placements",
    "context",
    "channel",
    "locale",
    "allow_duplicates",
    "customer_id",
    "decision_id",
    "switches",
    "shown",
)
CUSTOMER = ("attributes", "holdings", "consents", "known")
EXPECTED = {
    "options", "fallback", "rejected", "ranked_lower", "priority", "chance", "degraded", "arm", "personalised",
    "models",
}  # fmt: skip
PASSED_ON = ("strategy", "contacts", "taken", "exploration", "experiment", "volumes")
GIVEN = {"name", "model", "degraded_before", *PASSED_ON, *REQUEST, *CUSTOMER}


def cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}: {case['name']}")
        for path in sorted((FOLDER / "by_hand").glob("*.yaml"))
        for case in yaml.safe_load(path.read_text("utf-8"))
    ]


@pytest.fixture(scope="module")
def golden() -> ModuleType:
    """The runner of the whole decisions, for how cases are read."""
    spec = spec_from_file_location("golden_decisions", Path(__file__).with_name("test_golden_decisions.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["golden_decisions"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("case", cases())
def test_golden_decision_by_hand(golden: ModuleType, case: Mapping[str, Any]) -> None:
    assert set(case) <= GIVEN | EXPECTED, "a key nobody reads proves nothing"
    assert set(case) & EXPECTED, "nothing is expected"
    assert_as_derived(decided(golden, case), case)


def decided(golden: ModuleType, case: Mapping[str, Any]) -> Decision:
    model = case.get("model", MODEL)
    whole = {
        "request": {name: case[name] for name in REQUEST if name in case}
        | {"degraded_causes": case.get("degraded_before", ())},
        "customer": {name: case[name] for name in CUSTOMER if name in case},
        "model": None if model == "none" else model,
        **{name: case[name] for name in PASSED_ON if name in case},
    }
    return golden.decide_case(load_strategy_file(FOLDER / "strategy.yaml"), whole)


def assert_as_derived(decision: Decision, case: Mapping[str, Any]) -> None:
    answers = {answer.id: answer for answer in decision.placements}
    for placement, offers in case.get("options", {}).items():
        assert [option.candidate.offer for option in answers[placement].options] == offers
    for placement, cause in case.get("fallback", {}).items():
        assert answers[placement].fallback_cause == cause
    for name, text in case.get("rejected", {}).items():
        stage, rule, code = text.split()
        for candidate in of_offer(decision, name):
            found = (candidate.fate, candidate.stage, candidate.rule, candidate.code)
            assert found == (Fate.REJECTED, stage, rule, code)
    for name in case.get("ranked_lower", ()):
        assert {candidate.fate for candidate in of_offer(decision, name)} == {Fate.RANKED_LOWER}
    for field, named in (("priority", "priority"), ("chance", "selection_probability")):
        for name, number in case.get(field, {}).items():
            for candidate in of_offer(decision, name):
                assert getattr(candidate, named) == pytest.approx(number, rel=1e-9), name
    assert list(decision.degraded_causes) == case.get("degraded", [])
    assert decision.arm == case.get("arm", decision.arm)
    assert decision.personalised == case.get("personalised", decision.personalised)
    assert dict(decision.models) == case.get("models", dict(decision.models))


def of_offer(decision: Decision, name: str) -> list[Candidate]:
    """The candidates of an offer; `placement/offer` for those of one placement."""
    placement, _, offer = name.rpartition("/")
    found = [c for c in decision.candidates if c.offer == offer and placement in ("", c.placement)]
    assert found, f"{name} is no candidate"
    return found


def test_there_are_at_least_sixty_golden_decisions() -> None:
    assert len(cases()) + len(list((FOLDER / "cases").glob("*.yaml"))) >= 60


def test_every_code_the_engine_can_give_has_a_golden_decision() -> None:
    """Rejections by stage, rule and reason of every golden strategy, and every cause of a fallback."""
    text = "\n".join(path.read_text("utf-8") for path in sorted((FOLDER / "by_hand").glob("*.yaml")))
    text += "\n".join(path.read_text("utf-8") for path in sorted((FOLDER / "cases").glob("*.yaml")))
    text += "\n".join(path.read_text("utf-8") for path in sorted((FOLDER.parent / "contact_policy").glob("*.yaml")))
    missing = [cause.value for cause in FallbackCause if cause.value not in text]
    for path in (FOLDER / "strategy.yaml",):
        table = prepare(load_strategy_file(path)).rejections
        shared = [table[0, number] for number in range(len(table)) if table.is_shared(number)]
        own = [rule for rules in table.rules for rule in rules if rule is not None]
        missing += [
            f"{found.stage} {found.rule} {found.code}"
            for found in dict.fromkeys((*shared, *own))
            if f"{found.stage} {found.rule} {found.code}" not in text
            and f"{found.stage} ({found.rule}: {found.code})" not in text
        ]
    assert missing == []
