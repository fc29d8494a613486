"""The plots of a report."""

from collections.abc import Iterable, Sequence
from itertools import chain

from models.evaluation.full_report.calibration_curve import CalibrationCurve
from models.evaluation.full_report.lift_curve import LiftCurve
from models.evaluation.full_report.qini import QiniCurve
from models.evaluation.full_report.score_stability import LARGE_SHIFT, SMALL_SHIFT, Shift, WeeklyRanking
from models.evaluation.full_report.svg_plot import (
    Axis,
    Frame,
    band,
    bar,
    dot,
    drawn,
    level,
    line,
    padded,
    whisker,
)

_SMALL = {"width": 118, "height": 84, "margins": (5, 5, 5, 5)}


def percent(value: float) -> str:
    """As few decimals as a tick needs."""
    return f"{value * 100:.6g} %"


def calibration_plot(curve: CalibrationCurve) -> str:
    """What was predicted across, what came upright, with exact intervals; the diagonal is perfect."""
    high = max([p.predicted for p in curve.points] + [p.observed.high for p in curve.points]) * 1.05 or 1.0
    frame = Frame(
        title="calibration: predicted against observed acceptance",
        x=Axis(low=0.0, high=high, title="predicted", shown=percent),
        y=Axis(low=0.0, high=high, title="observed, 95 % interval", shown=percent),
    )
    return drawn(frame, _calibration_marks(frame, curve))


def small_calibration(curve: CalibrationCurve) -> str:
    """The same for a cell of a table, without ticks."""
    high = max([p.predicted for p in curve.points] + [p.observed.high for p in curve.points]) * 1.05 or 1.0
    frame = Frame(
        title="calibration",
        x=Axis(low=0.0, high=high, categories=[""]),
        y=Axis(low=0.0, high=high, categories=[""]),
        **_SMALL,  # type: ignore[arg-type]
    )
    return drawn(frame, _calibration_marks(frame, curve))


def _calibration_marks(frame: Frame, curve: CalibrationCurve) -> Iterable[str]:
    yield line(frame, [(0.0, 0.0), (frame.x.high, frame.x.high)], "reference")
    yield line(frame, [(p.predicted, p.observed.value) for p in curve.points])
    for point in curve.points:
        yield whisker(frame, point.predicted, point.observed.low, point.observed.high)
        hint = f"{point.rows:,} rows: predicted {point.predicted:.2%}, observed {point.observed.value:.2%}"
        yield dot(frame, (point.predicted, point.observed.value), hint, "dot marked" if point.outside else "dot")


def gains_plot(curve: LiftCurve) -> str:
    """Acceptances reached, by share of the options taken from the top."""
    frame = Frame(
        title="gains: share of acceptances reached by share of options taken",
        x=Axis(low=0.0, high=1.0, title="options taken, highest probability first", shown=percent),
        y=Axis(low=0.0, high=1.0, title="acceptances reached", shown=percent),
    )
    return drawn(frame, _gains_marks(frame, curve))


def small_gains(curve: LiftCurve) -> str:
    """The same for a cell of a table."""
    whole = Axis(low=0.0, high=1.0, categories=[""])
    frame = Frame(title="gains", x=whole, y=whole, **_SMALL)  # type: ignore[arg-type]
    return drawn(frame, _gains_marks(frame, curve))


def _gains_marks(frame: Frame, curve: LiftCurve) -> Iterable[str]:
    perfect = 2.0 * (1.0 - curve.best_area)
    yield line(frame, [(0.0, 0.0), (perfect, 1.0), (1.0, 1.0)], "faint")
    yield line(frame, [(0.0, 0.0), (1.0, 1.0)], "reference")
    yield line(frame, [(0.0, 0.0), *((point.share, point.reached) for point in curve.points)])


