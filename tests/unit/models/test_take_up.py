"""Take-up on a bank made for the test: labels by date arithmetic, and the worth of transaction features."""

import gzip
import random
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decision_engine.features.definitions import AttributeInfo, AttributeType
from models.errors import EvaluationRefused
from models.evaluation.take_up_data import (
    Snapshot,
    attribute_schema,
    learnable,
    months_later,
    observe,
    read_first_loans,
    read_snapshot,
    without_transactions,
)
from models.training.take_up import FIT_DAYS, TEST_DAY, judge_take_up

JUNE_END = date(1993, 6, 30)


def info(name: str, source: str, kind: AttributeType = AttributeType.DOUBLE, definition: str = "") -> AttributeInfo:
    return AttributeInfo(
        name=name,
        type=kind,
        theme="basic",
        description={"en": name},
        source=source,
        default=None,
        definition=definition,
    )


DICTIONARY = {
    attribute.name: attribute
    for attribute in (
        info("age", "bank.profile.updated"),
        info("region", "bank.profile.updated", AttributeType.STRING),
        info("opened_at", "bank.profile.updated", AttributeType.TIMESTAMP),
        info("product_count", "bank.product.opened", AttributeType.INT),
        info("inflow_90d", "bank.transaction.posted"),
        info("inflow_per_year", "derived", definition="inflow_90d / max(1, age)"),
        info("twice_that", "derived", definition="2 * inflow_per_year"),
        info("age_squared", "derived", definition="age * age"),
    )
}


def write_loans(folder: Path, loans: list[tuple[int, date]]) -> None:
    lines = ['"loan_id";"account_id";"date";"amount";"duration";"payments";"status"']
    lines += [f'{n};{account};{day:%y%m%d};96396;12;8033.00;"B"' for n, (account, day) in enumerate(loans)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loan.asc.gz").write_bytes(gzip.compress("\n".join(lines).encode("latin-1")))


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """1,200 accounts whose inflow drives who takes a loan, some day in the two years."""
    draw = random.Random(4)
    inflow = {account: draw.random() for account in range(1, 1201)}
    loans = [
        (account, JUNE_END + timedelta(days=draw.randint(1, 600)))
        for account, height in inflow.items()
        if draw.random() < 0.9 * height**3
    ]
    write_loans(tmp_path / "data", loans)
    for day in (*FIT_DAYS, TEST_DAY):
        rows = {
            "customer_id": [f"retail:{account}" for account in inflow],
            "age": [20 + account % 50 for account in inflow],
            "region": [("north", "south")[account % 2] for account in inflow],
            "inflow_90d": [height + draw.gauss(0, 0.1) for height in inflow.values()],
            "product_count": [None for _ in inflow],
        }
        (tmp_path / "snapshots").mkdir(exist_ok=True)
        pq.write_table(pa.table(rows), tmp_path / "snapshots" / f"{day}.parquet")
    return tmp_path


def test_transaction_features_are_what_ranks_this_bank(bank: Path) -> None:
    report = judge_take_up(bank / "snapshots", bank / "data", DICTIONARY)
    everything, without = report.results
    assert everything.auc.value > 0.7 > 0.62 > without.auc.value
    assert (everything.columns, without.columns) == (3, 2)
    assert next(iter(everything.gain_by_source)) == "basic / bank.transaction.posted"
    assert sum(everything.gain_by_source.values()) == pytest.approx(1)


def test_an_attribute_is_free_of_transactions_only_if_all_it_is_made_of_is() -> None:
    assert without_transactions(DICTIONARY) == {"age", "region", "product_count", "age_squared"}
    assert learnable(DICTIONARY) == set(DICTIONARY) - {"opened_at"}


@pytest.mark.parametrize(
    ("granted", "expected"),
    [
        (date(1993, 6, 30), None),
        (date(1993, 1, 1), None),
        (date(1993, 7, 1), 1.0),
        (date(1993, 12, 30), 1.0),
        (date(1993, 12, 31), 0.0),
        (None, 0.0),
    ],
    ids=["on the day", "before", "the day after", "the last day", "a day late", "never"],
)
def test_who_counts_and_as_what(tmp_path: Path, granted: date | None, expected: float | None) -> None:
    write_loans(tmp_path, [] if granted is None else [(7, granted)])
    snapshot = Snapshot(day=JUNE_END, customers=("retail:7",), columns={"age": [41]})
    observed = observe(snapshot, read_first_loans(tmp_path), attribute_schema([snapshot], frozenset({"age"})), 6)
    assert observed.labels.tolist() == ([] if expected is None else [expected])
    assert observed.matrix.tolist() == ([] if expected is None else [[41.0]])


def test_the_first_loan_counts_where_there_are_two(tmp_path: Path) -> None:
    write_loans(tmp_path, [(7, date(1997, 1, 1)), (7, date(1994, 2, 3))])
    assert read_first_loans(tmp_path) == {"retail:7": date(1994, 2, 3)}


def test_months_end_where_the_month_does() -> None:
    assert months_later(date(1993, 8, 31), 6) == date(1994, 2, 28)
    assert months_later(date(1993, 9, 30), 6) == date(1994, 3, 30)
    assert months_later(date(1993, 12, 1), 1) == date(1994, 1, 1)


def test_texts_are_categories_and_the_unseen_is_missing() -> None:
    seen = Snapshot(day=JUNE_END, customers=("a", "b"), columns={"region": ["north", None], "flag": [True, False]})
    schema = attribute_schema([seen], frozenset({"region", "flag", "absent"}))
    later = Snapshot(day=JUNE_END, customers=("c",), columns={"region": ["west"], "flag": [True]})
    assert [column.name for column in schema.columns] == ["flag", "region"]
    assert np.isnan(observe(later, {}, schema, 6).matrix[0, 1])
    assert observe(seen, {}, schema, 6).matrix[0].tolist() == [1.0, 0.0]


def test_what_is_absent_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(EvaluationRefused, match="KAIROS_DATA"):
        read_first_loans(tmp_path)
    with pytest.raises(EvaluationRefused, match="kairos replay"):
        read_snapshot(tmp_path, JUNE_END)
    (tmp_path / "loan.asc.gz").write_bytes(b"no gzip")
    with pytest.raises(EvaluationRefused, match="not the loan file"):
        read_first_loans(tmp_path)
