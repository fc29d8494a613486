"""The archive holds every record of the log exactly once, wherever the archiver was killed."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from event_schemas.topics import DECISIONS, RESPONSES, TRANSACTIONS
from models.decision_log.archive_files import TimeRange, archive_files
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.adapters.parquet_archive import ArchiveReader, ArchiveUnusable, ParquetArchive, record_mark
from services.ports import BusUnavailable, Delivery, OutgoingEvent
from services.workers.archiver import Archiver, FlushPolicy, LogReplaced

EVENING = datetime(2026, 3, 2, 23, 50, tzinfo=UTC)
AT_ONCE = FlushPolicy(rows=1, seconds=0.0)
STEPS = ("files staged", "file renamed", "files renamed", "position written")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses no written page; what only a power cut could lose is not what these tests are about."""
    if request.node.get_closest_marker("servers") is None:
        monkeypatch.setattr("services.adapters.parquet_archive._sync_one", lambda _: None)


def event(number: int, topic: str = DECISIONS, **data: object) -> bytes:
    moment = (EVENING + timedelta(minutes=number)).isoformat().replace("+00:00", "Z")
    return orjson.dumps({"id": f"{topic}-{number}", "type": "t", "subject": "retail:1", "time": moment, "data": data})


class ListedLog:
    """A log in memory: what a real broker cannot do is stop between two exact steps of the archiver."""

    def __init__(self, records: list[Delivery], at_a_time: int = 7) -> None:
        self.records = records
        self.at_a_time = at_a_time
        self.next: dict[tuple[str, int], int] = {}
        self.failures = 0

    def seek(self, positions: Mapping[tuple[str, int], int]) -> None:
        self.next |= positions

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]:
        if self.failures:
            self.failures -= 1
            raise BusUnavailable
        found = [r for r in self.records if r.offset >= self.next.get((r.topic, r.partition), 0)][: self.at_a_time]
        for record in found:
            self.next[record.topic, record.partition] = record.offset + 1
        return found


class Killed(BaseException):
    """The process ends here."""


def killer(step: str, occurrence: int) -> Callable[[str], None]:
    seen = 0

    def on_step(name: str) -> None:
        nonlocal seen
        seen += name == step
        if name == step and seen == occurrence:
            raise Killed

    return on_step


async def archive_all(root: Path, log: ListedLog, on_step: Callable[[str], None] = lambda _: None) -> None:
    with ParquetArchive(root, on_step) as archive:
        archiver = Archiver(log, archive, AT_ONCE, record_mark)
        archiver.resume()
        while True:
            before = dict(log.next)
            await archiver.step()
            if log.next == before:
                return


def archived(root: Path) -> list[tuple[str, int, int, bytes | None]]:
    reader = ArchiveReader(root)
    return sorted((e.topic, e.partition, e.offset, e.value) for e in reader.read_events((DECISIONS, RESPONSES)))


