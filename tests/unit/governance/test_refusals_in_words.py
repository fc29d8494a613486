"""What governance refuses is said in the person's language, and never lost where a sentence is not known."""

from typing import Any

import pytest

from services.api.screens.console_refusals import refusal_in_words
from services.api.screens.words import load_words
from services.ports import ShellError

WORDS = load_words()


async def said(act: Any) -> str:
    with pytest.raises(ShellError) as refused:
        await act
    return refusal_in_words(WORDS, "zh-CN", str(refused.value))


async def test_refusals_of_the_rules_are_said_in_chinese(bench: Any) -> None:
    desk = await bench.desk(requires_simulation=True)
    await desk.submit(bench.files("bank-1"), actor="mei")
    assert await said(desk.approve("bank-1", actor="mei")) == "批准 bank-1：由 mei 提交，须由他人审批"
    assert await said(desk.approve("bank-1", actor="li")) == "批准 bank-1：尚未与生效版本 bank-0 做对比模拟，请先模拟"
    assert await said(desk.activate("bank-1", actor="li")) == "发布 bank-1：当前状态为“待审批”，仅已批准的版本可发布"
    assert await said(desk.release("offer", "gold", actor="li")) == "恢复 offer gold：目前并未停用"
    await desk.decline("bank-1", actor="li", comment="no")
    assert await said(desk.decline("bank-1", actor="li")) == "驳回 bank-1：当前状态为“已驳回”，仅待审批的版本可驳回"
    assert await said(desk.rollback(actor="li", version="bank-9")) == "回退 bank-9：当前并未生效"
    await desk.save_draft(bench.files("bank-2"), draft_id="d", title="D", base_version="bank-0", actor="mei")
    stale = desk.save_draft(bench.files("bank-3"), draft_id="d", title="D", base_version="bank-0", actor="li")
    assert await said(stale) == "保存草稿 d：您打开第 0 稿之后，mei 已保存第 1 稿"


def test_what_is_not_known_stays_as_it_came() -> None:
    assert refusal_in_words(WORDS, "zh-CN", "the bus is away") == "the bus is away"
    assert refusal_in_words(WORDS, "en", "approve x: it is active") == "approve x: it is active"
