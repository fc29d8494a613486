"""What an experiment says: each arm's reward with an interval, its lift on the comparison arm, and a daily test."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.arm_rewards import ArmRewards
from models.evaluation.clustered_ratio import ClusteredRatio, clustered_ratio, difference, relative_lift
from models.evaluation.intervals import Estimate
from models.evaluation.sequential_test import EXPECTED_LIFT, LEAST_REWARDED, Look, SequentialVerdict, sequential_verdict

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """One arm. `accept_rate` is accepted decisions a decision, `value` minor units a decision; the differences are to
    the comparison arm and None for that arm itself, the lift also where it cannot be told."""

    arm: str
    accept_rate: ClusteredRatio
    value: ClusteredRatio
    accept_difference: Estimate | None = None
    accept_lift: Estimate | None = None
    value_difference: Estimate | None = None
    value_lift: Estimate | None = None
    accept_verdict: SequentialVerdict | None = None
    value_verdict: SequentialVerdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentResult:
    """One experiment, the comparison arm first. `days` is how many days were looked at."""

    experiment: str
    days: int
    arms: tuple[ArmResult, ...]


def judge_experiment(rewards: ArmRewards) -> ExperimentResult:
    """Compares every arm with the first, on all customers and, for the daily test, as they came in day by day."""
    first = _arm(rewards, 0)
    others = [_compared(rewards, number, first) for number in range(1, len(rewards.arms))]
    return ExperimentResult(
        experiment=rewards.experiment, days=int(rewards.days.max()) + 1, arms=(first, *others)
    )  # fmt: skip


def _arm(rewards: ArmRewards, number: int) -> ArmResult:
    mine = rewards.arm_of == number
    return ArmResult(
        arm=rewards.arms[number],
        accept_rate=_ratio(rewards, mine, rewards.accepted),
        value=_ratio(rewards, mine, rewards.value),
    )


def _compared(rewards: ArmRewards, number: int, first: ArmResult) -> ArmResult:
    arm = _arm(rewards, number)
    return ArmResult(
        arm=arm.arm,
        accept_rate=arm.accept_rate,
        value=arm.value,
        accept_difference=difference(arm.accept_rate, first.accept_rate),
        accept_lift=relative_lift(arm.accept_rate, first.accept_rate),
        value_difference=difference(arm.value, first.value),
        value_lift=relative_lift(arm.value, first.value),
        accept_verdict=_verdict(rewards, number, rewards.accepted),
        value_verdict=_verdict(rewards, number, rewards.value),
    )


def _ratio(rewards: ArmRewards, mine: NDArray[np.bool_], earned: Vector) -> ClusteredRatio:
    decisions = np.bincount(rewards.customers[mine]).astype(np.float64)
    totals = np.bincount(rewards.customers[mine], earned[mine]).astype(np.float64)
    return clustered_ratio(totals[decisions > 0], decisions[decisions > 0])


def _verdict(rewards: ArmRewards, number: int, earned: Vector) -> SequentialVerdict:
    ours = (rewards.arm_of == 0) | (rewards.arm_of == number)
    tau = EXPECTED_LIFT * float(np.abs(earned[ours]).mean()) if ours.any() else 0.0
    return sequential_verdict(_looks(rewards, number, earned), tau)


def _looks(rewards: ArmRewards, number: int, earned: Vector) -> Iterator[Look]:
    """One look at the end of each day, on all that had come in by then."""
    arms = [_Growing(rewards, rewards.arm_of == arm, earned) for arm in (number, 0)]
    for day in range(int(rewards.days.max()) + 1):
        arm, other = (growing.until(day) for growing in arms)
        yield Look(
            difference=arm.mean - other.mean,
            variance=arm.variance + other.variance,
            enough=all(growing.rewarded >= LEAST_REWARDED for growing in arms),
        )


class _Growing:
    """One arm's totals by customer as the days go by."""

    def __init__(self, rewards: ArmRewards, mine: NDArray[np.bool_], earned: Vector) -> None:
        order = np.argsort(rewards.days[mine], kind="stable")
        self._days = rewards.days[mine][order]
        self._customers = rewards.customers[mine][order]
        self._earned = earned[mine][order]
        size = int(self._customers.max()) + 1 if self._customers.size else 0
        self._decisions, self._totals = np.zeros(size), np.zeros(size)
        self._read = 0

    def until(self, day: int) -> ClusteredRatio:
        """All up to the end of the day; days must not go back."""
        upto = int(np.searchsorted(self._days, day, "right"))
        fresh = slice(self._read, upto)
        np.add.at(self._decisions, self._customers[fresh], 1.0)
        np.add.at(self._totals, self._customers[fresh], self._earned[fresh])
        self._read = upto
        present = self._decisions > 0
        return clustered_ratio(self._totals[present], self._decisions[present])

    @property
    def rewarded(self) -> int:
        """Customers who have earned anything."""
        return int(np.count_nonzero(self._totals))
