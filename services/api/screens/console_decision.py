"""The explanation of a decision: what was offered and why, and how every other candidate ended."""

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from decision_engine.identifiers import DecisionId
from decision_engine.outcomes import Fate, Stage
from decision_engine.prepared import PreparedStrategy
from services.api.authentication import ApiScope
from services.api.customer_guard import CustomerGuard
from services.api.errors import NOT_FOUND, ApiError
from services.api.runtime import DecisionPorts
from services.api.screens.console_decision_looks import (
    attributes_by_theme,
    candidates_wanted,
    funnel_bars,
    response_rows,
    score_bars,
)
from services.api.screens.console_decision_words import DecisionWords
from services.api.screens.console_frame import Console
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.ports import StrategyUnknown
from services.use_cases.decision_record import RecordUnreadable, expanded_record, record_data
from services.use_cases.decision_replay import ReplayImpossible
from services.use_cases.explain_decision import DecidingStrategies, DecisionUnknown, ExplainDecision
from services.use_cases.observing.decision_candidates import NUMBERS, candidate_page
from services.use_cases.observing.decision_proof import ScoreUnexplained
from services.use_cases.observing.decision_search import DAY_MS
from services.use_cases.observing.decision_view import DecisionView, UsedAttribute, decision_view
from services.use_cases.short_turns import short_turns

_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_KEPT, _KEPT_SECONDS = 6, 300.0
"""Decisions at hand for whoever filters and leafs: a large one has thousands of candidates."""
RESPONSE_DAYS = 31
"""How long after a decision its responses are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A decision's record, and what it says. `prepared` is None where its strategy is not kept."""

    record: bytes
    view: DecisionView
    prepared: PreparedStrategy | None
    words: dict[str, DecisionWords] = field(default_factory=dict)
    """By locale, as they are asked for: a thousand rules take a while to be put into words."""


class OpenDecisions:
    """Finds decisions for people who may know of them, and keeps those at hand that were opened last."""

    def __init__(self, desk: Desk) -> None:
        runtime = desk.runtime
        self._guard = CustomerGuard.of(runtime)
        self._strategies = DecidingStrategies(at_hand=lambda: runtime.live().prepared, kept=runtime.strategies)
        self._explain = ExplainDecision(store=runtime.store, strategies=self._strategies, archive=runtime.archive)
        self._kept: OrderedDict[str, tuple[float, Opened]] = OrderedDict()

    async def open(self, visit: Visit, decision_id: str) -> Opened:
        """The decision. Raises ApiError (not found, also of a channel the person does not speak for or a customer out
        of their scope), ArchiveBusy, StoreUnavailable."""
        if not _ULID.fullmatch(decision_id):
            raise ApiError(NOT_FOUND, "No record of this decision is kept.")
        until, found = self._kept.get(decision_id, (0.0, None))
        if found is None or until < monotonic():
            found = await self._read(decision_id)
            self._kept[decision_id] = monotonic() + _KEPT_SECONDS, found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        head = found.view.head
        if not visit.client.speaks_for(head.channel) or not await self._guard.sees(visit.client, head.customer_id):
            raise ApiError(NOT_FOUND, "No record of this decision is kept.")
        return found

    async def _read(self, decision_id: str) -> Opened:
        try:
            record = await self._explain.record(DecisionId(decision_id))
            prepared = await self._prepared(record)
            with short_turns():
                return await asyncio.to_thread(_opened, record, prepared)
        except DecisionUnknown as error:
            raise ApiError(NOT_FOUND, "No record of this decision is kept.") from error

    async def _prepared(self, record: bytes) -> PreparedStrategy | None:
        try:
            return await self._strategies.of(record)
        except StrategyUnknown:
            return None


def _opened(record: bytes, prepared: PreparedStrategy | None) -> Opened:
    data = record_data(record) if prepared is None else expanded_record(record, prepared)
    view = decision_view(data, None if prepared is None else prepared.strategy)
    return Opened(record=record, view=view, prepared=prepared)


def add_decision_pages(router: APIRouter, desk: Desk, console: Console, ports: DecisionPorts) -> None:
    """The page of a decision, and its parts that are fetched when they are asked for."""
    decisions = OpenDecisions(desk)
    _add_page(router, desk, console, decisions)
    _add_proofs(router, desk, console, decisions, ports)
    _add_responses(router, desk, console, decisions, ports)


async def _words(desk: Desk, console: Console, visit: Visit, opened: Opened) -> DecisionWords:
    found = opened.words.get(visit.locale)
    if found is None:
        strategy, locale = opened.view.strategy, visit.locale
        editing = None if strategy is None else console.works.editing(strategy)
        with short_turns():
            found = opened.words[locale] = await asyncio.to_thread(
                DecisionWords,
                desk.words,
                locale,
                strategy,
                (lambda _: None) if editing is None else (lambda when: editing.said(when, locale)),
                (lambda _: ()) if editing is None else (lambda when: editing.check(when).names),
            )
    return found


