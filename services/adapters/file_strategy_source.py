"""A strategy read from YAML: one file, or a folder whose files are merged."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from decision_engine.errors import Problem, StrategyInvalid
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.strategy import Strategy
from decision_engine.strategy_loading.document import Entry, ListNode, MapNode, Node
from decision_engine.strategy_loading.loading import load_strategy
from services.adapters.yaml_document import YamlFile, read_yaml

_LARGEST_FILE = 4 * 1024 * 1024
"""Bytes of one file; a strategy of a thousand offers is about half of it."""
_SUFFIXES = (".yaml", ".yml")


def load_strategy_file(path: Path) -> Strategy:
    """The strategy in a file or folder. Raises StrategyInvalid with all problems, those of the YAML included."""
    return load_strategy_with_document(path)[0]


def load_strategy_with_document(path: Path) -> tuple[Strategy, Node]:
    """The strategy and the document it was read from, which knows the line of everything."""
    return _loaded([_read(file) for file in _files(path)])


def load_strategy_texts(files: Mapping[str, str]) -> tuple[Strategy, Node]:
    """The strategy in files that are at hand as texts, by name, and its document. Raises StrategyInvalid with all
    problems, which name these files."""
    if not files:
        raise StrategyInvalid([Problem(file="", line=0, path="strategy", message="there are no files")])
    return _loaded([read_yaml(files[name], name) for name in sorted(files)])


def strategy_document(files: Mapping[str, str]) -> Node | None:
    """The document in these texts, whether or not it makes a strategy; None where one of them is no YAML."""
    roots = [_read_once(files[name], name).root for name in sorted(files)]
    found = [root for root in roots if root is not None]
    return _merged(found, []) if len(found) == len(roots) else None


@lru_cache(maxsize=256)
def _read_once(text: str, name: str) -> YamlFile:
    """Two versions that are compared share most of their files, and one is compared again and again."""
    return read_yaml(text, name)


def _loaded(files: Sequence[YamlFile]) -> tuple[Strategy, Node]:
    problems = [problem for file in files for problem in file.problems]
    roots = [file.root for file in files if file.root is not None]
    if any(file.root is None for file in files):
        raise StrategyInvalid(problems)  # a file that cannot be read would make everything in it look missing
    document = _merged(roots, problems) if len(roots) > 1 else roots[0]
    try:
        strategy = load_strategy(document, EVENT_FIELDS)
    except StrategyInvalid as error:
        found = sorted({*problems, *error.problems}, key=lambda p: (p.file, p.line, p.path, p.message))
        raise StrategyInvalid(found) from error
    if problems:
        raise StrategyInvalid(problems)
    return strategy, document


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES) if path.is_dir() else []
    if not files:
        what = "holds no .yaml files" if path.is_dir() else "does not exist"
        raise StrategyInvalid([Problem(file=str(path), line=0, path="strategy", message=what)])
    return files


def _read(path: Path) -> YamlFile:
    name = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            return _unreadable(name, f"is larger than {_LARGEST_FILE // 1024 // 1024} MB")
        return read_yaml(content.decode("utf-8-sig"), name)
    except OSError as error:
        return _unreadable(name, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        return _unreadable(name, f"is not UTF-8 (at byte {error.start})")


def _unreadable(name: str, message: str) -> YamlFile:
    return YamlFile(root=None, problems=(Problem(file=name, line=0, path="strategy", message=message),))


def _merged(roots: Iterable[Node], problems: list[Problem]) -> Node:
    """Lists of one name are joined in the order of file names; anything else may be given once."""
    entries: dict[str, Entry] = {}
    first: Node | None = None
    for root in roots:
        first = first or root
        if not isinstance(root, MapNode):
            problems.append(_problem(root, "strategy", "a strategy file must be a mapping"))
            continue
        for entry in root.entries:
            known = entries.get(entry.key)
            if known is None:
                entries[entry.key] = entry
            elif isinstance(known.value, ListNode) and isinstance(entry.value, ListNode):
                entries[entry.key] = _joined(known, known.value, entry.value)
            else:
                problems.append(_problem(entry, entry.key, f"stands already at {known.file}:{known.line}"))
    file, line = (first.file, first.line) if first is not None else ("", 0)
    return MapNode(entries=tuple(entries.values()), file=file, line=line)


def _joined(entry: Entry, items: ListNode, more: ListNode) -> Entry:
    value = ListNode(items=items.items + more.items, file=items.file, line=items.line)
    return Entry(key=entry.key, value=value, file=entry.file, line=entry.line)


def _problem(at: Node | Entry, path: str, message: str) -> Problem:
    return Problem(file=at.file, line=at.line, path=path, message=message)
