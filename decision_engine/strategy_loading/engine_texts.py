"""The words for the reason codes the engine itself gives."""

from collections.abc import Mapping
from types import MappingProxyType

from decision_engine.offers import LocalText
from decision_engine.strategy import ConsentPurpose


def _text(chinese: str, english: str) -> LocalText:
    return MappingProxyType({"zh-CN": chinese, "en": english})


ENGINE_TEXTS: Mapping[str, LocalText] = MappingProxyType(
    {
        "NOT_AVAILABLE": _text("该优惠当前不在有效期内", "The offer is not available at this time"),
        "NOT_FOR_THIS_TRIGGER": _text("该优惠不属于此触发事件", "The offer is not among those this trigger is about"),
        "ALREADY_SHOWN": _text("该优惠已在客户面前展示", "The offer stands before the customer already"),
        "KILL_SWITCH": _text("该优惠已被紧急停用", "The offer has been stopped by a kill switch"),
        "NO_CHANNEL": _text("客户不接受通过该渠道联系", "The customer does not accept contact through this channel"),
        "NO_MARKETING": _text("客户不接受营销信息", "The customer does not accept marketing"),
        "SUITABILITY_MISSING": _text("客户尚未完成风险测评", "The customer's risk tolerance has not been assessed"),
        "SUITABILITY_STALE": _text("客户的风险测评已过期", "The customer's risk assessment has expired"),
        "SUITABILITY_TOO_LOW": _text(
            "产品风险高于客户的风险承受能力", "The product's risk exceeds the customer's tolerance"
        ),
        "DUPLICATE": _text("该优惠已在其他位置展示", "The offer is already shown in another place"),
        "SLATE_GROUP_LIMIT": _text("同类优惠已展示足够", "Enough offers of its kind are shown already"),
        "SLATE_CHANNEL_LIMIT": _text("该渠道一次展示的优惠已达上限", "The channel shows no more offers at once"),
        "BUNDLE_INCOMPLETE": _text(
            "该优惠只随主优惠一起展示", "The offer is shown only together with the one it belongs to"
        ),
        "HOLDOUT": _text("客户在对照组中，不展示优惠", "The customer is in the control group and gets no offers"),
        "RESERVED_MEANWHILE": _text(
            "同一时刻的另一次决策已占用该名额", "Another decision took the last slot at the same moment"
        ),
        "VOLUME_EXHAUSTED": _text("该优惠的名额或预算已用完", "The stock or budget for this offer is used up"),
        "VOLUME_PACED": _text(
            "该优惠的名额留给稍后或更合适的客户", "What is left is kept for later, or for customers it fits better"
        ),
        "QUIET_HOURS": _text("当前为该渠道的免打扰时段", "The channel keeps quiet at this time of day"),
        "HOLIDAY": _text("今天是该渠道不打扰客户的假日", "The channel keeps quiet on this holiday"),
        "LEDGER_UNAVAILABLE": _text("接触记录暂时不可用，无法确认频次", "Contacts cannot be checked at the moment"),
    }
)
"""Reason code to text. `CONSENT_<PURPOSE>` comes from the purposes a strategy declares."""


def consent_texts(purposes: Mapping[str, ConsentPurpose]) -> dict[str, LocalText]:
    """The words for the lack of each declared consent, in every locale its own text has."""
    return {
        f"CONSENT_{name.upper()}": {locale: _refused(locale, text) for locale, text in purpose.text.items()}
        for name, purpose in purposes.items()
        if name != "marketing"
    }


def in_locales(text: LocalText, locales: tuple[str, ...]) -> LocalText:
    """The text in every locale asked for, in English where there is no translation."""
    return {locale: text.get(locale, text["en"]) for locale in locales}


def _refused(locale: str, purpose: str) -> str:
    return f"客户未授权：{purpose}" if locale.startswith("zh") else f"The customer has not consented to: {purpose}"
