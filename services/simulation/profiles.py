"""What the bank knows of each simulated customer on the first day: attributes, products held, consents said."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np

from services.simulation.envelopes import Draft
from services.simulation.population import CITIES, LIFE_STAGES, NEVER, Flags, Population
from services.simulation.truth import TRAITS
from services.simulation.visits import branch_of

INCOME_BANDS = (300_000, 600_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000)
"""Upper bounds of bands 1 to 6, monthly minor units."""
SEGMENT_BOUNDS = ((5_000_000_00, "private"), (500_000_00, "platinum"), (50_000_00, "affluent"), (0, "mass"))
"""Assets from which a segment begins, minor units."""
PROFILE_SECOND, HOLDING_SECOND, CONSENT_SECOND = 1, 2, 3
"""On the first day customers become known before anything else happens."""
GUARDIANS_WHO_AGREE_OF_FIVE = 3
NOT_ASKED = -1
OCCUPATIONS = ("employee", "civil_servant", "teacher", "doctor", "engineer", "freelancer")

HOLDING_HABITS: dict[str, tuple[float, dict[str, float]]] = {
    "savings_account": (0.5, {"saving": 1.0}),
    "classic_card": (-0.6, {"spending": 1.0}),
    "gold_card": (-2.6, {"spending": 0.7, "affluence": 0.9}),
    "shopping_card": (-2.6, {"spending": 0.8, "digital": 0.5}),
    "travel_card": (-3.2, {"travel": 1.2}),
    "money_fund": (-1.2, {"saving": 0.8, "digital": 0.5}),
    "bond_fund": (-2.4, {"saving": 0.8, "affluence": 0.6}),
    "equity_fund": (-2.6, {"affluence": 0.8, "caution": -0.9}),
    "personal_loan": (-2.6, {"borrowing": 1.2}),
    "mortgage": (-2.2, {"borrowing": 0.7, "affluence": 0.5}),
    "medical_insurance": (-1.8, {"caution": 0.9}),
    "mobile_payment": (1.0, {"digital": 1.2}),
    "auto_pay": (-0.5, {"digital": 0.8}),
}
"""Log-odds of holding a product at the start, for adults, and what moves them."""


def first_day_drafts(people: Population, seed: int, start: datetime, companies: int = 0) -> list[Draft]:
    """Profile, holdings and consents of everybody; `start` is the first local midnight. Merchants own the companies."""
    draws = np.random.default_rng([seed, 3])
    held = _holdings(people, draws)
    scores = draws.integers(0, 101, (people.size, 3))
    drafts: list[Draft] = []
    for who in range(people.size):
        subject = f"retail:{who + 1}"
        attributes = _attributes(people, who, scores[who].tolist(), start) | _links(people, who, companies)
        profile = json.dumps({"attributes": attributes})
        drafts.append(Draft(PROFILE_SECOND, "bank.profile.updated", subject, profile))
        drafts += [
            Draft(HOLDING_SECOND, "bank.product.opened", subject, product_data(product, who))
            for product, flags in held.items()
            if flags[who]
        ]
        drafts += _consents(people, who)
    return drafts


def product_data(product: str, customer: int) -> str:
    """The data of a product opened or closed."""
    return f'{{"product":"{product}","account_id":"{customer + 1}-{product}"}}'


def _holdings(people: Population, draws: np.random.Generator) -> dict[str, Flags]:
    adult = people.life_stage > 0
    held = {
        "current_account": np.ones(people.size, dtype=np.bool_),
        "debit_card": np.ones(people.size, dtype=np.bool_),
        "payroll": (people.income_day > 0) & (people.life_stage < 4),
        "term_deposit": people.maturity_day != NEVER,
    }
    for product, (base, moves) in HOLDING_HABITS.items():
        logit = base + sum(factor * people.traits[:, TRAITS.index(name)] for name, factor in moves.items())
        held[product] = adult & (draws.random(people.size) < 1 / (1 + np.exp(-logit)))
    return held


def _attributes(people: Population, who: int, scores: list[int], start: datetime) -> dict[str, object]:
    income, stage = int(people.income[who]), LIFE_STAGES[int(people.life_stage[who])]
    matures = int(people.maturity_day[who])
    deposit = int(people.deposit_amount[who]) if matures != NEVER else 0
    aum = int(people.opening_balance[who]) + deposit
    values: dict[str, object] = {
        "age": int(people.age[who]),
        "gender": "female" if people.woman[who] else "male",
        "city": CITIES[int(people.city[who])],
        "occupation": _occupation(people, who),
        "life_stage": stage,
        "income_band": 1 + sum(income >= bound for bound in INCOME_BANDS),
        "segment": next(name for bound, name in SEGMENT_BOUNDS if aum >= bound),
        "tenure_days": int(people.tenure_days[who]),
        "kyc_level": 3 if people.tenure_days[who] > 365 else 2,
        "aum": aum,
        "credit_score": int(
            np.clip(680 - 40 * people.traits[who, TRAITS.index("borrowing")] + scores[0] / 2, 300, 850)
        ),
        "branch_id": branch_of(who),
        "branch_distance": 100 + who * 7919 % 5000,  # metres; a prime spreads neighbours by number over the district
        "customer_status": "customer",
        "language": "zh-CN" if who % 20 else "en",
        "large_type": stage == "senior",
        "vip": aum >= SEGMENT_BOUNDS[1][0],
        "card_blocked": False,
        "overdue_days": 0,
        "contribution_score": scores[0],
        "activity_score": scores[1],
        "satisfaction_score": scores[2],
        "preferred_channel": "mobile" if people.logins_per_day[who] > 0.2 else "branch",
    }
    if people.risk_level[who]:
        values["risk_level"] = int(people.risk_level[who])
        values["risk_assessed_at"] = _ms(start - timedelta(days=int(people.risk_age_days[who])))
    if matures != NEVER:
        values["next_maturity_at"] = _ms(start + timedelta(days=matures))
    return values


def _links(people: Population, who: int, companies: int) -> dict[str, object]:
    """Three of five live with others who bank here, up to four of neighbouring numbers together."""
    links: dict[str, object] = {"household_id": f"H{who // 4 + 1}"} if who % 5 < 3 else {}
    if companies and people.merchant[who]:
        links["company_id"] = f"corp:{who % companies + 1}"
    return links


def _occupation(people: Population, who: int) -> str:
    stage = LIFE_STAGES[int(people.life_stage[who])]
    if stage == "senior":
        return "retired"
    if stage == "minor":
        return "student"
    return "business_owner" if people.merchant[who] else OCCUPATIONS[who % len(OCCUPATIONS)]


def _consents(people: Population, who: int) -> list[Draft]:
    minor = people.life_stage[who] == LIFE_STAGES.index("minor")
    guardian = int(who % 5 < GUARDIANS_WHO_AGREE_OF_FIVE) if minor else NOT_ASKED
    said = (
        ("marketing", int(people.marketing[who])),
        ("personalisation", int(people.personalisation[who])),
        ("guardian", guardian),
    )
    return [
        Draft(
            CONSENT_SECOND,
            "bank.consent.changed",
            f"retail:{who + 1}",
            f'{{"purpose":"{purpose}","granted":{"true" if answer else "false"}}}',
        )
        for purpose, answer in said
        if answer >= 0
    ]


def _ms(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)