def two_topics(count: int = 30) -> list[Delivery]:
    return [
        Delivery(topic, partition, offset, b"retail:1", event(offset * 2 + partition, topic), ())
        for offset in range(count // 2)
        for topic in (DECISIONS, RESPONSES)
        for partition in (0, 1)
    ]


def expected(records: list[Delivery]) -> list[tuple[str, int, int, bytes | None]]:
    return sorted((r.topic, r.partition, r.offset, r.value) for r in records)


@pytest.mark.parametrize("occurrence", [1, 6])
@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_between_two_steps_loses_and_doubles_nothing(tmp_path: Path, step: str, occurrence: int) -> None:
    records = two_topics()
    with pytest.raises(Killed):
        await archive_all(tmp_path, ListedLog(records), killer(step, occurrence))
    await archive_all(tmp_path, ListedLog(records, at_a_time=4))
    assert archived(tmp_path) == expected(records)
    assert list(tmp_path.rglob(".p*")) == []


async def test_being_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    records = two_topics(60)
    kills = 0
    for round_ in range(40):
        try:
            await archive_all(tmp_path, ListedLog(records, 3 + round_ % 5), killer(STEPS[round_ % 4], 1 + round_ % 3))
        except Killed:
            kills += 1
        else:
            break
    await archive_all(tmp_path, ListedLog(records))
    assert kills >= 10
    assert archived(tmp_path) == expected(records)


@pytest.mark.parametrize("occurrence", [1, 3])
@pytest.mark.parametrize("step", ["merge staged", "merge renamed", "part deleted"])
async def test_small_files_are_merged_and_a_kill_meanwhile_loses_and_doubles_nothing(
    tmp_path: Path, step: str, occurrence: int
) -> None:
    records = [Delivery(DECISIONS, 0, i, None, event(0), ()) for i in range(100)]
    with pytest.raises(Killed):
        await archive_all(tmp_path, ListedLog(records, at_a_time=2), killer(step, occurrence))
    so_far = archived(tmp_path)
    assert so_far == expected(records[: len(so_far)])
    await archive_all(tmp_path, ListedLog(records, at_a_time=2))
    assert archived(tmp_path) == expected(records)
    assert len(list(tmp_path.rglob("*.parquet"))) < 20


async def test_a_reader_that_listed_the_files_before_a_merge_still_finds_every_record(tmp_path: Path) -> None:
    records = [Delivery(DECISIONS, 0, i, None, event(0, decision_id=f"D{i}"), ()) for i in range(40)]
    await archive_all(tmp_path, ListedLog(records[:15], at_a_time=1))
    reading = ArchiveReader(tmp_path).read_events((DECISIONS,))
    first = next(reading)
    await archive_all(tmp_path, ListedLog(records, at_a_time=1))
    assert [first.offset, *(e.offset for e in reading)] == list(range(15))
    assert ArchiveReader(tmp_path).read_decision("D3") == records[3].value


async def test_records_lie_in_the_folder_of_their_own_day_and_are_found_by_time(tmp_path: Path) -> None:
    records = [Delivery(DECISIONS, 0, i, None, event(i), ()) for i in range(20)]
    await archive_all(tmp_path, ListedLog(records, at_a_time=20))
    days = {file.day: (file.first, file.last) for file in archive_files(tmp_path, DECISIONS)}
    assert days == {"2026-03-02": (0, 9), "2026-03-03": (10, 19)}
    wanted = TimeRange(since_ms=round((EVENING + timedelta(minutes=12)).timestamp() * 1000))
    assert [e.offset for e in ArchiveReader(tmp_path).read_events((DECISIONS,), wanted)] == list(range(12, 20))


async def test_what_is_no_event_is_kept_too(tmp_path: Path) -> None:
    values = [None, b"", b"\xff\xfe no text", b"[1]", b'{"id": 7}', b'{"time": "0001-01-01T00:00:00+14:00"}']
    log = ListedLog([Delivery(DECISIONS, 0, i, None, value, ()) for i, value in enumerate(values)])
    await archive_all(tmp_path, log)
    await archive_all(tmp_path, ListedLog(log.records))
    kept = list(ArchiveReader(tmp_path).read_events((DECISIONS,)))
    assert [e.offset for e in kept] == list(range(len(values)))
    assert kept[0].value is None and kept[2].value == rb"\xff\xfe no text"
    assert all(e.event_id is None for e in kept)


async def test_binary_mode_is_kept_as_the_structured_event(tmp_path: Path) -> None:
    headers = (("ce_id", b"e1"), ("ce_type", b"bank.x"), ("ce_time", b"2026-03-02T10:00:00Z"), ("other", b"1"))
    await archive_all(tmp_path, ListedLog([Delivery(DECISIONS, 0, 0, None, b'{"amount": 3}', headers)]))
    (kept,) = ArchiveReader(tmp_path).read_events((DECISIONS,))
    assert kept.event_id == "e1" and kept.value is not None
    assert orjson.loads(kept.value)["data"] == {"amount": 3}


async def test_a_decision_is_found_by_its_id(tmp_path: Path) -> None:
    values = [event(i, decision_id=f"D{i}") for i in range(20)]
    await archive_all(tmp_path, ListedLog([Delivery(DECISIONS, 0, i, None, v, ()) for i, v in enumerate(values)]))
    reader = ArchiveReader(tmp_path)
    assert [reader.read_decision(f"D{i}") for i in (0, 11, 19)] == [values[0], values[11], values[19]]
    assert reader.read_decision("D20") is None
    assert list(reader.iter_decisions()) == values
    assert list(reader.iter_responses()) == []


async def test_a_log_that_was_recreated_is_not_mixed_with_the_old_one(tmp_path: Path) -> None:
    await archive_all(tmp_path, ListedLog([Delivery(DECISIONS, 0, i, None, event(i), ()) for i in range(9)]))
    other = [Delivery(DECISIONS, 0, i, None, event(i + 100), ()) for i in range(12)]
    with pytest.raises(LogReplaced, match="KAIROS_ARCHIVE_PATH"):
        await archive_all(tmp_path, ListedLog(other))
    assert [e.offset for e in ArchiveReader(tmp_path).read_events((DECISIONS,))] == list(range(9))


async def test_records_the_bus_dropped_meanwhile_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await archive_all(tmp_path, ListedLog([Delivery(DECISIONS, 0, i, None, event(i), ()) for i in range(5)]))
    await archive_all(tmp_path, ListedLog([Delivery(DECISIONS, 0, i, None, event(i), ()) for i in range(8, 10)]))
    assert "offsets 5 to 7 were not retained" in caplog.text
    assert [e.offset for e in ArchiveReader(tmp_path).read_events((DECISIONS,))] == [0, 1, 2, 3, 4, 8, 9]


async def test_an_absent_bus_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.workers.archiver._RETRY_SECONDS", 0.0)
    log = ListedLog([Delivery(DECISIONS, 0, 0, None, event(0), ())])
    log.failures = 3
    with ParquetArchive(tmp_path) as archive:
        archiver = Archiver(log, archive, AT_ONCE, record_mark)
        for _ in range(4):
            await archiver.step()
    assert archiver.archived == 1


async def test_records_wait_for_company_until_told_to_stop(tmp_path: Path) -> None:
    log = ListedLog([Delivery(DECISIONS, 0, i, None, event(i), ()) for i in range(10)], at_a_time=4)
    stopping = asyncio.Event()
    with ParquetArchive(tmp_path) as archive:
        archiver = Archiver(log, archive, FlushPolicy(rows=8, seconds=3600.0), record_mark)
        archiver.resume()
        await archiver.step()
        assert archiver.archived == 0
        await archiver.step()
        assert archiver.archived == 8
        await archiver.step()
        stopping.set()
        await archiver.run(stopping)
        assert archiver.archived == 10


@pytest.mark.parametrize(
    ("rest_s", "written"), [(5.0, [0, 0, 0, 2, 2, 2, 2, 2, 2]), (0.0, [0, 0, 0, 2, 2, 2, 3, 6, 6])]
)
async def test_what_is_urgent_is_written_at_once_and_then_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest_s: float, written: list[int]
) -> None:
    """As an erasure is, for which all files are gone through: not again and again while many are asked for."""
    monkeypatch.setattr("services.workers.archiver.URGENT_REST_SECONDS", rest_s)
    monkeypatch.setattr("services.workers.archiver._URGENT_REST", rest_s)
    log = ListedLog([Delivery(DECISIONS, i % 3, i // 3, None, event(i), ()) for i in range(9)], at_a_time=1)
    urgent = {(0, 1), (0, 2), (1, 2)}

    def is_urgent(delivery: Delivery) -> bool:
        return (delivery.partition, delivery.offset) in urgent

    found = []
    with ParquetArchive(tmp_path) as archive:
        policy = FlushPolicy(rows=1000, seconds=3600.0)
        archiver = Archiver(log, archive, policy, record_mark, is_urgent=is_urgent)
        archiver.resume()
        for _ in range(9):
            await archiver.step()
            found.append(archiver.archived)
    assert found == written


def test_a_second_archiver_is_refused(tmp_path: Path) -> None:
    with ParquetArchive(tmp_path), pytest.raises(ArchiveUnusable, match="another archiver"), ParquetArchive(tmp_path):
        pass
    with ParquetArchive(tmp_path):
        """The lock went with its holder."""


def test_a_damaged_position_stops_the_start(tmp_path: Path) -> None:
    with ParquetArchive(tmp_path) as archive:
        archive.append([Delivery(DECISIONS, 0, 0, None, event(0), ())])
    (tmp_path / "_positions" / f"{DECISIONS}.p0.json").write_text("{}")
    with pytest.raises(ArchiveUnusable, match="damaged"), ParquetArchive(tmp_path):
        pass


def test_records_that_are_archived_already_are_refused(tmp_path: Path) -> None:
    with ParquetArchive(tmp_path) as archive:
        archive.append([Delivery(DECISIONS, 0, 0, None, event(0), ())])
        with pytest.raises(ArchiveUnusable, match="already archived"):
            archive.append([Delivery(DECISIONS, 0, 0, None, event(0), ())])


@pytest.mark.servers
async def test_the_archive_of_a_real_bus_is_complete_over_restarts(servers: object, tmp_path: Path) -> None:
    address = str(servers.bootstrap_servers)  # type: ignore[attr-defined]
    from event_schemas.topics import ALL_TOPICS

    await ensure_topics(address, ALL_TOPICS, partitions=3, replication=1)
    topics = (TRANSACTIONS, DECISIONS)
    published: list[tuple[str, int, int]] = []
    async with KafkaEventPublisher(address, idempotence=False) as publisher:
        for round_ in range(3):
            events = [
                OutgoingEvent(topic=topic, key=f"retail:{n % 11}", value=event(n, topic))
                for n in range(round_ * 100, round_ * 100 + 100)
                for topic in topics
            ]
            published += await publisher.publish(events)
            with ParquetArchive(tmp_path / "archive") as archive:
                async with KafkaEventStream(address, topics) as stream:
                    archiver = Archiver(stream, archive, AT_ONCE, record_mark)
                    archiver.resume()
                    async with asyncio.timeout(30):
                        while archiver.archived < 200:
                            await archiver.step()
    kept = list(ArchiveReader(tmp_path / "archive").read_events(topics))
    assert sorted((e.topic, e.partition, e.offset) for e in kept) == sorted(published)
    assert {e.event_id for e in kept} == {f"{topic}-{n}" for topic in topics for n in range(300)}
