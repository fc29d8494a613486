"""Companies of the simulated bank: who they are, and the graded business signals that come in about them."""

import json

import numpy as np

from event_schemas.business_signals import SIGNAL_KINDS
from services.simulation.envelopes import Draft

SIGNALS_PER_DAY = 0.03
SIGNALS = tuple((kind.value, known.grade, known.direction) for kind, known in SIGNAL_KINDS.items())
INDUSTRIES = ("manufacturing", "trade", "construction", "technology", "logistics", "catering")


def company_profiles(companies: int, seed: int) -> list[Draft]:
    """What the bank knows of its companies on the first day."""
    draws = np.random.default_rng([seed, 4])
    drafts: list[Draft] = []
    for number in range(1, companies + 1):
        attributes = {
            "tenure_days": int(draws.integers(30, 4000)),
            "branch_id": f"B{number % 40 + 1:03d}",
            "manager_id": f"M{number % 25 + 1:03d}",
            "kyc_level": 3,
            "customer_class": "company",
        }
        drafts.append(Draft(1, "bank.profile.updated", f"corp:{number}", json.dumps({"attributes": attributes})))
        drafts.append(Draft(2, "bank.product.opened", f"corp:{number}", '{"product":"current_account"}'))
    return drafts


def company_drafts(companies: int, draws: np.random.Generator) -> list[Draft]:
    """The day's signals."""
    drafts: list[Draft] = []
    for number in (np.flatnonzero(draws.random(companies) < SIGNALS_PER_DAY) + 1).tolist():
        signal, grade, direction = SIGNALS[int(draws.integers(len(SIGNALS)))]
        data = {
            "signal": signal,
            "grade": grade,
            "direction": direction,
            "amount": int(draws.integers(10, 5_000)) * 1_000_000,
            "currency": "CNY",
            "industry": INDUSTRIES[number % len(INDUSTRIES)],
        }
        second = int(draws.integers(9 * 3600, 18 * 3600))
        drafts.append(Draft(second, "bank.business.signal", f"corp:{number}", json.dumps(data)))
    return drafts
