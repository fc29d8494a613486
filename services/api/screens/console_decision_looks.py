"""A decision's parts as its page draws them: bars as coordinates, attributes by theme, responses in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from decision_engine.outcomes import Outcome
from event_schemas.codec import DecodeError, decode
from event_schemas.envelope import epoch_ms
from event_schemas.responses import ResponseRecorded
from services.api.screens.formats import localized
from services.api.screens.words import Words
from services.use_cases.authoring.rule_words import words_of
from services.use_cases.observing.decision_candidates import AS_ENDED, NUMBERS, CandidatesWanted
from services.use_cases.observing.decision_proof import ScorePart, ScoreParts
from services.use_cases.observing.decision_view import REQUEST, DecisionView, UsedAttribute

MOST_PARTS = 12
"""Inputs of a score shown one by one."""
_ORDER = [outcome.value for outcome in Outcome]
"""In which outcomes of the same moment follow each other."""
_WIDTH = 100.0
_HALF = 48.0
_SORTS = frozenset({AS_ENDED, *(f"{sign}{name}" for sign in ("", "-") for name in ("offer", *NUMBERS))})


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelBar:
    """A stage as a bar of a hundred units: what was left before it, of which so much was stopped. `kind` is `all`,
    `stage`, `ranked_lower` or `offered`."""

    kind: str
    name: str
    left: int
    stopped: int
    width: float
    cut: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBar:
    """An input of a score with its words, drawn from the middle: to the right what raises it."""

    title: str
    name: str
    value: str
    missing: bool
    probability: float
    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreShown:
    """A score taken apart, the largest inputs one by one and `rest` of them together."""

    model: str
    version: str
    average: float
    probability: float
    bars: tuple[ScoreBar, ...]
    rest: int
    rest_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRow:
    """What a person did with an option."""

    tracking_id: str
    offer: str
    outcome: str
    channel: str
    at_ms: int
    detail: Mapping[str, object] = field(default_factory=dict)


def funnel_bars(view: DecisionView) -> tuple[FunnelBar, ...]:
    """Those stages that stopped something, and what became of the rest."""
    total = len(view.candidates)
    if not total:
        return ()
    unit = _WIDTH / total
    bars = [_bar("all", "all", total, 0, unit)]
    bars += [_bar("stage", step.stage, step.entered, step.stopped, unit) for step in view.funnel if step.stopped]
    for fate in ("ranked_lower", "offered"):
        count = sum(one.fate == fate for one in view.candidates)
        bars.append(_bar(fate, fate, count, 0, unit))
    return tuple(bars)


def _bar(kind: str, name: str, left: int, stopped: int, unit: float) -> FunnelBar:
    return FunnelBar(
        kind=kind, name=name, left=left, stopped=stopped, width=round(left * unit, 2), cut=round(stopped * unit, 2)
    )


def attributes_by_theme(known: Mapping[str, UsedAttribute]) -> Mapping[str, Sequence[UsedAttribute]]:
    """What the request told, then what was known of the customer by theme."""
    themes: dict[str, list[UsedAttribute]] = {}
    for attribute in sorted(known.values(), key=lambda each: (each.theme != REQUEST, each.theme, each.name)):
        themes.setdefault(attribute.theme, []).append(attribute)
    return themes


def candidates_wanted(fields: Mapping[str, str]) -> CandidatesWanted:
    """As the fields of the list say; what makes no sense is left out."""
    sort, page = fields.get("sort", AS_ENDED), fields.get("page", "1")
    return CandidatesWanted(
        text=fields.get("text", "")[:100],
        fate=fields.get("fate", ""),
        stage=fields.get("stage", ""),
        placement=fields.get("placement", ""),
        sort=sort if sort in _SORTS else AS_ENDED,
        page=int(page) if page.isdecimal() and len(page) < 6 else 1,
    )


def score_bars(parts: ScoreParts, view: DecisionView, locale: str, words: Words) -> ScoreShown:
    """The score in the visit's words."""
    facts = {} if view.strategy is None else words_of(view.strategy, locale).facts
    shown, rest = parts.parts[:MOST_PARTS], parts.parts[MOST_PARTS:]
    strongest = max((abs(part.probability) for part in shown), default=0.0) or 1.0

    def title(part: ScorePart) -> str:
        own = f"console_decisions.input_{part.source}_{part.column}"
        if words.has(own):
            return words.text(own, locale)
        return facts.get(f"context.{part.column}" if part.source == "context" else part.column, part.column)

    return ScoreShown(
        model=parts.model,
        version=parts.version,
        average=parts.average_probability,
        probability=parts.probability,
        bars=tuple(_score_bar(part, title(part), _HALF / strongest, view, locale) for part in shown),
        rest=len(rest),
        rest_probability=sum(part.probability for part in rest),
    )


def _score_bar(part: ScorePart, title: str, unit: float, view: DecisionView, locale: str) -> ScoreBar:
    width = round(abs(part.probability) * unit, 2)
    offer = view.offer(part.value) if part.source == "offer" and part.column == "offer" else None
    return ScoreBar(
        title=title,
        name=part.column,
        value=part.value if offer is None else localized(offer.title, locale, part.value),
        missing=part.missing,
        probability=part.probability,
        x=50.0 if part.probability > 0 else round(50.0 - width, 2),
        width=width,
    )


def response_rows(events: Sequence[bytes], view: DecisionView) -> tuple[ResponseRow, ...]:
    """The oldest first, each once: a response may be published twice."""
    rows: dict[str, ResponseRow] = {}
    for value in events:
        try:
            event = decode(value)
        except DecodeError:
            continue
        if isinstance(event, ResponseRecorded) and event.data.decision_id == view.head.decision_id:
            data = event.data
            rows[data.response_id] = ResponseRow(
                tracking_id=data.tracking_id,
                offer=data.offer,
                outcome=data.outcome,
                channel=data.channel,
                at_ms=epoch_ms(data.time),
                detail=data.detail,
            )
    return tuple(sorted(rows.values(), key=lambda row: (row.at_ms, row.tracking_id, _ORDER.index(row.outcome))))
