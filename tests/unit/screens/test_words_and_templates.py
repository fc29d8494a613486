"""Every word is there in every language, and every template speaks in words that are there."""

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import chain

import pytest

from services.api.screens.words import LOCALES, load_words

WORD = re.compile(r"""\bt\(\s*["']([a-z_0-9]+\.[a-zA-Z_0-9]+)["']\s*[,)]""")
BEGINNING = re.compile(r"""\bt\(\s*["']([a-z_0-9]+\.[a-zA-Z_0-9]*)["']\s*~""")
FORBIDDEN = re.compile(r"""\sstyle\s*=|\son[a-z]+\s*=\s*["']|<script(?![^>]*\bsrc=)|https?://(?!www\.w3\.org/)""")
HOLE = re.compile(r"\{(\w*)[^}]*\}")


def below(folder: Traversable) -> list[Traversable]:
    return list(chain.from_iterable(below(entry) if entry.is_dir() else [entry] for entry in folder.iterdir()))


TEMPLATES = sorted(below(files("services.web").joinpath("templates")), key=str)
STATIC = sorted(below(files("services.web").joinpath("static")), key=str)


def test_every_text_has_the_same_holes_in_every_language() -> None:
    differing = [
        key
        for key, texts in load_words().texts.items()
        if len({frozenset(HOLE.findall(texts[locale])) for locale in LOCALES}) > 1
    ]
    assert differing == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda entry: str(entry).rpartition("templates/")[2])
def test_a_template_uses_words_that_are_there(template: Traversable) -> None:
    words, text = load_words(), template.read_text("utf-8")
    unknown = [key for key in WORD.findall(text) if not words.has(key)]
    unknown += [
        f"{beginning}…"
        for beginning in BEGINNING.findall(text)
        if not any(k.startswith(beginning) for k in words.texts)
    ]
    assert unknown == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda entry: str(entry).rpartition("templates/")[2])
def test_a_template_has_nothing_inline_and_nothing_from_elsewhere(template: Traversable) -> None:
    assert FORBIDDEN.findall(template.read_text("utf-8")) == []


@pytest.mark.parametrize("file", [f for f in STATIC if f.name.endswith((".css", ".js"))], ids=lambda f: f.name)
def test_scripts_and_styles_fetch_nothing_from_elsewhere(file: Traversable) -> None:
    text = file.read_text("utf-8")
    assert re.findall(r"""(?:import|url\(|fetch\()\s*["'(]*(?:https?:)?//""", text) == []
    assert "eval(" not in text
