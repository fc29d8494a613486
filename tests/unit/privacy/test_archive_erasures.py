"""Erased people in archive files: taken out whole, wherever the archiver was killed, and not taken in again."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from event_schemas.topics import DEAD_LETTERS, DECISIONS, PROFILE_UPDATES, TRANSACTIONS
from models.decision_log.state_snapshots import SnapshotRow, write_states
from services.adapters.archive_erasures import NOTES, ArchiveErasures
from services.adapters.parquet_archive import ArchiveReader, ParquetArchive
from services.ports import Delivery
from services.use_cases.erasure.pseudonyms import Pseudonyms

MORNING = datetime(2026, 3, 2, 8, tzinfo=UTC)
GONE, OTHER = "retail:70", "retail:7"
PSEUDONYMS = Pseudonyms(b"a key that is long enough")
NOON = MORNING + timedelta(hours=4)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.adapters.parquet_archive._sync_one", lambda _: None)
    monkeypatch.setattr("services.adapters.archive_erasures._sync", lambda _: None)


class Killed(BaseException):
    """The process ends here."""


class Log:
    """Records of a few partitions, with offsets."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {}

    def record(self, topic: str, kind: str, subject: str, at: datetime, data: object = None) -> Delivery:
        offset = self._offsets[topic] = self._offsets.get(topic, -1) + 1
        header = {"id": f"{topic}-{offset}", "type": kind, "subject": subject, "time": at.isoformat()}
        event = {**header, "data": data or {}}
        return Delivery(topic, 0, offset, subject.encode(), orjson.dumps(event), ())

    def raw(self, topic: str, key: bytes | None, value: bytes) -> Delivery:
        offset = self._offsets[topic] = self._offsets.get(topic, -1) + 1
        return Delivery(topic, 0, offset, key, value, ())


def erasures(tmp_path: Path) -> ArchiveErasures:
    return ArchiveErasures(tmp_path / "archive", tmp_path / "snapshots", PSEUDONYMS, lambda: 1_000)


def archive(
    tmp_path: Path, deliveries: Sequence[Delivery], on_step: Callable[[str], None] = lambda _: None
) -> ArchiveErasures:
    """Takes records in, partition by partition, as an archiver that begins now would."""
    kept = erasures(tmp_path)
    with ParquetArchive(tmp_path / "archive", on_step, erasures=kept) as writer:
        by_topic: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            known = writer.positions().get((delivery.topic, 0))
            if known is None or delivery.offset >= known.next_offset:
                by_topic.setdefault(delivery.topic, []).append(delivery)
        for records in by_topic.values():
            writer.append(records)
    return kept


def person(tmp_path: Path, customer: str) -> list[tuple[str, bytes]]:
    return ArchiveReader(tmp_path / "archive").of_person(customer)


def lives(log: Log) -> list[Delivery]:
    """What two people leave behind before noon."""
    return [
        log.record(topic, kind, customer, MORNING + timedelta(minutes=minute))
        for minute in range(6)
        for topic, kind in ((TRANSACTIONS, "bank.transaction.posted"), (DECISIONS, "nbo.decision.made"))
        for customer in (GONE, OTHER)
    ]


def erasure(log: Log, at: datetime = NOON) -> Delivery:
    return log.record(PROFILE_UPDATES, "bank.customer.erased", GONE, at)


def test_every_record_of_the_person_goes_and_no_other_changes(tmp_path: Path) -> None:
    log = Log()
    archive(tmp_path, lives(log))
    before = person(tmp_path, OTHER)
    kept = archive(tmp_path, [erasure(log)])
    assert person(tmp_path, GONE) == []
    assert person(tmp_path, OTHER) == before
    ((name, account), (_, snapshots)) = kept.untold()
    assert name == PSEUDONYMS.of(GONE)
    assert (account.place, account.removed, account.left) == ("archive", {"records": 12, "files": 2}, 0)
    assert snapshots.removed == {}
    assert GONE not in (tmp_path / "archive" / NOTES).read_text()


@pytest.mark.parametrize("step", ["files staged", "files renamed", "erasures carried out", "position written"])
def test_a_kill_anywhere_leaves_an_erasure_that_is_carried_out_the_next_time(tmp_path: Path, step: str) -> None:
    log = Log()
    archive(tmp_path, lives(log))
    last = erasure(log)

    def killing(name: str) -> None:
        if name == step:
            raise Killed

    with pytest.raises(Killed):
        archive(tmp_path, [last], killing)
    archive(tmp_path, [last])
    assert person(tmp_path, GONE) == []
    assert len(person(tmp_path, OTHER)) == 12


def test_what_comes_late_and_is_of_before_is_not_taken_in(tmp_path: Path) -> None:
    log = Log()
    archive(tmp_path, [*lives(log), erasure(log)])
    archive(tmp_path, lives(log))
    assert person(tmp_path, GONE) == []
    assert len(person(tmp_path, OTHER)) == 24


