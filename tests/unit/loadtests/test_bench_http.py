"""Decisions beside the naive application in a closed loop: the table and its verdict."""

import json

import pytest

from loadtests.bench_http import BASELINE_BODY, BUSY, CONNECTIONS, KAIROS, NAIVE, PRODUCT_BODY, result_of


def rows(kairos_per_s: float, kairos_cpu_ms: float = 0.4):
    own = {"requests_per_s": kairos_per_s, "p50_ms": 4.0, "p99_ms": 9.0, "cpu_ms": kairos_cpu_ms}
    naive = {"requests_per_s": 1000.0, "p50_ms": 8.0, "p99_ms": 20.0, "cpu_ms": 1.0}
    return [
        {"server": name, "connections": connections} | figures
        for connections in CONNECTIONS
        for name, figures in ((KAIROS, own), (NAIVE, naive))
    ]


@pytest.mark.parametrize(("per_s", "holds"), [(2000.0, True), (1999.0, False)])
def test_twice_the_requests_a_second_of_the_naive_application_are_wanted(per_s, holds) -> None:
    (verdict,) = result_of(rows(per_s)).verdicts

    assert verdict.holds is holds
    assert f"{per_s:,.0f}/s beside 1,000/s" in verdict.measured
    assert "by processor time 2.50 times" in verdict.measured


def test_every_row_has_its_ratio_to_the_naive_application_at_as_many_connections() -> None:
    table = result_of(rows(3000.0)).tables[0]

    assert [row[:2] + row[-2:] for row in table.rows if row[1] == BUSY] == [
        [KAIROS, BUSY, 3.0, 2.5],
        [NAIVE, BUSY, 1.0, 1.0],
    ]


def test_both_are_asked_for_a_customer_by_number_with_a_request_id_of_its_own() -> None:
    for body in (PRODUCT_BODY, BASELINE_BODY):
        asked = json.loads(body % (17, 4))

        assert (asked["request_id"], asked["customer_id"]) == ("r-17", "retail:4")
