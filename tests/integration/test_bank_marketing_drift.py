"""The bank marketing data at small size: refitting ranks and calibrates better than a frozen model, on real drift."""

import numpy as np
import pytest

from loadtests.bank_calls import ARCHIVE, CALENDAR, Calls, read_calls
from loadtests.bank_marketing import ALL_ALIKE, figures, first_look, fitted_on, settings
from models.drift.findings import DriftLimits, drift_report
from models.drift.reference import REFERENCE_FILE, decode_reference

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"{ARCHIVE} is not there: KAIROS_DATA says where the data are"),
]


@pytest.fixture(scope="module")
def calls() -> Calls:
    return read_calls()


def test_the_years_follow_from_the_months_and_no_duration_is_a_column(calls: Calls) -> None:
    assert len(calls) == 45_211
    assert {int(year): int((calls.years == year).sum()) for year in (2008, 2009, 2010)} == {
        2008: 27_729,
        2009: 14_862,
        2010: 2_620,
    }
    assert "duration" not in {column.name for column in calls.examples.schema.columns}
    assert bool((np.diff(calls.examples.decided_ms) >= 0).all())


def test_a_model_made_anew_is_better_on_the_next_calls_than_one_frozen_before(calls: Calls) -> None:
    rows = slice(42_000, 45_000)
    labels, matrix = calls.examples.labels[rows], calls.examples.matrix[rows]
    frozen = figures(
        "frozen", labels, fitted_on(calls, 20_000, 31_000, settings(half_life=ALL_ALIKE)).scorer.score(matrix)
    )
    anew = figures("anew", labels, fitted_on(calls, 31_000, 42_000, settings()).scorer.score(matrix))
    assert anew.auc[1] > frozen.auc[0]
    assert anew.calibration_error < frozen.calibration_error / 2
    assert frozen.predicted_to_observed < 0.5


def test_the_alarm_is_silent_in_the_first_calls_and_fires_in_2009(calls: Calls) -> None:
    def alarms(start: int) -> tuple[str, ...]:
        model = fitted_on(calls, max(0, start - 8_000), start, settings())
        block = calls.between(start, start + 1_000)
        reference = decode_reference(model.files[REFERENCE_FILE])
        limits = DriftLimits(recent_rows=1_000, calendar=CALENDAR)
        found = drift_report("v", reference, block, model.scorer.score(block.matrix), limits)
        return tuple(figure.kind.value for figure in found.alarms)

    assert first_look(calls) == 7_000
    assert alarms(7_000) == () and alarms(8_000) == () and alarms(9_000) == ()
    assert calls.years[31_000] == 2009 and alarms(31_000) == ("calibration",)