def lift_plot(curve: LiftCurve) -> str:
    """How many times the acceptances of no ranking each tenth of the options holds."""
    reached = {round(point.share, 2): point.reached for point in curve.points} | {0.0: 0.0}
    tenths = [(reached[round(n / 10 + 0.1, 2)] - reached[round(n / 10, 2)]) * 10 for n in range(10)]
    frame = Frame(
        title="lift by tenth of the options",
        x=Axis(
            low=-0.5, high=9.5, title="tenth of the options, highest first", categories=[str(n + 1) for n in range(10)]
        ),
        y=Axis(low=0.0, high=padded([*tenths, 1.0])[1], title="times the mean acceptance"),
    )
    bars = (bar(frame, n, lift, f"tenth {n + 1}: {lift:.2f} times") for n, lift in enumerate(tenths))
    return drawn(frame, chain(bars, [level(frame, 1.0)]))


def qini_plot(curve: QiniCurve) -> str:
    """The gain a treated customer, by share of the customers treated from the top."""
    points = curve.points
    low, high = padded([e for p in points for e in (p.gain.low, p.gain.high)], zero=True)
    frame = Frame(
        title="Qini curve: gain by share of customers treated",
        x=Axis(low=0.0, high=1.0, title="customers treated, highest score first", shown=percent),
        y=Axis(low=low, high=high, title="gain a treated customer"),
    )
    marks = [
        band(frame, [(p.share, p.gain.low, p.gain.high) for p in points]),
        line(frame, [(p.share, p.at_random) for p in points], "reference"),
        line(frame, [(p.share, p.gain.value) for p in points]),
    ]
    return drawn(frame, marks)


def uplift_bands_plot(curve: QiniCurve) -> str:
    """The effect in each fifth of the customers by score."""
    ends = [end for found in curve.bands for end in (found.uplift.low, found.uplift.high)]
    low, high = padded(ends, zero=True)
    frame = Frame(
        title="uplift by fifth of the customers",
        x=Axis(low=0.5, high=5.5, title="fifth of the customers, highest score first", categories=["", *"12345"]),
        y=Axis(low=low, high=high, title="uplift, 95 % interval"),
    )
    marks = [level(frame, 0.0)]
    for found in curve.bands:
        marks.append(bar(frame, found.band, found.uplift.value, f"fifth {found.band}: {found.uplift.value:+.4f}"))
        marks.append(whisker(frame, found.band, found.uplift.low, found.uplift.high))
    return drawn(frame, marks)


def weekly_auc_plot(weeks: Sequence[WeeklyRanking], overall: float) -> str:
    """The AUC of each week with its interval, and of all rows as a line."""
    known = [week.auc for week in weeks if week.auc is not None]
    low, high = padded([0.5, overall, *(e for found in known for e in (found.low, found.high))])
    frame = Frame(
        title="AUC by week",
        x=Axis(low=-0.5, high=len(weeks) - 0.5, title="week beginning", categories=[week.week[5:] for week in weeks]),
        y=Axis(low=max(0.0, low), high=min(1.0, high), title="AUC, 95 % interval"),
    )
    marks = [level(frame, overall)]
    for place, week in enumerate(weeks):
        if week.auc is not None:
            marks.append(whisker(frame, place, week.auc.low, week.auc.high))
            marks.append(dot(frame, (place, week.auc.value), f"{week.week}: {week.auc.value:.3f}, {week.rows:,} rows"))
    return drawn(frame, marks)


def shift_plot(shifts: Sequence[Shift]) -> str:
    """The stability index of each part, with the two conventional limits."""
    frame = Frame(
        title="population stability index of the scores",
        x=Axis(low=-0.5, high=len(shifts) - 0.5, title="part", categories=[_short(shift.part) for shift in shifts]),
        y=Axis(low=0.0, high=padded([LARGE_SHIFT, *(shift.index for shift in shifts)])[1], title="index"),
    )
    bars = (
        bar(frame, place, shift.index, f"{shift.part}: {shift.index:.3f}", _shift_style(shift.index))
        for place, shift in enumerate(shifts)
    )
    return drawn(frame, chain(bars, [level(frame, SMALL_SHIFT), level(frame, LARGE_SHIFT, "reference strong")]))


def _shift_style(index: float) -> str:
    return "bar marked" if index > LARGE_SHIFT else "bar second" if index > SMALL_SHIFT else "bar"


def _short(part: str) -> str:
    return part[5:] if part[:4].isdigit() else part