def _known(visit: Visit, view: DecisionView) -> dict[str, UsedAttribute]:
    """What the decision's rules could look at, by the names they use; hidden what the person may not see."""
    used = view.attributes(with_sensitive=ApiScope.AUDIT in visit.client.scopes)
    return {each.name: each for each in used} | {f"context.{each.name}": each for each in view.context()}


def _add_page(router: APIRouter, desk: Desk, console: Console, decisions: OpenDecisions) -> None:
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("/{decision_id}")
    async def page(decision_id: str, visit: Annotated[Visit, reader]) -> Response:
        opened = await decisions.open(visit, decision_id)
        view = opened.view
        parts = await _candidates(desk, console, visit, opened)
        return console.page(
            visit,
            "console/decision.html",
            "decisions",
            decision=view,
            bars=funnel_bars(view),
            themes=attributes_by_theme(parts["known"]),
            audits=ApiScope.AUDIT in visit.client.scopes,
            version_known=view.head.strategy_version in console.governance.state().versions,
            replayable=opened.prepared is not None,
            **parts,
        )

    @router.get("/{decision_id}/candidates")
    async def candidates(decision_id: str, visit: Annotated[Visit, reader]) -> Response:
        opened = await decisions.open(visit, decision_id)
        return console.fragment(
            visit,
            "console/decision_candidates.html",
            decision=opened.view,
            **await _candidates(desk, console, visit, opened),
        )


async def _candidates(desk: Desk, console: Console, visit: Visit, opened: Opened) -> dict[str, Any]:
    words = await _words(desk, console, visit, opened)
    wanted = candidates_wanted(visit.request.query_params)
    with short_turns():
        listed = await asyncio.to_thread(candidate_page, opened.view.candidates, wanted, words.text)
        known = await asyncio.to_thread(_known, visit, opened.view)
    return {
        "wanted": wanted,
        "listed": listed,
        "known": known,
        "words": words,
        "fates": list(Fate),
        "stages": list(Stage),
        "numbers": list(NUMBERS),
    }


def _add_proofs(
    router: APIRouter, desk: Desk, console: Console, decisions: OpenDecisions, ports: DecisionPorts
) -> None:
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("/{decision_id}/replay")
    async def replay(decision_id: str, visit: Annotated[Visit, reader]) -> Response:
        opened = await decisions.open(visit, decision_id)
        if opened.prepared is None:
            return console.fragment(visit, "console/decision_replay.html", proof=None, impossible="strategy")
        try:
            proof = await ports.proofs.proof(opened.record, opened.prepared)
        except (ReplayImpossible, RecordUnreadable) as error:
            return console.fragment(visit, "console/decision_replay.html", proof=None, impossible=str(error))
        return console.fragment(visit, "console/decision_replay.html", proof=proof, impossible="")

    @router.get("/{decision_id}/score/{offer}")
    async def score(decision_id: str, offer: str, visit: Annotated[Visit, reader]) -> Response:
        opened = await decisions.open(visit, decision_id)
        words = await _words(desk, console, visit, opened)
        recorded = next((one.propensity for one in opened.view.candidates if one.offer == offer), None)
        around: dict[str, Any] = {"title": words.title(offer), "recorded": recorded, "decision": opened.view}
        try:
            if opened.prepared is None:
                raise ScoreUnexplained("not_kept", "the strategy is not kept")
            parts = await ports.proofs.score_parts(opened.record, opened.prepared, offer)
        except ScoreUnexplained as error:
            return console.fragment(visit, "console/decision_score.html", score=None, reason=error.reason, **around)
        shown = score_bars(parts, opened.view, visit.locale, desk.words)
        return console.fragment(visit, "console/decision_score.html", score=shown, reason="", **around)


def _add_responses(
    router: APIRouter, desk: Desk, console: Console, decisions: OpenDecisions, ports: DecisionPorts
) -> None:
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("/{decision_id}/responses")
    async def responses(decision_id: str, visit: Annotated[Visit, reader]) -> Response:
        opened = await decisions.open(visit, decision_id)
        view = opened.view
        # A response may bring a time of its own, a little before the bank's clock says it was decided.
        since_ms, until_ms = view.decided_ms - DAY_MS, view.decided_ms + RESPONSE_DAYS * DAY_MS
        events, complete = await ports.log.responses(decision_id, since_ms, until_ms)
        return console.fragment(
            visit,
            "console/decision_responses.html",
            decision=view,
            rows=response_rows(events, view),
            complete=complete,
            days=RESPONSE_DAYS,
            words=await _words(desk, console, visit, opened),
        )
