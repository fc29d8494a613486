"""What import rules cannot see: the core reads no clock, draws nothing at random, and keeps nothing between calls."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ("decision_engine", "event_schemas")
FORBIDDEN_CALLS = {"now", "today", "utcnow"}
MUTATING = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "clear", "remove", "discard"}
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


def modules() -> Iterator[Path]:
    for package in CORE:
        yield from sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", list(modules()), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_module_reads_no_clock_and_no_randomness(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = [
        f"{path.name}:{node.lineno} {ast.unparse(node.func)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (node.func.attr in FORBIDDEN_CALLS or "random" in ast.unparse(node.func).split("."))
    ]
    assert not found


@pytest.mark.parametrize("path", list(modules()), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_module_keeps_nothing_between_calls(path: Path) -> None:
    """Containers at module level are constants in capitals that no function changes, and no function says global."""
    tree = ast.parse(path.read_text())
    constants = {name for node in tree.body for name in bound_containers(node)}
    assert {name for name in constants if name != name.upper() and name != "__all__"} == set()
    changed = [f"{path.name}:{node.lineno}" for node in ast.walk(tree) if changes(node, constants)]
    assert changed == []


def bound_containers(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign) and isinstance(node.value, MUTABLE):
        return [ast.unparse(target) for target in node.targets]
    if isinstance(node, ast.AnnAssign) and isinstance(node.value, MUTABLE):
        return [ast.unparse(node.target)]
    return []


def changes(node: ast.AST, names: set[str]) -> bool:
    if isinstance(node, ast.Global):
        return True
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        return ast.unparse(node.value) in names
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in MUTATING and ast.unparse(node.func.value) in names
    return False
