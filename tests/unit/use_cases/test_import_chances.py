"""What another system wrote is taken for a chance only when it is a number."""

import json
from pathlib import Path

import pytest

from services.commands.import_decisions import read_past_log
from services.use_cases.past_decisions import PastDecisionInvalid

DECISION = {
    "decision_id": "old-1", "customer_id": "retail:ann", "time": "2018-07-31T12:00:00Z", "placement": "weekly_offer",
    "offered": "gold.email.message",
}  # fmt: skip


@pytest.mark.parametrize("chance", [True, False, "0.3", None])
def test_true_is_no_chance_of_one(tmp_path: Path, chance: object) -> None:
    file = tmp_path / "past.jsonl"
    file.write_text(json.dumps({**DECISION, "chances": {"gold.email.message": chance}}))
    with pytest.raises(PastDecisionInvalid, match="chances: an object of treatments and their chances is expected"):
        read_past_log(file)
    file.write_text(json.dumps({**DECISION, "chances": {"gold.email.message": 1}}))
    assert len(read_past_log(file).decisions) == 1
