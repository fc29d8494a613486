"""How a lead is shown: in the reader's language where the strategy has it, else as the message says it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.offers import Offer
from decision_engine.strategy import Strategy
from event_schemas.business_signals import SIGNAL_KINDS, SignalType
from services.api.screens.formats import localized
from services.api.screens.inbox_board import Standing
from services.use_cases.leads.lead import Lead, LeadOption, arrival_triggers
from services.use_cases.leads.marks import Mark
from services.use_cases.leads.results import Credit
from services.use_cases.make_decision import Live
from services.use_cases.view_customer import AttributeView, CustomerView

MONEY = frozenset({"amount", "balance_after", "fee"})
"""Fields of events that are minor units of the bank's currency."""
_MOST_BALANCES = 4
_UNIT = re.compile(r",? ?minor units|（分）|\(fen\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionView:
    """One offer to make. `script_there` is the script in the customer's language where that is another one."""

    number: int
    tracking_id: str
    offer: str
    title: str
    content: Mapping[str, str]
    script: str
    script_there: str
    reasons: tuple[str, ...]
    disclosures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FactView:
    """One fact of the event behind a lead: its name, and its value as text or as money (minor units)."""

    name: str
    text: str
    money: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadView:
    """A lead in the language of who looks at it."""

    lead: Lead
    title: str
    arrival: bool
    options: tuple[OptionView, ...]
    facts: tuple[FactView, ...]
    mark: Mark | None
    credits: tuple[Credit, ...]

    @property
    def grade(self) -> str | None:
        """Its value grade, None where the trigger gives none."""
        return self.lead.grade


def lead_view(standing: Standing, live: Live, locale: str) -> LeadView:
    """The lead for the inbox."""
    lead, strategy = standing.lead, live.prepared.strategy
    titles = {trigger.name: trigger.title for trigger in strategy.triggers}
    return LeadView(
        lead=lead,
        title=localized(titles.get(lead.trigger), locale, lead.title),
        arrival=lead.trigger in arrival_triggers(strategy),
        options=tuple(_option(option, n, live, locale) for n, option in enumerate(lead.options, 1)),
        facts=_facts(lead.event, locale),
        mark=standing.mark,
        credits=standing.credits,
    )


def offer_title(live: Live, name: str, locale: str) -> str:
    """What an offer is called; its name where the strategy no longer has it."""
    offers = {offer.name: offer for offer in live.prepared.strategy.offers}
    return localized(offers[name].title, locale, name) if name in offers else name  # type: ignore[index]


def balances(view: CustomerView, strategy: Strategy) -> Sequence[AttributeView]:
    """The few amounts that say most about a customer, as the strategy's portrait names them."""
    known = {attribute.name: attribute for theme in view.attributes.values() for attribute in theme}
    wanted = () if strategy.portrait is None else strategy.portrait.amounts
    found = [known[name] for name in wanted if name in known and not known[name].sensitive]
    return [each for each in found if isinstance(each.value, int | float) and each.value][:_MOST_BALANCES]


def called(strategy: Strategy, name: str, locale: str) -> str:
    """What a product or a value is called; its name in plain letters where the strategy has no word for it."""
    words = {} if strategy.portrait is None else strategy.portrait.words
    return localized(words.get(name), locale, name.replace("_", " "))


def plain_name(text: str) -> str:
    """A description without the unit, which the amount says itself."""
    return _UNIT.sub("", text)


def _option(option: LeadOption, number: int, live: Live, locale: str) -> OptionView:
    known = live.wording.treatments.get(option.treatment)
    if known is None:
        return OptionView(
            number=number, tracking_id=option.tracking_id, offer=option.offer,
            title=option.content.get("title", option.offer), content=option.content, script=option.script or "",
            script_there="", reasons=tuple(text for _, text in option.reasons),
            disclosures=_disclosures(option.disclosure),
        )  # fmt: skip
    offer, treatment = known
    script, said = localized(treatment.script, locale, option.script or ""), option.script or ""
    return OptionView(
        number=number,
        tracking_id=option.tracking_id,
        offer=option.offer,
        title=localized(offer.title, locale, option.offer),
        content=(treatment.content or {}).get(locale) or option.content,
        script=script,
        script_there=said if said != script else "",
        reasons=_reasons(option, offer, locale),
        disclosures=_disclosures(localized(treatment.disclosure or offer.disclosure, locale, option.disclosure)),
    )


def _reasons(option: LeadOption, offer: Offer, locale: str) -> tuple[str, ...]:
    texts = {reason.code: reason.text for reason in offer.reasons}
    return tuple(localized(texts.get(code), locale, text) for code, text in option.reasons)


def _disclosures(text: str) -> tuple[str, ...]:
    """What must be said by law before the customer agrees."""
    return (text,) if text else ()


def _facts(event: Mapping[str, object], locale: str) -> tuple[FactView, ...]:
    return tuple(_fact(name, value, locale) for name, value in event.items())


def _fact(name: str, value: object, locale: str) -> FactView:
    if name in MONEY and isinstance(value, int):
        return FactView(name=name, text="", money=value)
    if name == "signal" and value in tuple(SignalType):
        kind = SIGNAL_KINDS[SignalType(str(value))]
        return FactView(name=name, text=kind.zh if locale.startswith("zh") else kind.en)
    return FactView(name=name, text=str(value))
