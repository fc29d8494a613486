"""The limits of a model, told from its own figures."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from decision_engine.model_training import Family
from models.evaluation.full_report.fairness import FOUR_FIFTHS
from models.training.card_reading import entries, listed, mapping, number

LEAST_DAYS = 28
"""A shorter log has not seen a month's payday, rent and bill."""
MOSTLY_MISSING = 0.5
FEW_POSITIVES = 100
"""With fewer judged positives the figures are rough."""

_PROXIES = (
    "No input is a group the model was judged between, but other inputs may go with one (proxies); the fairness tables "
    "show what comes of it."
)
_FAMILY_LIMITS: Mapping[str, tuple[str, ...]] = {
    Family.ACQUISITION: (
        "Learnt from offers that were seen: what nobody was shown, and whoever was never asked, it cannot know.",
        "Serves customers who hold nothing of the group; all others are scored by the group's own model.",
    ),
    Family.CROSS_SELL: (
        "Learnt from offers that were seen: what nobody was shown, and whoever was never asked, it cannot know.",
        "Says who accepts, not who accepts because of the offer; the holdout of the experiments tells that.",
    ),
    Family.CHURN: (
        "Foretells leaving as the strategy words it, from signs that leaving leaves in the data; it does not say why, "
        "nor whether an offer would help.",
        "Scores are as old as the snapshot they were made from.",
    ),
}


def limits(card: Mapping[str, object], labels: NDArray[np.float64], overlap_ms: int) -> list[str]:
    """Sentences; `labels` are those of the rows judged on."""
    found = list(_FAMILY_LIMITS.get(str(card["family"]), ()))
    found.append("Not to be used for credit, pricing or eligibility: gates are the strategy's rules, never a score.")
    days = number(mapping(card["data"]).get("days"))
    if days < LEAST_DAYS:
        found.append(f"The log covers {days:.1f} days: habits of the month and the season are not in it.")
    positives = int(labels.sum())
    if positives < FEW_POSITIVES:
        found.append(f"Judged on {positives} positives: the intervals are wide, and segments are rough.")
    if overlap_ms:
        found.append(f"The same customers appear on several days; rows {overlap_ms / 86_400_000:.0f} days before a "
                     "later part are left out, so that no outcome is known before it has happened.")  # fmt: skip
    found += _of_inputs(card) + _of_calibration(card) + _of_fairness(card)
    return found


def _of_inputs(card: Mapping[str, object]) -> list[str]:
    missing = [str(i["name"]) for i in entries(card["inputs"]) if number(i["missing"]) > MOSTLY_MISSING]
    not_served = [str(name) for name in listed(mapping(card["parameters"])["not_served"])]
    found = []
    if missing:
        shown = ", ".join(sorted(missing)[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        found.append(f"{len(missing)} inputs are missing in more than half of the rows: {shown}.")
    if not_served:
        found.append(f"Constrained by the strategy, but not among the inputs: {', '.join(not_served)}.")
    return found


def _of_calibration(card: Mapping[str, object]) -> list[str]:
    return [
        f"{by} {entry['segment']}: predicted {number(entry['predicted']):.4f}, observed "
        f"{number(entry['observed']):.4f} on {entry['rows']} rows, more than chance makes of it."
        for by, lines in sorted(mapping(card["segments"]).items())
        for entry in entries(lines)
        if _off(entry)
    ]


def _of_fairness(card: Mapping[str, object]) -> list[str]:
    tables, unknown = mapping(card["fairness"]), [str(name) for name in listed(card["not_judged"])]
    if not tables and not unknown:
        return ["Fairness between groups was not judged: the strategy declares no protected attributes for this model."]
    found = [_PROXIES] if tables else []
    found += [
        f"Fairness between groups of {name} was not judged, though the strategy asks for it: no customer's {name} was "
        "available, neither in decision records nor in archived profile updates or snapshots."
        for name in unknown
    ]
    for attribute, lines in sorted(tables.items()):
        for line in entries(lines):
            if line["judged"] and _off(line):
                found.append(f"Miscalibrated for {attribute} {line['group']}: predicted less observed is "
                             f"{number(mapping(line['gap'])['value']):+.4f}.")  # fmt: skip
            if line["judged"] and number(line["chosen_ratio"]) < FOUR_FIFTHS:
                found.append(f"{attribute} {line['group']} is chosen {number(line['chosen_ratio']):.2f} times as often "
                             "as the group chosen most.")  # fmt: skip
    return found


def _off(entry: Mapping[str, object]) -> bool:
    """Whether zero is outside the interval of predicted less observed, where there are enough of both kinds."""
    gap, positives, rows = mapping(entry["gap"]), number(entry["positives"]), number(entry["rows"])
    if min(positives, rows - positives) < 20 or gap["low"] is None or gap["high"] is None:
        return False
    return number(gap["low"]) > 0 or number(gap["high"]) < 0
