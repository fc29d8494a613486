"""Reads placements, and the content that placements and treatments show."""

from collections.abc import Sequence

from decision_engine.identifiers import PlacementId, TreatmentName
from decision_engine.offers import Content, Placement
from decision_engine.strategy_loading.section import Section, distinct


def read_placements(root: Section, locales: Sequence[str]) -> dict[PlacementId, Placement]:
    """The slots that ask, by id and in the order of ids."""
    sections = root.sections("placements")
    placements = [_placement(section, locales) for section in sections]
    distinct(sections, [placement.id for placement in placements], "id")
    by_id = {placement.id: placement for placement in placements if placement.id}
    return {name: by_id[name] for name in sorted(by_id)}


def read_content(section: Section, locales: Sequence[str]) -> dict[str, Content]:
    """What a channel renders in every locale: `title`, `body`, whatever else the channel knows."""
    content = section.required_section("content")
    if content is None:
        return {}
    found: dict[str, Content] = {}
    for locale in locales:
        fields = content.required_section(locale)
        if fields is not None:
            if not fields.keys():
                fields.problem("is empty")
            found[locale] = {key: fields.text(key) for key in sorted(fields.keys())}
    if locales:  # otherwise they are at fault, not the content
        content.finish()
    return found


def _placement(section: Section, locales: Sequence[str]) -> Placement:
    name = PlacementId(section.name("id"))
    channel = section.name("channel")
    max_count = section.integer("max_count", least=1, most=100)
    treatment, content = "", {}
    fallback = section.required_section("fallback")
    if fallback is not None:
        treatment, content = fallback.text("treatment"), read_content(fallback, locales)
        fallback.finish()
    section.finish()
    return Placement(
        id=name,
        channel=channel,
        max_count=max_count,
        fallback_treatment=TreatmentName(treatment),
        fallback_content=content,
    )
