"""Random conditions over a small bank, and what Google's CEL says of them; for tests and measurements.

Where this language differs from CEL on purpose (docs/conditions.md lists it), conditions written for CEL keep clear:
no double beside an int, no number beyond the range of doubles, no text of a double, no numeral with blanks or of an
infinite number, no difference of moments beyond 292 years.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from cel_expr_python import cel

from decision_engine.conditions.evaluation import MISSING, Facts
from decision_engine.features.definitions import AttributeType, Value

RULES_A_BATCH = 40
FACTS_A_BATCH = 10
NOW = 1_795_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

INT, DOUBLE, STRING = AttributeType.INT, AttributeType.DOUBLE, AttributeType.STRING
TYPES = {
    "age": INT,
    "count": INT,
    "share": DOUBLE,
    "balance": DOUBLE,
    "city": STRING,
    "context.page": STRING,
    "vip": AttributeType.BOOL,
    "open": AttributeType.BOOL,
    "assessed": AttributeType.TIMESTAMP,
}
TEXTS = ("", "a", "ab", "abc", "é", "北京", 'q"q', "\\")
INTS = (-3, -1, 0, 1, 2, 3, 7, 2**62, -(2**62))
DOUBLES = (-2.5, -1.0, -0.0, 0.0, 0.5, 1.0, 1.5, 3.0, 1e300)
"""The last one lets products leave the range: CEL goes on with infinity, here that is unknown."""
MOMENTS = ("2026-11-20T08:00:00+08:00", "2026-11-21T00:00:00Z", "2024-02-29T23:59:59.999Z")
DURATIONS = ("24h", "1h30m", "-90s", "8760h", "0s")
ZONES = ("Asia/Shanghai", "Europe/Berlin", "America/St_Johns", "UTC", "+08:00", "-03:30", "05:45")
MOMENT_FIELDS = (
    "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear",
    "getHours", "getMinutes", "getSeconds", "getMilliseconds",
)  # fmt: skip
NUMERALS = ("0", "7", "-3", "+12", "007", "9223372036854775807", "9223372036854775808", "1.5", "0x1F", "", "seven")
DECIMALS = ("0", "1.5", "-2.5", ".5", "2.", "1e3", "+1", "1_0", "", "half")
TRUTHS = ("true", "True", "TRUE", "t", "1", "false", "False", "FALSE", "f", "0", "yes", "")
PRODUCTS = ("gold", "loan", "fund")


class Conditions:
    """Writes random conditions. Within `cel` it keeps to what CEL itself accepts."""

    def __init__(self, random: Random, *, cel: bool) -> None:
        self.random = random
        self.cel = cel

    def boolean(self, depth: int) -> str:
        choices = [self.comparison, self.comparison, self.membership, self.flag]
        if depth > 0:
            choices += [self.conjunction, self.disjunction, self.negation, self.choice, self.equivalence]
        return self.random.choice(choices)(depth - 1)

    def flag(self, _: int) -> str:
        kinds = ["vip", "open", "true", "false", self.text_test(), self.macro(0), self.macro(0), self.truth()]
        if not self.cel:
            kinds += [f"has({self.random.choice(list(TYPES))})", f'has_product("{self.random.choice(PRODUCTS)}")'] * 2
        return self.random.choice(kinds)

    def conjunction(self, depth: int) -> str:
        return " && ".join(f"({self.boolean(depth)})" for _ in range(self.random.randint(2, 4)))

    def disjunction(self, depth: int) -> str:
        return " || ".join(f"({self.boolean(depth)})" for _ in range(self.random.randint(2, 3)))

    def negation(self, depth: int) -> str:
        return f"!({self.boolean(depth)})"

    def choice(self, depth: int) -> str:
        return f"({self.boolean(depth)} ? {self.boolean(depth)} : {self.boolean(depth)})"

    def equivalence(self, depth: int) -> str:
        return f"({self.boolean(depth)}) {self.random.choice(['==', '!='])} ({self.boolean(depth)})"

    def comparison(self, depth: int) -> str:
        operator = self.random.choice(["==", "!=", "<", "<=", ">", ">="])
        kinds = [self.integer, self.double, self.text, self.moment, self.span]
        left = right = self.random.choice(kinds)
        if not self.cel and left in (self.integer, self.double) and self.random.random() < 0.3:
            right = self.random.choice([self.integer, self.double])
        return f"{left(depth)} {operator} {right(depth)}"

    def membership(self, depth: int) -> str:
        kind = self.random.choice([self.integer, self.double, self.text])
        entries = ", ".join(kind(-1) for _ in range(self.random.randint(1, 4)))
        return f"{kind(depth)} in [{entries}]"

    def integer(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.35:
            left, right = self.integer(depth - 1), self.integer(depth - 1)
            if not self.cel and self.random.random() < 0.3:
                return f"{self.random.choice(['min', 'max'])}({left}, {right})"
            return f"({left} {self.random.choice('+-*/%')} {right})"
        if depth > 0 and self.random.random() < 0.35:
            return self.random.choice([self.field(), self.converted("int")])
        return self.random.choice(["age", "count", str(self.random.choice(INTS)), f"size({self.text(-1)})", "-age"])

    def double(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.35:
            left = self.double(depth - 1)
            if self.random.random() < 0.3:
                return f"({left} / {self.random.choice(['0.5', '2.0', '-4.0'])})"
            if not self.cel and self.random.random() < 0.3:
                return f"abs({left} - {self.integer(-1)})"
            return f"({left} {self.random.choice('+-*')} {self.double(depth - 1)})"
        if depth > 0 and self.random.random() < 0.2:
            return self.converted("double")
        return self.random.choice(
            ["share", "balance", repr(self.random.choice(doubles(cel=self.cel))).replace("e+", "e")]
        )

    def text(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.2:
            return f"({self.text(-1)} + {self.text(-1)})"
        if depth > 0 and self.random.random() < 0.2:
            return self.converted("string")
        return self.random.choice(["city", "context.page", quoted(self.random.choice(TEXTS))])

    def truth(self) -> str:
        return f"bool({self.random.choice(['vip', *map(quoted, TRUTHS)])})"

    def macro(self, _: int) -> str:
        """A list of one kind, and a test of its entries against something of the same kind."""
        name = self.random.choice(["exists", "all", "exists_one"])
        kind = self.random.choice([self.integer, self.text])
        entries = ", ".join(kind(self.random.randint(-1, 1)) for _ in range(self.random.randint(0, 4)))
        tests = [f"x == {kind(1)}", f"x != {kind(1)} || vip", f"x < {kind(0)}", f"x in [{kind(-1)}, {kind(-1)}]"]
        if kind == self.integer:
            tests += [f"10 / x > {kind(1)}", f"[x, {kind(-1)}].exists(y, y > x)"]
        else:
            tests += [f"{kind(-1)}.startsWith(x)", f"x.contains({kind(-1)})", f"size(x) > {self.integer(-1)}"]
        return f"[{entries}].{name}(x, {self.random.choice(tests)})"

    def field(self) -> str:
        if self.random.random() < 0.3:
            of_span = self.random.choice(["getHours", "getMinutes", "getSeconds", "getMilliseconds"])
            return f"({self.span(1)}).{of_span}()"
        zone = self.random.choice(["", *map(quoted, ZONES)])
        return f"({self.moment(1)}).{self.random.choice(MOMENT_FIELDS)}({zone})"

    def converted(self, kind: str) -> str:
        """A conversion to the kind, where it has a meaning that all of CEL shares."""
        match kind:
            case "int":
                text = quoted(self.random.choice(NUMERALS))
                return f"int({self.random.choice(['age', 'share', 'assessed', text, self.double(1)])})"
            case "double":
                return f"double({self.random.choice(['age', 'share', *map(quoted, DECIMALS), self.integer(1)])})"
            case _:
                return f"string({self.random.choice(['age', 'vip', 'assessed', 'city', self.span(0), self.moment(1)])})"

    def text_test(self) -> str:
        return f"{self.text(-1)}.{self.random.choice(['startsWith', 'endsWith', 'contains'])}({self.text(-1)})"

    def moment(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.3:
            return f"({self.moment(-1)} {self.random.choice('+-')} {self.span(-1)})"
        return self.random.choice(["assessed", "now", f'timestamp("{self.random.choice(MOMENTS)}")'])

    def span(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.4:
            return f"({self.moment(-1)} - {self.moment(-1)})"
        return f'duration("{self.random.choice(DURATIONS)}")'


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def doubles(*, cel: bool) -> tuple[float, ...]:
    return DOUBLES[:-1] if cel else DOUBLES


def random_facts(random: Random, *, cel: bool) -> Facts:
    candidates: dict[str, tuple[Value, ...]] = {
        "age": INTS, "count": INTS, "share": doubles(cel=cel), "balance": doubles(cel=cel),
        "city": TEXTS, "context.page": TEXTS,
        "vip": (True, False), "open": (True, False),
        "assessed": (NOW, NOW - 86_400_000, 1_763_596_800_000, 0, -1, 1_743_296_399_999, 951_782_400_000),
    }  # fmt: skip
    values = {name: random.choice(known) for name, known in candidates.items() if random.random() < 0.8}
    return Facts(values, frozenset(p for p in PRODUCTS if random.random() < 0.4), NOW)


def batches(pairs: int, *, cel: bool) -> Iterator[tuple[list[str], list[Facts]]]:
    """So many pairs of condition and facts, or the next full batch."""
    for seed in range(max(1, -(-pairs // (RULES_A_BATCH * FACTS_A_BATCH)))):
        random = Random(seed if cel else f"own {seed}")
        conditions = Conditions(random, cel=cel)
        yield (
            [conditions.boolean(random.randint(0, 3)) for _ in range(RULES_A_BATCH)],
            [random_facts(random, cel=cel) for _ in range(FACTS_A_BATCH)],
        )


def cel_environment() -> Any:
    kinds = {
        INT: cel.Type.INT, DOUBLE: cel.Type.DOUBLE, STRING: cel.Type.STRING,
        AttributeType.BOOL: cel.Type.BOOL, AttributeType.TIMESTAMP: cel.Type.TIMESTAMP,
    }  # fmt: skip
    return cel.NewEnv(variables={name: kinds[kind] for name, kind in TYPES.items()} | {"now": cel.Type.TIMESTAMP})


def cel_result(expression: Any, facts: Facts) -> Any:
    """What CEL computes; its errors (a missing name, an overflow, a division by zero) are our MISSING."""
    data: dict[str, object] = {**facts.values, "now": EPOCH + timedelta(milliseconds=facts.now_ms)}
    if "assessed" in data:
        data["assessed"] = EPOCH + timedelta(milliseconds=int(facts.values["assessed"]))
    result = expression.eval(data=data)
    return MISSING if result.type() == cel.Type.ERROR else result.value()
