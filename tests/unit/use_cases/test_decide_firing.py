"""What the answer to a firing's question means: published, nothing to offer, or not to be decided yet."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from decision_engine.customer import CustomerSnapshot
from decision_engine.identifiers import CustomerId
from decision_engine.triggers.definitions import Contact, EventPattern, Pattern, Shape, Trigger
from decision_engine.triggers.firing import Firing
from services.use_cases import degradation as cause
from services.use_cases.decide_firing import LATER_MS, DecideFiring
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.firing_cases import Case, Watched
from services.use_cases.firing_notes import Held

NOW = 1_795_000_000_000
HOUR = 3_600_000
TRIGGER = Trigger(
    name="inflow",
    title={"en": "Inflow"},
    pattern=Pattern(shape=Shape.EVENT, steps=(EventPattern(source="bank.transaction.posted"),)),
    contact=Contact(placement="inbox_lead", channel="manager"),
)
OPTION = {"rank": 1, "offer": "fund", "treatment": "fund.manager.lead", "tracking_id": "D1.0", "score": 1.0}
LIVE: Any = SimpleNamespace(
    wording=SimpleNamespace(locale=lambda wanted: wanted or "en"),
    prepared=SimpleNamespace(
        strategy=SimpleNamespace(declarations=SimpleNamespace(context=())), quiet=SimpleNamespace(of_channel={})
    ),
)


class Store:
    """Nothing is kept; what is given back is noted."""

    def __init__(self) -> None:
        self.released: list[bytes] = []

    async def claimed(self, _: str) -> bytes | None:
        return None

    async def release(self, _: CustomerId, trackings: list[bytes]) -> None:
        self.released += trackings


async def decided(causes: tuple[str, ...], options: list[Mapping[str, object]], store: Store) -> Case:
    async def make(command: DecisionCommand) -> bytes:
        placement = {"id": "inbox_lead", "options": options}
        answer = {"decision_id": command.decision_id, "time": "2026-11-18T11:06:40Z", "placements": [placement]}
        return orjson.dumps(answer | {"degraded_causes": causes})

    answers: Any = store
    firing = Firing(id="f1", trigger="inflow", at_ms=NOW - 1, cause="7", wave=0, expires_at_ms=NOW + HOUR, fields={})
    case = Case(Watched(CustomerId("retail:1"), 0), TRIGGER, firing, None, CustomerSnapshot(known=True))
    decide = DecideFiring(
        live=lambda: LIVE,
        make=make,
        answers=answers,
        ledger=answers,
        decision_id=lambda name, _: f"D-{name}",
        clock=SimpleNamespace(now_ms=lambda: NOW),
    )
    await decide(case)
    return case


@pytest.mark.parametrize("missing", [cause.LINKS_UNAVAILABLE, cause.VOLUMES_REBUILDING])
async def test_nothing_to_offer_is_no_answer_while_what_may_be_offered_is_not_known(missing: str) -> None:
    store = Store()
    case = await decided((missing,), [], store)
    assert (case.outcome, case.held, case.event) == ("put_off", Held(NOW + LATER_MS), None)
    assert store.released, "what the attempt may have reserved does not count against the next"
    offered = await decided((missing,), [OPTION], Store())
    assert offered.outcome == "published" and offered.event is not None


@pytest.mark.parametrize("missing", [cause.STATE_UNAVAILABLE, cause.LEDGER_UNAVAILABLE, cause.UNAUDITED])
async def test_what_was_not_decided_on_the_facts_is_never_published(missing: str) -> None:
    case = await decided((missing,), [OPTION], Store())
    assert (case.outcome, case.event, case.contacted) == ("put_off", None, None)


async def test_nothing_to_offer_on_all_the_facts_is_the_end() -> None:
    case = await decided((), [], Store())
    assert case.outcome == "nothing_to_offer" and case.held is None and case.contacted is not None
