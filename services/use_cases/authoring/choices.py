"""What fields may be chosen from, by the name of their choices, for one strategy."""

from collections.abc import Mapping

from decision_engine.contact_ledger import Scope
from decision_engine.experiment import CONTROL_ARMS
from decision_engine.features.definitions import AttributeType
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.outcomes import Outcome
from decision_engine.portrait import SeriesUnit
from decision_engine.strategy import AppliesTo, Strategy
from decision_engine.strategy_loading.catalogue import RISK_LEVELS
from decision_engine.strategy_loading.explorations import KINDS
from decision_engine.strategy_loading.quiet_times import WEEKDAYS
from decision_engine.strategy_loading.volumes import CHARGES, PACINGS, RESOURCES

ARMS = tuple(arm.value for arm in CONTROL_ARMS)


def choices_of(strategy: Strategy, groups: tuple[str, ...], issues: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """By name of the choices; `groups` and `issues` in the order they are written, those without offers too."""
    channels = tuple(sorted({placement.channel for placement in strategy.placements.values()}))
    offers = tuple(offer.name for offer in strategy.offers)
    scopes = (
        *(f"group:{name}" for name in groups),
        *(f"issue:{name}" for name in issues),
        *(f"offer:{name}" for name in offers),
        *(f"channel:{name}" for name in channels),
    )
    return {
        **_of_events(),
        **_of_attributes(strategy),
        "offers": offers,
        "groups": groups,
        "issues": issues,
        "channels": channels,
        "placements": tuple(strategy.placements),
        "models": tuple(strategy.models),
        "scopes": scopes,
        "purposes": ("marketing", "service"),
        "risk_levels": tuple(RISK_LEVELS),
        "resources": RESOURCES,
        "charges": CHARGES,
        "pacings": PACINGS,
        "limit_scopes": tuple(scope.name.lower() for scope in Scope),
        "limit_names": (*groups, *issues, *channels, *offers),
        "outcomes": tuple(outcome.value for outcome in Outcome),
        "applies_to": tuple(each.value for each in AppliesTo),
        "directions": ("inbound", "outbound"),
        "weekdays": WEEKDAYS,
        "explorations": KINDS,
    }


def _of_events() -> Mapping[str, tuple[str, ...]]:
    """The event types of the bank that patterns are made of, and all their fields."""
    events = tuple(name for name, fields in EVENT_FIELDS.items() if fields)
    return {"events": events, "event_fields": tuple(sorted({f for fields in EVENT_FIELDS.values() for f in fields}))}


def _of_attributes(strategy: Strategy) -> Mapping[str, tuple[str, ...]]:
    """Attributes that may be shown; those that are texts; moments of the profile; what a grade may come from."""
    shown = tuple(sorted(name for name, info in strategy.dictionary.items() if not info.sensitive))
    linked = {attribute.name for attribute in strategy.linked}
    texts = tuple(
        name for name in shown if strategy.dictionary[name].type is AttributeType.STRING and name not in linked
    )  # fmt: skip
    graded = {f"event.{f}" for fields in EVENT_FIELDS.values() for f, kind in fields.items() if "grade" in f}
    return {
        "attributes": shown,
        "texts": texts,
        "grades": (*sorted(graded), *texts),
        "moments": tuple(a.name for a in strategy.declarations.profile if a.type is AttributeType.TIMESTAMP),
        "series_units": tuple(unit.value for unit in SeriesUnit),
    }
