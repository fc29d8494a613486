"""What a model card says beside figures: purpose, the meaning of inputs, consent, and the groups to be fair between."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from decision_engine.features.definitions import Value
from decision_engine.model_training import Family, ModelTraining, ProtectedGroups
from decision_engine.propensity import ColumnSource
from models.decision_log.input_meanings import InputMeaning, in_english

PURPOSES: Mapping[Family, str] = {
    Family.ACQUISITION: "Orders offers for customers who hold nothing of an offer's group yet, by the chance that the "
    "offer is accepted when it is seen.",
    Family.CROSS_SELL: "Orders the offers a customer may be made, by the chance that an offer is accepted when it is "
    "seen.",
    Family.CHURN: "Foretells which customers will have left within the horizon, so that retention offers and calls "
    "reach those who are about to.",
}
CONSENT = (
    "Customers who refused personalisation are neither learnt from nor scored: their decisions are made on the offers' "
    "base rates, and they are left out of snapshots that scores are made from."
)
UNKNOWN = "unknown"
"""The group of customers whose attribute is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """What is known of a model beside its rows. `withheld` are attributes no model may see; `protected` gives each row
    its group, by attribute."""

    family: Family = Family.CROSS_SELL
    purpose: str = PURPOSES[Family.CROSS_SELL]
    meanings: Mapping[tuple[ColumnSource, str], InputMeaning] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    protected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    not_judged: tuple[str, ...] = ()
    """Attributes it is declared to be judged by of which nothing is known."""


def disclosure_of(
    training: ModelTraining,
    meanings: Mapping[tuple[ColumnSource, str], InputMeaning],
    withheld: Iterable[str],
    known: Iterable[Mapping[str, Value]],
) -> Disclosure:
    """What the declaration says. `known` are each row's values of the protected attributes."""
    people = list(known)
    stated = training.purpose
    return Disclosure(
        family=training.family,
        purpose=PURPOSES[training.family] if stated is None else in_english(stated),
        meanings=meanings,
        withheld=tuple(sorted(withheld)),
        protected={
            groups.attribute: tuple(group_of(groups, person.get(groups.attribute)) for person in people)
            for groups in training.protected
            if any(groups.attribute in person for person in people)
        },
        not_judged=tuple(
            groups.attribute
            for groups in training.protected
            if not any(groups.attribute in person for person in people)
        ),
    )


def group_of(groups: ProtectedGroups, value: Value | None) -> str:
    """The group a value belongs to."""
    if value is None:
        return UNKNOWN
    if not groups.bands:
        return str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str):
        return UNKNOWN
    place = bisect_right(groups.bands, float(value))
    if place == 0:
        return f"below {groups.bands[0]:g}"
    if place == len(groups.bands):
        return f"from {groups.bands[-1]:g}"
    return f"{groups.bands[place - 1]:g} to below {groups.bands[place]:g}"
