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
from services.use_cases.idempotent_answers import kept_answer

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
    wording=SimpleNamespace(locale=lambda wanted: wanted or "en", treatments={}),
    prepared=SimpleNamespace(
        strategy=SimpleNamespace(declarations=SimpleNamespace(context=())), quiet=SimpleNamespace(of_channel={})
    ),
)


class Store:
    """Keeps the first answer, unless it is slow; what is given back, and whose record is not the one, is noted."""

    def __init__(self, kept: bytes | None = None, *, slow: bool = False) -> None:
        self.released: list[bytes] = []
        self.superseded: list[str] = []
        self.slow = slow
        self._kept = None if kept is None else kept_answer(b"", kept)

    def keep(self, answer: bytes) -> bytes:
        if not self.slow:
            self._kept = self._kept or kept_answer(b"", answer)
        return answer

    async def claimed(self, _: str) -> bytes | None:
        return self._kept

    async def release(self, _: CustomerId, trackings: list[bytes]) -> None:
        self.released += trackings


async def decided(causes: tuple[str, ...], options: list[Mapping[str, object]], store: Store) -> Case:
    async def make(command: DecisionCommand) -> bytes:
        placement = {"id": "inbox_lead", "options": options}
        answer = {"decision_id": command.decision_id, "time": "2026-11-18T11:06:40Z", "placements": [placement]}
        return store.keep(orjson.dumps(answer | {"degraded_causes": causes}))

    answers: Any = store
    firing = Firing(id="f1", trigger="inflow", at_ms=NOW - 1, cause="7", wave=0, expires_at_ms=NOW + HOUR, fields={})
    case = Case(Watched(CustomerId("retail:1"), 0), TRIGGER, firing, None, CustomerSnapshot(known=True))
    decide = DecideFiring(
        live=lambda: LIVE,
        make=make,
        answers=answers,
        ledger=answers,
        decision_id=lambda name, _: f"D-{name}",
        superseded=store.superseded.append,
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


async def test_of_two_owners_both_publish_what_the_store_kept_first() -> None:
    other = {**OPTION, "offer": "deposit"}
    placement = {"id": "inbox_lead", "options": [other]}
    first = {"decision_id": "D-f1", "time": "2026-11-18T11:06:40Z", "placements": [placement], "degraded_causes": ()}
    loser = Store(orjson.dumps(first))
    case = await decided((), [OPTION], loser)
    assert case.contacted is not None
    assert case.contacted.offers == ("deposit",)
    assert case.event is not None
    assert [option["offer"] for option in orjson.loads(case.event.value)["data"]["options"]] == ["deposit"]
    assert loser.superseded == ["D-f1"], "its own record is not the decision's"
    winner = Store()
    assert (await decided((), [OPTION], winner)).outcome == "published"
    assert winner.superseded == []


async def test_an_answer_the_store_has_not_kept_goes_nowhere() -> None:
    case = await decided((), [OPTION], Store(slow=True))
    assert (case.outcome, case.contacted, case.event, case.held) == ("failed", None, None, None)
