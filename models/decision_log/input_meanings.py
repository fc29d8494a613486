"""What a model's inputs mean, in the words of the strategy that fills them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.features.definitions import AttributeInfo, ContextAttribute
from decision_engine.offers import LocalText
from decision_engine.propensity import ColumnSource
from decision_engine.strategy import Strategy

ENGLISH = "en"
ENGINE_INPUTS: Mapping[tuple[ColumnSource, str], str] = {
    (ColumnSource.CONTEXT, "channel"): "Channel of the request",
    (ColumnSource.CONTEXT, "hour"): "Hour of the request by the bank's clock",
    (ColumnSource.CONTEXT, "weekday"): "Day of the week of the request, Monday 0",
    (ColumnSource.OFFER, "offer"): "The offer",
    (ColumnSource.OFFER, "group"): "Group of the offer",
    (ColumnSource.OFFER, "issue"): "Issue of the offer",
    (ColumnSource.OFFER, "base_rate"): "Acceptance rate the business expected of the offer",
    (ColumnSource.OFFER, "value"): "Worth of an acceptance to the bank, minor units",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InputMeaning:
    """An input in plain words, and how it is computed."""

    description: str
    definition: str = ""


def input_meanings(strategy: Strategy) -> dict[tuple[ColumnSource, str], InputMeaning]:
    """The inputs a strategy can fill, in its own words."""
    return _meanings(strategy.dictionary, strategy.declarations.context)


def in_english(text: LocalText) -> str:
    """The English words, or the first there are."""
    return text.get(ENGLISH) or next(iter(text.values()), "")


def _meanings(
    dictionary: Mapping[str, AttributeInfo], context: Sequence[ContextAttribute]
) -> dict[tuple[ColumnSource, str], InputMeaning]:
    meanings = {place: InputMeaning(description=text) for place, text in ENGINE_INPUTS.items()}
    for fact in context:
        meanings[ColumnSource.CONTEXT, fact.name] = InputMeaning(description=in_english(fact.description))
    for info in dictionary.values():
        meanings[ColumnSource.ATTRIBUTE, info.name] = InputMeaning(
            description=in_english(info.description), definition=f"{info.source}: {info.definition}"
        )
    return meanings
