"""Reads the further subjects of a strategy, `links`, and the attributes customers have from them, `linked`."""

from collections.abc import Mapping, Sequence

from decision_engine.features.definitions import AttributeInfo, AttributeType
from decision_engine.features.linked import Combine, Link, LinkedAttribute, LinkKind, type_of
from decision_engine.strategy_loading.section import Section, distinct, suggestion

_MOST_MEMBERS = 32


def read_links(
    root: Section, locales: Sequence[str], dictionary: Mapping[str, AttributeInfo]
) -> tuple[tuple[Link, ...], tuple[LinkedAttribute, ...]]:
    """The links and the linked attributes, in the order of their names. `dictionary` holds the customers' own
    attributes."""
    sections = root.sections("links")
    links = {link.name: link for section in sections if (link := _link(section, dictionary)).name}
    distinct(sections, [section.optional_text("name") or "" for section in sections], "name")
    sections = root.sections("linked")
    linked = [_linked(section, locales, links, dictionary) for section in sections]
    distinct(sections, [attribute.name for attribute in linked], "name")
    return (
        tuple(links[name] for name in sorted(links)),
        tuple(sorted((a for a in linked if a.name and a.link), key=lambda attribute: attribute.name)),
    )


def linked_infos(links: Sequence[Link], linked: Sequence[LinkedAttribute]) -> dict[str, AttributeInfo]:
    """Their lines of the dictionary."""
    by_name = {link.name: link for link in links}
    return {
        attribute.name: AttributeInfo(
            name=attribute.name,
            type=attribute.type,
            theme=attribute.theme,
            description=attribute.description,
            source=f"{attribute.link}, linked by {by_name[attribute.link].attribute}",
            default=None,
            definition=f"{attribute.combine} of {attribute.attribute or 'the members'}",
        )
        for attribute in linked
    }


def _link(section: Section, dictionary: Mapping[str, AttributeInfo]) -> Link:
    name = section.name("name")
    together = section.has("by")
    key = "by" if together else "to"
    if together and section.has("to"):
        section.problem("links either by a shared value or to a customer, not both", "to")
    attribute = section.text(key)
    info = dictionary.get(attribute)
    if attribute and (info is None or info.source != "bank.profile.updated" or info.type is not AttributeType.STRING):
        texts = sorted(n for n, i in dictionary.items() if i.source == "bank.profile.updated")
        section.problem(f"{attribute} is no text of the profile{suggestion(attribute, texts)}", key)
    most = section.integer("most", 8, least=2, most=_MOST_MEMBERS) if together else 1
    section.finish()
    return Link(name=name, kind=LinkKind.TOGETHER if together else LinkKind.TO, attribute=attribute, most=most)


def _linked(
    section: Section, locales: Sequence[str], links: Mapping[str, Link], dictionary: Mapping[str, AttributeInfo]
) -> LinkedAttribute:
    name, link_name = section.name("name"), section.text("link")
    link = links.get(link_name)
    if link_name and link is None:
        section.problem(f"there is no link {link_name}{suggestion(link_name, sorted(links))}", "link")
    if name in dictionary:
        section.problem(f"the attribute {name} is declared already", "name")
    combine = Combine(section.choice("combine", tuple(Combine), Combine.VALUE) or Combine.VALUE)
    if link is not None and (combine is Combine.VALUE) is (link.kind is LinkKind.TOGETHER):
        wanted = "a way to combine its members" if link.kind is LinkKind.TOGETHER else "the value of its one customer"
        section.problem(f"{link.name} needs {wanted}, not {combine}", "combine")
    of = _members_attribute(section, combine, dictionary)
    attribute = LinkedAttribute(
        name=name,
        link=link_name if link else "",
        combine=combine,
        attribute=of.name if of else None,
        type=type_of(combine, of.type if of else None) or AttributeType.STRING,
        theme=section.text("theme"),
        description=section.local_text("description", locales),
    )
    section.finish()
    return attribute


def _members_attribute(
    section: Section, combine: Combine, dictionary: Mapping[str, AttributeInfo]
) -> AttributeInfo | None:
    if combine is Combine.COUNT and not section.has("attribute"):
        return None
    name = section.text("attribute")
    info = dictionary.get(name)
    if name and info is None:
        section.problem(f"unknown attribute {name}{suggestion(name, sorted(dictionary))}", "attribute")
    elif info is not None and info.sensitive:
        section.problem(f"{name} is sensitive and is not shared over a link", "attribute")
    elif info is not None and type_of(combine, info.type) is None:
        section.problem(f"{combine} has no meaning over a {info.type}", "attribute")
    return info
