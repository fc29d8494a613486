"""A search of the archive finds what looking at every record finds, the newest first, however files came about."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_schemas.topics import DECISIONS
from services.adapters.archive_search import ArchiveSearch
from services.adapters.parquet_archive import ParquetArchive
from services.ports import Delivery
from services.use_cases.explain_decision import ArchiveBusy
from services.use_cases.observing.decision_search import (
    DecisionQuery,
    FoundDecisions,
    SearchDecisions,
    SearchInvalid,
    recognised,
)
from services.use_cases.wire_time import rfc3339

MIDNIGHT = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000
WHOLE = {"since_ms": MIDNIGHT - 30 * HOUR, "until_ms": MIDNIGHT + 30 * HOUR}


def record(number: int, at_ms: int, kind: int) -> dict[str, object]:
    """A decision; `kind` is a number whose digits say what it is like."""
    offers = [f"offer_{kind % 3}"] if kind % 4 else []
    answered: dict[str, object] = {"id": "home_banner"}
    if offers:
        answered["options"] = [{"rank": 1, "offer": offers[0], "treatment": "t", "tracking_id": f"{number}.0"}]
    else:
        answered |= {"fallback": "none", "fallback_cause": "HOLDOUT"}
    return {
        "decision_id": f"01J{number:023}",
        "request_id": f"req-{number}",
        "client": "app",
        "customer_id": f"retail:{kind % 5}",
        "time": rfc3339(at_ms),
        "channel": ("mobile", "sms")[kind % 2],
        "strategy_version": f"bank-{kind % 2}",
        "arm": ("full", "holdout")[kind % 3 == 0],
        "personalised": True,
        "degraded_causes": ["ledger_slow"] if kind % 7 == 0 else [],
        "placements": [answered],
        "placements_asked": [{"id": "home_banner", "count": 1}],
    }


def delivery(data: dict[str, object], partition: int, offset: int) -> Delivery:
    event = {"id": data["decision_id"], "type": "nbo.decision.made", "subject": data["customer_id"],
             "time": data["time"], "data": data}  # fmt: skip
    return Delivery(DECISIONS, partition, offset, b"key", orjson.dumps(event), ())


def archived(root: Path, flushes: Sequence[tuple[int, Sequence[dict[str, object]]]]) -> None:
    """Each flush is a partition and its records."""
    offsets = {0: count(), 1: count()}
    with ParquetArchive(root) as archive:
        for partition, records in flushes:
            archive.append([delivery(each, partition, next(offsets[partition])) for each in records])


async def pages(search: SearchDecisions, most: int, **wanted: object) -> list[str]:
    """The ids of every page, one behind the other."""
    found: list[str] = []
    before = None
    while True:
        page: FoundDecisions = await search(DecisionQuery(**WHOLE, most=most, before=before, **wanted))  # type: ignore[arg-type]
        assert page.complete_since_ms is None
        found += [one.decision_id for one in page.decisions]
        before = page.older
        if before is None:
            return found


KINDS = st.tuples(st.integers(-40, 40), st.integers(0, 60))
FLUSHES = st.lists(st.tuples(st.integers(0, 1), st.lists(KINDS, min_size=1, max_size=8)), max_size=8)
WANTED = (
    {},
    {"customer_id": "retail:2"},
    {"channel": "sms"},
    {"offer": "offer_1"},
    {"arm": "holdout", "strategy_version": "bank-1"},
    {"degraded": True},
    {"fallback": True, "customer_id": "retail:4"},
    {"channels": frozenset({"mobile"})},
)


def fits(data: dict[str, object], wanted: dict[str, object]) -> bool:
    answered = data["placements"][0]  # type: ignore[index]
    offers = [option["offer"] for option in answered.get("options", ())]
    tests = {
        "degraded": lambda _: bool(data["degraded_causes"]),
        "fallback": lambda _: "fallback_cause" in answered,
        "offer": lambda name: name in offers,
        "channels": lambda names: data["channel"] in names,
    }
    return all(tests.get(name, lambda value, name=name: data[name] == value)(value) for name, value in wanted.items())


@settings(max_examples=25, deadline=None)
@given(flushes=FLUSHES, wanted=st.sampled_from(WANTED), most=st.integers(1, 5))
async def test_pages_hold_what_looking_at_every_record_finds(
    flushes: list[tuple[int, list[tuple[int, int]]]], wanted: dict[str, object], most: int
) -> None:
    numbers = count()
    made = [
        (partition, [record(next(numbers), MIDNIGHT + hours * HOUR, kind) for hours, kind in kinds])
        for partition, kinds in flushes
    ]
    with TemporaryDirectory() as folder:
        archived(Path(folder), made)
        found = await pages(SearchDecisions(log=ArchiveSearch(Path(folder))), most, **wanted)
    everything = [data for _, records in made for data in records]
    first, last = rfc3339(WHOLE["since_ms"]), rfc3339(WHOLE["until_ms"])
    right = [data for data in everything if first <= str(data["time"]) < last and fits(data, wanted)]
    right.sort(key=lambda data: (str(data["time"]), str(data["decision_id"])), reverse=True)
    assert found == [data["decision_id"] for data in right]


async def test_a_decision_published_twice_stands_once(tmp_path: Path) -> None:
    twice = record(1, MIDNIGHT, 1)
    archived(tmp_path, [(0, [twice]), (0, [record(2, MIDNIGHT, 1), twice])])
    assert len(await pages(SearchDecisions(log=ArchiveSearch(tmp_path)), 10)) == 2


async def test_a_request_is_found_whatever_its_client_called_it(tmp_path: Path) -> None:
    odd = record(2, MIDNIGHT, 1) | {"request_id": 'a"b\\c'}
    archived(tmp_path, [(0, [record(1, MIDNIGHT, 1), odd])])
    assert await pages(SearchDecisions(log=ArchiveSearch(tmp_path)), 10, request_id='a"b\\c') == [odd["decision_id"]]


async def test_a_damaged_record_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    damaged = record(2, MIDNIGHT + 1, 1)
    del damaged["channel"]
    archived(tmp_path, [(0, [record(1, MIDNIGHT, 1), damaged, record(3, MIDNIGHT + 2, 1)])])
    assert len(await pages(SearchDecisions(log=ArchiveSearch(tmp_path)), 10)) == 2


async def test_a_search_that_runs_out_of_time_says_how_far_it_came(tmp_path: Path) -> None:
    archived(tmp_path, [(0, [record(1, MIDNIGHT - 3 * HOUR, 1)]), (1, [record(2, MIDNIGHT + HOUR, 1)])])
    ticks = iter([0.0, 1.0, 99.0])
    page = await SearchDecisions(log=ArchiveSearch(tmp_path, 4.0, lambda: next(ticks)))(DecisionQuery(**WHOLE))
    assert [one.decision_id for one in page.decisions] == [f"01J{2:023}"]
    assert page.complete_since_ms == MIDNIGHT - 3 * HOUR
    assert page.reaches_ms == MIDNIGHT + HOUR
    assert page.looked_at == 1


async def test_too_many_searches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.adapters.archive_search.WAITING", -1)
    with pytest.raises(ArchiveBusy):
        await SearchDecisions(log=ArchiveSearch(tmp_path))(DecisionQuery(**WHOLE))


async def test_an_empty_archive_holds_nothing(tmp_path: Path) -> None:
    search = ArchiveSearch(tmp_path / "none")
    assert await pages(SearchDecisions(log=search), 10) == []
    assert await search.responses("01J", 0, 1) == ([], True)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"since_ms": WHOLE["until_ms"]}, "from"),
        ({"since_ms": 0}, "from"),
        ({"customer_id": "1787"}, "customer_id"),
        ({"offer": "a b"}, "offer"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"arm": "组"}, "arm"),
    ],
)
async def test_a_search_that_cannot_be_made_names_its_field(
    tmp_path: Path, changed: dict[str, object], field: str
) -> None:
    with pytest.raises(SearchInvalid) as refused:
        await SearchDecisions(log=ArchiveSearch(tmp_path))(DecisionQuery(**{**WHOLE, **changed}))  # type: ignore[arg-type]
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("", "nothing", ""),
        ("01jd7zk3v8q4x9t2m5r6w7y8ab", "decision", "01JD7ZK3V8Q4X9T2M5R6W7Y8AB"),
        (" 01JD7ZK3V8Q4X9T2M5R6W7Y8AB.2", "tracking", "01JD7ZK3V8Q4X9T2M5R6W7Y8AB.2"),
        ("1787", "customer", "retail:1787"),
        ("corp:12", "customer", "corp:12"),
        ("6f1c2a9e", "request", "6f1c2a9e"),
    ],
)
def test_a_text_is_recognised_by_its_form(text: str, kind: str, name: str) -> None:
    assert recognised(text) == (kind, name)
