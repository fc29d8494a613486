"""Reads how the models of a strategy are trained: the entries of `models` that say more than a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import parse
from decision_engine.conditions.syntax import names_in
from decision_engine.features.definitions import AttributeInfo, AttributeType
from decision_engine.model_training import Balance, Family, ModelTraining, ProtectedGroups
from decision_engine.offers import Offer
from decision_engine.strategy_loading.conditions import Vocabulary, read_condition
from decision_engine.strategy_loading.document import ListNode, ScalarNode
from decision_engine.strategy_loading.section import Section, suggestion

TRAINING_KEYS = ("family", "purpose", "calibrate_by", "monotone", "balance", "fairness", "groups", "horizon", "leaves",
                 "score", "learns_from")  # fmt: skip
_OWN_KEYS: Mapping[Family, tuple[str, ...]] = {
    Family.ACQUISITION: ("groups",),
    Family.CROSS_SELL: (),
    Family.CHURN: ("horizon", "leaves", "score"),
}
_OFFER_TEXTS = ("group", "issue", "offer", "channel")
_OFFER_NUMBERS = ("base_rate", "value")
_LONGEST_HORIZON = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingNames:
    """What a training may name. `profile` are the attributes the bank can set; `context` the declared facts."""

    dictionary: Mapping[str, AttributeInfo]
    vocabulary: Vocabulary
    profile: frozenset[str]
    context: Mapping[str, AttributeType]
    groups: Sequence[str]
    offers: Sequence[Offer]
    locales: Sequence[str]

    def numbers(self) -> dict[str, str]:
        """Number columns by name, and what keeps one from being a column (empty: nothing)."""
        found = dict.fromkeys(_OFFER_NUMBERS, "")
        found |= {
            name: ""
            for offer in self.offers
            for name, value in (offer.attributes or {}).items()
            if not isinstance(value, str)
        }
        found |= {name: "" for name, kind in self.context.items() if _is_number(kind)}
        return found | {n: _unlearnable(info) for n, info in self.dictionary.items() if _is_number(info.type)}

    def texts(self) -> dict[str, str]:
        """Text columns by name, likewise."""
        found = dict.fromkeys(_OFFER_TEXTS, "")
        found |= {name: "" for name, kind in self.context.items() if kind is AttributeType.STRING}
        return found | {n: _unlearnable(i) for n, i in self.dictionary.items() if i.type is AttributeType.STRING}


def read_trainings(root: Section, known: TrainingNames) -> tuple[ModelTraining, ...]:
    """Those of the models that declare anything about it, by name."""
    trainings: list[ModelTraining] = []
    takers: dict[str, str] = {}
    for section in root.sections("models"):
        if not any(section.has(key) for key in TRAINING_KEYS):
            continue
        training = _training(section, known)
        for group in training.groups:
            if takers.setdefault(group, training.name) != training.name:
                section.problem(f"the newcomers of {group} are scored by {takers[group]} already", "groups")
        trainings.append(training)
    return tuple(sorted((t for t in trainings if t.name), key=lambda training: training.name))


def _training(section: Section, known: TrainingNames) -> ModelTraining:
    family = Family(section.choice("family", tuple(Family), Family.CROSS_SELL) or Family.CROSS_SELL)
    for other, keys in _OWN_KEYS.items():
        for key in keys:
            if other is not family and section.has(key):
                section.problem(f"only a model of the family {other} has {key}, this is {family}", key)
    rising, falling = _monotone(section, known)
    churn = family is Family.CHURN
    name = section.name("name")
    _check_use(section, name, family, known)
    return ModelTraining(
        name=name,
        family=family,
        purpose=section.optional_local_text("purpose", known.locales),
        calibrate_by=_columns(section, "calibrate_by", known.texts(), "text"),
        rising=rising,
        falling=falling,
        learns_from=_learns_from(section, known),
        balance=Balance(section.choice("balance", tuple(Balance), Balance.NONE) or Balance.NONE),
        protected=_protected(section, known),
        groups=_groups(section, known) if family is Family.ACQUISITION else (),
        horizon_days=_horizon(section) if churn else 0,
        leaves=_leaves(section, known) if churn else "",
        score=_score(section, known) if churn else None,
    )


def _check_use(section: Section, name: str, family: Family, known: TrainingNames) -> None:
    """An acquisition model stands beside the offers' own, a churn model scores no offers."""
    scored = next((offer.name for offer in known.offers if name and offer.model == name), None)
    if family is not Family.CROSS_SELL and scored is not None:
        section.problem(f"offers such as {scored} name {name} as their own model; a model of the family {family} "
                        "cannot be that", "family")  # fmt: skip
    if family is not Family.CROSS_SELL and section.flag("required", default=False):
        section.problem(f"a model of the family {family} is never required", "required")


