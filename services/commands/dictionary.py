"""`kairos dictionary`: every attribute, segment and tag of a strategy, as a page."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

from decision_engine.features.definitions import AttributeInfo
from decision_engine.strategy import Strategy
from services.adapters.file_strategy_source import load_strategy_file

NAME = "dictionary"
HELP = "print the data dictionary of a strategy as Markdown, or write it to a file"
EXAMPLE = "kairos dictionary --strategy deploy/strategies/demo_bank --write docs/dictionary.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which strategy, and where to."""
    parser.add_argument("--strategy", type=Path, default=Path("deploy/strategies/demo_bank"), help="file or folder")
    parser.add_argument("--write", type=Path, help="a file (default: standard output)")


def run(args: argparse.Namespace) -> int:
    """Prints or writes the page. Raises StrategyInvalid."""
    page = render_dictionary(load_strategy_file(args.strategy))
    if args.write is None:
        print(page, end="")
    else:
        args.write.write_text(page, encoding="utf-8")
        print(f"{args.write}: {page.count(chr(10))} lines")
    return 0


def render_dictionary(strategy: Strategy) -> str:
    """The page: attributes by theme, then segments and tags."""
    return "\n".join(_lines(strategy)) + "\n"


def _lines(strategy: Strategy) -> Iterator[str]:
    themes: dict[str, list[AttributeInfo]] = {}
    for info in strategy.dictionary.values():
        themes.setdefault(info.theme, []).append(info)
    yield f"# Data dictionary of {strategy.name}"
    yield ""
    yield "Written by `kairos dictionary`; a test compares it with the strategy. Missing values make comparisons false."
    yield ""
    yield f"{len(strategy.dictionary)} attributes in {len(themes)} themes, {len(strategy.segments)} segments, "
    yield f"{len(strategy.tags)} tags. Amounts are minor units of {strategy.currency}."
    purposes = " for |" if strategy.purposes else ""
    for theme in sorted(themes):
        yield from ("", f"## {theme} ({len(themes[theme])})", "")
        yield f"| attribute | type | 中文 | meaning | from | how | default |{purposes}"
        yield f"|---|---|---|---|---|---|---|{'---|' if purposes else ''}"
        for info in sorted(themes[theme], key=lambda info: info.name):
            yield _row(info) + (f" {', '.join(info.purposes) or 'nothing'} |" if purposes else "")
    yield from ("", "## Segments", "", "| attribute | 中文 | meaning | condition |", "|---|---|---|---|")
    for segment in strategy.segments:
        yield f"| {segment.attribute} | {_titles(segment.title)} | {_code(segment.when)} |"
    yield from ("", "## Tags", "", "| tag | class | 中文 | meaning | condition |", "|---|---|---|---|---|")
    for tag in sorted(strategy.tags, key=lambda tag: (tag.tag_class, tag.name)):
        yield f"| {tag.name} | {tag.tag_class} | {_titles(tag.title)} | {_code(tag.when)} |"


def _row(info: AttributeInfo) -> str:
    sensitive = " (sensitive)" if info.sensitive else ""
    default = "" if info.default is None else str(info.default)
    how = _code(info.definition)
    return f"| {info.name} | {info.type}{sensitive} | {_titles(info.description)} | {info.source} | {how} | {default} |"


def _titles(text: Mapping[str, str]) -> str:
    return f"{text.get('zh-CN', '')} | {text.get('en', '')}"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"
