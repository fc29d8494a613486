"""The data dictionary: every attribute of a customer with its type and meaning, from the declarations alone."""

from collections.abc import Iterator, Mapping

from decision_engine.features.definitions import (
    Aggregate,
    AttributeInfo,
    AttributeType,
    FeatureDeclarations,
    FeatureDefinition,
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
}


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
            yield f"{feature.name}_{short}_{long}", f"{short} per day over {long} per day"
    elif feature.windows:
        for window in feature.windows:
            yield f"{feature.name}_{window}", _window_words(window)
    else:
        yield feature.name, ""


def _window_words(window: Window) -> str:
    unit = "calendar days" if window.unit == "d" else "hours"
    return f"within {window.length} {unit}"


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
    of = f" of {feature.field}" if feature.field else ""
    where = f" where {feature.where}" if feature.where else ""
    over = f", {window}" if window else ""
    kind = _FIXED_TYPES.get(feature.aggregate)
    return AttributeInfo(
        name=name,
        type=kind or event_fields.get(feature.source, {}).get(feature.field or "", AttributeType.STRING),
        theme=feature.theme,
        description=feature.description,
        source=feature.source,
        default=feature.default,
        definition=f"{feature.aggregate}{of}{where}{over}",
    )
