"""The Open Bandit log, campaign `all`: our estimates of the Thompson policy from the uniformly random log, beside those
of the Open Bandit Pipeline itself on the same arrays, and of its slate estimators on drawn slates.

`make setup-obp`, then `python -m loadtests.open_bandit` prints the figures and exits with 1 if any estimate differs by
more than 1e-9, or the inverse propensity estimate is not the published one.
"""

import argparse
import csv
import itertools
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.evaluation.off_policy.estimators import Estimator
from models.evaluation.off_policy.judgement import JudgingRule, OffPolicyReport, judge_policies
from models.evaluation.off_policy.recorded_choices import JudgedPolicy, Predictions, RecordedChoices
from models.evaluation.off_policy.report import report_lines
from models.evaluation.off_policy.reward_model import ObservedOptions, cross_fitted_rewards
from models.evaluation.off_policy.slates import RecordedSlates, SlateModel, slate_value

ROOT = Path(__file__).parents[1]
PEER = ROOT / "loadtests" / "peers" / "obp_estimates.py"
PYTHON = ROOT / ".venv-obp" / "bin" / "python"
ACTIONS, CLIP, SEED = 80, 3.0, 1
PUBLISHED, PUBLISHED_WITHIN = 0.00455, 0.0001
AGREEMENT = 1e-9
THOMPSON = "Thompson"
SLATES, PLACES, ITEMS = 4_000, 3, 6

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class OpenBandit:
    """The random log in order of its file, the Thompson policy's chances by item and place, and obp's own figures."""

    rewards: Floats
    actions: Integers
    places: Integers
    logged: Floats
    predicted: Floats
    chances: Floats
    theirs: dict[str, float]
    their_slates: dict[str, float]

    def thompson(self) -> JudgedPolicy:
        """The Thompson policy on these choices."""
        rows = np.arange(self.rewards.size)
        by_item = self.chances[:, self.places].T
        return JudgedPolicy(
            chances=self.chances[self.actions, self.places],
            predictions=Predictions(
                chosen=self.predicted[rows, self.actions], expected=np.sum(self.predicted * by_item, axis=1)
            ),
        )


class PeerMissing(Exception):
    """The environment of `make setup-obp` is not there."""


def open_bandit(python: Path = PYTHON) -> OpenBandit:
    """Reads the log from the package, and has obp do its part. Raises PeerMissing."""
    logs = sorted(python.parents[1].glob("lib/python3*/site-packages/obp/dataset/obd/random/all/all.csv"))
    if not python.exists() or not logs:
        raise PeerMissing(f"obp is not installed beside {python}: make setup-obp")
    with logs[0].open(newline="") as file:
        rows = [(int(r["item_id"]), int(r["position"]), float(r["click"]), float(r["propensity_score"]))
                for r in csv.DictReader(file)]  # fmt: skip
    table = np.array(rows)
    actions, places = table[:, 0].astype(np.intp), table[:, 1].astype(np.intp) - 1
    observed = ObservedOptions(options=actions, segments=places, clusters=np.arange(len(rows)), option_count=ACTIONS)
    predicted = cross_fitted_rewards(table[:, 2], observed, seed=SEED)
    slates, at = drawn_slates()
    answer = _ask_peer(
        python,
        actions=np.array(ACTIONS),
        clip=np.array(CLIP),
        action=actions,
        position=places,
        reward=table[:, 2],
        pscore=table[:, 3],
        predicted=np.repeat(predicted[:, :, None], PLACES, axis=2),
        slate_rewards=slates.rewards,
        slate_logged=slates.logged,
        slate_target=slates.target,
        slate_logged_at=at.logged,
        slate_target_at=at.target,
    )
    return OpenBandit(
        table[:, 2], actions, places, table[:, 3], predicted, np.array(answer["chances"]),
        answer["estimates"], answer["slates"],
    )  # fmt: skip


