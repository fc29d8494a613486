"""The whole report of a version: from an archive to one page and one JSON text with the same figures."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from event_schemas.codec import decode
from event_schemas.topics import DECISIONS, PROFILE_UPDATES, RESPONSES
from models.decision_log.archive_files import ARCHIVE_SCHEMA, day_folder, file_name
from models.decision_log.labelled_rows import LogQuery
from models.errors import EvaluationRefused
from models.evaluation.full_report.bank_books import read_books
from models.evaluation.full_report.customer_groups import group_by
from models.evaluation.full_report.holdout_uplift import NO_HOLDOUT, OPENED
from models.evaluation.full_report.report_building import ReportRequest, build_report
from models.evaluation.full_report.report_content import EvaluationReport
from models.evaluation.full_report.report_json import encode_report, report_json
from models.evaluation.full_report.report_page import report_page
from models.evaluation.full_report.report_summary import summary_lines
from models.prior_scorer import PriorScorer
from models.training.fit import FittedModel

SECTIONS = ("measures", "calibration", "lift", "uplift", "slices", "importance", "explained", "stability", "fairness",
            "policy")  # fmt: skip
ROWS = 1_500


def write(root: Path, topic: str, values: list[bytes]) -> None:
    """An archive file as the archiver writes it."""
    rows = []
    for offset, value in enumerate(values):
        event = json.loads(value)
        told = {name: event["data"].get(name) for name in ("decision_id", "tracking_id", "outcome")}
        head = {"type": event["type"], "subject": event["subject"], "time": decode(value).time}
        rows.append({"partition": 0, "offset": offset, "value": value.decode(), **head, **told})
    folder = day_folder(root, topic, "2026-03-02")
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=ARCHIVE_SCHEMA), folder / file_name(0, 0, len(values) - 1))


def bank_event(kind: str, number: int, at: str, data: dict[str, object]) -> bytes:
    return json.dumps(
        {"specversion": "1.0", "id": f"{kind}-{number}-{at}", "source": "bank", "type": kind,
         "subject": f"retail:{number}", "time": at, "data": data}
    ).encode()  # fmt: skip


@pytest.fixture(scope="module")
def query(log: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> LogQuery:
    """Every fifth customer is in the holdout; of all, women are 20, the others 40 years old; a third open a card."""
    root = tmp_path_factory.mktemp("archive")
    decisions, responses = log.make_log(ROWS, seed=9)
    changed = []
    for number, value in enumerate(decisions):
        event = json.loads(value)
        event["data"]["attributes"]["segment"] = "affluent" if number % 100 else "private"
        if number % 5 == 0:
            event["data"] |= {"arm": "holdout", "placements": [{"id": "home_banner", "options": []}]}
        changed.append(json.dumps(event).encode())
    profiles = []
    for number in range(ROWS):
        gender = "female" if number % 2 else "male"
        told = {"gender": gender, "age": 20 if number % 2 else 40}
        profiles.append(bank_event("bank.profile.updated", number, "2026-03-01T00:00:00Z", {"attributes": told}))
        if number % 3 == 0 and number % 5:
            opened = {"product": "gold"}
            profiles.append(bank_event("bank.product.opened", number, "2026-03-20T00:00:00Z", opened))
    profiles.append(bank_event("bank.customer.erased", 1, "2026-03-21T00:00:00Z", {}))
    write(root, DECISIONS, changed)
    kept = [value for value in responses if int(json.loads(value)["data"]["decision_id"][1:]) % 5]
    write(root, RESPONSES, kept)
    write(root, PROFILE_UPDATES, profiles)
    zone = ZoneInfo("Asia/Shanghai")
    return LogQuery(model="cross_sell", archive=root, offers=log.OFFERS, zone=zone, attribution_seconds=30)


@pytest.fixture(scope="module")
def request_of(query: LogQuery, log: ModuleType, fitted: FittedModel) -> ReportRequest:
    middle = round(log.START.timestamp() * 1000) + 300 * 60_000
    return ReportRequest(
        query=query,
        manifest=replace(fitted.draft, version="cross_sell-1", data=None),
        judged_since_ms=middle,
        groups=(group_by("gender"), group_by("age:30"), group_by("nowhere")),
        segment="segment",
        products=frozenset({"gold"}),
        described={"spend": "Spend <of> the month"},
        others={"cross_sell-0": fitted.scorer},
        seed=3,
    )


@pytest.fixture(scope="module")
def report(request_of: ReportRequest, fitted: FittedModel) -> EvaluationReport:
    return build_report(request_of, fitted.scorer, lambda _: None)


class Outline(HTMLParser):
    """Which sections there are, which tags were opened and not closed, what would be fetched or run, and the text."""

    VOID = frozenset({"meta", "br", "path", "polyline", "polygon", "circle", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sections: list[str] = []
        self.foreign: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "section":
            self.sections.append(str(named["id"]))
        if tag in {"script", "link", "img", "iframe", "object"}:
            self.foreign.append(tag)
        self.foreign += [f"{name}={named[name]}" for name in ("src", "href", "style")
                         if not str(named.get(name) or "#").startswith("#")]  # fmt: skip
        self.foreign += [name for name in named if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_has_every_section_and_needs_nothing_from_elsewhere(report: EvaluationReport) -> None:
    page = report_page(report)
    outline = Outline()
    outline.feed(page)
    assert tuple(outline.sections) == SECTIONS
    assert (outline.open, outline.foreign) == ([], [])
    assert not re.search(r"https?:|//[a-z]|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    assert "Spend <of> the month" in "".join(outline.text), "what comes from data is escaped"
    assert page.count("<svg") > 12
    assert "nan" not in re.sub(r"<[^>]*>", " ", page).lower().split()
    assert not re.search(r'(points|d|x|y|cx|cy|width|height)="[^"]*(nan|inf)', page)


def test_page_and_json_hold_the_same_figures(report: EvaluationReport) -> None:
    plain, page = report_json(report), report_page(report)
    measures = plain["measures"]
    assert isinstance(measures, dict)
    assert f"{measures['auc']['value']:.4f}" in page
    for line in (f"{report.calibration.error:.4f}", f"{report.head.rows:,} options"):
        assert line in page


def test_the_same_log_and_seed_give_the_same_bytes(
    report: EvaluationReport, request_of: ReportRequest, fitted: FittedModel
) -> None:
    again = build_report(request_of, fitted.scorer, lambda _: None)
    assert encode_report(again) == encode_report(report)
    assert report_page(again) == report_page(report)


def keys(value: object) -> object:
    """The shape of a JSON value: names of objects, and the shape of a list's first element."""
    if isinstance(value, dict):
        return {name: keys(inner) for name, inner in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value else None


ESTIMATE = {"value": None, "low": None, "high": None}
CALIBRATION = {
    "points": [{"rows": None, "predicted": None, "observed": ESTIMATE, "outside": None}],
    "error": None, "predicted_to_observed": None,
}  # fmt: skip
LIFT = {"points": [{"share": None, "reached": None, "lift": None}], "area": None, "best_area": None}
BAND = {"band": None, "treated": None, "control": None, "treated_mean": None, "control_mean": None, "uplift": ESTIMATE}
UPLIFT = {
    "against": None, "outcome": None,
    "curve": {
        "customers": None, "treated": None, "control": None, "uplift": ESTIMATE, "coefficient": ESTIMATE,
        "points": [{"share": None, "gain": ESTIMATE, "at_random": None}], "bands": [BAND],
        "replicates": None, "seed": None,
    },
    "slices": [
        {"title": None, "part": None, "customers": None, "treated": None, "control": None, "uplift": ESTIMATE,
         "coefficient": ESTIMATE}
    ],
    "suppressed": None,
}  # fmt: skip
SLICE = {
    "title": None, "part": None, "rows": None, "customers": None, "acceptance": ESTIMATE, "predicted": None,
    "auc": ESTIMATE, "log_loss": ESTIMATE, "log_loss_base_rates": ESTIMATE, "gain": ESTIMATE,
    "calibration": CALIBRATION, "lift": LIFT,
}  # fmt: skip
GROUP = {
    "group": None, "customers": None, "decisions": None, "offer_rate": ESTIMATE, "ratio": None,
    "below_four_fifths": None, "rows": None, "acceptance": ESTIMATE, "predicted": None, "gap": ESTIMATE,
    "auc": ESTIMATE, "value": ESTIMATE,
}  # fmt: skip


def test_the_json_keeps_its_shape(report: EvaluationReport) -> None:
    """Whoever reads the JSON relies on these names; a change of them raises the format."""
    found = keys(json.loads(encode_report(report)))
    assert isinstance(found, dict)
    head = found.pop("head")
    assert set(head) == {
        "model", "version", "kind", "created_at", "label", "attribution_seconds", "learnt_until_ms", "first_ms",
        "last_ms", "rows", "positives", "customers", "decisions", "learnt_rows_judged", "least_rows", "seed",
    }  # fmt: skip
    assert set(found.pop("measures")) == {
        "auc", "log_loss", "log_loss_base_rates", "log_loss_gain", "calibration_error", "predicted_to_observed",
        "rows", "positives",
    }  # fmt: skip
    groups = found["fairness"][0]["groups"][0]
    assert {**groups, "ratio": None} == GROUP
    found["fairness"][0]["groups"] = [GROUP]
    assert found == {
        "format": None,
        "calibration": CALIBRATION,
        "lift": LIFT,
        "slices": [{"title": None, "slices": [SLICE], "suppressed": None}],
        "uplift": {"comparisons": [UPLIFT], "statements": None},
        "importance": {
            "rows": None, "seed": None, "unused": None, "agreement": ESTIMATE,
            "columns": [{"column": None, "source": None, "described": None, "gain_share": None, "mean_shap": None}],
        },
        "stability": {
            "reference_rows": None, "importance_agreement": ESTIMATE,
            "shifts": [{"part": None, "rows": None, "mean_score": None, "index": None}],
            "weeks": [{"week": None, "rows": None, "accepted": None, "auc": ESTIMATE}],
            "agreements": [{"version": None, "rank_correlation": None, "auc": ESTIMATE}],
        },
        "fairness": [
            {"attribute": None, "groups": [GROUP], "unknown": None, "suppressed": None, "statement": None}
        ],
        "fairness_note": None,
        "policy": found["policy"],
        "explained": None,
    }  # fmt: skip
    assert set(found["policy"]) == {"report", "statement"}


def test_holdout_and_served_are_compared_by_the_banks_own_events(report: EvaluationReport) -> None:
    """A third of the served opened a card, nobody of the holdout."""
    (found,) = report.uplift.comparisons
    assert (found.against, found.outcome) == ("the holdout", OPENED)
    assert (found.curve.treated, found.curve.control) == (959, 240)  # the last window is still open
    assert found.curve.uplift.value == pytest.approx(1 / 3, abs=0.01)


def test_groups_come_from_the_banks_events_where_no_record_has_them(report: EvaluationReport) -> None:
    by = {table.attribute: table for table in report.fairness}
    assert by.keys() == {"gender", "age"}, "what nobody is known to have is no table"
    assert [group.group for group in by["gender"].groups] == ["female", "male"]
    assert [group.group for group in by["age"].groups] == ["30 and over", "under 30"]
    assert all(group.offer_rate.value == 1.0 for group in by["gender"].groups), "the holdout is left out"
    assert report.fairness_note == ""


def test_parts_of_few_rows_are_counted_and_not_shown(report: EvaluationReport) -> None:
    """No one of the twelve private customers decided for is outside the holdout, so that part is not there at all."""
    tables = {table.title: table for table in report.slices}
    assert [one.part for one in tables["segment"].slices] == ["affluent"]
    assert all(one.rows >= 30 for table in report.slices for one in table.slices)
    assert all(group.customers >= 30 for table in report.fairness for group in table.groups)


def test_shifts_are_against_what_was_learnt_from_and_other_fits_are_compared(report: EvaluationReport) -> None:
    stability = report.stability
    assert stability.reference_rows == 192
    assert stability.shifts[0].part == "validation"
    assert stability.shifts[-1].part == "all judged"
    (other,) = stability.agreements
    assert (other.version, other.rank_correlation) == ("cross_sell-0", pytest.approx(1.0))


def test_a_version_without_trees_and_a_log_without_holdout_are_reported_as_such(
    request_of: ReportRequest, query: LogQuery, fitted: FittedModel
) -> None:
    prior = PriorScorer("cross_sell-prior")
    report = build_report(replace(request_of, others={}, groups=(), products=frozenset()), prior, lambda _: None)
    assert report.importance is None
    assert "no groups" in report.fairness_note
    assert not report.uplift.comparisons and NO_HOLDOUT not in report.uplift.statements
    page = report_page(report)
    assert "no trees" in page and "no uplift against them is given" in page


def test_too_few_rows_are_refused(request_of: ReportRequest, fitted: FittedModel) -> None:
    with pytest.raises(EvaluationRefused, match="at least 30"):
        build_report(replace(request_of, judged_since_ms=1 << 45), fitted.scorer, lambda _: None)


def test_the_summary_names_every_section_with_a_figure(report: EvaluationReport) -> None:
    text = "\n".join(summary_lines(report))
    for title in (
        "AUC",
        "lift of the best tenth",
        "uplift against the holdout",
        "Qini",
        "stability index",
        "by gender",
    ):
        assert title in text


def test_books_forget_the_erased_and_unreadable_events(query: LogQuery) -> None:
    books = read_books(query.archive, ["gender"], ["gold"])
    assert "retail:1" not in books.attributes["gender"]
    assert books.attributes["gender"]["retail:3"][0][1] == "female"
    assert "retail:3" in books.opened and "retail:15" not in books.opened
    assert not read_books(query.archive, [], ["silver"]).opened
    assert np.isfinite(list(books.opened["retail:3"])).all()
