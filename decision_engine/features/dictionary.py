"""The data dictionary: every attribute of a customer with its type and meaning, from the declarations alone."""

from collections.abc import Iterator, Mapping

from decision_engine.features.definition_words import definition_words
from decision_engine.features.definitions import (
    Aggregate,
    AttributeInfo,
    AttributeType,
    FeatureDeclarations,
    FeatureDefinition,
    RollUp,
    Window,
)

PRODUCT_COUNT = "product_count"
"""How many products the customer holds; always there for a known customer."""

BUILTINS: tuple[AttributeInfo, ...] = (
    AttributeInfo(
        name=PRODUCT_COUNT,
        type=AttributeType.INT,
        theme="cross_sell_holdings",
        description={"zh-CN": "持有产品数", "en": "Products held"},
        source="bank.product.opened",
        default=None,
        definition="number of products with an account opened and not closed since",
    ),
)

_FIXED_TYPES: Mapping[Aggregate, AttributeType] = {
    Aggregate.COUNT: AttributeType.INT,
    Aggregate.DISTINCT: AttributeType.INT,
    Aggregate.SUM: AttributeType.INT,
    Aggregate.MIN: AttributeType.INT,
    Aggregate.MAX: AttributeType.INT,
    Aggregate.DAYS_SINCE_LAST: AttributeType.INT,
    Aggregate.DAYS_SINCE_FIRST: AttributeType.INT,
    Aggregate.MEAN: AttributeType.DOUBLE,
    Aggregate.RATIO: AttributeType.DOUBLE,
    Aggregate.TREND: AttributeType.DOUBLE,
    Aggregate.DECAYED: AttributeType.DOUBLE,
    Aggregate.SHARE: AttributeType.DOUBLE,
    Aggregate.TOP_SHARE: AttributeType.DOUBLE,
    Aggregate.USUAL_HOUR: AttributeType.INT,
    Aggregate.USUAL_WEEKDAY: AttributeType.INT,
    Aggregate.ACTIVE: AttributeType.INT,
    Aggregate.STREAK: AttributeType.INT,
    Aggregate.LONGEST_STREAK: AttributeType.INT,
    Aggregate.LAST_AT: AttributeType.TIMESTAMP,
    Aggregate.FIRST_AT: AttributeType.TIMESTAMP,
    Aggregate.SEQUENCE: AttributeType.INT,
    Aggregate.UNFOLLOWED: AttributeType.INT,
    Aggregate.HELD: AttributeType.INT,
    Aggregate.HELD_CHANGE: AttributeType.INT,
    Aggregate.HELD_DAYS: AttributeType.INT,
}
"""What is not here has the type of its field."""


def attribute_infos(
    declarations: FeatureDeclarations, event_fields: Mapping[str, Mapping[str, AttributeType]] | None = None
) -> dict[str, AttributeInfo]:
    """Attribute name to its line of the dictionary: profile, features by window, derived, built-in.

    The type of `last` and `first` is that of their field in `event_fields` (`features.updates.EVENT_FIELDS`); where
    that is not known it counts as text.
    """
    infos = {info.name: info for info in _profile_infos(declarations)}
    for feature in declarations.features:
        for name, window in attribute_names(feature):
            infos[name] = _feature_info(feature, name, window, event_fields or {})
    for derived in declarations.derived:
        infos[derived.name] = AttributeInfo(
            name=derived.name,
            type=derived.type,
            theme=derived.theme,
            description=derived.description,
            source="derived",
            default=None,
            definition=derived.expression,
        )
    for builtin in BUILTINS:
        infos.setdefault(builtin.name, builtin)
    return infos


def attribute_names(feature: FeatureDefinition) -> Iterator[tuple[str, str]]:
    """The names of a feature's attributes, each with its window in words (empty for the whole life)."""
    if feature.aggregate is Aggregate.RATIO:
        for short, long in feature.window_pairs:
            before = " before that" if feature.apart else ""
            yield f"{feature.name}_{short}_{long}", f"{short} per day over {long} per day{before}"
    elif feature.windows:
        for window in feature.windows:
            yield f"{feature.name}_{window}", _window_words(window)
    else:
        yield feature.name, ""


def type_of_feature(
    feature: FeatureDefinition, event_fields: Mapping[str, Mapping[str, AttributeType]]
) -> AttributeType | None:
    """The type of a feature's attributes; None where the field that tells is not known."""
    if feature.per is not None and feature.per.over in (RollUp.COUNT, RollUp.MEAN):
        return AttributeType.INT if feature.per.over is RollUp.COUNT else AttributeType.DOUBLE
    fixed = _FIXED_TYPES.get(feature.aggregate)
    return fixed or event_fields.get(feature.source, {}).get(feature.field or "")


def _window_words(window: Window) -> str:
    return f"within {window.length} {_UNIT_WORDS[window.unit]}"


_UNIT_WORDS = {
    "m": "minutes", "h": "hours", "d": "calendar days", "w": "calendar weeks", "mo": "calendar months",
}  # fmt: skip


def _profile_infos(declarations: FeatureDeclarations) -> Iterator[AttributeInfo]:
    for attribute in declarations.profile:
        yield AttributeInfo(
            name=attribute.name,
            type=attribute.type,
            theme=attribute.theme,
            description=attribute.description,
            source="bank.profile.updated",
            default=attribute.default,
            definition="newest value by event time",
            sensitive=attribute.sensitive,
        )


def _feature_info(
    feature: FeatureDefinition,
    name: str,
    window: str,
    event_fields: Mapping[str, Mapping[str, AttributeType]],
) -> AttributeInfo:
    return AttributeInfo(
        name=name,
        type=type_of_feature(feature, event_fields) or AttributeType.STRING,
        theme=feature.theme,
        description=feature.description,
        source=feature.source,
        default=feature.default,
        definition=definition_words(feature, window),
    )
