"""Readers of what the store holds: states, ledgers, memories, evidence, and the small documents beside them."""

from dataclasses import dataclass
from random import Random

import numpy as np
import orjson

from decision_engine.attribution import Conversion, Touch
from decision_engine.attribution_memory import AttributionMemory, Decided, DecidedOption, Published
from decision_engine.attribution_values import AttributionUnreadable
from decision_engine.contact_ledger import ContactRecord, LedgerUnreadable, decode_records, encode_records
from decision_engine.errors import StateUnreadable
from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_aggregates, read_snapshot
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.features.updates import EVENT_FIELDS, update_from_event
from decision_engine.small_integers import ColumnUnreadable, code_column, code_flags, decode_column, decode_flags
from decision_engine.triggers.memory import Contact, Memory, Phase, Seen, Sent, Told
from decision_engine.triggers.memory_codec import MemoryUnreadable, decode_memory, encode_memory
from event_schemas.codec import decode
from event_schemas.topics import STATE_TOPICS, topic_for
from loadtests.fuzz_targets import GOLDEN_EVENTS, Target, as_text
from loadtests.fuzz_targets_log import DEMO
from models.errors import EvidenceUnreadable
from models.online.evidence import Cell, CellKey
from models.online.impressions import Counted, Pending
from models.online.stored import cell_key, read_cell, read_option, written_cell, written_option
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.redis_decision_store import tracked_option
from services.api.screens.sealed_tokens import sealed, unsealed
from services.commands.rebuild_from_archive import ArchivePlan
from services.use_cases.leads.marks import read_mark
from services.use_cases.leads.work import read_closed
from services.workers.attributor_values import StoredMemory, is_erased, read_memory, written_memory

NOW = 1_795_254_600_123
_DAY = 86_400_000
_NOT_OURS = (ValueError, KeyError, TypeError, AttributeError)
"""What readers of our own small documents say that they raise."""
_NUMBERS = (0, 1, 255, 65_535, 3, 3, 3, 3)


def targets() -> list[Target]:
    """The values of one customer, and those beside them."""
    features = compile_features(load_strategy_file(DEMO).declarations, EVENT_FIELDS)
    return [*_of_customers(features), *_beside(), *_columns()]


def _of_customers(features: CompiledFeatures) -> list[Target]:
    states = tuple(_states(features))
    records = [
        ContactRecord(b"tracking", 1, 2, 3, 4, status, flags, NOW - n * _DAY, NOW + n, NOW, 0.0)
        for n, (status, flags) in enumerate(((1, 0), (2, 1), (6, 2), (4, 128)))
    ]
    ledgers = (encode_records(records), encode_records(records[:1]))
    attributed = written_memory(StoredMemory(_attribution(), _positions(), 4))
    refused = (StateUnreadable,)
    return [
        Target(name="state: snapshot", samples=states, decode=_Snapshot(features), refuses=refused, weight=4),
        Target(name="state: fold", samples=states, decode=_Fold(features), refuses=refused, weight=4),
        Target(name="contact ledger", samples=ledgers, decode=decode_records, refuses=(LedgerUnreadable,), weight=2),
        Target(
            name="trigger memory", samples=(_memory(),), decode=_rewritten, refuses=(MemoryUnreadable,), weight=3
        ),
        Target(
            name="attribution memory", samples=(attributed,), decode=_attributed, refuses=(AttributionUnreadable,),
            weight=2,
        ),
    ]  # fmt: skip


def _beside() -> list[Target]:
    cell = written_cell(Cell(NOW, [1.0, 0.5, 0.0], [9.0, 3.25, 1e-9]))
    pending = Pending(NOW, CellKey("m-1", "gold.mobile.main", "young"), 0.25, NOW, NOW + 5, Counted(NOW, 3, None))
    option = {
        "tracking_id": "01J.0", "decision_id": "01J", "customer_id": "retail:1", "offer": "gold", "group": "cards",
        "issue": "grow", "treatment": "gold.mobile.main", "channel": "mobile", "placement": "home_banner",
        "decided_ms": NOW, "expires_ms": NOW + _DAY,
    }  # fmt: skip
    mark = {"by": "lin", "stage": "taken", "at_ms": NOW, "result": None, "offer": "gold"}
    closed = {
        "id": "01J", "decision_id": "01J", "customer_id": "retail:1", "trigger": "t", "title": "T", "grade": None,
        "stage": "done", "result": "accept", "offer": "gold", "at_ms": NOW,
    }  # fmt: skip
    plan = ArchivePlan(positions={("bank.profile", 3): 17}, marks={("bank.profile", 3): "0a1b"}, bundles=8).encoded()
    token = sealed("an access token", "of this session").encode()
    refused = (EvidenceUnreadable,)
    return [
        Target(name="evidence: cell", samples=(cell,), decode=read_cell, refuses=refused),
        Target(name="evidence: name", samples=(b"m\x1ft\x1fs",), decode=_name, refuses=refused, weight=0.5),
        Target(name="evidence: option", samples=(written_option(pending),), decode=read_option, refuses=refused),
        Target(name="option of a response", samples=(orjson.dumps(option),), decode=tracked_option),
        Target(name="mark of a lead", samples=(orjson.dumps(mark),), decode=read_mark, refuses=_NOT_OURS),
        Target(name="closed lead", samples=(orjson.dumps(closed),), decode=read_closed, refuses=_NOT_OURS, weight=0.5),
        Target(name="plan of a rebuild", samples=(plan,), decode=ArchivePlan.decoded, refuses=_NOT_OURS, weight=0.5),
        Target(name="sealed session token", samples=(token,), decode=_opened, weight=0.5),
    ]


