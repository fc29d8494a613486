"""An offer as its page shows it: facts, rules in plain words, treatments with previews, and what else is about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from decision_engine.identifiers import PlacementId, TreatmentName
from decision_engine.offers import Offer, Rule, Treatment
from services.api.screens.console_fields import FormField, Posted, Shown, choices_in_words
from services.api.screens.console_work import Work
from services.use_cases.authoring.catalogue import Preview, lever_now, previews, status_of
from services.use_cases.authoring.entries import Entry, Place
from services.use_cases.authoring.entry_kinds import LAYERS, PARTS, part_fields, treatment_fields
from services.use_cases.authoring.fields import Field
from services.use_cases.authoring.rule_editing import RuleEditing
from services.use_cases.authoring.source_nodes import (
    SourceAlias,
    SourceMap,
    at,
    items_at,
    labelled,
    scalar_at,
    text_at,
)

Choices = Mapping[str, Sequence[tuple[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleView:
    """A rule: its own, with a form, or one that comes from a policy (no fields). `said` is what it says in words; a
    reason's `text` is what is told, a weight's the percentage."""

    id: str
    form: str
    when: str
    code: str
    text: str
    said: str
    ref: str = ""
    fields: tuple[FormField, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerView:
    """The rules of a layer, those of policies and the offer's own; the reasons; or the context weights."""

    name: str
    inherited: tuple[RuleView, ...]
    own: tuple[RuleView, ...]
    shared: bool
    """Whether the list is written elsewhere, so that it cannot be changed by fields."""
    new: tuple[FormField, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreatmentView:
    """A treatment with its form and its looks in every locale."""

    name: str
    channel: str
    form: str
    ref: str
    fields: tuple[FormField, ...]
    looks: tuple[Preview, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferView:
    """Everything on the page. `about` lists what else names the offer: section and label."""

    name: str
    title: str
    titles: Mapping[str, str]
    issue: str
    group: str
    status: str
    lever: float
    value: int
    base_rate: float
    ref: str
    file: str
    facts: tuple[FormField, ...]
    layers: tuple[LayerView, ...]
    reasons: LayerView
    weights: LayerView
    treatments: tuple[TreatmentView, ...]
    new_treatment: tuple[FormField, ...]
    about: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    """What belongs to no field."""
    conditions: tuple[str, ...]
    """Everything that must hold for the offer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPage:
    """An offer of a work, to be looked at in a locale at a moment; `posted` is what was just sent and not taken."""

    work: Work
    editing: RuleEditing
    entry: Entry
    locale: str
    now_ms: int
    posted: Posted
    stopped: frozenset[str]

    def view(self) -> OfferView:
        """Everything on the page."""
        work, entry = self.work, self.entry
        choices = self.choices
        fields = work.kind("offer").fields
        offer = next((each for each in work.strategy.offers if each.name == entry.label), None)
        titles = {each: text_at(entry.node, ("title", each)) for each in work.locales}
        return OfferView(
            name=entry.label,
            title=titles.get(self.locale) or entry.label,
            titles=titles,
            issue="" if offer is None else offer.issue,
            group=text_at(entry.node, ("group",)),
            status="" if offer is None else status_of(offer, self.now_ms, self.stopped),
            lever=0.0 if offer is None else lever_now(work.strategy, offer, self.now_ms),
            value=_whole(scalar_at(entry.node, ("value",))),
            base_rate=_number(scalar_at(entry.node, ("base_rate",))),
            ref=entry.place.ref,
            file=entry.place.file,
            facts=self._fields(fields, entry.node, entry.named, choices, "facts"),
            layers=tuple(self._layer(layer, offer, choices) for layer in LAYERS),
            reasons=self._layer("reasons", None, choices),
            weights=self._layer("context_weights", None, choices),
            treatments=tuple(self._treatments(choices)),
            new_treatment=self._fields(treatment_fields(work.locales), None, "", choices, "treatments.new"),
            about=tuple(_about(work, entry.label)),
            remarks=_loose(work, entry, [field.key for field in fields]),
            conditions=() if offer is None else conditions_of(offer),
        )

    @property
    def choices(self) -> Choices:
        """What its fields may be chosen from."""
        return choices_in_words(self.work, self.locale)

    def _fields(
        self, fields: Sequence[Field], node: SourceMap | None, named: str, choices: Choices, form: str
    ) -> tuple[FormField, ...]:
        posted = self.posted if self.posted.form == form else None
        return Shown(work=self.work, choices=choices, node=node, named=named, posted=posted).fields(fields)

    def _layer(self, layer: str, offer: Offer | None, choices: Choices) -> LayerView:
        own = tuple(self._rule(layer, number, node, choices) for number, node in items_at(self.entry.node, (layer,)))
        known = {rule.id for rule in own}
        inherited = [] if offer is None else [rule for rule in getattr(offer, layer) if rule.id not in known]
        return LayerView(
            name=layer,
            inherited=tuple(self._inherited(rule) for rule in inherited),
            own=own,
            shared=isinstance(at(self.entry.node, (layer,)), SourceAlias),
            new=self._fields(part_fields(layer, self.work.locales), None, "", choices, f"{layer}.new"),
        )

    def _inherited(self, rule: Rule) -> RuleView:
        said = self.editing.said(rule.when, self.locale) or ""
        text = rule.text.get(self.locale, "")
        return RuleView(id=rule.id, form="", when=rule.when, code=rule.code, text=text, said=said)

    def _rule(self, layer: str, number: int, node: SourceMap, choices: Choices) -> RuleView:
        form = f"{layer}.{number}"
        named = f"{self.entry.named}.{labelled(self.entry.node, (layer, number))}"
        when, weight = text_at(node, ("when",)), text_at(node, ("weight",))
        return RuleView(
            id=text_at(node, ("id",)) or str(number),
            form=form,
            when=when,
            code=text_at(node, ("code",)),
            text=text_at(node, ("text", self.locale)) or (f"{float(weight):+g} %" if _is_number(weight) else weight),
            said=self.editing.said(when, self.locale) or "",
            ref=self._place(layer, number).ref,
            fields=self._fields(part_fields(layer, self.work.locales), node, named, choices, form),
            remarks=tuple(remark.message for remark in self.work.checked.under(named)),
        )

    def _treatments(self, choices: Choices) -> Iterator[TreatmentView]:
        locales = self.work.locales
        for number, node in items_at(self.entry.node, ("treatments",)):
            name = text_at(node, ("name",))
            named, form = f"{self.entry.named}.treatments[{name or number}]", f"treatments.{number}"
            yield TreatmentView(
                name=name,
                channel=text_at(node, ("channel",)),
                form=form,
                ref=self._place("treatments", number).ref,
                fields=self._fields(treatment_fields(locales), node, named, choices, form),
                looks=tuple(previews([_as_treatment(node, locales, self.entry.node)], locales)),
                remarks=tuple(remark.message for remark in self.work.checked.under(named)),
            )

    def _place(self, key: str, number: int) -> Place:
        return Place(file=self.entry.place.file, path=(*self.entry.place.path, key, number))


def conditions_of(offer: Offer) -> tuple[str, ...]:
    """Every condition that must hold."""
    return tuple(rule.when for rule in (*offer.eligibility, *offer.applicability, *offer.suitability))


def _as_treatment(node: SourceMap, locales: Sequence[str], offer: SourceMap) -> Treatment:
    """A treatment of the offer as written, sound or not, to be shown."""
    placements = at(node, ("placements",))
    names = [str(getattr(item, "value", "")) for item in getattr(placements, "items", ())]
    content = {
        locale: {key: text_at(node, ("content", locale, key)) for key in ("title", "body", "image", "action_url")}
        for locale in locales
    }
    return Treatment(
        name=TreatmentName(text_at(node, ("name",))),
        channel=text_at(node, ("channel",)),
        placements=tuple(PlacementId(name) for name in names),
        content=content,
        script={locale: text_at(node, ("script", locale)) for locale in locales},
        disclosure={
            locale: text_at(node, ("disclosure", locale)) or text_at(offer, ("disclosure", locale))
            for locale in locales
        },
    )


def _about(work: Work, offer: str) -> Iterator[tuple[str, str]]:
    """Limits, volumes and levers that name the offer."""
    for kind, path in (("limit", ("of",)), ("volume", ("of", "offer")), ("lever", ("offer",))):
        for entry in work.sources.entries(work.files, work.kind(kind)):
            if text_at(entry.node, path) == offer:
                yield kind, entry.label or text_at(entry.node, ("lever",))


def _loose(work: Work, entry: Entry, keys: Sequence[str]) -> tuple[str, ...]:
    remarks = work.checked.by_field(entry.named, [*keys, *PARTS]).get("", ())
    return tuple(f"{remark.file}:{remark.line}: {remark.path}: {remark.message}" for remark in remarks)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
