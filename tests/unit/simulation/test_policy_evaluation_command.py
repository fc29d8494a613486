"""`kairos evaluate policy` on an archive of the simulated bank, and another strategy put to its recorded questions."""

import json
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decision_engine.contact_ledger import encode_records
from decision_engine.prepared import prepare
from event_schemas.codec import decode
from event_schemas.topics import DECISIONS, RESPONSES
from models.decision_log.archive_files import ARCHIVE_SCHEMA, day_folder, file_name
from models.decision_log.examples import AttributionRule
from models.decision_log.records import logged_decision
from models.evaluation.off_policy.first_choices import first_choices
from services.__main__ import main
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.strategy_versions import StrategyVersions
from services.commands.policy_evaluation import _not_judged
from services.simulation.bank import BankConfig, BankStream
from services.simulation.served_decisions import Counter, _response_event
from services.use_cases.decision_answer import word
from services.use_cases.decision_record import DecisionInputs, encode_record
from services.use_cases.redecide import NotRecorded, Redecider

SOURCE = Path(__file__).with_name("small_bank.yaml")
STRATEGY = load_strategy_file(SOURCE)
EXPLORING = "exploration: {kind: epsilon_greedy, epsilon: 0.5}"


@dataclass(frozen=True)
class Lived:
    """Some days of a small bank: the archive, the records, and where its strategies are kept."""

    root: Path
    records: tuple[bytes, ...]

    prepared: Any

    def strategy_of(self, version: str) -> Any:
        return self.prepared if version == self.version else None

    @property
    def source(self) -> Path:
        return self.root / "live.yaml"

    @property
    def version(self) -> str:
        return str(self.prepared.strategy.version)


def exploring_text() -> str:
    lines = [line for line in SOURCE.read_text().splitlines() if not line.startswith("exploration:")]
    return "\n".join([*lines, EXPLORING, ""])


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Four days of 100 customers, half of the decisions explored; records with the contacts as they were read."""
    root = tmp_path_factory.mktemp("lived")
    (root / "live.yaml").write_text(exploring_text())
    strategy = load_strategy_file(root / "live.yaml")
    stream = BankStream(BankConfig(seed=4, customers=100, start=date(2026, 3, 1)))
    counter, wording = Counter(strategy, stream.people, seed=4), word(strategy)
    offers = {str(offer.name): (str(offer.group), str(offer.issue)) for offer in strategy.offers}
    records, responses = [], []
    for _ in range(4):
        day = stream.next_day()
        counter.states.add(day.events)
        for visit in day.visits:
            ledger = counter._ledgers.get(f"retail:{visit.customer + 1}")
            before = encode_records(ledger.records) if ledger is not None else None
            served = counter.serve(visit, {})
            if served is None:
                continue
            inputs = DecisionInputs(
                client="test", request_id=None, request=served.request, ledger=before, feature_layout="0" * 16,
                took_ms=1.0,
            )  # fmt: skip
            records.append(encode_record(served.decision, inputs, wording))
            first = next((option for placement in served.decision.placements for option in placement.options), None)
            responses += [
                _response_event(visit, first, response, offers[str(first.candidate.offer)]).event.value
                for response in served.responses
                if first is not None
            ]
    write(root / "archive", DECISIONS, records)
    write(root / "archive", RESPONSES, responses)
    StrategyVersions(root / "strategies", load_strategy_file).register(strategy.version, root / "live.yaml")
    return Lived(root, tuple(records), prepare(strategy))


def write(root: Path, topic: str, values: list[bytes]) -> None:
    """An archive file as the archiver writes it."""
    rows = []
    for offset, value in enumerate(values):
        event = decode(value)
        data = event.data.model_dump(include={"decision_id", "tracking_id", "outcome"})
        rows.append(
            {
                "partition": 0, "offset": offset, "type": event.type, "event_id": event.id, "subject": event.subject,
                "time": event.time, "value": value.decode(), **data,
            }
        )  # fmt: skip
    folder = day_folder(root, topic, "2026-03-01")
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=ARCHIVE_SCHEMA), folder / file_name(0, 0, len(values) - 1))


@pytest.fixture
def evaluate(lived: Lived, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command on the archive: its status, and what it printed."""
    monkeypatch.setenv("KAIROS_STRATEGY_PATH", str(lived.source))
    monkeypatch.setenv("KAIROS_STRATEGY_ARCHIVE", str(lived.root / "strategies"))
    monkeypatch.setenv("KAIROS_ARCHIVE_PATH", str(lived.root / "archive"))

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["evaluate", "policy", "--attribution-seconds", "600", "--replicates", "200", *arguments])
        shown = capsys.readouterr()
        return status, shown.out + shown.err

    return run


