"""The report of a decision for people, and the verdict on its replay."""

from typing import Any

import pytest

from services.commands.decision_report import decision_report
from services.commands.explain import _show_replay
from services.commands.report_words import ReportWords
from services.use_cases.decision_record import expanded_record
from services.use_cases.decision_replay import Replay


async def test_the_report_says_who_won_and_why_the_others_lost(bank: Any, make_decision: Any, command: Any) -> None:
    await make_decision(command("home_banner:1", "card_page_tile:2"))
    texts = bank.live.prepared.strategy.texts | {"TOO_YOUNG": {"en": "Not yet", "zh-CN": "未到年龄"}}
    data = expanded_record(bank.bus.events[0].value, bank.live.prepared)
    lines = list(decision_report(data, ReportWords(locale="zh-CN", texts=texts)))
    banner = lines[next(n for n, line in enumerate(lines) if line.startswith("home_banner")) :]
    assert "第 1 位" in banner[1]
    assert "gold_card.mobile.main" in banner[1]
    assert "P 0.1000 x C 0.0 % x V 20000 x L 0.0 % = 2000.00" in banner[1]
    lost = next(line for line in banner if "no_pension" in line)
    assert lost.endswith("准入: senior [TOO_YOUNG] 未到年龄")
    assert "  card_spend_sum_30d = 150000" in lines


async def test_a_degraded_fallback_is_said_to_be_one(bank: Any, make_decision: Any, command: Any) -> None:
    bank.store.fail.add("read")
    await make_decision(command())
    data = expanded_record(bank.bus.events[0].value, bank.live.prepared)
    text = "\n".join(decision_report(data, ReportWords()))
    assert "DEGRADED: state_unavailable, ledger_unavailable" in text
    assert "fallback generic.mobile.home_banner because DEGRADED" in text


def test_a_replay_that_differs_is_shown_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert _show_replay(Replay(record=b'{"age":40}', recomputed=b'{"age":40}')) == 0
    assert _show_replay(Replay(record=b'{"age":40}', recomputed=b'{"age":17}')) == 1
    shown = capsys.readouterr().err
    assert "DIFFERENT from byte 7" in shown
    assert '{"age":17}' in shown
