"""A new offer from one form: the offer, its first treatments and rule, and a cap of its own."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from decision_engine.strategy import Strategy
from services.use_cases.authoring.entries import Built, Changed, Files, Sources, built
from services.use_cases.authoring.entry_kinds import LAYERS, kinds, treatment_fields
from services.use_cases.authoring.fields import Fault, FieldKind, meant
from services.use_cases.authoring.source_nodes import text_at
from services.use_cases.authoring.yaml_writing import Plain

MOST_TREATMENTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class CapWords:
    """What a refusal by the offer's own cap says, by locale; `{limit}` and `{window}` are filled."""

    by_locale: Mapping[str, str]


def name_from(title: str) -> str:
    """A name for a title: small letters, digits and underscores; empty where the title has none of them."""
    name = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:60]
    return name if name[:1].isalpha() else f"offer_{name}" if name else ""


def add_offer(
    sources: Sources, files: Files, strategy: Strategy, posted: Mapping[str, str], words: CapWords
) -> Changed:  # fmt: skip
    """The files with the offer, and with its cap if there is one. Faults are by field. Raises EditRefused,
    SourceUnreadable."""
    name = posted.get("name", "").strip() or name_from(posted.get("title.en", ""))
    made = _offer(strategy, {**posted, "name": name})
    faults = dict(made.faults)
    if not name:
        faults["name"] = "needed"
    elif sources.entry(files, kinds(strategy.locales)["offer"], name) is not None:
        faults["name"] = "taken"
    faults |= dict.fromkeys(_missing(strategy, posted), "needed")
    cap = _cap(strategy, name, posted, words)
    if isinstance(cap, Fault):
        faults["cap.limit"] = cap.reason
    if faults:
        return Changed(files=files, faults=faults)
    known = kinds(strategy.locales)
    home = _home(sources, files, strategy, str(made.value.get("group", "")))
    offered = sources.with_entry(files, known["offer"], made.value, home)
    if isinstance(cap, Mapping):
        capped = sources.with_entry(offered.files, known["limit"], cap)
        return Changed(files=capped.files, place=offered.place)
    return offered


def _missing(strategy: Strategy, posted: Mapping[str, str]) -> Iterator[str]:
    """Fields without which the offer could not be read."""

    def empty(key: str) -> bool:
        return not posted.get(key, "").strip()

    for each in kinds(strategy.locales)["offer"].fields:
        if each.required and each.key != "name" and empty(each.key):
            yield each.key
    for number in range(1, MOST_TREATMENTS + 1):
        if not empty(f"t{number}.placement"):
            titles = (f"t{number}.content.{locale}.title" for locale in strategy.locales)
            yield from (key for key in titles if empty(key))
    if not empty("rule.when"):
        yield from (key for locale in strategy.locales if empty(key := f"rule.text.{locale}"))


def _offer(strategy: Strategy, posted: Mapping[str, str]) -> Built:
    """The offer with what stands under `t1.`, `t2.`, … and `rule.`."""
    known = kinds(strategy.locales)["offer"]
    made = built(known.fields, posted)
    value, faults = dict(made.value), dict(made.faults)
    layer = posted.get("rule.layer", LAYERS[1])
    if posted.get("rule.when", "").strip() and layer in LAYERS:
        value[layer] = [_rule(strategy, str(value.get("name", "")), posted)]
    treatments = [
        treatment
        for number in range(1, MOST_TREATMENTS + 1)
        if (treatment := _treatment(strategy, _under(posted, f"t{number}."))) is not None
    ]
    if not treatments:
        faults["t1.placement"] = "needed"
    value["treatments"] = _distinct(treatments)
    return Built(value=value, faults=faults)


def _rule(strategy: Strategy, offer: str, posted: Mapping[str, str]) -> dict[str, Plain]:
    code = posted.get("rule.code", "").strip() or f"NOT_FOR_{offer.upper()}"
    texts: dict[str, Plain] = {
        locale: posted.get(f"rule.text.{locale}", "").strip() or None for locale in strategy.locales
    }
    return {
        "id": posted.get("rule.id", "").strip() or f"{offer}_fits",
        "when": " ".join(posted.get("rule.when", "").split()),
        "code": code,
        "text": {locale: text for locale, text in texts.items() if text is not None},
    }


def _treatment(strategy: Strategy, posted: Mapping[str, str]) -> dict[str, Plain] | None:
    """None for one that is left empty."""
    placement = strategy.placements.get(posted.get("placement", ""))  # type: ignore[call-overload]
    if placement is None:
        return None
    fields = tuple(f for f in treatment_fields(strategy.locales) if f.path[0] in ("content", "script"))
    content = built(fields, posted).value
    return {
        "name": posted.get("name", "").strip() or str(placement.id),
        "channel": placement.channel,
        "placements": [str(placement.id)],
        **content,
    }


def _distinct(treatments: Sequence[Mapping[str, Plain]]) -> list[Plain]:
    """Names told apart within a channel."""
    seen: dict[tuple[Plain, Plain], int] = {}
    found: list[Plain] = []
    for treatment in treatments:
        key = (treatment["channel"], treatment["name"])
        seen[key] = seen.get(key, 0) + 1
        name = treatment["name"] if seen[key] == 1 else f"{treatment['name']}_{seen[key]}"
        found.append({**treatment, "name": name})
    return found


def _cap(
    strategy: Strategy, offer: str, posted: Mapping[str, str], words: CapWords
) -> Mapping[str, Plain] | Fault | None:  # fmt: skip
    limit_text, window = posted.get("cap.limit", "").strip(), posted.get("cap.window", "").strip() or "7d"
    if not limit_text:
        return None
    limit_field = next(f for f in kinds(strategy.locales)["limit"].fields if f.kind is FieldKind.WHOLE)
    limit = meant(limit_field, limit_text)
    if isinstance(limit, Fault):
        return limit
    texts: dict[str, Plain] = {
        locale: text.format(limit=limit, window=window)
        for locale, text in words.by_locale.items()
        if locale in strategy.locales
    }
    return {
        "id": f"{offer}_cap",
        "scope": "offer",
        "of": offer,
        "limit": limit,
        "window": {"calendar": window} if window in ("day", "week", "month") else window,
        "code": f"CAP_{offer.upper()}",
        "text": texts,
    }


def _home(sources: Sources, files: Files, strategy: Strategy, group: str) -> str:
    """Where the group's offers stand already, or a file of its own."""
    counts: dict[str, int] = {}
    for entry in sources.entries(files, kinds(strategy.locales)["offer"]):
        if text_at(entry.node, ("group",)) == group:
            counts[entry.place.file] = counts.get(entry.place.file, 0) + 1
    return max(counts, key=lambda file: counts[file]) if counts else f"offers_{group or 'new'}.yaml"


def _under(posted: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in posted.items() if key.startswith(prefix)}
