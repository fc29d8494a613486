"""`kairos evaluate report` and `kairos evaluate explain`: a version's full report as a page and as JSON, and why the
options of one decision got their probabilities."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from decision_engine.features.definitions import AttributeType
from decision_engine.propensity import Scorer
from decision_engine.strategy import Strategy
from models.decision_log.archive_files import TimeRange
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import offer_facts
from models.decision_log.records import logged_decision
from models.errors import EvaluationRefused
from models.evaluation.full_report.customer_groups import GroupBy, group_by
from models.evaluation.full_report.decision_contributions import explanation_lines
from models.evaluation.full_report.explained_options import Explaining, explain_options
from models.evaluation.full_report.report_building import ReportRequest, build_report
from models.evaluation.full_report.report_content import ExplainedOption
from models.evaluation.full_report.report_json import encode_report
from models.evaluation.full_report.report_page import report_page
from models.evaluation.full_report.report_summary import summary_lines
from models.manifest import Manifest
from models.registry import ModelRegistry
from services.adapters.parquet_archive import ArchiveReader
from services.bootstrap import load_strategy, strategy_finder
from services.settings import read_settings

COMMON_GROUPS = ("age:30,45,60", "gender", "region", "city")
"""Compared beside the sensitive attributes when the strategy has them and no group is named."""
_SEGMENT = "segment"
_EARLIER = 3
"""So many other versions are compared with the judged one: each scores all rows again."""


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """What the report holds and where it goes; which version and which part of the log are as for `log`."""
    report = parser.add_argument_group(
        "report: a version's evaluation as a page and as JSON; explain DECISION_ID: why its options got their "
        "probabilities"
    )
    report.add_argument(
        "decision_id", nargs="?", help="explain: the decision, or the tracking id of one of its options"
    )
    report.add_argument("--out", type=Path, default=Path("var/reports"), help="folder of the report (var/reports)")
    report.add_argument(
        "--group",
        action="append",
        metavar="ATTRIBUTE[:EDGE,EDGE]",
        help="compare these groups, such as gender or age:30,45,60 (default: the strategy's sensitive attributes, age, "
        "region, city); repeat for more",
    )
    report.add_argument("--segment", help=f"attribute that parts customers (default: {_SEGMENT}, where there is one)")
    report.add_argument("--decision", help="also explain this decision in the report")


def write_report(args: argparse.Namespace, version: str, query: LogQuery) -> list[str]:
    """Writes `<version>.html` and `.json` and answers the summary. Raises ModelsError, StrategyInvalid."""
    settings = read_settings(os.environ)
    loaded = load_strategy(settings)
    strategy = loaded.strategy
    registry = ModelRegistry(args.models or settings.model_path)
    manifest = registry.manifest(version)
    kept = strategy_finder(settings)
    query = replace(query, strategy_of=lambda name: loaded.prepared if name == strategy.version else kept(name))
    request = _request(args, strategy, manifest, query)
    request = replace(request, others=_earlier(registry, manifest))
    if args.decision is not None:
        archive, load = query.archive, registry.load
        request = replace(request, explained=_explained(args.decision, archive, strategy, load))
    report = build_report(request, registry.load(version), _progress)
    args.out.mkdir(parents=True, exist_ok=True)
    page, figures = args.out / f"{version}.html", args.out / f"{version}.json"
    page.write_text(report_page(report), encoding="utf-8")
    figures.write_text(encode_report(report), encoding="utf-8")
    return [*summary_lines(report), "", f"page   {page}", f"JSON   {figures}"]


def explain_decision(args: argparse.Namespace) -> list[str]:
    """The options of a decision in words. Raises EvaluationRefused when there is nothing to explain, RegistryError."""
    if args.decision_id is None:
        raise EvaluationRefused("which decision? Give its id: kairos evaluate explain DECISION_ID")
    settings = read_settings(os.environ)
    strategy = load_strategy(settings).strategy
    registry = ModelRegistry(args.models or settings.model_path)
    archive = args.archive or settings.archive_path
    lines: list[str] = []
    for option in _explained(args.decision_id, archive, strategy, registry.load):
        recorded = "" if option.recorded is None else f", recorded {option.recorded:.4f}"
        lines += [f"place {option.rank}  {option.offer} ({option.treatment}){recorded}"]
        lines += [*explanation_lines(option.explanation), ""]
    return lines[:-1]


def _explained(
    decision_id: str, archive: Path, strategy: Strategy, load: Callable[[str], Scorer]
) -> tuple[ExplainedOption, ...]:
    record = ArchiveReader(archive).read_decision(decision_id.partition(".")[0])
    decision = None if record is None else logged_decision(record)
    if decision is None:
        raise EvaluationRefused(f"decision {decision_id} is not in the archive {archive}")
    explaining = Explaining(
        offers=offer_facts(strategy), described=_described(strategy), zone=ZoneInfo(strategy.time_zone), load=load
    )
    return explain_options(decision, explaining)


def _request(args: argparse.Namespace, strategy: Strategy, manifest: Manifest, query: LogQuery) -> ReportRequest:
    judged_since_ms = query.period.since_ms or 0
    learnt_since_ms = judged_since_ms if manifest.data is None else min(manifest.data.since_ms, judged_since_ms)
    offers = query.offers
    segment = args.segment or (_SEGMENT if _SEGMENT in strategy.dictionary else None)
    if args.segment is not None and args.segment not in strategy.dictionary:
        raise EvaluationRefused(f"--segment {args.segment}: the strategy has no such attribute")
    return ReportRequest(
        query=replace(query, period=TimeRange(since_ms=learnt_since_ms, until_ms=query.period.until_ms)),
        manifest=manifest,
        judged_since_ms=judged_since_ms,
        groups=_groups(args.group, strategy, manifest.name),
        segment=segment,
        products=frozenset(
            offer.product for offer in strategy.offers if offer.product and offers[offer.name].model == manifest.name
        ),
        described=_described(strategy),
        seed=args.seed,
    )


def _groups(named: list[str] | None, strategy: Strategy, model: str) -> tuple[GroupBy, ...]:
    """Those named; otherwise what the strategy declares protected for the model or sensitive, and common ones."""
    if named is not None:
        wanted = [group_by(text) for text in named]
        unknown = [by.attribute for by in wanted if by.attribute not in strategy.dictionary]
        if unknown:
            raise EvaluationRefused(f"--group {', '.join(unknown)}: the strategy has no such attribute")
        return tuple(wanted)
    common = {by.attribute: by for by in map(group_by, COMMON_GROUPS) if by.attribute in strategy.dictionary}
    sensitive = {
        info.name: GroupBy(attribute=info.name)
        for info in strategy.dictionary.values()
        if info.sensitive and info.type is not AttributeType.TIMESTAMP
    }
    protected = {
        groups.attribute: GroupBy(attribute=groups.attribute, edges=groups.bands)
        for training in strategy.trainings
        if training.name == model
        for groups in training.protected
    }
    return tuple({**sensitive, **common, **protected}.values())


def _earlier(registry: ModelRegistry, manifest: Manifest) -> dict[str, Scorer]:
    """The newest other versions of the model."""
    others = [version for version in registry.versions(manifest.name) if version != manifest.version]
    return {version: registry.load(version) for version in others[-_EARLIER:]}


def _described(strategy: Strategy) -> dict[str, str]:
    """What each attribute is, in English where the dictionary has it."""
    return {
        name: info.description.get("en") or next(iter(info.description.values()), "")
        for name, info in strategy.dictionary.items()
    }


def _progress(sentence: str) -> None:
    print(f"  {sentence}", file=sys.stderr, flush=True)
