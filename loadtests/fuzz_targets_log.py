"""Readers of the log: events of every type, acts, decision records, messages, and the headers of records."""

from dataclasses import dataclass
from pathlib import Path

import orjson

from decision_engine.attribution_rules import CompiledAttribution, compile_attribution
from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.fold import fold
from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import EVENT_FIELDS, update_from_event
from decision_engine.prepared import PreparedStrategy, prepare
from event_schemas.codec import DecodeError, decode, encode
from event_schemas.plain import decode_plain, plain_event
from event_schemas.topics import CONTROL, DECISIONS, RESPONSES, STATE_TOPICS, topic_for
from loadtests.fuzz_targets import GOLDEN_EVENTS, ROOT, Disagreement, Target
from models.decision_log.records import logged_decision, logged_response
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.parquet_archive import _rows_by_day as rows_by_day
from services.adapters.parquet_archive import record_mark
from services.ports import Delivery
from services.use_cases.decision_record import RecordUnreadable, record_data
from services.use_cases.event_batches import read_batch
from services.use_cases.governance.audit import exported_lines, verified
from services.use_cases.governance.chain import Chain
from services.use_cases.governance.fold import GovernanceFold
from services.use_cases.leads.lead import read_lead
from services.use_cases.leads.results import LeadResults
from services.use_cases.outbound_messages import OutboundUnreadable, read_outbound
from services.workers.attributor_facts import FactReader, FactUnreadable
from services.workers.dead_letters import dead_letter
from services.workers.guard_window import GuardWindow
from services.workers.online_facts import OnlineFactUnreadable, read_fact

DEMO = ROOT / "deploy" / "strategies" / "demo_bank"
GOLDEN_STRATEGY = ROOT / "tests" / "golden" / "decisions" / "strategy.yaml"
CUSTOMER = b"retail:1787"
_DECISION = GOLDEN_EVENTS / "nbo.decision.made.1.json"
_CODED = GOLDEN_EVENTS / "nbo.decision.made.coded.1.json"


def targets() -> list[Target]:
    """By golden file one of the codec; and who reads records further."""
    demo = load_strategy_file(DEMO)
    features = compile_features(demo.declarations, EVENT_FIELDS)
    attribution = compile_attribution(demo, EVENT_FIELDS)
    if attribution is None:
        raise ValueError("the demo bank attributes nothing")
    prepared = prepare(load_strategy_file(GOLDEN_STRATEGY))
    return [
        *[_event(path, features) for path in sorted(GOLDEN_EVENTS.glob("*.json"))],
        *_records(prepared),
        *_followers(attribution),
    ]


def _records(prepared: PreparedStrategy) -> list[Target]:
    everything = tuple(path.read_bytes() for path in sorted(GOLDEN_EVENTS.glob("*.json")))
    acts = _chained_acts()
    decisions = (_DECISION.read_bytes(), _CODED.read_bytes())

    def learnt(value: bytes) -> None:
        logged_decision(value, lambda _: prepared)
        logged_response(value)

    return [
        Target(name="batch of the state builder", samples=_with_headers(everything), decode=_batch, weight=4),
        Target(name="acts: governance fold", samples=acts, decode=_Governed(acts[0]), weight=3),
        Target(name="acts: export file and chain", samples=(exported_lines(acts), *acts), decode=_audited, weight=2),
        Target(name="record of a decision", samples=decisions, decode=record_data, refuses=(RecordUnreadable,)),
        Target(name="record as learning sees it", samples=decisions, decode=learnt, weight=2),
        Target(name="archived row", samples=_with_headers(everything), decode=_archived, weight=2),
    ]


def _followers(attribution: CompiledAttribution) -> list[Target]:
    samples = (_DECISION.read_bytes(), (GOLDEN_EVENTS / "nbo.response.recorded.1.json").read_bytes())
    outbound = tuple(path.read_bytes() for path in sorted(GOLDEN_EVENTS.glob("nbo.outbound.*.json")))
    events = tuple(path.read_bytes() for path in sorted(GOLDEN_EVENTS.glob("bank.*.json")))
    credited = ((GOLDEN_EVENTS / "nbo.conversion.attributed.1.json").read_bytes(),)
    facts, results, window = FactReader(attribution), LeadResults(), GuardWindow(10**12)

    def attributed(value: bytes) -> None:
        for topic in (DECISIONS, RESPONSES, *STATE_TOPICS):
            try:
                facts.read(_delivery(value, topic))
            except FactUnreadable:
                continue

    def guarded(value: bytes) -> None:
        window.take_decision(_delivery(value, DECISIONS))
        window.take_response(_delivery(value, RESPONSES))

    def learnt(value: bytes) -> None:
        for topic in (DECISIONS, RESPONSES):
            try:
                read_fact(_delivery(value, topic))
            except OnlineFactUnreadable:
                continue

    def message(value: bytes) -> None:
        found = read_outbound(_delivery(value, topic_for("nbo.outbound.offered")))
        if found is not None:
            read_lead(found)

    mend = (ValueError, KeyError, TypeError)
    return [
        Target(name="facts of attribution", samples=(*samples, *events), decode=attributed, weight=2),
        Target(name="window of the guard", samples=samples, decode=guarded),
        Target(name="facts of online learning", samples=samples, decode=learnt),
        Target(name="outbound message", samples=outbound, decode=message, refuses=(OutboundUnreadable, *mend)),
        Target(name="results of leads", samples=credited, decode=results.take, refuses=mend),
    ]


