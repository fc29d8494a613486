"""The split by time: trees on the earliest rows, stopping and calibration on the next, judgement on the last.

A model serves the future, so it is judged on rows later than all it learnt from. Rows of one moment are never parted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decision_log.design_matrix import ExampleSet
from models.errors import TrainingRefused
from models.training.settings import FitSettings

HELD_OUT_SHARE = 0.2
VALIDATION_SHARE = 0.2
"""Of what may be learnt from."""


@dataclass(frozen=True, slots=True)
class Growing:
    """Row positions: what the trees learn, and what stops and calibrates them."""

    fitting: slice
    validation: slice


@dataclass(frozen=True, slots=True)
class TimeParts:
    """Row positions in time order: what the trees learn, what stops and calibrates them, what is only judged on."""

    fitting: slice
    validation: slice
    held_out: slice

    @property
    def growing(self) -> Growing:
        """The first two."""
        return Growing(self.fitting, self.validation)


def split_by_time(examples: ExampleSet) -> TimeParts:
    """The last fifth is held out, the fifth of the rest before it validates. Where labels stay open for a while after
    their row (`overlap_ms`), rows whose label reaches into the next part are in neither, and the fifth is one of what
    is left. Raises TrainingRefused."""
    times = examples.decided_ms
    if bool(np.any(np.diff(times) < 0)):
        raise TrainingRefused("examples must be in time order")
    held_out = _cut(times, 1 - HELD_OUT_SHARE)
    if not examples.overlap_ms:
        validation = _cut(times, (1 - HELD_OUT_SHARE) * (1 - VALIDATION_SHARE))
        return TimeParts(slice(0, validation), slice(validation, held_out), slice(held_out, times.size))
    settled = _closed_before(examples, held_out)
    validation = _cut(times[:settled], 1 - VALIDATION_SHARE) if settled else 0
    return TimeParts(
        fitting=slice(0, _closed_before(examples, validation)),
        validation=slice(validation, settled),
        held_out=slice(held_out, times.size),
    )


def growing_until(examples: ExampleSet, rows: int) -> Growing:
    """The first so many rows, of which the last fifth validates."""
    validation = _cut(examples.decided_ms[:rows], 1 - VALIDATION_SHARE)
    return Growing(slice(0, validation), slice(validation, rows))


def require_parts(name: str, examples: ExampleSet, parts: TimeParts, settings: FitSettings) -> None:
    """Raises TrainingRefused where a part has one kind of rows only."""
    labels = examples.labels
    rows, positives = labels.size, int(labels.sum())
    if rows - positives < settings.least_positives:
        raise TrainingRefused(f"{name}: only {rows - positives} of {rows} rows are negative: nothing to tell apart")
    for title, mine in (
        ("fitting", parts.fitting),
        ("validation", parts.validation),
        ("held-out", parts.held_out),
    ):
        part = labels[mine]
        if not 0 < part.sum() < part.size:
            raise TrainingRefused(
                f"{name}: the {title} part has {part.size} rows with {int(part.sum())} positives; both kinds are "
                "needed in each. The log covers too short a time, or responses stopped."
            )


def require_rows(name: str, examples: ExampleSet, settings: FitSettings) -> None:
    """Raises TrainingRefused where there are too few rows or positives to begin with."""
    rows, positives = examples.labels.size, int(examples.labels.sum())
    if rows < settings.least_rows or positives < settings.least_positives:
        raise TrainingRefused(
            f"{name}: {rows} labelled rows with {positives} positives; at least {settings.least_rows} rows and "
            f"{settings.least_positives} positives are needed. Gather more responses, or lengthen the period."
        )


def _cut(times: NDArray[np.int64], share: float) -> int:
    return int(np.searchsorted(times, times[int(times.size * share)], side="left"))


def _closed_before(examples: ExampleSet, first: int) -> int:
    """Where the rows end whose label is settled when the row at `first` is made."""
    times = examples.decided_ms
    return min(first, int(np.searchsorted(times, times[first] - examples.overlap_ms, side="right")))