def test_what_the_bank_says_after_the_erasure_counts_once_a_consent_was_granted(tmp_path: Path) -> None:
    log = Log()
    early, late = NOON + timedelta(hours=1), NOON + timedelta(hours=3)
    archive(tmp_path, [*lives(log), erasure(log)])
    archive(tmp_path, [log.record(TRANSACTIONS, "bank.transaction.posted", GONE, early)])
    assert person(tmp_path, GONE) == []
    consent = {"purpose": "marketing", "granted": True}
    archive(tmp_path, [log.record(PROFILE_UPDATES, "bank.consent.changed", GONE, NOON + timedelta(hours=2), consent)])
    archive(tmp_path, [log.record(TRANSACTIONS, "bank.transaction.posted", GONE, late)])
    assert [orjson.loads(value)["type"] for _, value in person(tmp_path, GONE)] == [
        "bank.consent.changed",
        "bank.transaction.posted",
    ]


def test_who_leaves_and_comes_back_within_one_flush_keeps_what_came_after(tmp_path: Path) -> None:
    log = Log()
    consent = {"purpose": "marketing", "granted": True}
    records = [
        log.record(PROFILE_UPDATES, "bank.consent.changed", OTHER, NOON + timedelta(days=2), consent),
        erasure(log),
        log.record(PROFILE_UPDATES, "bank.consent.changed", GONE, NOON + timedelta(days=2), consent),
    ]
    archive(tmp_path, [*lives(log), *records])
    archive(tmp_path, [log.record(TRANSACTIONS, "bank.transaction.posted", GONE, NOON + timedelta(days=3))])
    assert [orjson.loads(value)["type"] for _, value in person(tmp_path, GONE)] == [
        "bank.consent.changed",
        "bank.transaction.posted",
    ]


def test_a_decision_made_after_the_erasure_is_kept(tmp_path: Path) -> None:
    log = Log()
    archive(tmp_path, [*lives(log), erasure(log)])
    archive(tmp_path, [log.record(DECISIONS, "nbo.decision.made", GONE, NOON + timedelta(minutes=1))])
    assert len(person(tmp_path, GONE)) == 1


def test_dead_letters_and_unreadable_records_that_name_the_person_go(tmp_path: Path) -> None:
    log = Log()
    broken = b'{"subject": "retail:70", broken'
    letter = orjson.dumps({
        "id": "x", "type": "nbo.dead_letter", "subject": f"{TRANSACTIONS}/0/1", "time": MORNING.isoformat(),
        "data": {"key_base64": None, "payload_base64": b64encode(broken).decode()},
    })  # fmt: skip
    other = orjson.dumps({"id": "y", "subject": "t/0/2", "data": {"payload_base64": b64encode(b"retail:700").decode()}})
    letters = [log.raw(DEAD_LETTERS, b"k", letter), log.raw(DEAD_LETTERS, b"k", other)]
    archive(tmp_path, [log.raw(TRANSACTIONS, None, broken), *letters])
    archive(tmp_path, [erasure(log)])
    left = [pq.read_table(path, partitioning=None) for path in (tmp_path / "archive").rglob("p*.parquet")]
    values = [value for table in left for value in table.column("value").to_pylist()]
    assert values == [other.decode()]


def test_snapshots_lose_the_person_except_those_of_a_later_relationship(tmp_path: Path) -> None:
    rows = [
        SnapshotRow(customer_id=customer, holdings=frozenset(), personalised=True, attributes={"a": 1})
        for customer in (GONE, OTHER)
    ]
    for day in (date(2026, 2, 28), date(2026, 6, 30)):
        write_states(tmp_path / "snapshots", day, rows)
    log = Log()
    archive(tmp_path, [erasure(log)])
    names = {
        path.stem: pq.read_table(path).column("customer_id").to_pylist()
        for path in (tmp_path / "snapshots").glob("*.parquet")
    }
    assert names == {"2026-02-28": [OTHER], "2026-06-30": [GONE, OTHER]}


def test_what_was_done_is_told_once_and_also_after_a_restart(tmp_path: Path) -> None:
    log = Log()
    archive(tmp_path, [*lives(log), erasure(log)])
    again = erasures(tmp_path)
    again.open()
    assert [account.place for _, account in again.untold()] == ["archive", "snapshots"]
    again.told(2)
    later = erasures(tmp_path)
    later.open()
    assert later.untold() == []
    archive(tmp_path, [erasure(log, NOON + timedelta(days=1))])
    last = erasures(tmp_path)
    last.open()
    assert [account.erased_ms for _, account in last.untold()] == [
        int((NOON + timedelta(days=1)).timestamp() * 1000)
    ] * 2


def test_a_broken_last_line_of_the_notes_is_passed_over(tmp_path: Path) -> None:
    log = Log()
    archive(tmp_path, [*lives(log), erasure(log)])
    with (tmp_path / "archive" / NOTES).open("ab") as notes:
        notes.write(b'{"person": "abc')
    archive(tmp_path, lives(log))
    assert person(tmp_path, GONE) == []
