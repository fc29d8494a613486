"""The data dictionary names every attribute with its type."""

from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    DerivedFeature,
    FeatureDeclarations,
    FeatureDefinition,
    ProfileAttribute,
    Window,
)
from decision_engine.features.dictionary import attribute_infos
from decision_engine.features.updates import EVENT_FIELDS

WEEK, MONTH = Window("d", 7), Window("d", 30)


def make_feature(name, aggregate, **overrides):
    values = {"source": "bank.transaction.posted", "theme": "transaction", "description": {"en": name}}
    return FeatureDefinition(name=name, aggregate=aggregate, **{**values, **overrides})


DECLARATIONS = FeatureDeclarations(
    time_zone="Asia/Shanghai",
    profile=(
        ProfileAttribute(
            name="city", type=AttributeType.STRING, theme="basic", description={}, default="?", sensitive=True
        ),
    ),
    features=(
        make_feature("spend", Aggregate.SUM, field="amount", where='kind == "card"', windows=(WEEK, MONTH), default=0),
        make_feature("pace", Aggregate.RATIO, field="amount", window_pairs=((WEEK, MONTH),)),
        make_feature("typical", Aggregate.MEAN, field="amount"),
        make_feature("balance", Aggregate.LAST, field="balance_after"),
        make_feature("category", Aggregate.FIRST, field="category", windows=(MONTH,)),
        make_feature("matures", Aggregate.LAST, field="matures_on", source="bank.product.opened"),
        make_feature("idle", Aggregate.DAYS_SINCE_LAST),
    ),
    derived=(
        DerivedFeature(name="share", expression="balance / 2.0", type=AttributeType.DOUBLE, theme="t", description={}),
    ),
)


def test_names_and_types():
    infos = attribute_infos(DECLARATIONS, EVENT_FIELDS)
    assert {name: str(info.type) for name, info in infos.items()} == {
        "city": "string",
        "spend_7d": "int",
        "spend_30d": "int",
        "pace_7d_30d": "double",
        "typical": "double",
        "balance": "int",
        "category_30d": "string",
        "matures": "timestamp",
        "idle": "int",
        "share": "double",
        "product_count": "int",
    }
    assert tuple(infos) == compile_features(DECLARATIONS, EVENT_FIELDS).names


def test_a_line_says_where_the_attribute_comes_from():
    line = attribute_infos(DECLARATIONS)["spend_7d"]
    assert line.source == "bank.transaction.posted"
    assert line.definition == 'sum of amount where kind == "card", within 7 calendar days'
    assert line.default == 0
    assert attribute_infos(DECLARATIONS)["city"].sensitive


def test_a_declared_attribute_is_not_replaced_by_a_built_in_one():
    own = ProfileAttribute(name="product_count", type=AttributeType.DOUBLE, theme="t", description={})
    infos = attribute_infos(FeatureDeclarations(time_zone="UTC", profile=(own,)))
    assert infos["product_count"].type is AttributeType.DOUBLE
