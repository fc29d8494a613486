"""Results of measurements as files, and the page that draws them."""

import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from loadtests import report
from loadtests.open_loop.tally import Outcome, Tally
from loadtests.open_loop.telling import curve_plot
from loadtests.results import Line, Plot, Result, ResultUnreadable, Table, Verdict, describe, read, read_all, write
from loadtests.svg_plot import HEIGHT, TOP, WIDTH, axis_of, draw

LINES = [Line("p50", [(100, 1.5), (200, 2.0)]), Line("p99 <slow>", [(100, 4.0), (200, 900.0)])]
PLOT = Plot(title="Latency & load", x="decisions a second", y="ms", lines=LINES)
BARS = Plot(
    title="Stages", x="", y="us", kind="bars", labels=["half", "all"], lines=[Line("rules", [(0, 60.0), (1, 70.0)])]
)
TABLE = Table("Processes", ["process", "CPU"], [["api", 0.5], ["<valkey>", 1234567.0]])


def result(**overrides) -> Result:
    values = {
        "figures": {"p99_ms": 3.25},
        "plots": [PLOT, BARS],
        "tables": [TABLE],
        "verdicts": [Verdict("tail", "p99 < 8 ms", "9 ms", holds=False), Verdict("rate", ">= 2", "3", holds=True)],
        "notes": ["measured on a busy machine"],
    }
    return describe("http-capacity", "Decisions over HTTP", **(values | overrides))


def test_a_result_is_read_as_it_was_written(tmp_path) -> None:
    written = result()

    path = write(written, tmp_path)

    found = read(path)
    assert path.name == "http-capacity.json"
    assert found.figures == {"p99_ms": 3.25}
    assert found.plots[0].lines[1].points == [(100.0, 4.0), (200.0, 900.0)]
    assert found.plots[1].labels == ["half", "all"]
    assert found.tables[0].rows == TABLE.rows
    assert [verdict.holds for verdict in found.verdicts] == [False, True]
    assert (found.measured_at, found.commit, found.command) == (written.measured_at, written.commit, written.command)


def test_a_result_says_when_where_and_under_what_load_it_was_measured() -> None:
    found = result()

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.measured_at)
    assert {"processor", "cores", "memory_gib", "system", "load_1m"} <= set(found.machine)
    assert {"python", "numpy", "lightgbm"} <= set(found.versions)
    assert found.command


def test_what_is_not_a_number_is_left_out() -> None:
    nothing = math.nan
    found = result(
        figures={"p99_ms": nothing, "rate": 1.0},
        plots=[replace(PLOT, lines=[Line("p50", [(1, nothing), (2, 3)])])],
        tables=[Table("t", ["a"], [[nothing]])],
    )

    assert found.figures == {"rate": 1.0}
    assert found.plots[0].lines[0].points == [(2, 3)]
    assert found.tables[0].rows == [["-"]]


def test_a_later_run_takes_the_place_of_an_earlier_one(tmp_path) -> None:
    write(result(), tmp_path)
    write(result(figures={"p99_ms": 1.0}), tmp_path)

    assert [found.figures for found in read_all(tmp_path)] == [{"p99_ms": 1.0}]


@pytest.mark.parametrize("name", ["", "Http", "a/b", "../up", "-x", "a" * 70])
def test_a_name_that_is_no_file_s_is_refused(name) -> None:
    with pytest.raises(ValueError, match="name"):
        describe(name, "title")


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: found.pop("plots"),
        lambda found: found.update(format=99),
        lambda found: found.update(surprise=1),
        lambda found: found["plots"][0]["lines"][0].update(points="none"),
    ],
)
def test_a_damaged_result_is_named(tmp_path, damage) -> None:
    path = write(result(), tmp_path)
    found = json.loads(path.read_text())
    damage(found)
    path.write_text(json.dumps(found))

    with pytest.raises(ResultUnreadable, match=r"http-capacity\.json"):
        read(path)


def svg(plot: Plot) -> ET.Element:
    return ET.fromstring(draw(plot))


def tags(element: ET.Element, name: str) -> list[ET.Element]:
    return [each for each in element.iter() if each.tag.endswith(name)]


