"""What `kairos doctor` says: of one thing, whether it is well, what was found, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How well something is."""

    OK = "ok"
    WARN = "warn"
    """It works, and something is not as it should be."""
    FAIL = "fail"
    """It does not work, or will not tomorrow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report. `do` is empty where nothing is to be done."""

    about: str
    level: Level
    said: str
    do: str = ""


def ok(about: str, said: str) -> Finding:
    """All is well."""
    return Finding(about=about, level=Level.OK, said=said)


def warn(about: str, said: str, do: str) -> Finding:
    """Not as it should be."""
    return Finding(about=about, level=Level.WARN, said=said, do=do)


def fail(about: str, said: str, do: str) -> Finding:
    """Broken."""
    return Finding(about=about, level=Level.FAIL, said=said, do=do)


def lines(findings: Sequence[Finding]) -> list[str]:
    """The report, a line a finding and one for what to do."""
    width = max((len(finding.about) for finding in findings), default=0)
    text = []
    for finding in findings:
        text.append(f"{finding.level:<5} {finding.about:<{width}}  {finding.said}")
        if finding.do:
            text.append(f"{'':<5} {'':<{width}}  -> {finding.do}")
    return text
