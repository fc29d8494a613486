"""The words of a decision report in the languages people read it in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from decision_engine.offers import LocalText
from decision_engine.strategy import Strategy

_ENGLISH: Mapping[str, str] = MappingProxyType(
    {
        "decision": "decision {id} at {time}",
        "customer": "customer {customer} in {channel}, asked by {client}",
        "strategy": "strategy {strategy}; models {models}; arm {arm}",
        "experiments": "experiments {arms}",
        "none": "none",
        "data": "personalised {personalised}; data {age} ms old; took {took} ms",
        "degraded": "DEGRADED: {causes}",
        "candidates": "{placement}: {count} candidates",
        "fallback": "fallback {treatment} because {cause}",
        "rank": "rank {rank}",
        "ranked_lower": "ranked lower",
        "rejected": "rejected",
        "chance": "chance",
        "attributes": "attributes used ({count})",
        "availability": "availability",
        "consent": "consent",
        "eligibility": "eligibility",
        "applicability": "applicability",
        "suitability": "suitability",
        "contact_policy": "contact_policy",
        "volume": "volume",
        "experiment": "experiment",
        "slate": "slate",
    }
)
_CHINESE: Mapping[str, str] = MappingProxyType(
    {
        "decision": "决策 {id}，时间 {time}",
        "customer": "客户 {customer}，渠道 {channel}，请求方 {client}",
        "strategy": "策略 {strategy}；模型 {models}；实验组 {arm}",
        "experiments": "实验 {arms}",
        "none": "无",
        "data": "个性化 {personalised}；数据延迟 {age} 毫秒；耗时 {took} 毫秒",
        "degraded": "降级：{causes}",
        "candidates": "{placement}：{count} 个候选",
        "fallback": "默认内容 {treatment}，原因 {cause}",
        "rank": "第 {rank} 位",
        "ranked_lower": "排序靠后",
        "rejected": "被拒绝",
        "chance": "入选概率",
        "attributes": "使用的属性（{count}）",
        "availability": "有效期",
        "consent": "授权",
        "eligibility": "准入",
        "applicability": "适用",
        "suitability": "适当性",
        "contact_policy": "接触策略",
        "volume": "总量约束",
        "experiment": "实验",
        "slate": "组合",
    }
)
_LANGUAGES: Mapping[str, Mapping[str, str]] = MappingProxyType({"en": _ENGLISH, "zh": _CHINESE})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportWords:
    """How a report says things in one locale. `texts` are the strategy's words by reason code, `rules` those of single
    rules by offer and rule, which count before a code that several rules share."""

    locale: str = "en"
    texts: Mapping[str, LocalText] = field(default_factory=dict)
    rules: Mapping[tuple[str, str], LocalText] = field(default_factory=dict)

    @classmethod
    def of(cls, strategy: Strategy, wanted: str) -> "ReportWords":
        """The words of a strategy in the locale wanted, or the nearest it has: one of the language, then its first."""
        language = wanted.partition("-")[0]
        near = [name for name in strategy.locales if name.partition("-")[0] == language]
        locale = wanted if wanted in strategy.locales else (near or strategy.locales)[0]
        rules: dict[tuple[str, str], LocalText] = {
            (offer.name, rule.id): rule.text
            for offer in strategy.offers
            for rule in (*offer.eligibility, *offer.applicability, *offer.suitability)
        }
        return cls(locale=locale, texts=strategy.texts, rules=rules)

    def say(self, name: str, **values: object) -> str:
        """A phrase of the report; a name without one stands for itself."""
        phrases = _LANGUAGES.get(self.locale.partition("-")[0], _ENGLISH)
        return phrases.get(name, name).format(**values)

    def reason(self, offer: str, rule: str, code: str) -> str:
        """Why a candidate was rejected, in words; empty when the strategy has none for it."""
        words = self.rules.get((offer, rule)) or self.texts.get(code) or {}
        return words.get(self.locale) or next(iter(words.values()), "")
