"""Functions and modules stay small enough to read at once."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("services", "models", "decision_engine", "event_schemas")
LONGEST_FUNCTION = 50
LONGEST_MODULE = 500
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager", "misc"}


def source_files() -> list[Path]:
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def code_lines(node: ast.AST, text: list[str]) -> int:
    """Lines of a definition that are neither blank, comment nor docstring."""
    docstring: set[int] = set()
    body = getattr(node, "body", [])
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        docstring = set(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    lines = range(node.lineno, (node.end_lineno or 0) + 1)  # type: ignore[attr-defined]
    return sum(
        1 for n in lines if n not in docstring and text[n - 1].strip() and not text[n - 1].strip().startswith("#")
    )


def function_sizes() -> list[tuple[int, str]]:
    sizes = []
    for path in source_files():
        text = path.read_text().splitlines()
        sizes += [
            (code_lines(node, text), f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
            for node in ast.walk(ast.parse("\n".join(text)))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
    return sorted(sizes)


def test_no_function_is_longer_than_a_screen() -> None:
    assert [entry for entry in function_sizes() if entry[0] > LONGEST_FUNCTION] == []


def test_nine_functions_in_ten_have_at_most_twenty_five_lines() -> None:
    sizes = [size for size, _ in function_sizes()]
    assert sizes[int(len(sizes) * 0.9)] <= 25


def test_no_module_is_longer_than_five_hundred_lines() -> None:
    long = [str(p.relative_to(ROOT)) for p in source_files() if len(p.read_text().splitlines()) > LONGEST_MODULE]
    assert long == []


def test_no_module_is_named_for_nothing() -> None:
    assert [str(p) for p in source_files() if p.stem in FORBIDDEN_NAMES] == []


def test_every_module_says_what_it_is() -> None:
    texts = {path: path.read_text() for path in source_files()}
    silent = [str(p.relative_to(ROOT)) for p, t in texts.items() if t.strip() and not ast.get_docstring(ast.parse(t))]
    assert silent == []