def _monotone(section: Section, known: TrainingNames) -> tuple[tuple[str, ...], tuple[str, ...]]:
    inner = section.section("monotone")
    if inner is None:
        return (), ()
    numbers = known.numbers()
    rising, falling = _columns(inner, "rising", numbers, "number"), _columns(inner, "falling", numbers, "number")
    for name in rising:
        if name in falling:
            inner.problem(f"the score cannot both only rise and only fall with {name}", "falling")
    inner.finish()
    return rising, falling


def _columns(section: Section, key: str, columns: Mapping[str, str], kind: str) -> tuple[str, ...]:
    names = section.texts(key)
    for name in names:
        if name not in columns:
            section.problem(f"{name} is no {kind} a model can have{suggestion(name, tuple(columns))}", key)
        elif columns[name]:
            section.problem(f"{name} is never an input: {columns[name]}", key)
    if len(set(names)) < len(names):
        section.problem("names one twice", key)
    return tuple(dict.fromkeys(names))


def _learns_from(section: Section, known: TrainingNames) -> tuple[str, ...]:
    """Attributes of the customer; those of offers and the facts of a request are recorded anyway."""
    own = {name: _never_a_column(info) for name, info in known.dictionary.items()}
    return _columns(section, "learns_from", own, "customer attribute")


def _protected(section: Section, known: TrainingNames) -> tuple[ProtectedGroups, ...]:
    found = []
    for inner in section.sections("fairness"):
        attribute = inner.text("attribute")
        info = known.dictionary.get(attribute)
        if attribute and info is None:
            inner.problem(f"unknown attribute {attribute}{suggestion(attribute, tuple(known.dictionary))}", "attribute")
        bands = _bands(inner)
        if info is not None and bands and not _is_number(info.type):
            inner.problem(f"only numbers have bands, {attribute} is a {info.type}", "bands")
        if info is not None and not bands and info.type in (AttributeType.INT, AttributeType.DOUBLE):
            inner.problem(f"{attribute} is a number: say in which bands people are compared", "bands")
        inner.finish()
        found.append(ProtectedGroups(attribute=attribute, bands=bands))
    return tuple(found)


def _bands(section: Section) -> tuple[float, ...]:
    node = section.get("bands")
    if node is None:
        return ()
    items = node.items if isinstance(node, ListNode) else ()
    values = [item.value if isinstance(item, ScalarNode) else None for item in items]
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    rising = all(low < high for low, high in pairwise(numbers))
    if not numbers or len(numbers) < len(values) or not rising:
        section.problem("must be a list of rising numbers, such as [30, 60]", "bands")
        return ()
    return tuple(numbers)


def _groups(section: Section, known: TrainingNames) -> tuple[str, ...]:
    if section.require("groups") is None:
        return ()
    names = section.texts("groups")
    for name in names:
        if name not in known.groups:
            section.problem(f"unknown group {name}{suggestion(name, known.groups)}", "groups")
        elif not any(offer.group == name and offer.product for offer in known.offers):
            section.problem(f"no offer of {name} names a product: nobody can be told to be new to the group", "groups")
    return tuple(dict.fromkeys(names))


def _horizon(section: Section) -> int:
    text = section.text("horizon")
    days = int(text[:-1]) if text[-1:] == "d" and text[:-1].isascii() and text[:-1].isdigit() else 0
    if text and not 1 <= days <= _LONGEST_HORIZON:
        section.problem(f"{text!r} is no number of days from 1 to {_LONGEST_HORIZON}; write 30d", "horizon")
    return days


def _leaves(section: Section, known: TrainingNames) -> str:
    """A condition on a customer alone: at the end of the horizon there is no request."""
    text = read_condition(section, "leaves", known.vocabulary)
    try:
        names = names_in(parse(text)) if text else frozenset()
    except ConditionError:
        return text  # reported by the reading
    if beyond := sorted(name for name in names if name not in known.dictionary and name != "now"):
        section.problem(f"{', '.join(beyond)} belongs to a request; who has left is told by attributes alone", "leaves")
    return text


def _score(section: Section, known: TrainingNames) -> str | None:
    name = section.optional_text("score")
    if name is None:
        return None
    info = known.dictionary.get(name)
    if name not in known.profile or info is None or info.type not in (AttributeType.INT, AttributeType.DOUBLE):
        section.problem(f"{name} must be a number of the profile, which the score is written to", "score")
    return name


def _is_number(kind: AttributeType) -> bool:
    return kind in (AttributeType.INT, AttributeType.DOUBLE, AttributeType.BOOL)


def _never_a_column(info: AttributeInfo) -> str:
    return "it is a moment" if info.type is AttributeType.TIMESTAMP else _unlearnable(info)


def _unlearnable(info: AttributeInfo) -> str:
    return "it is sensitive" if info.sensitive else ""