def test_a_plot_has_a_line_and_a_legend_for_each_name_and_tells_its_values() -> None:
    drawn = svg(PLOT)

    assert len(tags(drawn, "polyline")) == 2
    assert [title.text for title in tags(drawn, "title")][-1] == "p99 <slow>: 200, 900"
    assert {"p50", "p99 <slow>", "decisions a second", "ms"} <= {text.text for text in tags(drawn, "text")}


@pytest.mark.parametrize("log", [False, True])
def test_every_point_is_inside_the_plot_and_higher_values_are_higher(log) -> None:
    drawn = svg(replace(PLOT, log_x=log, log_y=log))

    for line, polyline in zip(LINES, tags(drawn, "polyline"), strict=True):
        places = [tuple(map(float, pair.split(","))) for pair in polyline.attrib["points"].split()]
        assert all(0 <= x <= WIDTH and TOP - 0.1 <= y <= HEIGHT for x, y in places)
        assert len(places) == len(line.points)
        assert places[0][0] < places[1][0]
        assert places[0][1] > places[1][1]


def test_a_logarithmic_axis_leaves_out_what_is_not_above_zero() -> None:
    drawn = svg(replace(PLOT, log_y=True, lines=[Line("a", [(1, 0.0), (2, 5.0), (3, 7.0)])]))

    assert len(tags(drawn, "polyline")[0].attrib["points"].split()) == 2


def test_bars_are_stacked_to_their_sum() -> None:
    plot = replace(BARS, lines=[Line("rules", [(0, 60.0)]), Line("model", [(0, 40.0), (1, 50.0)])])

    bars = [bar.attrib for bar in tags(svg(plot), "rect") if tags(bar, "title")]

    heights = [float(bar["height"]) for bar in bars]
    assert heights[0] / heights[1] == pytest.approx(1.5, rel=0.02)  # rules and model of the first
    assert float(bars[1]["y"]) + heights[1] == pytest.approx(float(bars[0]["y"]), abs=0.2)
    assert heights[2] == 0.0


def test_a_plot_without_points_says_so() -> None:
    assert "nothing was measured" in draw(replace(PLOT, lines=[Line("a", [])]))
    assert "above zero" in draw(replace(PLOT, log_y=True, lines=[Line("a", [(1, 0.0)])]))


def test_ticks_are_round_numbers_that_hold_all_values() -> None:
    axis = axis_of([3.0, 97.0], 0, 100, log=False, floor=0.0)

    values = [value for value, _ in axis.ticks]
    assert values == [0, 20, 40, 60, 80, 100]
    assert [axis.place(value) for value in (0, 50, 100)] == [0, 50, 100]
    assert [text for _, text in axis_of([0.02, 5_000.0], 0, 1, log=True).ticks] == [
        "0.01", "0.1", "1", "10", "100", "1,000", "10k",
    ]  # fmt: skip


def test_the_page_has_every_target_plot_and_table_and_lets_nothing_out_of_its_quotes() -> None:
    page = report.page([result()], datetime(2026, 1, 1, tzinfo=UTC))

    assert page.count("<svg") == 2
    assert page.count(">MISSED<") == 2  # in the summary and in its section
    assert "&lt;valkey&gt;" in page
    assert "<valkey>" not in page
    assert "measured on a busy machine" in page
    assert "1,234,567" in page


def test_the_command_writes_the_page(tmp_path, monkeypatch, capsys) -> None:
    write(result(), tmp_path)
    monkeypatch.setattr("sys.argv", ["report", "--folder", str(tmp_path)])

    assert report.main() == 0
    assert "1 results, 1 targets missed" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_without_results_or_with_a_damaged_one_there_is_no_page(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["report", "--folder", str(tmp_path)])
    assert report.main() == 1
    assert "make bench" in capsys.readouterr().err

    (tmp_path / "x.json").write_text("{")
    assert report.main() == 1
    assert "x.json" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_a_percentile_curve_keeps_its_ends_and_few_points_between() -> None:
    held = Tally(0.1)
    for number in range(1, 20_001):
        held.count(Outcome("200", True, False, False, number / 1e5, number / 1e5), 0)

    (line,) = curve_plot({"half": held}).lines

    assert len(line.points) < 1_100
    assert line.points[-1][1] == 200.0
    assert [latency for _, latency in line.points] == sorted(latency for _, latency in line.points)
    ninety_nine = next(latency for one_in, latency in line.points if one_in >= 100)
    assert ninety_nine == pytest.approx(held.accepted.percentile_ms(99), rel=0.01)
