"""Reads `portrait`: what people who serve a customer see of them at a glance."""

from collections.abc import Mapping, Sequence

from decision_engine.features.definitions import AttributeInfo, AttributeType, FeatureDeclarations
from decision_engine.features.dictionary import attribute_names
from decision_engine.features.shapes import windows_of
from decision_engine.portrait import Portrait, Series, SeriesUnit
from decision_engine.strategy_loading.section import Section, distinct, suggestion

_NUMBERS = (AttributeType.INT, AttributeType.DOUBLE)


def read_portrait(
    root: Section, declarations: FeatureDeclarations, dictionary: Mapping[str, AttributeInfo], locales: Sequence[str]
) -> Portrait | None:
    """The portrait, None where none is declared."""
    section = root.section("portrait")
    if section is None:
        return None
    windowed = {
        name
        for feature in declarations.features
        if windows_of(feature) and not feature.window_pairs
        for name, _ in attribute_names(feature)
    }
    sections = section.sections("series")
    series = [_series(item, dictionary, windowed, locales) for item in sections]
    distinct(sections, [each.attribute for each in series], "attribute")
    portrait = Portrait(
        facts=_attributes(section, "facts", dictionary, numbers=False),
        amounts=_attributes(section, "amounts", dictionary, numbers=True),
        series=tuple(series),
        words=_words(section, locales),
    )
    section.finish()
    return portrait


def _attributes(
    section: Section, key: str, dictionary: Mapping[str, AttributeInfo], *, numbers: bool
) -> tuple[str, ...]:
    names = section.texts(key)
    for name in names:
        _check_shown(section, key, name, dictionary)
        if numbers and name in dictionary and dictionary[name].type not in _NUMBERS:
            section.problem(f"{name} is no number", key)
    return tuple(dict.fromkeys(names))


def _check_shown(section: Section, key: str, name: str, dictionary: Mapping[str, AttributeInfo]) -> None:
    info = dictionary.get(name)
    if info is None:
        if name:
            section.problem(f"unknown attribute {name}{suggestion(name, tuple(dictionary))}", key)
    elif info.sensitive:
        section.problem(f"{name} is sensitive and must not be shown", key)


def _series(
    section: Section, dictionary: Mapping[str, AttributeInfo], windowed: set[str], locales: Sequence[str]
) -> Series:
    name = section.text("attribute")
    _check_shown(section, "attribute", name, dictionary)
    if name in dictionary and (name not in windowed or dictionary[name].type not in _NUMBERS):
        section.problem(f"{name} is no number over a window, so it has no course", "attribute")
    series = Series(
        attribute=name,
        title=section.local_text("title", locales),
        unit=SeriesUnit(section.choice("unit", tuple(SeriesUnit), SeriesUnit.NUMBER) or SeriesUnit.NUMBER),
    )
    section.finish()
    return series


def _words(section: Section, locales: Sequence[str]) -> dict[str, dict[str, str]]:
    words = section.section("words")
    return {} if words is None else {value: words.local_text(value, locales) for value in sorted(words.keys())}
