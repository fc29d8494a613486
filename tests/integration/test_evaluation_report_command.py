"""`kairos evaluate report` and `explain` from the command line, on an archive and a registered version."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from models.registry import ModelRegistry
from services.__main__ import main
from services.adapters.parquet_archive import ParquetArchive

OFFER = """  - name: {name}
    group: cards
    product: {name}
    title: {{zh-CN: 卡, en: Card}}
    value: 100
    base_rate: 0.2
    treatments:
      - name: banner
        channel: mobile
        placements: [home_banner]
        content: {{zh-CN: {{title: 卡}}, en: {{title: Card}}}}
"""
STRATEGY = """
name: two_cards
time_zone: Asia/Shanghai
currency: CNY
locales: [zh-CN, en]
consents:
  - {name: marketing, default: granted, text: {zh-CN: 未同意营销, en: No marketing}}
profile:
  - {name: spend, type: double, theme: basic, description: {zh-CN: 消费, en: Spend of the month}}
  - {name: city, type: string, theme: basic, values: [beijing, chengdu, shanghai], description: {zh-CN: 城市, en: City}}
  - {name: gender, type: string, theme: basic, sensitive: true, description: {zh-CN: 性别, en: Gender}}
models: [{name: cross_sell, required: false}]
issues: [{name: acquire, lever: 0, title: {zh-CN: 获客, en: Acquire}}]
groups: [{name: cards, issue: acquire, lever: 0, model: cross_sell, title: {zh-CN: 卡, en: Cards}}]
placements:
  - id: home_banner
    channel: mobile
    max_count: 1
    fallback: {treatment: generic.mobile.banner, content: {zh-CN: {title: 你好}, en: {title: Hello}}}
contact_policy: {reservation_seconds: 600, limits: []}
offers:
"""


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory, log: ModuleType) -> Path:
    """An archive of two thousand decisions, and a version that learnt from the first four fifths."""
    root = tmp_path_factory.mktemp("bank")
    (root / "strategy.yaml").write_text(STRATEGY + OFFER.format(name="gold_card") + OFFER.format(name="silver_card"))
    decisions, responses = log.make_log(2_000, seed=4)
    with ParquetArchive(root / "archive") as archive:
        for batch in log.batches(decisions, responses):
            archive.append(batch)
    return root


@pytest.fixture
def at_the_bank(bank: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("KAIROS_STRATEGY_PATH", str(bank / "strategy.yaml"))
    monkeypatch.setenv("KAIROS_ARCHIVE_PATH", str(bank / "archive"))
    monkeypatch.setenv("KAIROS_MODEL_PATH", str(bank / "models"))
    monkeypatch.setenv("KAIROS_ATTRIBUTION_SECONDS", "60")
    yield bank


def run(*words: str) -> int:
    """The command's status."""
    try:
        return int(main(list(words)) or 0)
    except SystemExit as leaving:
        return int(leaving.code or 0)


def train(bank: Path) -> str:
    """The registered version, fitted once."""
    registry = ModelRegistry(bank / "models")
    if not registry.versions("cross_sell"):
        assert run("train", "--model", "cross_sell") == 0
    version = registry.newest("cross_sell")
    assert version is not None
    return version


def test_the_report_is_written_as_page_and_json(at_the_bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version, out = train(at_the_bank), at_the_bank / "reports"
    capsys.readouterr()
    assert run("evaluate", "report", "--model", "cross_sell", "--out", str(out), "--group", "city") == 0
    said = capsys.readouterr().out
    assert f"{version}.html" in said and "AUC" in said
    figures = json.loads((out / f"{version}.json").read_text(encoding="utf-8"))
    assert figures["head"]["learnt_rows_judged"] == 0
    assert figures["head"]["rows"] > 300
    assert [table["attribute"] for table in figures["fairness"]] == ["city"]
    assert figures["stability"]["reference_rows"] > 1_000
    assert (out / f"{version}.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_an_attribute_that_is_not_there_and_a_band_that_cannot_be_are_refused(
    at_the_bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(at_the_bank)
    for words, said in (
        (("--group", "shoe_size"), "shoe_size"),
        (("--group", "spend:9,1"), "edges must rise"),
        (("--segment", "shoe_size"), "shoe_size"),
        (("--decision", "D999999"), "not in the archive"),
    ):
        assert run("evaluate", "report", "--model", "cross_sell", *words) != 0
        assert said in capsys.readouterr().err


def test_a_decision_is_explained_in_words(
    at_the_bank: Path, log: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    version = train(at_the_bank)
    scored = log.make_decision(5_000, datetime(2026, 3, 9, tzinfo=UTC), models={"cross_sell": version})
    later = at_the_bank / "later"
    if not later.exists():
        with ParquetArchive(later) as archive:
            archive.append(log.batches([scored], [])[0])
    assert run("evaluate", "explain", "D005000.0", "--archive", str(later)) == 0
    said = capsys.readouterr().out
    assert "place 1  gold_card" in said
    assert "Spend of the month (spend) = 100" in said
    assert run("evaluate", "explain", "D000001") != 0
    assert "base rate" in capsys.readouterr().err
    assert run("evaluate", "explain") != 0
    assert "which decision?" in capsys.readouterr().err
