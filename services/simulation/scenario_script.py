"""A scenario as it is written down: what happens to a customer step by step, and what has to come out of it.

The same files are played on screen by `kairos dev --scenario` and by the end-to-end tests, which fail where an
expectation does. Times are of the deployment's own clock, which follows the events.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from decision_engine.experiment import Arm
from decision_engine.strategy_loading.document import ListNode, MapNode, Node, ScalarNode
from services.adapters.yaml_document import read_yaml
from services.ports import ShellError

FOLDER = Path("deploy/scenarios")
_LENGTH = re.compile(r"([0-9]{1,6})([smhd])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

Words = dict[str, str]
"""Locale to text."""
Value = bool | int | float | str


class ScenarioUnknown(ShellError):
    """There is no scenario of that name, or its file cannot be read."""


def _length(text: object) -> object:
    match = _LENGTH.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("a length is a whole number with s, m, h or d, such as 30m")
    return int(match.group(1)) * _UNIT_MS[match.group(2)]


Length = Annotated[int, BeforeValidator(_length)]
"""Written as `30m`, held in milliseconds."""


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Moment(_Written):
    """A time relative to the present of the scenario, carried as epoch milliseconds."""

    ago: Length | None = None
    ahead: Length | None = None

    @property
    def shift_ms(self) -> int:
        """From the present, negative for the past."""
        return (self.ahead or 0) - (self.ago or 0)


class Happening(_Written):
    """An event about the customer, or about `subject`; `ago` before the present of the scenario."""

    type: str
    data: dict[str, object] = Field(default_factory=dict)
    ago: Length = 0
    times: int = Field(default=1, ge=1, le=500)
    """So many of them, a second apart."""
    subject: str | None = None


class Expected(_Written):
    """What must hold of a decision or of an outbound contact."""

    offers: tuple[str, ...] = ()
    """All of them are offered, in any order."""
    any_of: tuple[str, ...] = ()
    """At least one of them is offered."""
    live: tuple[str, ...] = ()
    """All of them passed every gate, whether or not there was room for them."""
    none_of: tuple[str, ...] = ()
    at_least: int = 0
    """So many options."""
    rejected: dict[str, str] = Field(default_factory=dict)
    """Offer to the reason code of its rejection."""
    fallback: bool = False
    """Nothing is offered."""
    script: bool = False
    """Every option has a talk script."""
    recipient: str | None = None
    reasons: tuple[str, ...] = ()
    """Reason codes that some option gives."""
    personalised: bool | None = None


class Question(_Written):
    """A decision asked for in a channel."""

    channel: str
    placement: str
    count: int = 1
    context: dict[str, Value] = Field(default_factory=dict)
    expect: Expected = Field(default_factory=Expected)


class Awaited(_Written):
    """A contact the bank starts by itself: on the outbound topic, seen through the stream of its channel."""

    channel: str
    trigger: str
    wave: int = 0
    expect: Expected = Field(default_factory=Expected)


class Answer(_Written):
    """What the customer does with an offer of the story so far."""

    offer: str | None = None
    """None: the first one of the last decision or outbound contact."""
    outcome: Literal["impression", "click", "accept", "reject", "dismiss", "convert"]
    channel: str | None = None


class Attributed(_Written):
    """A conversion that is credited to an offer without anybody having typed it."""

    offer: str


class Step(_Written):
    """One thing that happens, with what to say about it."""

    say: Words = Field(default_factory=dict)
    event: Happening | None = None
    decide: Question | None = None
    outbound: Awaited | None = None
    silence: Awaited | None = None
    """No further such contact comes, which is known once the clock has passed it."""
    cancelled: Awaited | None = None
    respond: Answer | None = None
    advance: Length | None = None
    attributed: Attributed | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> "Step":
        acts = self.model_fields_set - {"say"}
        if len(acts) > 1:
            raise ValueError(f"a step is one thing, not {' and '.join(sorted(acts))}")
        return self


class Scenario(_Written):
    """A story about one customer, in an arm of the standing experiment. `attributes` are told with the first event,
    `consents` too; `hour` is the local hour it begins at, on a working day."""

    id: str
    title: Words
    about: Words
    customer: Literal["retail", "corp"] = "retail"
    arm: Arm = Arm.FULL
    hour: int = Field(default=10, ge=0, le=23)
    attributes: dict[str, Value | Moment] = Field(default_factory=dict)
    consents: dict[str, bool] = Field(default_factory=dict)
    steps: tuple[Step, ...]


def scenario_names(folder: Path = FOLDER) -> list[str]:
    """Those there are, in the order of their numbers; variants such as S11-answered come after theirs."""
    return sorted((path.stem for path in folder.glob("S*.yaml")), key=_number_first)


def _number_first(name: str) -> tuple[int, str]:
    number = name.removeprefix("S").split("-")[0]
    return int(number) if number.isdecimal() else 0, name


def load_scenario(name: str, folder: Path = FOLDER) -> Scenario:
    """The scenario of that name, such as S9. Raises ScenarioUnknown."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise ScenarioUnknown(f"there is no scenario {name}; there are {', '.join(scenario_names(folder))}")
    file = read_yaml(path.read_text("utf-8"), str(path))
    if file.root is None or file.problems:
        raise ScenarioUnknown(
            "; ".join(f"{p.file}:{p.line}: {p.message}" for p in file.problems) or f"{path}: is empty"
        )
    try:
        return Scenario.model_validate(_plain(file.root))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ScenarioUnknown(f"{path}: {problems}") from error


def _plain(node: Node) -> object:
    match node:
        case MapNode(entries=entries):
            return {entry.key: _plain(entry.value) for entry in entries}
        case ListNode(items=items):
            return [_plain(item) for item in items]
        case ScalarNode(value=value):
            return value