@dataclass(frozen=True, slots=True)
class _Event:
    """The codec for one type: typed and plain readers agree, and what is read is written and read again as it was; the
    state builder folds it."""

    features: CompiledFeatures

    def __call__(self, value: bytes) -> None:
        try:
            event = decode(value)
        except DecodeError:
            _must_refuse(value)
            raise
        if decode_plain(value) != plain_event(event):
            raise Disagreement("the plain reader reads something else")
        if decode(encode(event)) != event.model_copy(update={"dataschema": decode(encode(event)).dataschema}):
            raise Disagreement("what is written again is something else")
        if topic_for(event.type) in STATE_TOPICS:
            fold(self.features, None, [PositionedUpdate(0, 0, update_from_event(event))])


def _must_refuse(value: bytes) -> None:
    try:
        decode_plain(value)
    except DecodeError:
        return
    raise Disagreement("the plain reader takes what the codec refuses")


def _event(path: Path, features: CompiledFeatures) -> Target:
    name = path.name.removesuffix(".json")
    return Target(name=f"event {name}", samples=(path.read_bytes(),), decode=_Event(features), refuses=(DecodeError,))


def _delivery(value: bytes, topic: str, headers: tuple[tuple[str, bytes], ...] = ()) -> Delivery:
    return Delivery(topic, 0, 7, CUSTOMER, value, headers, 1_795_254_600_123)


def _with_headers(samples: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Records with their headers in front, each in the form `name=value` and a line end: some in binary mode."""
    found = [b"\n" + sample for sample in samples]
    for sample in samples:
        event = orjson.loads(sample)
        data = orjson.dumps(event.pop("data"))
        headers = {**event, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        found.append("".join(f"ce_{name}={text}\n" for name, text in headers.items()).encode() + b"\n" + data)
    return tuple(found)


def _parted(value: bytes) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    head, _, body = value.partition(b"\n\n") if not value.startswith(b"\n") else (b"", b"", value[1:])
    pairs = [line.partition(b"=") for line in head.split(b"\n")[:200] if line]
    return body, tuple((name.decode("utf-8", "replace"), text) for name, _, text in pairs)


def _batch(value: bytes) -> None:
    body, headers = _parted(value)
    deliveries = [_delivery(body, topic, headers) for topic in STATE_TOPICS[:3]]
    batch = read_batch(deliveries, 1_800_000_000_000)
    for refused in batch.unreadable:
        dead_letter(refused)


def _archived(value: bytes) -> None:
    body, headers = _parted(value)
    delivery = _delivery(body, DECISIONS, headers)
    record_mark(delivery)
    rows_by_day([delivery])


def _chained_acts() -> tuple[bytes, ...]:
    """Acts that follow a submission, so that they take effect; the submission first."""
    paths = sorted(GOLDEN_EVENTS.glob("nbo.control.*.json"), key=lambda path: "submitted" not in path.name)
    chain, found = Chain(), list[bytes]()
    for path in paths:
        event = orjson.loads(path.read_bytes())
        if "previous_hash" in event["data"]:
            head = chain.head
            event["data"] |= {
                "previous_hash": head.hash, "records": head.records, "records_hash": head.records_hash,
            }  # fmt: skip
        found.append(orjson.dumps(event))
        if len(found) == 1:
            chain.take(found[0])
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Governed:
    """The read model of governance after a submission and one more record."""

    submission: bytes

    def __call__(self, value: bytes) -> None:
        fold = GovernanceFold()
        fold.take(Delivery(CONTROL, 0, 0, b"act:0", self.submission, (), 0))
        for key in (b"act:1", b"k"):
            fold.take(Delivery(CONTROL, 0, 1, key, value, (), 0))


def _audited(value: bytes) -> None:
    verified([line or None for line in value.split(b"\n")], None, None)
