"""The words of the screens: `services/web/words/<screen>.json`, each key in every language of the screens."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import orjson

LOCALES = ("zh-CN", "en")
"""The languages of the screens; the first is taken where a person's browser asks for none of them."""


class WordsIncomplete(Exception):
    """Some words lack a language, or are no text."""


@dataclass(frozen=True, slots=True)
class Words:
    """Texts by whole key (`agent.accept`) and locale."""

    texts: Mapping[str, Mapping[str, str]]

    def text(self, key: str, locale: str, /, **values: object) -> str:
        """The text with `{name}` filled from the values. Raises KeyError for an unknown key or a missing value."""
        text = self.texts[key][locale]
        return text.format_map(values) if values else text

    def has(self, key: str) -> bool:
        """Whether there is such a key, for words that depend on data."""
        return key in self.texts


def load_words() -> Words:
    """All words of the package. Raises WordsIncomplete naming every key at fault."""
    texts: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    folder = files("services.web").joinpath("words")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".json"):
            continue
        screen = file.name.removesuffix(".json")
        for key, by_locale in orjson.loads(file.read_bytes()).items():
            missing = [locale for locale in LOCALES if not isinstance(by_locale.get(locale), str)]
            problems += [f"{file.name}: {key} lacks {locale}" for locale in missing]
            texts[f"{screen}.{key}"] = by_locale
    if problems:
        raise WordsIncomplete("\n".join(problems))
    return Words(texts)