def _ask_peer(python: Path, **arrays: NDArray[np.generic]) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.npz"
        np.savez(path, **arrays)
        done = subprocess.run(
            [str(python), str(PEER), str(path)], capture_output=True, text=True, check=False, timeout=300
        )
    if done.returncode:
        raise PeerMissing(f"obp's estimates could not be had: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def drawn_slates() -> tuple[RecordedSlates, RecordedSlates]:
    """Slates of PLACES out of ITEMS, drawn one after another without replacement by one set of preferences, judged by
    another; with the chances given what stands above, and with the chances of an item at a place, by enumeration."""
    draw = np.random.default_rng(SEED)
    logged, target = draw.dirichlet(np.ones(ITEMS) * 3), draw.dirichlet(np.ones(ITEMS) * 3)
    slates = np.array([draw.choice(ITEMS, PLACES, replace=False, p=logged) for _ in range(SLATES)])
    rewards = (draw.random(slates.shape) < 0.1 + 0.5 * logged[slates] / (1 + np.arange(PLACES))).astype(float)
    given = [_given_above(preference, slates) for preference in (logged, target)]
    at = [_at_place(preference)[slates, np.arange(PLACES)] for preference in (logged, target)]
    return (
        RecordedSlates(rewards=rewards, logged=given[0], target=given[1]),
        RecordedSlates(rewards=rewards, logged=at[0], target=at[1]),
    )


def _given_above(preference: Floats, slates: Integers) -> Floats:
    chosen = preference[slates]
    above = np.cumsum(chosen, axis=1) - chosen
    return np.asarray(chosen / (1.0 - above), np.float64)


def _at_place(preference: Floats) -> Floats:
    """The chance of each item (rows) at each place (columns), over all slates."""
    chances = np.zeros((ITEMS, PLACES))
    for slate in itertools.permutations(range(ITEMS), PLACES):
        chance = float(np.prod(_given_above(preference, np.array([slate]))))
        chances[list(slate), np.arange(PLACES)] += chance
    return chances


def our_estimates(log: OpenBandit) -> dict[str, float]:
    """The same figures as obp's, by ours."""
    choices = RecordedChoices(rewards=log.rewards, logged=log.logged)
    found: dict[str, float] = {}
    for title, clip in (("", None), ("clipped ", CLIP)):
        report = judge_policies(choices, {THOMPSON: log.thompson()}, JudgingRule(clip=clip, replicates=100))
        values = report.policy(THOMPSON).estimates
        found |= {title + kind.value: values[kind].value for kind in values if kind is not Estimator.SWITCH_DR}
        if Estimator.SWITCH_DR in values:
            found["switch-DR"] = values[Estimator.SWITCH_DR].value
    return found


def our_slate_estimates() -> dict[str, float]:
    """Ours on the drawn slates."""
    above, at = drawn_slates()
    rule = JudgingRule(replicates=100)
    return {
        model.value: slate_value(
            at if model is SlateModel.ITEM_POSITION else above, model, rule
        ).inverse_propensity.value
        for model in SlateModel
    }


def thompson_report(log: OpenBandit) -> OffPolicyReport:
    """The judgement as the product gives it."""
    return judge_policies(
        RecordedChoices(rewards=log.rewards, logged=log.logged), {THOMPSON: log.thompson()}, JudgingRule(seed=SEED)
    )


def largest_difference(log: OpenBandit) -> tuple[float, list[str]]:
    """Between ours and obp's, and a line on each estimate."""
    pairs = [(f"{name}", mine, log.theirs[name]) for name, mine in our_estimates(log).items()]
    pairs += [(f"slates {name}", mine, log.their_slates[name]) for name, mine in our_slate_estimates().items()]
    lines = [f"{name:<22}{mine:.12f}   obp {theirs:.12f}   {abs(mine - theirs):.1e}" for name, mine, theirs in pairs]
    missing = set(log.theirs) - {name for name, _, _ in pairs}
    if missing:
        raise AssertionError(f"not compared: {missing}")
    return max(abs(mine - theirs) for _, mine, theirs in pairs), lines


def main() -> int:
    """Prints the report, and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, default=PYTHON, help="Python of the environment with obp")
    try:
        log = open_bandit(parser.parse_args().python)
    except PeerMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    report = thompson_report(log)
    print("\n".join(report_lines(report)))
    worst, lines = largest_difference(log)
    print("\n".join(["", *lines, f"largest difference {worst:.1e}"]))
    value = report.policy(THOMPSON).estimates[Estimator.IPS].value
    return 0 if worst <= AGREEMENT and abs(value - PUBLISHED) <= PUBLISHED_WITHIN else 1


if __name__ == "__main__":
    sys.exit(main())