def _columns() -> list[Target]:
    columns = (code_column(np.array(_NUMBERS)), code_column(np.array([7] * 300)), code_column(np.arange(20)))
    flags = code_flags(np.array([True, False] * 10))
    refused = (ColumnUnreadable,)
    return [
        Target(
            name="coded column", samples=tuple(c.encode() for c in columns), refuses=refused,
            decode=lambda value: decode_column(as_text(value), 8),
        ),
        Target(
            name="coded flags", samples=(flags.encode(),), refuses=refused,
            decode=lambda value: decode_flags(as_text(value), 20),
        ),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Snapshot:
    features: CompiledFeatures

    def __call__(self, value: bytes) -> None:
        read_snapshot(self.features, value, NOW)
        read_aggregates(self.features, value, NOW)


@dataclass(frozen=True, slots=True)
class _Fold:
    """What is folded onto a damaged state can be read, or the state is refused."""

    features: CompiledFeatures

    def __call__(self, value: bytes) -> None:
        updates = [
            Update(event_key=7, source="bank.profile.updated", time_ms=NOW, attributes={"age": 41}),
            Update(event_key=8, source="bank.transaction.posted", time_ms=NOW, fields={"amount": 5, "kind": "fee"}),
        ]
        fold(self.features, value, [PositionedUpdate(n, 10**9 + n, update) for n, update in enumerate(updates)])


def _states(features: CompiledFeatures) -> list[bytes]:
    """One of a few events, and one of many."""
    events = [decode(path.read_bytes()) for path in sorted(GOLDEN_EVENTS.glob("bank.*.json"))]
    golden = [
        PositionedUpdate(0, number, update_from_event(event))
        for number, event in enumerate(events)
        if topic_for(event.type) in STATE_TOPICS and event.type != "bank.customer.erased"
    ]
    draw = Random(1)
    many = [
        Update(
            event_key=draw.getrandbits(56), source="bank.transaction.posted", time_ms=NOW - draw.randrange(200) * _DAY,
            fields={
                "amount": draw.randrange(10**6), "direction": draw.choice(("debit", "credit")), "kind": "card_payment",
                "category": draw.choice(("food", "travel", "salary")), "counterparty": f"shop {draw.randrange(9)}",
            },
        )
        for _ in range(120)
    ]  # fmt: skip
    few = fold(features, None, golden).value
    return [few, fold(features, few, [PositionedUpdate(1, n, update) for n, update in enumerate(many)]).value]


def _memory() -> bytes:
    memory = Memory(3, 2**40)
    memory.progress[7, None] = [Seen(step=1, time_ms=NOW, key=9, armed=True, fields={"amount": 5, "é": "x"})]
    memory.progress[7, 12] = [Seen(step=0, time_ms=NOW - 5, key=10), Seen(step=1, time_ms=NOW, key=11)]
    memory.contacts.append(
        Contact(
            trigger=5, cause=6, by_timer=True, at_ms=NOW, same=4, wave=1, phase=Phase.PLANNED, intent=b'{"a":1}',
            fields={"n": 1}, sent=[Sent(0, 77, NOW + 9)],
        )
    )  # fmt: skip
    memory.fired[5] = NOW
    memory.moments[6] = Told(value_ms=NOW, waiting=True)
    memory.positions[2] = 99
    return encode_memory(memory) or b""


def _rewritten(value: bytes) -> None:
    encode_memory(decode_memory(value))


def _positions() -> list[int]:
    return [3] * len(read_memory(None).positions)


def _attribution() -> AttributionMemory:
    touch = Touch(
        tracking_id="01J.0", offer="gold", treatment="gold.mobile.main", channel="mobile", placement="home_banner",
        arm="full", experiments={"e": "a"}, offered_ms=NOW, seen_ms=NOW, engaged_ms=None, facts=3,
    )  # fmt: skip
    option = DecidedOption(tracking_id="01K.0", offer="gold", treatment="t", placement="p")
    decided = Decided(decision_id="01K", at_ms=NOW, channel="mobile", arm="full", experiments={}, options=(option,))
    conversion = Conversion(
        id="c1", at_ms=NOW, offers=("gold",), cause_type="bank.product.opened", cause_id="core/1", outcome=None,
        tracking_id=None, value=100,
    )  # fmt: skip
    return AttributionMemory(
        newest_ms=NOW,
        erased_ms=0,
        touches={"01J.0": touch},
        unseen={"01K": decided},
        conversions={"c1": conversion},
        published={"c1": Published(1, "0a", settled=False)},
    )


def _attributed(value: bytes) -> None:
    is_erased(value)
    written_memory(read_memory(value))


def _name(value: bytes) -> None:
    cell_key(as_text(value))


def _opened(value: bytes) -> None:
    unsealed(as_text(value), "of this session")
