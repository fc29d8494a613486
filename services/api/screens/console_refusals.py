"""Why governance refuses, in the visit's language. The rules say it in English, naming act, thing and reason; the
sentences the screens know are said in other languages too, any other is shown as it came."""

import re

from services.api.screens.words import Words

_WHOLE = re.compile(
    r"(?P<act>approve|decline|retire|activate|submit|simulate|roll back to|roll back|release|save draft|"
    r"record an export) (?P<about>\S+(?: \S+)?): (?P<why>.*)",
    re.DOTALL,
)
_REASONS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (key, re.compile(pattern))
    for key, pattern in (
        ("own", r"(?P<who>.+) submitted it; another person has to approve it"),
        ("worked_on", r"(?P<who>.+) worked on it; another person has to approve it"),
        ("not_simulated", r"it was not simulated against the active version (?P<version>\S+); simulate it first"),
        ("approve_submitted", r"it is (?P<status>\w+); only what is submitted can be approved"),
        ("decline_submitted", r"it is (?P<status>\w+); only what waits for approval can be declined"),
        ("activate_approved", r"it is (?P<status>\w+); only approved versions can be activated"),
        ("retire_open", r"it is (?P<status>\w+); only what is submitted, approved or a canary can be retired; .+"),
        ("open_already", r"it is (?P<status>\w+) already; another version has another content"),
        ("is_active", r"it is the active version: nothing differs"),
        ("other_canary", r"(?P<version>\S+) is the canary; retire, activate or roll it back first"),
        ("active_already", r"it is active already"),
        ("nothing_before", r"nothing decided before it"),
        ("same", r"it is what it would be compared with"),
        ("saved_since", r"(?P<who>.+) saved revision (?P<n>\d+) since you opened it \(revision (?P<m>\d+)\)"),
        ("ended_since", r"it was submitted or thrown away since you opened it \(revision \d+\)"),
        ("not_active_now", r"it is (?:not active|nothing) now"),
        ("not_stopped", r"it is not stopped"),
        ("unknown_here", r"what is active has no such \w+"),
        ("busy", r"this node runs a simulation already; at most one at a time"),
        ("errors", r"(?P<n>\d+) errors: (?P<found>.+)"),
        ("is_status", r"it is (?P<status>submitted|approved|declined|canary|active|retired)"),
    )
)
_STATUSES = frozenset({"submitted", "approved", "declined", "canary", "active", "retired"})


def refusal_in_words(words: Words, locale: str, text: str) -> str:
    """The refusal in the language, as far as it is known there."""
    if locale == "en":
        return text
    whole = _WHOLE.fullmatch(text)
    why = _reason(words, locale, text if whole is None else whole["why"])
    if why is None:
        return text
    if whole is None:
        return why
    act = words.text(f"console_refusals.act_{whole['act'].replace(' ', '_')}", locale)
    return words.text("console_refusals.whole", locale, act=act, about=whole["about"], why=why)


def _reason(words: Words, locale: str, text: str) -> str | None:
    for key, pattern in _REASONS:
        found = pattern.fullmatch(text)
        if found is not None:
            values: dict[str, object] = {
                name: words.text(f"console.version_{value}", locale)
                if name == "status" and value in _STATUSES
                else value
                for name, value in found.groupdict().items()
            }
            return words.text(f"console_refusals.{key}", locale, **values)
    return None
