"""An imported decision tells nothing of who refused personalisation."""

from pathlib import Path

import orjson

from decision_engine.customer import CustomerSnapshot
from services.bootstrap import load_strategy_at
from services.use_cases.past_decisions import PastDecision, PastDecisions

LOADED = load_strategy_at(Path(__file__).parents[3] / "deploy" / "strategies" / "starbucks")
NOON = 1_533_038_400_000
BOGO = "bogo_5_5d.email.message"


def test_the_record_of_who_refused_personalisation_has_no_attributes() -> None:
    past = PastDecisions(LOADED.strategy, "old_campaigns", LOADED.features.layout)
    sent = PastDecision(
        decision_id="old-1", customer_id="retail:ann", at_ms=NOON, placement="weekly_offer",
        chances={BOGO: 0.3}, offered=BOGO,
    )  # fmt: skip
    for refused, attributes in ((True, {}), (False, {"age": 40})):
        snapshot = CustomerSnapshot(
            known=True,
            attributes={"age": 40},
            consents={"personalisation": not refused},
            holdings=frozenset({"gold"}),
            newest_event_ms=NOON - 1,
        )
        data = orjson.loads(past.decision_event(sent, snapshot).value)["data"]
        assert data["attributes"] == attributes
        assert data["holdings"] == ([] if refused else ["gold"])
        assert data["personalised"] is not refused
