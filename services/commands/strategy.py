"""`kairos strategy`: checks a strategy and shows what it holds, without any server; and what people do with it under
governance."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from decision_engine.errors import StrategyInvalid
from decision_engine.strategy import ContactLimit, Strategy
from decision_engine.strategy_loading.analysis import analyse
from decision_engine.strategy_loading.analysis_findings import Finding, Severity
from services.adapters.file_strategy_source import load_strategy_with_document
from services.commands.strategy_acts import GOVERNANCE_ACTS, add_governance_acts, run_governance_act

NAME = "strategy"
HELP = "check a strategy, compare it, and bring it through submission, approval and activation"
EXAMPLE = "kairos strategy check deploy/strategies/demo_bank"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`check PATH` and `show PATH`."""
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    check = _act(acts, "check", "report every problem, and what can hardly be meant; status 0 only if nothing is wrong")
    check.add_argument("path", type=Path, help="folder or file of the strategy")
    check.add_argument("--strict", action="store_true", help="status 1 for warnings, too")
    show = _act(acts, "show", "offers, placements, limits and attributes")
    show.add_argument("path", type=Path, help="folder or file of the strategy")
    show.add_argument("--attributes", action="store_true", help="list every attribute of the data dictionary")
    add_governance_acts(lambda name, text, example: _act(acts, name, text, example))


def _act(
    acts: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str, example: str | None = None
) -> argparse.ArgumentParser:
    return acts.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example:\n  kairos strategy {example or f'{name} deploy/strategies/demo_bank'}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(args: argparse.Namespace) -> int:
    """Status 1 when the strategy has problems. Acts of governance raise ShellError."""
    if args.act in GOVERNANCE_ACTS:
        return run_governance_act(args)
    path: Path = args.path
    try:
        strategy, document = load_strategy_with_document(path)
    except StrategyInvalid as error:
        for problem in error.problems:
            print(problem)
        count = len(error.problems)
        print(f"{path}: {count} problem{'' if count == 1 else 's'}")
        return 1
    if args.act == "check":
        return _report(path, strategy, analyse(strategy, document), strict=args.strict)
    print("\n".join(_description(strategy, every_attribute=args.attributes)))
    return 0


def _report(path: Path, strategy: Strategy, findings: Sequence[Finding], *, strict: bool) -> int:
    """Prints every finding; status 1 for an error, or when strict for any."""
    for finding in findings:
        print(finding)
    counts = Counter(finding.severity for finding in findings)
    told = ", ".join(f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in sorted(counts.items()))
    if counts[Severity.ERROR] or (strict and findings):
        print(f"{path}: {told}")
        return 1
    with_warnings = f" with {told}" if told else ""
    print(f"{path}: sound{with_warnings}, version {strategy.version}; {_summary(strategy)}")
    return 0


def _summary(strategy: Strategy) -> str:
    rules = sum(len(o.eligibility) + len(o.applicability) + len(o.suitability) for o in strategy.offers)
    treatments = sum(len(offer.treatments) for offer in strategy.offers)
    return (
        f"{len(strategy.offers)} offers, {treatments} treatments, {len(strategy.placements)} placements, "
        f"{rules} rules, {len(strategy.contact_limits)} contact limits, {len(strategy.dictionary)} attributes"
    )


def _description(strategy: Strategy, *, every_attribute: bool) -> list[str]:
    lines = [
        f"{strategy.version}  ({strategy.time_zone}, {strategy.currency}, {', '.join(strategy.locales)})",
        _summary(strategy),
        "",
        "offers",
    ]
    lines += [f"  {line}" for line in _offers(strategy)]
    lines += ["", "placements"]
    lines += [f"  {p.id:<24} {p.channel:<16} up to {p.max_count}" for p in strategy.placements.values()]
    lines += ["", "contact limits"]
    lines += [f"  {_limit(limit)}" for limit in strategy.contact_limits]
    lines += ["", "attributes by theme"]
    themes = Counter(info.theme for info in strategy.dictionary.values())
    lines += [f"  {theme:<24} {count:>5}" for theme, count in sorted(themes.items())]
    if every_attribute:
        lines += ["", "attributes"]
        lines += [
            f"  {name:<40} {info.type:<10} {info.description.get(strategy.locales[0], '')}"
            for name, info in sorted(strategy.dictionary.items())
        ]
    return lines


def _offers(strategy: Strategy) -> list[str]:
    lines = []
    for offer in strategy.offers:
        rules = len(offer.eligibility) + len(offer.applicability) + len(offer.suitability)
        channels = ", ".join(sorted({treatment.channel for treatment in offer.treatments}))
        mandatory = "  mandatory" if offer.mandatory else ""
        lines.append(
            f"{offer.name:<28} {offer.issue + '/' + offer.group:<24} {rules:>3} rules  value {offer.value:>9}"
            f"  lever {offer.lever:>+6g}  {channels}{mandatory}"
        )
    return lines


def _limit(limit: ContactLimit) -> str:
    seconds = limit.window.rolling_seconds
    window = f"the calendar {limit.window.calendar}" if seconds is None else _span(seconds)
    of = f" {limit.of}" if limit.of else ""
    return f"{limit.id:<28} at most {limit.limit} within {window}, {limit.scope.name.lower()}{of}"


def _span(seconds: int) -> str:
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
