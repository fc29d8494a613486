"""How contestants are measured beside one another, and what is made of it."""

import pytest

from loadtests import side_by_side
from loadtests.server_processes import Round, Server
from loadtests.side_by_side import KAIROS_1000, NAIVE, Row, decisions_result, measured_rounds

SERVERS = [Server(name=name, port=1, path="/", body="", pid=1) for name in (KAIROS_1000, NAIVE, "other")]


def rows(kairos_cpu: float) -> list[Row]:
    cpu = {KAIROS_1000: kairos_cpu, NAIVE: 1.0, "other": 2.0}
    return [
        Row(name=name, connections=count, found=Round(1_000.0, 1.0, 2.0, cpu[name]))
        for count in (1, 16)
        for name in cpu
    ]


def test_every_round_begins_with_another_contestant_and_all_are_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def one_round(server: Server, **_: object) -> Round:
        asked.append(server.name)
        return Round(float(len(asked)), 1.0, 2.0, 0.5)

    monkeypatch.setattr(side_by_side, "closed_loop_round", one_round)
    monkeypatch.setattr(side_by_side, "CONNECTIONS", (1,))
    found = measured_rounds(SERVERS, 1.0, 3)

    names = [server.name for server in SERVERS]
    assert asked[:3] == names  # to warm up
    assert asked[3:] == [*names, *names[1:], names[0], names[2], *names[:2]]
    assert [row.name for row in found] == names
    assert found[0].found.requests_per_s == 9.0  # the median of the 4th, 9th and 11th


def test_the_product_is_judged_beside_the_naive_application_by_processor_time() -> None:
    assert [verdict.holds for verdict in decisions_result(rows(0.5), {}).verdicts] == [True]
    assert [verdict.holds for verdict in decisions_result(rows(0.51), {}).verdicts] == [False]


def test_versions_of_the_others_stand_in_the_result() -> None:
    assert list(decisions_result(rows(0.5), {"Feast:": "feast 0.67.0"}).notes) == ["Feast: feast 0.67.0"]