def test_the_same_strategy_decides_with_the_recorded_chances(lived: Lived) -> None:
    """Every candidate's, of every judged choice, from the record alone."""
    redecider = Redecider(lived.strategy_of(lived.version), lived.strategy_of, lambda _: {})
    compared = 0
    for record in lived.records:
        decision = logged_decision(record, lived.strategy_of)
        assert decision is not None
        for choice in first_choices([decision]):
            again = redecider.first_chances(record)
            assert again[choice.option.treatment] == pytest.approx(choice.logged, abs=1e-9)
            assert sum(again.values()) == pytest.approx(1.0)
            compared += 1
    assert compared > 50


def test_the_recorded_strategy_as_draft_is_worth_what_the_log_earned(lived: Lived, evaluate: Any) -> None:
    status, text = evaluate("--draft", str(lived.source), "--json")
    report = json.loads(text)
    (policy,) = report["policies"]
    assert policy["estimates"]["IPS"]["value"] == pytest.approx(report["logged"]["value"])
    assert policy["over_log"]["low"] <= 0.0 <= policy["over_log"]["high"]
    assert policy["weights"]["effective"] == pytest.approx(report["choices"])
    assert (status == 0) == report["conclusive"]


def test_a_draft_without_exploration_gets_its_table(lived: Lived, evaluate: Any, tmp_path: Path) -> None:
    draft = tmp_path / "draft.yaml"
    draft.write_text(exploring_text().replace(EXPLORING, "exploration: {kind: 'off'}"))
    status, text = evaluate("--draft", str(draft), "--clip", "4", "--reward", "value")
    for word_ in ("as logged", "SNIPS", "DR *", "switch-DR", "effective choices", "clipping", "minor units"):
        assert word_ in text
    assert status == (2 if "NO CONCLUSION" in text else 0)


def test_what_the_records_do_not_keep_cannot_be_decided_on(lived: Lived) -> None:
    narrow = prepare(replace(STRATEGY, version=lived.version))
    blind = replace_attributes(narrow)
    redecider = Redecider(narrow, lambda _: blind, lambda _: {})
    with pytest.raises(NotRecorded, match="did not read"):
        redecider.first_chances(lived.records[0])
    with pytest.raises(NotRecorded, match="not kept"):
        Redecider(narrow, lambda _: None, lambda _: {}).first_chances(lived.records[0])


def replace_attributes(prepared: Any) -> Any:
    """As if the recorded strategy had read no attribute at all."""

    class Blind:
        attributes: tuple[str, ...] = ()

    assert prepared.attributes
    return Blind()


def test_listed_chances_are_judged_and_a_policy_that_never_agrees_ends_with_status_two(
    lived: Lived, evaluate: Any, tmp_path: Path
) -> None:
    listed = tmp_path / "chances.jsonl"
    rows = [json.loads(record)["data"]["decision_id"] for record in lived.records]
    listed.write_text(
        "".join(json.dumps({"decision_id": d, "treatment": "none.of.these", "chance": 1}) + "\n" for d in rows)
    )
    status, text = evaluate("--chances", str(listed))
    assert status == 2
    assert "NO CONCLUSION" in text and "no chance to show" in text
    listed.write_text('{"decision_id": "x", "treatment": "y"}\n')
    status, text = evaluate("--chances", str(listed))
    assert status == 1 and "chances.jsonl:1" in text


def test_a_request_for_several_placements_is_left_out_by_name(lived: Lived) -> None:
    """Even where only one of them was answered."""
    record = next(r for r in lived.records if first_choices_of(r, lived))
    decision = logged_decision(record, lived.strategy_of)
    assert decision is not None
    window = AttributionRule(window_ms=1000, log_end_ms=decision.decided_ms + 1000)
    assert _not_judged(record, decision, window) is None
    event = json.loads(record)
    event["data"]["placements_asked"].append({"id": "another", "count": 1})
    assert "several placements" in str(_not_judged(json.dumps(event).encode(), decision, window))
    assert "still open" in str(_not_judged(record, decision, replace(window, log_end_ms=decision.decided_ms)))
    assert "cannot be read" in str(_not_judged(record, replace(decision, candidates=()), window))


def first_choices_of(record: bytes, lived: Lived) -> list[Any]:
    decision = logged_decision(record, lived.strategy_of)
    return [] if decision is None else list(first_choices([decision]))


def test_a_policy_must_be_named_and_only_one(evaluate: Any, tmp_path: Path) -> None:
    listed = str(tmp_path / "chances.jsonl")
    for arguments, said in (
        ((), "which policy?"),
        (("--chances", listed, "--draft", "x"), "which policy?"),
        (("--draft", "x", "--by-place"), "--by-place"),
    ):
        status, text = evaluate(*arguments)
        assert status == 1 and said in text


def test_what_cannot_be_judged_is_counted_by_its_reason(lived: Lived, evaluate: Any) -> None:
    _, text = evaluate("--draft", str(lived.source), "--json")
    report = json.loads(text)
    left_out = {why: count for why, count in report["left_out"].items() if "offered nothing" in why}
    silent = sum(not json.loads(record)["data"]["placements"][0].get("options") for record in lived.records)
    assert list(left_out.values()) == [silent] and silent > 0
    assert 0 < report["choices"] <= len(lived.records) - sum(report["left_out"].values())
