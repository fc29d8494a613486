"""The catalogue as a list to look through: offers with where they stand, and what treatments show in each channel."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from decision_engine.offers import Offer, Treatment
from decision_engine.strategy import Strategy

STATUSES = ("live", "ramp", "planned", "ended", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRow:
    """One offer of the list. `status` is one of STATUSES: decided with, put first for a while, not yet, no longer, or
    held back by a kill switch. `lever` counts everything that adds at this moment."""

    name: str
    title: Mapping[str, str]
    issue: str
    group: str
    channels: tuple[str, ...]
    status: str
    value: int
    base_rate: float
    lever: float
    mandatory: bool
    rules: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which offers to list; empty is all. `text` is looked for in names and titles."""

    text: str = ""
    issue: str = ""
    group: str = ""
    channel: str = ""
    status: str = ""


def offer_rows(
    strategy: Strategy, now_ms: int, wanted: Wanted, stopped: frozenset[str] = frozenset()
) -> tuple[OfferRow, ...]:  # fmt: skip
    """The offers wanted, by issue, group and name. `stopped` are names of offers and groups held back."""
    rows = (_row(strategy, offer, now_ms, stopped) for offer in strategy.offers)
    return tuple(sorted((row for row in rows if _is_wanted(row, wanted)), key=lambda r: (r.issue, r.group, r.name)))


def lever_now(strategy: Strategy, offer: Offer, now_ms: int) -> float:
    """The offer's lever with the dated changes that count at the moment."""
    return offer.lever + sum(
        change.lever
        for change in strategy.levers
        if change.concerns(offer) and _within(now_ms, change.from_ms, change.until_ms)
    )


def status_of(offer: Offer, now_ms: int, stopped: frozenset[str] = frozenset()) -> str:
    """One of STATUSES."""
    if offer.name in stopped or offer.group in stopped:
        return "stopped"
    if offer.available_from_ms is not None and now_ms < offer.available_from_ms:
        return "planned"
    if offer.available_until_ms is not None and now_ms >= offer.available_until_ms:
        return "ended"
    ramp = offer.ramp
    return "ramp" if ramp is not None and ramp.from_ms <= now_ms < ramp.until_ms else "live"


def _row(strategy: Strategy, offer: Offer, now_ms: int, stopped: frozenset[str]) -> OfferRow:
    return OfferRow(
        name=offer.name,
        title=offer.title,
        issue=offer.issue,
        group=offer.group,
        channels=tuple(sorted({treatment.channel for treatment in offer.treatments})),
        status=status_of(offer, now_ms, stopped),
        value=offer.value,
        base_rate=offer.base_rate,
        lever=lever_now(strategy, offer, now_ms),
        mandatory=offer.mandatory,
        rules=len(offer.eligibility) + len(offer.applicability) + len(offer.suitability),
    )


def _is_wanted(row: OfferRow, wanted: Wanted) -> bool:
    text = wanted.text.strip().lower()
    return (
        (not text or any(text in each.lower() for each in (row.name, *row.title.values())))
        and wanted.issue in ("", row.issue)
        and wanted.group in ("", row.group)
        and (not wanted.channel or wanted.channel in row.channels)
        and wanted.status in ("", row.status)
    )


def _within(now_ms: int, since: int | None, until: int | None) -> bool:
    return (since is None or since <= now_ms) and (until is None or now_ms < until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A treatment as one locale sees it. `shape` says what it looks like: `banner`, `tile`, `message`, `script`,
    `lead`."""

    treatment: str
    channel: str
    placements: tuple[str, ...]
    shape: str
    locale: str
    title: str
    body: str
    image: str
    action: str
    script: str
    disclosure: str


def previews(treatments: Sequence[Treatment], locales: Sequence[str]) -> Iterator[Preview]:
    """Every treatment in every locale."""
    for treatment in treatments:
        for locale in locales:
            content = treatment.content.get(locale, {})
            yield Preview(
                treatment=treatment.name,
                channel=treatment.channel,
                placements=treatment.placements,
                shape=shape_of(treatment.channel, treatment.placements),
                locale=locale,
                title=content.get("title", ""),
                body=content.get("body", ""),
                image=content.get("image", ""),
                action=content.get("action_url", ""),
                script=(treatment.script or {}).get(locale, ""),
                disclosure=(treatment.disclosure or {}).get(locale, ""),
            )


def shape_of(channel: str, placements: Sequence[str]) -> str:
    """What a treatment looks like there."""
    if channel == "sms":
        return "message"
    if channel == "manager":
        return "lead"
    if channel in ("contact_centre", "branch"):
        return "script"
    return "tile" if placements and all("tile" in placement for placement in placements) else "banner"
