"""The randomised Starbucks log: the value of the uniform policy and of the best single offer by our estimators.

At hours 0, 168 and 336 every person was dealt one of ten offers (0.075 each) or none (0.25). A response counts when
the offer was viewed and then completed (an informational one: a purchase made after viewing) before it ended. The best
single offer is chosen on the waves before the one it is judged on.

The log ends at hour 408. For the wave of hour 168 every offer has run out by then, so its labels are closed; for that
of hour 336 at most three days of ten are seen: its labels are closed at hour 408, and all its figures are lower.

`python -m loadtests.starbucks_policies` prints both waves. KAIROS_DATA says where the data are.
"""

import argparse
import gzip
import json
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.evaluation.off_policy.judgement import JudgingRule, OffPolicyReport, judge_policies
from models.evaluation.off_policy.recorded_choices import JudgedPolicy, RecordedChoices
from models.evaluation.off_policy.report import report_lines
from models.evaluation.off_policy.reward_model import ObservedOptions, cross_fitted_rewards, predictions

DATA = Path(os.environ.get("KAIROS_DATA", "../shared/data")) / "starbucks"
OFFERED, NONE = 0.075, 0.25
WAVES, LOG_END = (0, 168, 336), 408
UNIFORM, BEST_SINGLE = "uniform", "best single offer"
PUBLISHED = {UNIFORM: 0.384, BEST_SINGLE: 0.585}
"""On the waves after hour 408, which this log does not have."""
SEED = 1

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Wave:
    """One deal: per person the offer's number (the last number is no offer), and whether it was responded to."""

    hour: int
    options: Integers
    rewards: Floats

    def choices(self) -> RecordedChoices:
        """As recorded choices; a person has one, so each stands alone."""
        none = int(self.options.max())
        return RecordedChoices(rewards=self.rewards, logged=np.where(self.options == none, NONE, OFFERED))


@dataclass(frozen=True, slots=True)
class Log:
    """The offers in order of their ids, and the waves."""

    offers: tuple[str, ...]
    waves: tuple[Wave, ...]


def read_log(folder: Path = DATA) -> Log:
    """The three waves with their responses as known at LOG_END."""
    offers = {str(row["id"]): row for row in _rows(folder / "portfolio.jsonl.gz")}
    people = {str(row["id"]): number for number, row in enumerate(_rows(folder / "profile.jsonl.gz"))}
    names = tuple(sorted(offers))
    dealt: dict[int, list[tuple[str, str]]] = defaultdict(list)
    seen: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for row in _rows(folder / "transcript.jsonl.gz"):
        kind, person, hour, value = str(row["event"]), str(row["person"]), int(str(row["time"])), row["value"]
        assert isinstance(value, dict)
        offer = str(value.get("offer id") or value.get("offer_id") or "")
        if kind == "offer received":
            dealt[hour].append((person, offer))
        else:
            seen[person, offer, kind].append(hour)
    waves = []
    for hour in WAVES:
        options = np.full(len(people), len(names), np.intp)
        rewards = np.zeros(len(people))
        for person, offer in dealt[hour]:
            options[people[person]] = names.index(offer)
            until = min(hour + round(float(str(offers[offer]["duration"])) * 24), LOG_END)
            informs = offers[offer]["offer_type"] == "informational"
            done = seen[person, "", "transaction"] if informs else seen[person, offer, "offer completed"]
            viewed = [at for at in seen[person, offer, "offer viewed"] if hour <= at <= until]
            rewards[people[person]] = bool(viewed) and any(min(viewed) <= at <= until for at in done)
        waves.append(Wave(hour, options, rewards))
    return Log(names, tuple(waves))


def best_single(waves: Sequence[Wave]) -> int:
    """The offer most often responded to, among those it was dealt to."""
    options = np.concatenate([wave.options for wave in waves])
    rewards = np.concatenate([wave.rewards for wave in waves])
    return int(np.argmax([rewards[options == offer].mean() for offer in range(int(options.max()))]))


def judge_wave(log: Log, number: int, seed: int = SEED) -> OffPolicyReport:
    """Both policies on one wave, with a reward model learnt on other persons of the same wave."""
    wave = log.waves[number]
    count = len(log.offers) + 1
    uniform = np.append(np.full(len(log.offers), 1 / len(log.offers)), 0.0)
    single = np.zeros(count)
    single[best_single(log.waves[:number])] = 1.0
    people = np.arange(wave.rewards.size)
    observed = ObservedOptions(
        options=wave.options, segments=np.zeros(wave.rewards.size, np.intp), clusters=people, option_count=count
    )
    expected = cross_fitted_rewards(wave.rewards, observed, seed=seed)
    policies = {
        name: JudgedPolicy(
            chances=policy[wave.options],
            predictions=predictions(expected, wave.options, np.tile(policy, (wave.rewards.size, 1))),
        )
        for name, policy in ((UNIFORM, uniform), (BEST_SINGLE, single))
    }
    return judge_policies(wave.choices(), policies, JudgingRule(seed=seed))


def _rows(path: Path) -> list[dict[str, object]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main() -> int:
    """Prints the judgement of the last two waves."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if not DATA.is_dir():
        print(f"{DATA} is not there: KAIROS_DATA says where the data are", file=sys.stderr)
        return 1
    log = read_log()
    for number in (1, 2):
        single = best_single(log.waves[:number])
        closed = "every offer has run out" if number == 1 else f"labels closed at hour {LOG_END}"
        print(f"\nwave of hour {log.waves[number].hour} ({closed}); best single offer before: {log.offers[single]}")
        print("\n".join(report_lines(judge_wave(log, number))))
    print("\npublished, on waves after this log: " + ", ".join(f"{name} {value}" for name, value in PUBLISHED.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
