"""The archive sorted by customer: everything once, of each customer in the order of the log, interrupted or not."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import orjson
import pyarrow.parquet as pq
import pytest

from event_schemas.topics import PROFILE_UPDATES, STATE_TOPICS, TRANSACTIONS
from models.decision_log.archive_files import ARCHIVE_SCHEMA, archive_files
from services.adapters.archive_bundles import ArchiveBundles
from services.adapters.parquet_archive import ArchiveUnusable, ParquetArchive, archived_positions
from services.ports import Delivery

START = datetime(2026, 1, 1, tzinfo=UTC)
Record = tuple[str, int, int, bytes | None, bytes | None, int]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.adapters.parquet_archive._sync_one", lambda _: None)


def record(topic: str, partition: int, offset: int, customer: str, moment: datetime) -> Delivery:
    event = {"id": f"{topic}{partition}-{offset}", "type": "t", "subject": customer, "time": moment.isoformat()}
    arrived_ms = round(moment.timestamp() * 1000) + 7
    return Delivery(topic, partition, offset, customer.encode(), orjson.dumps(event), (), arrived_ms)


def archived(root: Path, seed: int, flushes: int = 6, rows: int = 40) -> list[Delivery]:
    """A log of two topics and partitions in which some events come days late, so that days overlap."""
    draw, records = Random(seed), list[Delivery]()
    with ParquetArchive(root) as archive:
        for topic in (TRANSACTIONS, PROFILE_UPDATES):
            for partition in (0, 1):
                for flush in range(flushes):
                    batch = []
                    for row in range(rows):
                        late = timedelta(days=draw.randrange(6) if draw.random() < 0.1 else 0)
                        customer = f"retail:{draw.randrange(15) * 2 + partition}"
                        moment = START + timedelta(days=flush // 2, minutes=row) - late
                        batch.append(record(topic, partition, flush * rows + row, customer, moment))
                    archive.append(batch)
                    records += batch
    return records


def plain(deliveries: list[Delivery]) -> list[Record]:
    return sorted((d.topic, d.partition, d.offset, d.key, d.value, d.timestamp_ms) for d in deliveries)


def bundles(root: Path, positions: Mapping[tuple[str, int], int] | None = None) -> ArchiveBundles:
    ends = {partition: position.next_offset for partition, position in archived_positions(root).items()}
    return ArchiveBundles(root=root, folder=root / "sorted", positions=positions or ends, bundles=5)


def sorted_and_read(sorting: ArchiveBundles) -> list[list[Delivery]]:
    for partition in sorting.positions:
        sorting.sort(partition)
    return [portion for number in range(5) for portion in sorting.read(number, STATE_TOPICS)]


@pytest.mark.parametrize("seed", range(3))
def test_every_event_comes_once_and_each_customer_in_the_order_of_the_log(tmp_path: Path, seed: int) -> None:
    records = archived(tmp_path, seed)
    portions = sorted_and_read(bundles(tmp_path))
    assert plain([d for portion in portions for d in portion]) == plain(records)
    where: dict[bytes | None, int] = {}
    last: dict[tuple[bytes | None, str], int] = {}
    for number, portion in enumerate(portions):
        for delivery in portion:
            assert where.setdefault(delivery.key, number) == number, "a customer is in one portion"
            assert last.get((delivery.key, delivery.topic), -1) < delivery.offset
            last[delivery.key, delivery.topic] = delivery.offset


def test_what_came_after_the_plan_is_left_to_the_log(tmp_path: Path) -> None:
    records = archived(tmp_path, 1)
    ends = {(TRANSACTIONS, 0): 100, (PROFILE_UPDATES, 1): 7}
    found = [d for portion in sorted_and_read(bundles(tmp_path, ends)) for d in portion]
    assert plain(found) == plain([r for r in records if r.offset < ends.get((r.topic, r.partition), 0)])


def test_an_interrupted_partition_is_sorted_anew_and_a_sorted_one_is_not(tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(_: int) -> None:
        raise Interrupted

    records = archived(tmp_path, 2)
    sorting = bundles(tmp_path)
    with pytest.raises(Interrupted):
        sorting.sort((TRANSACTIONS, 0), interrupt)
    assert sorting.sort((TRANSACTIONS, 0)) == 240
    assert sorting.sort((TRANSACTIONS, 0), interrupt) == 240, "nothing was read"
    found = [d for portion in sorted_and_read(sorting) for d in portion]
    assert plain(found) == plain(records)


def test_files_from_before_keys_were_kept_are_keyed_by_their_subject(tmp_path: Path) -> None:
    """Also once they are merged with others. When their records arrived is not known."""
    records = archived(tmp_path, 3, flushes=2)
    for file in (f for topic in (TRANSACTIONS, PROFILE_UPDATES) for f in archive_files(tmp_path, topic)):
        table = pq.read_table(file.path, schema=ARCHIVE_SCHEMA, partitioning=None)
        pq.write_table(table.drop_columns(["key", "arrived"]), file.path)
    more = [[record(TRANSACTIONS, 0, 80 + i, "retail:0", START)] for i in range(20)]
    with ParquetArchive(tmp_path) as archive:
        for batch in more:
            archive.append(batch)
    found = [d for portion in sorted_and_read(bundles(tmp_path)) for d in portion]
    old = [record._replace(timestamp_ms=0) for record in records]
    assert plain(found) == plain([*old, *(d for batch in more for d in batch)])


def test_a_record_without_a_key_is_told_from_one_of_an_old_file(tmp_path: Path) -> None:
    keyless = Delivery(TRANSACTIONS, 0, 0, None, b'{"subject": "retail:1"}', ())
    with ParquetArchive(tmp_path) as archive:
        archive.append([keyless])
    assert sorted_and_read(bundles(tmp_path)) == [[keyless]]


def test_a_folder_without_an_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveUnusable, match="no archive"):
        archived_positions(tmp_path / "elsewhere")


def test_values_of_any_size_come_back(tmp_path: Path) -> None:
    large = Delivery(TRANSACTIONS, 0, 0, b"retail:1", b'"' + b"x" * 3_000_000 + b'"', ())
    with ParquetArchive(tmp_path) as archive:
        archive.append([large])
    ((found,),) = sorted_and_read(bundles(tmp_path))
    assert found == large
