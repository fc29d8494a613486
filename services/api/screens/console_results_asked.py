"""What somebody wants to see of the results: the fields of the form, and what they mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from decision_engine.strategy import Strategy
from services.api.errors import INVALID, ApiError
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.use_cases.observing.funnel import Part
from services.use_cases.observing.results import RowsBy
from services.use_cases.observing.results_period import Period, PeriodInvalid

DAYS: tuple[str, ...] = ("1", "7", "30")
OWN = "own"
DEFAULT_DAYS = "7"
_FIELDS = ("days", "from", "to", "channel", "of", "by", "weak")
_MOST_MINOR = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The form's fields as given, and what they mean. `weak_below` in minor units; None: as the figures have it."""

    fields: Mapping[str, str]
    period: Period
    part: Part
    by: RowsBy
    weak_below: float | None

    @property
    def query(self) -> str:
        """The same in an address."""
        return urlencode({name: value for name, value in self.fields.items() if value})

    @property
    def search(self) -> str:
        """The decisions without an offer of the same days and channel, in an address of the decision search."""
        days = {
            "from": max(self.period.days[-31:][0], self.period.first).isoformat(),
            "to": self.period.last.isoformat(),
        }
        channel = {"channel": self.fields["channel"]} if self.fields["channel"] else {}
        return urlencode({**days, **channel, "fallback": "1"})


def asked_of(desk: Desk, visit: Visit) -> Asked:
    """Raises ApiError naming what is wrong."""
    params = visit.request.query_params
    fields = {name: params.get(name, "").strip() for name in _FIELDS}
    fields["days"] = fields["days"] or DEFAULT_DAYS
    strategy = desk.runtime.live().prepared.strategy
    fields["by"] = fields["by"] or RowsBy.OFFER
    if fields["by"] not in tuple(RowsBy):
        raise ApiError(INVALID, "by: one of " + ", ".join(RowsBy))
    if fields["channel"] and not visit.client.speaks_for(fields["channel"]):
        raise ApiError(INVALID, "channel: not one of yours")
    channels = frozenset({fields["channel"]}) if fields["channel"] else visit.client.channels
    return Asked(
        fields=fields,
        period=_period(desk, fields),
        part=Part(channels=channels, offers=_offers(strategy, fields["of"])),
        by=RowsBy(fields["by"]),
        weak_below=_minor(fields["weak"]),
    )


def _period(desk: Desk, fields: Mapping[str, str]) -> Period:
    zone = desk.runtime.live().prepared.zone
    if fields["days"] in DAYS:
        return Period.ending(desk.runtime.clock.now_ms(), int(fields["days"]), zone)
    if fields["days"] != OWN:
        raise ApiError(INVALID, "days: one of " + ", ".join((*DAYS, OWN)))
    try:
        return Period.between(fields["from"], fields["to"], zone)
    except PeriodInvalid as error:
        raise ApiError(INVALID, str(error)) from error


def _offers(strategy: Strategy, of: str) -> frozenset[str] | None:
    """`offer:<name>` or `group:<name>`; of a strategy that has it no more an offer's own name still counts."""
    kind, _, name = of.partition(":")
    if not of:
        return None
    if kind == "offer":
        return frozenset({name})
    if kind != "group":
        raise ApiError(INVALID, "of: offer:<name> or group:<name>")
    return frozenset(str(offer.name) for offer in strategy.offers if offer.group == name)


def _minor(text: str) -> float | None:
    """An amount in whole units as typed, in minor ones."""
    if not text:
        return None
    try:
        amount = float(text.replace(",", "")) * 100
    except ValueError as error:
        raise ApiError(INVALID, "weak: a number") from error
    if not 0 <= amount <= _MOST_MINOR:
        raise ApiError(INVALID, "weak: a number from 0")
    return amount
