"""Everything that is held on one person, in one document for them: with titles, sources and purposes.

The store says what is known now, the archive what has come and gone: events, decisions, responses, messages. What both
leave out is said at the end.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import orjson

from decision_engine.features.definitions import AttributeInfo
from decision_engine.identifiers import CustomerId
from decision_engine.strategy import Strategy
from services.ports import Clock, DecisionStore
from services.use_cases.make_decision import Live
from services.use_cases.person_export.receipts import ConsentReceipt, consent_receipts, newest_by_purpose
from services.use_cases.view_customer import CustomerView, ViewCustomer
from services.use_cases.wire_time import rfc3339

FORMAT = "kairos-person/1"
NOT_HELD = (
    "records of the last seconds that the archive has not taken in yet",
    "counters of learning and of volumes, which name nobody",
)


class PersonArchive(Protocol):
    """Everything archived under one person's id. Reads files: may take seconds."""

    async def of_person(self, customer_id: str) -> Sequence[tuple[str, bytes]]:
        """Topic and event as published, by time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPerson:
    """Gathers; writes nothing."""

    live: Callable[[], Live]
    store: DecisionStore
    archive: PersonArchive
    clock: Clock

    async def __call__(self, customer_id: CustomerId) -> dict[str, object]:
        """The document. Raises StoreUnavailable, ArchiveBusy."""
        strategy = self.live().prepared.strategy
        view, archived = await self._view(customer_id), await self.archive.of_person(customer_id)
        receipts = consent_receipts((value for _, value in archived), _words(strategy))
        topics: dict[str, list[object]] = defaultdict(list)
        for topic, value in archived:
            topics[topic].append(_event(value))
        return {
            "format": FORMAT,
            "customer_id": customer_id,
            "time": view.time,
            "known": view.known,
            "strategy_version": view.strategy_version,
            "attributes": _attributes(strategy, view),
            "holdings": list(view.holdings),
            "segments": [asdict(label) for label in view.segments],
            "tags": {kind: [asdict(label) for label in labels] for kind, labels in view.tags.items()},
            "consents": _consents(view, receipts),
            "contacts": [asdict(contact) for contact in view.contacts],
            "archived": dict(sorted(topics.items())),
            "archived_records": len(archived),
            "not_included": list(NOT_HELD),
        }

    async def consents(self, customer_id: CustomerId) -> dict[str, object]:
        """Consents as they count, each with its history. Raises StoreUnavailable, ArchiveBusy."""
        view, archived = await self._view(customer_id), await self.archive.of_person(customer_id)
        words = _words(self.live().prepared.strategy)
        receipts = consent_receipts((value for _, value in archived), words)
        return {"customer_id": customer_id, "time": rfc3339(self.clock.now_ms()), "consents": _consents(view, receipts)}

    async def _view(self, customer_id: CustomerId) -> CustomerView:
        return await ViewCustomer(live=self.live, store=self.store, clock=self.clock)(customer_id)


def _words(strategy: Strategy) -> Mapping[str, Mapping[str, str]]:
    return {name: purpose.text for name, purpose in strategy.consents.items()}


def _attributes(strategy: Strategy, view: CustomerView) -> list[dict[str, object]]:
    """Every attribute that has a value, with what the dictionary says of it."""
    dictionary: Mapping[str, AttributeInfo] = strategy.dictionary
    return [
        {
            "name": shown.name,
            "value": shown.value,
            "title": dict(shown.description),
            "type": shown.type,
            "theme": theme,
            "source": shown.source,
            "sensitive": shown.sensitive,
            "purposes": list(dictionary[shown.name].purposes),
        }
        for theme, attributes in view.attributes.items()
        for shown in attributes
    ]


def _consents(view: CustomerView, receipts: Sequence[ConsentReceipt]) -> list[dict[str, object]]:
    newest = newest_by_purpose(receipts)
    return [
        {
            "purpose": purpose,
            "granted": granted,
            "by": newest[purpose].receipt_id if purpose in newest else None,
            "history": [asdict(receipt) for receipt in receipts if receipt.purpose == purpose],
        }
        for purpose, granted in sorted(view.consents.items())
    ]


def _event(value: bytes) -> object:
    try:
        return orjson.loads(value)
    except ValueError:
        return value.decode(errors="backslashreplace")
