"""What the fields of the bank's events are called, for conditions that are read out in plain words."""

from collections.abc import Mapping
from dataclasses import replace

from decision_engine.conditions.reading import Words
from decision_engine.features.updates import EVENT_FIELDS

LOCALES = ("zh-CN", "en")
_MONEY = frozenset({"amount", "balance_after"})
"""Fields that are amounts in minor units."""
_FIELDS: Mapping[str, tuple[str, str]] = {
    "account_id": ("账户", "account"),
    "amount": ("金额", "amount"),
    "balance_after": ("交易后余额", "balance after it"),
    "branch_id": ("网点", "branch"),
    "call_id": ("来电编号", "call id"),
    "category": ("类别", "category"),
    "channel": ("渠道", "channel"),
    "closed_on": ("关闭日期", "day of closing"),
    "complaint_id": ("投诉编号", "complaint id"),
    "counterparty": ("对手方", "counterparty"),
    "counterparty_bank": ("对手方银行", "counterparty's bank"),
    "currency": ("币种", "currency"),
    "decided_at": ("决策时间", "time of the decision"),
    "decision_id": ("决策编号", "decision id"),
    "device_country": ("设备所在国家", "country of the device"),
    "direction": ("方向", "direction"),
    "duration_ms": ("停留毫秒数", "milliseconds it took"),
    "effective_on": ("生效日期", "day it takes effect"),
    "expires_on": ("到期日期", "day it expires"),
    "form": ("表单", "form"),
    "form_id": ("表单编号", "form id"),
    "grade": ("评级", "grade"),
    "granted": ("是否授权", "granted"),
    "group": ("分组", "group"),
    "incident": ("事件", "incident"),
    "incident_id": ("事件编号", "incident id"),
    "industry": ("行业", "industry"),
    "issue": ("议题", "issue"),
    "kind": ("种类", "kind"),
    "large_type": ("大字版", "large type"),
    "matures_on": ("到期日", "day of maturity"),
    "merchant_country": ("商户国家", "country of the merchant"),
    "message_id": ("消息编号", "message id"),
    "method": ("方式", "method"),
    "offer": ("产品", "offer"),
    "opened_on": ("开立日期", "day of opening"),
    "outcome": ("结果", "outcome"),
    "own_account": ("本人账户", "own account"),
    "page": ("页面", "page"),
    "placement": ("展示位", "placement"),
    "points": ("积分", "points"),
    "product": ("产品", "product"),
    "proof_id": ("凭证编号", "proof id"),
    "purpose": ("用途", "purpose"),
    "query": ("搜索词", "words searched for"),
    "queue": ("队列", "queue"),
    "recognised_by": ("识别方式", "way of recognising"),
    "reference": ("编号", "reference"),
    "region": ("地区", "region"),
    "request_id": ("请求编号", "request id"),
    "resolution": ("处理结果", "resolution"),
    "response_id": ("反馈编号", "response id"),
    "results": ("结果数", "number of results"),
    "reward": ("奖励", "reward"),
    "session_id": ("会话", "session"),
    "severity": ("严重程度", "severity"),
    "signal": ("信号", "signal"),
    "source": ("来源", "source"),
    "step": ("步骤", "step"),
    "summary": ("摘要", "summary"),
    "time": ("时间", "time"),
    "topic": ("主题", "topic"),
    "tracking_id": ("跟踪编号", "tracking id"),
    "treatment": ("渠道内容", "treatment"),
}  # fmt: skip


def with_event(words: Words, source: str, prefix: str) -> Words:
    """The words with those of the fields of that type of event, each behind the prefix; without a prefix an event's
    fields are all there is to name."""
    fields = EVENT_FIELDS.get(source, {})
    chinese = words.locale.startswith("zh")
    lead = ("" if not prefix else "事件的") if chinese else ("" if not prefix else "the event's ")
    said = {f"{prefix}{name}": lead + _said(name, chinese=chinese) for name in fields}
    money = frozenset(f"{prefix}{name}" for name in fields if name in _MONEY)
    if not prefix:
        return replace(words, facts=said, money=money, memberships=frozenset())
    return replace(words, facts={**words.facts, **said}, money=words.money | money)


def _said(name: str, *, chinese: bool) -> str:
    words = _FIELDS.get(name)
    return name if words is None else words[0 if chinese else 1]
