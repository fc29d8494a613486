"""Reads `segments` and `tags`: named conditions over what is known of a customer."""

from collections.abc import Sequence

from decision_engine.features.definitions import AttributeType, DerivedFeature
from decision_engine.strategy_loading.conditions import Vocabulary, read_condition
from decision_engine.strategy_loading.section import Section, distinct
from decision_engine.tags import Segment, Tag, TagClass

SEGMENT_THEME = "classification"


def read_segments(root: Section, locales: Sequence[str]) -> tuple[tuple[Section, Segment], ...]:
    """The segments with their places; their conditions are read with the derived features, as they may name each
    other."""
    sections = root.sections("segments")
    segments = [_segment(section, locales) for section in sections]
    distinct(sections, [segment.name for segment in segments], "name")
    return tuple((section, segment) for section, segment in zip(sections, segments, strict=True) if segment.name)


def as_derived(segment: Segment) -> DerivedFeature:
    """The attribute a segment is to rules and models."""
    return DerivedFeature(
        name=segment.attribute,
        expression=segment.when,
        type=AttributeType.BOOL,
        theme=SEGMENT_THEME,
        description=segment.title,
    )


def read_tags(root: Section, locales: Sequence[str], known: Vocabulary) -> tuple[Tag, ...]:
    """The tags in the order of their names."""
    sections = root.sections("tags")
    tags = [_tag(section, locales, known) for section in sections]
    distinct(sections, [tag.name for tag in tags], "name")
    return tuple(sorted((tag for tag in tags if tag.name), key=lambda tag: tag.name))


def _segment(section: Section, locales: Sequence[str]) -> Segment:
    return Segment(
        name=section.name("name"),
        title=section.local_text("title", locales),
        when=section.text("when").strip(),
    )


def _tag(section: Section, locales: Sequence[str], known: Vocabulary) -> Tag:
    tag = Tag(
        name=section.name("name"),
        tag_class=TagClass(section.choice("class", tuple(TagClass)) or TagClass.PROFILE),
        title=section.local_text("title", locales),
        when=read_condition(section, "when", known),
    )
    section.finish()
    return tag
