"""Golden cases of the contact policy, the engagement policies at their four scopes, suitability, a person's rights.

Each case in `contact_policy/*.yaml` names the limits and quiet times that hold, the moment, the contacts so far, and
what is stopped by which rule; everything else must be offered. Every case is decided by the engine and reserved by the
ledger's own definition, which must agree.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from decision_engine.contact_ledger import OUTBOUND_FLAG, ContactRecord
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Decision, DecisionRequest, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.identifiers import CustomerId, DecisionId, OfferName, PlacementId, key32
from decision_engine.ledger_steps import reserved
from decision_engine.outcomes import ContactStatus, Fate
from decision_engine.prepared import prepare
from decision_engine.strategy import Strategy
from services.adapters.file_strategy_source import load_strategy_file

FOLDER = Path(__file__).parent / "contact_policy"
CASES = [
    (path.stem, case)
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.stem != "strategy"
    for case in yaml.load(path.read_text(), yaml.BaseLoader)
]
PLACEMENTS = {"app": "app_page", "sms": "sms_message", "phone": "phone_call"}
UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@pytest.fixture(scope="module")
def contact_bank() -> Strategy:
    return load_strategy_file(FOLDER / "strategy.yaml")


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{file}-{case['name']}") for file, case in CASES])
def test_golden_contact_policy(contact_bank: Strategy, case: Mapping[str, Any]) -> None:
    strategy = only_named(contact_bank, case)
    decision = decide_case(strategy, case)
    stopped = {
        candidate.offer: f"{candidate.stage} {candidate.rule} {candidate.code}"
        for candidate in decision.candidates
        if candidate.fate is not Fate.OFFERED
    }
    assert stopped == expected_stops(strategy, case)
    quiet_until = case.get("quiet_until")
    assert decision.quiet_until_ms == (None if quiet_until is None else epoch_ms(quiet_until))


def test_every_limit_and_quiet_time_of_the_bank_has_a_case(contact_bank: Strategy) -> None:
    named = {name for _, case in CASES for name in (*case.get("limits", ()), *case.get("quiet", ()))}
    assert named == {limit.id for limit in contact_bank.contact_limits} | {q.id for q in contact_bank.quiet_times}


def only_named(strategy: Strategy, case: Mapping[str, Any]) -> Strategy:
    return replace(
        strategy,
        contact_limits=tuple(limit for limit in strategy.contact_limits if limit.id in case.get("limits", ())),
        quiet_times=tuple(time for time in strategy.quiet_times if time.id in case.get("quiet", ())),
    )


def decide_case(strategy: Strategy, case: Mapping[str, Any]) -> Decision:
    prepared = prepare(strategy)
    now_ms = epoch_ms(case.get("now", "2026-06-17T12:00:00+02:00"))
    channel = case.get("channel", "app")
    request = DecisionRequest(
        decision_id=DecisionId("01J"),
        customer_id=CustomerId("retail:1"),
        channel=channel,
        placements=(PlacementRequest(id=PlacementId(PLACEMENTS[channel]), count=20),),
        now_ms=now_ms,
        degraded_causes=tuple(case.get("degraded", ())),
    )
    records = [contact(strategy, given, now_ms, number) for number, given in enumerate(case.get("contacts", ()))]
    draft = decide(prepared, request, customer(case.get("customer", {}), now_ms), records, {})
    check_agreement(strategy, case, draft.reservation, records)
    return settle(prepared, draft, [0] * len(draft.reservation.positions))


def check_agreement(strategy: Strategy, case: Mapping[str, Any], request: Any, records: list[ContactRecord]) -> None:
    """What passed the engine's screen, the ledger reserves, each by itself."""
    for position in request.positions:
        for alternative in position:
            alone = request._replace if hasattr(request, "_replace") else lambda **new: replace(request, **new)
            assert reserved(records, alone(positions=((alternative,),), trackings=request.trackings[:1]))[0] == [0]


def customer(given: Mapping[str, Any], now_ms: int) -> CustomerSnapshot:
    attributes: dict[str, Any] = {
        f"{scope}_{layer}": True
        for scope in ("all", "issue", "group", "offer")
        for layer in ("eligibility", "applicability", "suitability")
    }
    attributes |= {"complaints": 0, "risk_level": 5, "risk_assessed_at": now_ms - UNITS_MS["d"]}
    for name in given.get("false", ()):
        attributes[name] = False
    for name in given.get("missing", ()):
        del attributes[name]
    for name in ("complaints", "risk_level"):
        if name in given:
            attributes[name] = int(given[name])
    if "assessed" in given:
        attributes["risk_assessed_at"] = now_ms - duration_ms(given["assessed"])
    consents = {name: answer == "granted" for name, answer in given.get("consents", {}).items()}
    return CustomerSnapshot(known=given.get("known") != "false", attributes=attributes, consents=consents)


def contact(strategy: Strategy, given: Mapping[str, Any], now_ms: int, number: int) -> ContactRecord:
    """Shown unless it says `lapses`, which is only reserved."""
    offer = strategy.offer(OfferName(given["offer"]))
    assert offer is not None
    at = float(moment_ms(given, "at", "ago", now_ms))
    status = ContactStatus.RESERVED | ContactStatus.IMPRESSION
    for outcome in given.get("outcomes", ()):
        status |= ContactStatus[outcome.upper()]
    lapses = epoch_ms(given["lapses"]) if "lapses" in given else at + 600_000
    channel = given.get("channel", "app")
    return ContactRecord(
        tracking=number.to_bytes(8, "little"), offer=key32(offer.name), group=key32(offer.group),
        issue=key32(offer.issue), channel=key32(channel),
        status=int(ContactStatus.RESERVED if "lapses" in given else status),
        flags=OUTBOUND_FLAG if channel in strategy.outbound_channels else 0,
        reserved_ms=at, expires_ms=float(lapses), contact_ms=at,
        outcome_ms=float(moment_ms(given, "outcome_at", "outcome_ago", now_ms)) if "outcomes" in given else 0.0,
    )  # fmt: skip


def moment_ms(given: Mapping[str, Any], at: str, ago: str, now_ms: int) -> int:
    return epoch_ms(given[at]) if at in given else now_ms - duration_ms(given[ago])


def epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def duration_ms(text: str) -> int:
    """`7d`, `7d+1ms`, `24h-1ms`."""
    parts = re.findall(r"([+-]?)([0-9]+)(ms|s|m|h|d)", text)
    assert "".join("".join(part) for part in parts) == text
    return sum((-1 if sign == "-" else 1) * int(number) * UNITS_MS[unit] for sign, number, unit in parts)


def expected_stops(strategy: Strategy, case: Mapping[str, Any]) -> dict[str, str]:
    """Keys are offers, groups, issues, or `everything`, `optional` (not mandatory) and `marketing`."""
    stops: dict[str, str] = {}
    for key, why in case.get("stopped", {}).items():
        for offer in strategy.offers:
            named = key in (offer.name, offer.group, offer.issue, "everything")
            by_kind = (key == "optional" and not offer.mandatory) or (key == "marketing" and offer.purpose == key)
            if named or by_kind:
                stops[offer.name] = why
    return stops
