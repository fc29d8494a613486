"""What a customer has from the subjects it is linked to: the household's members, the company."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from decision_engine.customer import PERSONALISATION, CustomerSnapshot
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.definitions import Value
from decision_engine.features.linked import Link, LinkKind, LinkRef, links_of, members_of, read_linked
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate
from decision_engine.identifiers import CustomerId
from decision_engine.prepared import PreparedStrategy
from decision_engine.strategy import Strategy
from services.ports import CustomerReader, Membership


class Linking(Protocol):
    """The strategy and its features, of one version."""

    @property
    def prepared(self) -> PreparedStrategy: ...

    @property
    def features(self) -> CompiledFeatures: ...


async def with_linked(
    live: Linking, reader: CustomerReader, customer_id: CustomerId, snapshot: CustomerSnapshot, now_ms: int
) -> CustomerSnapshot:
    """The snapshot with the attributes of what the customer is linked to, as of the same moment. Most customers of
    most strategies have no link and cost nothing. Raises StoreUnavailable, and what an unreadable state raises."""
    strategy = live.prepared.strategy
    if not strategy.links or not snapshot.known:
        return snapshot
    refs = linked_refs(strategy, snapshot)
    if not refs:
        return snapshot
    found = await reader.read_linked(customer_id, refs)
    others = [[read_snapshot(live.features, state, now_ms) for state in states] for states in found]
    return combine_links(strategy, snapshot, refs, others)


def linked_refs(strategy: Strategy, snapshot: CustomerSnapshot) -> tuple[LinkRef, ...]:
    """The links this customer has."""
    return links_of(strategy.links, snapshot, shares_by_default=_shares_by_default(strategy))


def _shares_by_default(strategy: Strategy) -> bool:
    purpose = strategy.consents.get(PERSONALISATION)
    return purpose is None or purpose.granted_by_default


def combine_links(
    strategy: Strategy,
    snapshot: CustomerSnapshot,
    refs: Sequence[LinkRef],
    others: Sequence[Sequence[CustomerSnapshot]],
) -> CustomerSnapshot:
    """The snapshot with its linked attributes; `others` are for each link those it may lead to."""
    return replace(snapshot, attributes={**snapshot.attributes, **linked_values(strategy, snapshot, refs, others)})


def linked_values(
    strategy: Strategy,
    snapshot: CustomerSnapshot,
    refs: Sequence[LinkRef],
    others: Sequence[Sequence[CustomerSnapshot]],
) -> dict[str, Value]:
    """The linked attributes themselves."""
    members = {
        ref.link.name: members_of(ref, snapshot, found, shares_by_default=_shares_by_default(strategy))
        for ref, found in zip(refs, others, strict=True)
    }
    return read_linked(strategy.linked, members)


def memberships(
    links: Sequence[Link],
    updates: Mapping[CustomerId, Sequence[PositionedUpdate]],
    erased: Mapping[CustomerId, int] | None = None,
) -> list[Membership]:
    """Who says in these updates to belong where, and has not been `erased` (epoch milliseconds) since."""
    return [said for said in _said(links, updates) if said.at_ms > (erased or {}).get(said.customer_id, -1)]


def departures(
    links: Sequence[Link],
    updates: Mapping[CustomerId, Sequence[PositionedUpdate]],
    erased: Mapping[CustomerId, int],
    before: Mapping[CustomerId, CustomerSnapshot],
) -> list[Membership]:
    """Where those `erased` (epoch milliseconds) belonged until then: by what was known of them `before`, and by what
    these updates say."""
    attributes = [(link.name, link.attribute) for link in links if link.kind is LinkKind.TOGETHER]
    known = [
        Membership(name, value, customer_id, 0)
        for customer_id, snapshot in before.items()
        for name, attribute in attributes
        if isinstance(value := snapshot.attributes.get(attribute), str) and value
    ]
    known += _said(links, {customer_id: updates[customer_id] for customer_id in erased})
    return [replace(said, at_ms=erased[said.customer_id]) for said in known]


def _said(links: Sequence[Link], updates: Mapping[CustomerId, Sequence[PositionedUpdate]]) -> list[Membership]:
    attributes = [(link.name, link.attribute) for link in links if link.kind is LinkKind.TOGETHER]
    return [
        Membership(name, value, customer_id, positioned.update.time_ms)
        for customer_id, changes in updates.items()
        for positioned in changes
        if positioned.update.attributes
        for name, attribute in attributes
        if isinstance(value := positioned.update.attributes.get(attribute), str) and value
    ]
