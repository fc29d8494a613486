"""What fields may be chosen from, by the name of their choices, for one strategy."""

from collections.abc import Mapping

from decision_engine.contact_ledger import Scope
from decision_engine.experiment import CONTROL_ARMS
from decision_engine.outcomes import Outcome
from decision_engine.strategy import AppliesTo, Strategy
from decision_engine.strategy_loading.catalogue import RISK_LEVELS
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
    }
