"""When two names are the same person."""

from unicodedata import category, normalize


def person(name: str) -> str:
    """A name without what tells no two people apart: case, width, accents' spelling, spaces, invisible characters."""
    spelt = normalize("NFKC", normalize("NFKC", name).casefold())
    return "".join(character for character in spelt if category(character)[0] not in "CZ")


def same_person(one: str, other: str) -> bool:
    """Whether two names cannot be told apart."""
    return person(one) == person(other)
