"""The judge: folds the log by itself, in plain lines that share nothing with the product, and says what is wrong.

Every distinct event counts once for its customer; every option that anybody was ever offered is a contact, and takes a
unit of its volumes; every answered decision has a record; every acknowledged response stands in the log; every poisoned
record stands among the dead letters, and nothing else does. A record is poison if it says so.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loadtests.faults.bank import Promises

POISON = b"poison"
_NEVER = datetime.min.replace(tzinfo=UTC)
Known = tuple[int, int, int, int | None, tuple[tuple[str, bool], ...]]
"""Of one customer: transactions, their sum, responses, the note, consents."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A decision as the caller was answered: (offer, tracking id) of every option."""

    decision_id: str
    customer: str
    options: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class LogFold:
    """What the log says, taken in record by record; a record that comes again is passed over."""

    posted: Counter[str] = field(default_factory=Counter)
    spent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    notes: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    consents: dict[str, dict[str, tuple[datetime, bool]]] = field(default_factory=lambda: defaultdict(dict))
    records: dict[str, Answered] = field(default_factory=dict)
    unexplained: set[str] = field(default_factory=set)
    contacts: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """By customer: tracking id to offer."""
    outcomes: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    """By customer: (tracking id, outcome) of every response."""
    responses: set[str] = field(default_factory=set)
    poison: set[str] = field(default_factory=set)
    dead: Counter[str] = field(default_factory=Counter)
    next: dict[tuple[str, int], int] = field(default_factory=dict)
    offsets: dict[tuple[str, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    conversions: Counter[str] = field(default_factory=Counter)
    versions: set[str] = field(default_factory=set)
    """Of strategies and models that decided."""
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def take(self, topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None) -> None:
        """One record of the log."""
        if offset < self.next.get((topic, partition), 0):
            return
        self.next[topic, partition] = offset + 1
        self.offsets[topic, partition].add(offset)
        if topic.startswith("nbo.dead-letters"):
            self.dead[json.loads(value or b"{}")["id"]] += 1
        elif value is None or POISON in value or POISON in (key or b""):
            self.poison.add(f"{topic}/{partition}/{offset}")
        else:
            self._event(json.loads(value))

    def _event(self, event: dict[str, Any]) -> None:
        if (event["source"], event["id"]) in self._seen:
            return
        self._seen.add((event["source"], event["id"]))
        data, customer, time = event["data"], event["subject"], datetime.fromisoformat(event["time"])
        match event["type"]:
            case "bank.transaction.posted":
                self.posted[customer] += 1
                self.spent[customer] += data["amount"]
            case "bank.profile.updated":
                self.notes[customer] = max(self.notes.get(customer, (_NEVER, 0)), (time, data["attributes"]["note"]))
            case "bank.consent.changed":
                said, purpose = self.consents[customer], data["purpose"]
                said[purpose] = max(said.get(purpose, (_NEVER, False)), (time, data["granted"]))
            case "nbo.response.recorded":
                self.answered[customer] += 1
                self.responses.add(data["response_id"])
                self.outcomes[customer].add((data["tracking_id"], data["outcome"]))
            case "nbo.conversion.attributed":
                self.conversions[event["id"]] += 1
            case "nbo.decision.made":
                self._decision(event)

    def _decision(self, event: dict[str, Any]) -> None:
        data = event["data"]
        placements = data["placements"]
        self.versions |= {data["strategy_version"], *data.get("models", {}).values()}
        options = tuple((o["offer"], o["tracking_id"]) for p in placements for o in p.get("options", ()))
        self.records[data["decision_id"]] = Answered(data["decision_id"], data["customer_id"], options)
        told = all(p.get("options") or p.get("fallback_cause") for p in placements)
        if not (told and (data.get("coded_candidates") or data.get("candidates")) and data["strategy_version"]):
            self.unexplained.add(data["decision_id"])
        for offer, tracking in options:
            self.contacts[data["customer_id"]][tracking] = offer

    def known(self, customer: str) -> Known:
        """What the customer's state must hold."""
        consents = tuple(sorted((purpose, granted) for purpose, (_, granted) in self.consents[customer].items()))
        note = self.notes[customer][1] if customer in self.notes else None
        return self.posted[customer], self.spent[customer], self.answered[customer], note, consents


@dataclass(slots=True)
class Findings:
    """What is wrong: nothing, if all of it is empty. Each entry says where."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    contacts_lost: list[str] = field(default_factory=list)
    caps_exceeded: list[str] = field(default_factory=list)
    volumes_exceeded: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    responses_lost: list[str] = field(default_factory=list)
    dead_letters_wrong: list[str] = field(default_factory=list)
    archive_wrong: list[str] = field(default_factory=list)

    def all(self) -> dict[str, list[str]]:
        """By name, without those that are empty."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: found for name, found in named.items() if found}


def states_against(fold: LogFold, found: Mapping[str, Known], findings: Findings) -> None:
    """Every customer's state against the log."""
    for customer, held in found.items():
        want = fold.known(customer)
        for name, is_, due in zip(("posted", "spent", "answered"), held[:3], want[:3], strict=True):
            if is_ != due:
                (findings.lost if is_ < due else findings.doubled).append(f"{customer} {name}: {is_}, log {due}")
        if held[3:] != want[3:]:
            findings.wrong.append(f"{customer}: {held[3:]}, log {want[3:]}")


def contacts_against(fold: LogFold, ledgers: Mapping[str, Mapping[str, set[str]]], findings: Findings) -> None:
    """Every contact and every outcome of the log stands in its customer's ledger (tracking id to outcomes)."""
    for customer, ledger in ledgers.items():
        missing = [tracking for tracking in fold.contacts[customer] if tracking not in ledger]
        untold = [f"{t} {o}" for t, o in fold.outcomes[customer] if t in ledger and o not in ledger[t]]
        findings.contacts_lost += [f"{customer} {one}: not in the ledger" for one in missing + untold]


def limits_against(fold: LogFold, answers: Iterable[Answered], promised: Promises, findings: Findings) -> None:
    """Caps and volumes over all that was offered, by the log or by answers alone."""
    everything = {customer: dict(contacts) for customer, contacts in fold.contacts.items()}
    for answer in answers:
        everything.setdefault(answer.customer, {}).update({tracking: offer for offer, tracking in answer.options})
    handed_out: Counter[str] = Counter()
    for customer, contacts in everything.items():
        per_offer = Counter(contacts.values())
        handed_out.update(per_offer)
        over = {o: n for o, n in per_offer.items() if n > promised.offer_caps[o]}
        findings.caps_exceeded += [f"{customer} {o}: {n} of {promised.offer_caps[o]}" for o, n in over.items()]
        if len(contacts) > promised.customer_cap:
            findings.caps_exceeded.append(f"{customer}: {len(contacts)} of {promised.customer_cap}")
    for volume, (offer, amount) in promised.volumes.items():
        if handed_out[offer] > amount:
            findings.volumes_exceeded.append(f"{volume}: {handed_out[offer]} of {amount}")


def answers_against(fold: LogFold, answers: Iterable[Answered], kept: set[str], findings: Findings) -> None:
    """Every answer has its record, in the log or (`kept`) in the store alone, and the record says what was answered."""
    for answer in answers:
        record = fold.records.get(answer.decision_id)
        if record is None and answer.decision_id not in kept:
            findings.unexplained.append(f"{answer.decision_id}: no record")
        elif record is not None and record.options != answer.options:
            findings.unexplained.append(f"{answer.decision_id}: the record has other options")
        elif answer.decision_id in fold.unexplained:
            findings.unexplained.append(f"{answer.decision_id}: the record explains nothing")


def responses_against(fold: LogFold, acknowledged: Iterable[str], findings: Findings) -> None:
    """Every acknowledged response stands in the log."""
    findings.responses_lost += [response for response in acknowledged if response not in fold.responses]


def dead_letters_against(fold: LogFold, findings: Findings) -> None:
    """Dead letters are the poisoned records, each by its origin."""
    findings.dead_letters_wrong += [f"{one}: not set aside" for one in fold.poison - fold.dead.keys()]
    findings.dead_letters_wrong += [f"{one}: a sound record set aside" for one in fold.dead.keys() - fold.poison]


def archive_against(fold: LogFold, archived: Mapping[tuple[str, int], Counter[int]], findings: Findings) -> None:
    """The archive has every record of the log, by its offset, once."""
    for place, offsets in fold.offsets.items():
        held = archived.get(place, Counter())
        if missing := offsets - held.keys():
            findings.archive_wrong.append(
                f"{place[0]}/{place[1]}: {len(missing)} records missing, {min(missing)} first"
            )
        if twice := [offset for offset, times in held.items() if times > 1]:
            findings.archive_wrong.append(f"{place[0]}/{place[1]} twice: {len(twice)} records")
