"""How conditions sound, in English and Chinese."""

from collections.abc import Mapping
from dataclasses import dataclass

Both = Mapping[bool, str]
"""What is said if it holds, and if it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """The phrases of one language; `{0}` and so on are what is spoken of."""

    joins: Mapping[str, str]
    comparisons: Mapping[str, str]
    signs: Mapping[str, str]
    functions: Mapping[str, str]
    text_tests: Mapping[str, Both]
    known: Both
    held: Both
    belongs: Both
    true_of: Both
    not_so: str
    either: str
    quoted: str
    brackets: tuple[str, str]
    or_list: tuple[str, str]
    and_list: tuple[str, str]
    now: str
    yes: str
    no: str
    always: str
    never: str

    def bracketed(self, text: str) -> str:
        """The text in brackets."""
        return f"{self.brackets[0]}{text}{self.brackets[1]}"


_SIGNS = {"+": "+", "-": "−", "*": "×", "/": "÷", "%": "mod"}

ENGLISH = Phrases(
    joins={"&&": " and ", "||": " or "},
    comparisons={
        "==": "{0} is {1}",
        "!=": "{0} is not {1}",
        "<": "{0} is less than {1}",
        "<=": "{0} is at most {1}",
        ">": "{0} is more than {1}",
        ">=": "{0} is at least {1}",
        "in": "{0} is one of {1}",
        "not in": "{0} is none of {1}",
    },
    signs=_SIGNS,
    functions={
        "min": "the smallest of {0}",
        "max": "the largest of {0}",
        "abs": "the size of {0}",
        "size": "the length of {0}",
        "getHours": "the hour of {0}",
        "getMinutes": "the minute of {0}",
        "getSeconds": "the second of {0}",
        "getFullYear": "the year of {0}",
        "getMonth": "the month (from 0) of {0}",
        "getDate": "the day of the month of {0}",
        "getDayOfMonth": "the day of the month (from 0) of {0}",
        "getDayOfWeek": "the day of the week (0 is Sunday) of {0}",
        "getDayOfYear": "the day of the year (from 0) of {0}",
    },
    text_tests={
        "startsWith": {True: "{0} begins with {1}", False: "{0} does not begin with {1}"},
        "endsWith": {True: "{0} ends with {1}", False: "{0} does not end with {1}"},
        "contains": {True: "{0} contains {1}", False: "{0} does not contain {1}"},
    },
    known={True: "{0} is known", False: "{0} is not known"},
    held={True: "the customer holds {0}", False: "the customer does not hold {0}"},
    belongs={True: "the customer belongs to {0}", False: "the customer does not belong to {0}"},
    true_of={True: "{0}: yes", False: "{0}: no"},
    not_so="it is not so that {0}",
    either="if {0}, then {1}, otherwise {2}",
    quoted="“{0}”",
    brackets=("(", ")"),
    or_list=(", ", " or "),
    and_list=(", ", " and "),
    now="now",
    yes="yes",
    no="no",
    always="always",
    never="never",
)

CHINESE = Phrases(
    joins={"&&": "，且", "||": "，或"},
    comparisons={
        "==": "{0}为{1}",
        "!=": "{0}不为{1}",
        "<": "{0}小于 {1}",
        "<=": "{0}不超过 {1}",
        ">": "{0}大于 {1}",
        ">=": "{0}不低于 {1}",
        "in": "{0}为{1}之一",
        "not in": "{0}不是{1}中的任何一个",
    },
    signs=_SIGNS,
    functions={
        "min": "{0}中的最小值",
        "max": "{0}中的最大值",
        "abs": "{0}的绝对值",
        "size": "{0}的长度",
        "getHours": "{0}的小时",
        "getMinutes": "{0}的分钟",
        "getSeconds": "{0}的秒",
        "getFullYear": "{0}的年份",
        "getMonth": "{0}的月份（从0起）",
        "getDate": "{0}的日",
        "getDayOfMonth": "{0}的日（从0起）",
        "getDayOfWeek": "{0}的星期（0为周日）",
        "getDayOfYear": "{0}为当年第几天（从0起）",
    },
    text_tests={
        "startsWith": {True: "{0}以{1}开头", False: "{0}不以{1}开头"},
        "endsWith": {True: "{0}以{1}结尾", False: "{0}不以{1}结尾"},
        "contains": {True: "{0}包含{1}", False: "{0}不包含{1}"},
    },
    known={True: "已知{0}", False: "未知{0}"},
    held={True: "客户持有{0}", False: "客户未持有{0}"},
    belongs={True: "客户属于{0}", False: "客户不属于{0}"},
    true_of={True: "{0}：是", False: "{0}：否"},
    not_so="并非（{0}）",
    either="若{0}，则{1}，否则{2}",
    quoted="“{0}”",
    brackets=("（", "）"),
    or_list=("、", "或"),
    and_list=("、", "与"),
    now="当前时刻",
    yes="是",
    no="否",
    always="始终成立",
    never="永不成立",
)

PHRASES: Mapping[str, Phrases] = {"en": ENGLISH, "zh-CN": CHINESE}
