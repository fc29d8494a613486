"""Attribution: which contacts get the credit when a customer converts (docs/attribution.md).

A **touch** is an option that reached the customer: a lead that was offered, an option that was seen, one that was
engaged with. A **conversion** is an acceptance, a conversion reported by a channel, or an event of the bank's own. A
conversion's credit is split among the touches for the same offers inside the windows before it, twice: all of it to the
last one, and shared by the declared model. Nothing here depends on the order in which facts became known.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from decision_engine.identifiers import OfferName
from decision_engine.outcomes import Outcome

WHOLE = 1_000_000
"""Shares are whole millionths, so that those of a conversion sum to one exactly."""
_FIRST_AND_LAST = 0.4
"""What the model `position` gives to the first and to the last touch; those between share the rest."""


class SharedModel(StrEnum):
    """How shared credit is split."""

    LINEAR = "linear"
    """Equal shares."""
    TIME_DECAY = "time_decay"
    """Halved with every half-life between touch and conversion."""
    POSITION = "position"
    """Two fifths to the first, two fifths to the last, the rest in equal shares to those between."""


class TouchKind(StrEnum):
    """How close a contact came; a later one counts for more when moments are equal."""

    OFFERED = "offered"
    SEEN = "seen"
    ENGAGED = "engaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRule:
    """What counts as a conversion: a response `outcome`, or an event of type `event` that passes the filter `where`.

    An event is about the offers in `offers`, or, without any, about those whose product is the event's `product`.
    `value_field` names the whole number that says what the conversion is worth; without it an offer's own value counts.
    """

    outcome: Outcome | None = None
    event: str | None = None
    where: str | None = None
    offers: frozenset[OfferName] = frozenset()
    value_field: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionTerms:
    """What a strategy declares. Lengths in milliseconds.

    A contact counts for `window_ms` after it was offered or seen, for `click_window_ms` after it was engaged with.
    `offered` are the channels in which being offered is a touch. Conversions for the same offers within `once_ms` of an
    earlier one are no further ones. For `late_ms` after a conversion what arrives late still corrects it.
    """

    window_ms: int
    click_window_ms: int
    offered: tuple[str, ...]
    conversions: tuple[ConversionRule, ...]
    shared: SharedModel = SharedModel.LINEAR
    half_life_ms: int = 0
    once_ms: int
    late_ms: int

    @property
    def longest_ms(self) -> int:
        """How long before a conversion a touch can lie."""
        return max(self.window_ms, self.click_window_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """An option that reached a customer, with the first moment of each kind (epoch milliseconds). `facts` counts what
    is known of it; `arm` is None while its decision is not known."""

    tracking_id: str
    offer: str
    treatment: str
    channel: str
    placement: str
    arm: str | None = None
    experiments: Mapping[str, str] = field(default_factory=dict)
    offered_ms: int | None = None
    seen_ms: int | None = None
    engaged_ms: int | None = None
    facts: int = 1

    @property
    def decision_id(self) -> str:
        """The decision the option is of."""
        return self.tracking_id.rpartition(".")[0] or self.tracking_id

    @property
    def newest_ms(self) -> int:
        """The last moment known of it."""
        return max(at for at in (self.offered_ms, self.seen_ms, self.engaged_ms, 0) if at is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A customer converted: when, for which offers, and how it is known. `value` is what the cause says it is worth, in
    minor units; None leaves it to the offers."""

    id: str
    at_ms: int
    offers: tuple[str, ...]
    cause_type: str
    cause_id: str
    outcome: str | None = None
    tracking_id: str | None = None
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Credit:
    """A touch's part in a conversion, in millionths."""

    touch: Touch
    kind: TouchKind
    at_ms: int
    last_touch: int
    shared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """A conversion and its credits: none where it is superseded or nobody touched the customer. `revision` grows with
    every fact that concerns it, so that of two accounts the higher is the better informed."""

    conversion: Conversion
    revision: int
    superseded_by: str | None
    credits: tuple[Credit, ...]


