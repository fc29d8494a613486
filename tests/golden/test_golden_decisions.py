"""Golden decisions: what a small bank decides in situations people can check by hand.

Each case in `decisions/cases` names the request, the customer, the contacts, and the whole expected decision, a line
per candidate. `KAIROS_WRITE_GOLDEN=1` writes what is decided now into the cases, to be read before it is committed.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml

from decision_engine.contact_ledger import ContactRecord
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Candidate, Decision, DecisionRequest, PlacementRequest
from decision_engine.engine import decide, prepare, settle
from decision_engine.identifiers import key32
from decision_engine.outcomes import ContactStatus, Fate
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Matrix, Scorers
from decision_engine.replay import snapshot_of
from decision_engine.strategy import Experiment, Exploration, Strategy
from decision_engine.volume_view import VolumeStanding
from services.adapters.file_strategy_source import load_strategy_file

FOLDER = Path(__file__).parent / "decisions"
CASES = sorted((FOLDER / "cases").glob("*.yaml"))
DAY_MS = 86_400_000
ADULT = {"age": 40, "balance": 8000}


@pytest.fixture(scope="module")
def golden_strategy() -> Strategy:
    return load_strategy_file(FOLDER / "strategy.yaml")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden_decision(golden_strategy: Strategy, path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    decided = rendered(decide_case(golden_strategy, case))
    if os.environ.get("KAIROS_WRITE_GOLDEN"):
        case["expect"] = decided
        path.write_text(yaml.safe_dump(case, sort_keys=False, allow_unicode=True, width=400))
    assert decided == case["expect"]


def test_there_are_enough_golden_decisions() -> None:
    assert len(CASES) >= 20


def decide_case(strategy: Strategy, case: Mapping[str, Any]) -> Decision:
    """Decides, settles, and makes sure the decision can be made again from its own record."""
    if "strategy" in case:
        strategy = with_sections(case["strategy"])
    if "exploration" in case:
        strategy = replace(strategy, exploration=Exploration(**case["exploration"]))
    if "experiment" in case:
        strategy = replace(strategy, experiment=Experiment(salt="golden", shares=case["experiment"]))
    prepared = prepare(strategy)
    request = read_request(case.get("request", {}))
    records = [read_contact(strategy, contact, request.now_ms) for contact in case.get("contacts", [])]
    scorers = read_scorers(case.get("model"))
    volumes = {name: VolumeStanding(**given) for name, given in case.get("volumes", {}).items()}
    draft = decide(prepared, request, read_customer(case.get("customer", {})), records, scorers, volumes)
    taken = case.get("taken", [0] * len(draft.reservation.positions))
    decision = settle(prepared, draft, taken)
    again = decide(prepared, request, snapshot_of(decision), records, scorers, decision.volumes)
    assert settle(prepared, again, decision.taken) == decision
    return decision


def with_sections(sections: Mapping[str, Any]) -> Strategy:
    """The golden bank with more sections, as if they stood in a further file of its strategy."""
    with TemporaryDirectory() as folder:
        Path(folder, "bank.yaml").write_text((FOLDER / "strategy.yaml").read_text())
        Path(folder, "more.yaml").write_text(yaml.safe_dump(sections, allow_unicode=True))
        return load_strategy_file(Path(folder))


def read_scorers(given: Mapping[str, float] | str | None) -> Scorers:
    """Probabilities by offer, `fails` for a model that does, or none."""
    if given is None:
        return {}
    return {"cross_sell": FailingScorer() if isinstance(given, str) else TableScorer.of(given)}


def epoch_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def read_request(given: Mapping[str, Any]) -> DecisionRequest:
    asked = [text.split(":") for text in given.get("placements", ["home_banner:2"])]
    return DecisionRequest(
        decision_id=given.get("decision_id", "01J"),
        customer_id=given.get("customer_id", "retail:1"),
        channel=given.get("channel", "mobile"),
        placements=tuple(PlacementRequest(id=id_, count=int(count)) for id_, count in asked),
        now_ms=epoch_ms(given.get("now", "2026-11-21T17:30:00+08:00")),
        context=given.get("context", {}),
        locale=given.get("locale", "en"),
        allow_duplicates=given.get("allow_duplicates", False),
        degraded_causes=tuple(given.get("degraded_causes", ())),
        switches=tuple(sorted(given.get("switches", ()))),
        shown=tuple(given.get("shown", ())),
    )


def read_customer(given: Mapping[str, Any]) -> CustomerSnapshot:
    attributes = given.get("attributes", ADULT)
    if "risk_assessed_at" in attributes:
        attributes = attributes | {"risk_assessed_at": epoch_ms(attributes["risk_assessed_at"])}
    return CustomerSnapshot(
        known=given.get("known", True),
        attributes=attributes,
        holdings=frozenset(given.get("holdings", ())),
        consents=given.get("consents", {}),
    )


def read_contact(strategy: Strategy, given: Mapping[str, Any], now_ms: int) -> ContactRecord:
    offer = strategy.offer(given["offer"])
    assert offer is not None
    moment = float(epoch_ms(given["at"]) if "at" in given else now_ms - int(given.get("days_ago", 0) * DAY_MS))
    status = ContactStatus.IMPRESSION
    for outcome in given.get("outcomes", ()):
        status |= ContactStatus[outcome.upper()]
    return ContactRecord(
        b"contact.", key32(offer.name), key32(offer.group), key32(offer.issue), key32(given.get("channel", "mobile")),
        int(status), 0, moment, moment + 600_000, moment, moment,
    )  # fmt: skip


@dataclass(frozen=True)
class TableScorer:
    """A model that knows a probability for each offer by name."""

    version: str
    schema: FeatureSchema
    table: tuple[float, ...]

    @classmethod
    def of(cls, probabilities: Mapping[str, float]) -> "TableScorer":
        column = Column(name="offer", source=ColumnSource.OFFER, categories=tuple(probabilities))
        return cls("golden-1", FeatureSchema((column,)), tuple(float(p) for p in probabilities.values()))

    def score(self, matrix: Matrix) -> Any:
        return np.array([self.table[int(code)] for code in matrix[:, 0]])


class FailingScorer:
    """A model that raises."""

    version = "golden-2"
    schema = FeatureSchema((Column(name="offer", source=ColumnSource.OFFER, categories=("gold_card",)),))

    def score(self, matrix: Matrix) -> Any:
        raise MemoryError


def rendered(decision: Decision) -> dict[str, Any]:
    """The decision as people read it."""
    facts = {
        "arm": decision.arm,
        "personalised": decision.personalised,
        "degraded": list(decision.degraded_causes),
        "models": dict(decision.models),
        "attributes": sorted(decision.attributes),
    }
    if decision.experiments:
        facts["experiments"] = dict(decision.experiments)
    answers = {
        answer.id: answer.fallback_cause
        or [
            f"{option.rank}. {option.candidate.treatment} {option.tracking_id}"
            + "".join(f" [{code}: {text}]" for code, text in option.reasons)
            for option in answer.options
        ]
        for answer in decision.placements
    }
    return facts | {"answers": answers, "candidates": [line(candidate) for candidate in decision.candidates]}


def line(candidate: Candidate) -> str:
    parts = [f"{candidate.placement} {candidate.treatment}: {candidate.fate.value}"]
    if candidate.fate is Fate.REJECTED and candidate.stage is not None:
        parts.append(f"by {candidate.stage.value} ({candidate.rule}: {candidate.code})")
    if candidate.priority is not None:
        parts.append(
            f"{candidate.propensity:.4g} x {candidate.context_weight:+g}% x {candidate.value} x {candidate.lever:+g}%"
            f" = {candidate.priority:.6g}, chance {candidate.selection_probability:.4g}"
        )
    return " ".join(parts)