def attribute(
    conversions: Iterable[Conversion], touches: Sequence[Touch], terms: AttributionTerms
) -> tuple[Attributed, ...]:
    """Every conversion of one customer with its credits, in the order of their times."""
    found: list[Attributed] = []
    for conversion, earlier, known in _grouped(conversions, terms.once_ms):
        own = [touch for touch in touches if touch.offer in conversion.offers]
        found.append(
            Attributed(
                conversion=conversion,
                revision=known + sum(touch.facts for touch in own),
                superseded_by=earlier,
                credits=() if earlier is not None else split_credit(conversion.at_ms, own, terms),
            )
        )
    return tuple(found)


def split_credit(at_ms: int, touches: Iterable[Touch], terms: AttributionTerms) -> tuple[Credit, ...]:
    """The credits of a conversion at that moment, oldest touch first; none when no touch lies inside its window."""
    counted = sorted(
        (moment, touch.tracking_id, touch) for touch in touches if (moment := _moment(touch, at_ms, terms)) is not None
    )
    if not counted:
        return ()
    shares = _shares([at_ms - at for (at, _), _, _ in counted], terms)
    last = len(counted) - 1
    return tuple(
        Credit(touch, _KINDS[closeness], at, WHOLE if index == last else 0, share)
        for index, (((at, closeness), _, touch), share) in enumerate(zip(counted, shares, strict=True))
    )


_KINDS = tuple(TouchKind)


def _moment(touch: Touch, at_ms: int, terms: AttributionTerms) -> tuple[int, int] | None:
    """The latest moment of the touch that counts, and how close it came; both ends of a window belong to it."""
    windows = (terms.window_ms, terms.window_ms, terms.click_window_ms)
    moments = (touch.offered_ms, touch.seen_ms, touch.engaged_ms)
    return max(
        (
            (moment, closeness)
            for closeness, (moment, window) in enumerate(zip(moments, windows, strict=True))
            if moment is not None and at_ms - window <= moment <= at_ms
        ),
        default=None,
    )


def _shares(ages_ms: Sequence[int], terms: AttributionTerms) -> list[int]:
    """One share a touch, in millionths; what rounding leaves goes to the last."""
    weights = _weights(ages_ms, terms)
    total = sum(weights)
    shares = [round(weight / total * WHOLE) for weight in weights]
    shares[-1] += WHOLE - sum(shares)
    return shares


def _weights(ages_ms: Sequence[int], terms: AttributionTerms) -> list[float]:
    count = len(ages_ms)
    if terms.shared is SharedModel.TIME_DECAY:
        newest = min(ages_ms)  # only differences matter, and so the last touch never fades to nothing
        return [0.5 ** ((age - newest) / terms.half_life_ms) for age in ages_ms]
    if terms.shared is SharedModel.POSITION and count > 2:
        between = (1 - 2 * _FIRST_AND_LAST) / (count - 2)
        return [_FIRST_AND_LAST, *[between] * (count - 2), _FIRST_AND_LAST]
    return [1.0] * count


def _grouped(conversions: Iterable[Conversion], once_ms: int) -> list[tuple[Conversion, str | None, int]]:
    """Each conversion, the id of the earlier one that it belongs to (None: it stands for itself), and how many
    conversions for the same offers are known within reach of it."""
    ordered = sorted(conversions, key=lambda conversion: (conversion.at_ms, conversion.id))
    leading: list[Conversion] = []
    found = []
    for conversion in ordered:
        offers = set(conversion.offers)
        earlier = next(
            (
                lead.id
                for lead in leading
                if conversion.at_ms - lead.at_ms <= once_ms and not offers.isdisjoint(lead.offers)
            ),
            None,
        )
        if earlier is None:
            leading.append(conversion)
        known = sum(1 for other in ordered if not offers.isdisjoint(other.offers))
        found.append((conversion, earlier, known))
    return found
