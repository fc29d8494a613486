"""A draft's files read by the real loader: every problem and finding, told apart by the field it belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from decision_engine.errors import Problem, StrategyInvalid
from decision_engine.strategy import Strategy
from decision_engine.strategy_loading.analysis import analyse
from decision_engine.strategy_loading.analysis_findings import Severity
from decision_engine.strategy_loading.document import Node
from services.use_cases.authoring.entries import Files


class LoadFiles(Protocol):
    """Reads a strategy from the texts of its files, by name. Raises StrategyInvalid."""

    def __call__(self, files: Files) -> tuple[Strategy, Node]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A problem or finding: where, what, and how grave (`problem`, `error`, `warning`). `path` is in the words of the
    loader: `offers[gold_card].value`."""

    severity: str
    file: str
    line: int
    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFiles:
    """What became of a check. No strategy where there are problems."""

    strategy: Strategy | None
    remarks: tuple[Remark, ...]

    @property
    def sound(self) -> bool:
        """Whether it could be submitted as far as the files go: no problem and no error."""
        return self.strategy is not None and not self.grave

    @property
    def grave(self) -> tuple[Remark, ...]:
        """What has to be mended."""
        return tuple(remark for remark in self.remarks if remark.severity != Severity.WARNING)

    def under(self, path: str) -> tuple[Remark, ...]:
        """What concerns an entry, or anything in it."""
        return tuple(r for r in self.remarks if r.path == path or r.path.startswith((f"{path}.", f"{path}[")))

    def by_field(self, entry: str, keys: Sequence[str]) -> Mapping[str, tuple[Remark, ...]]:
        """What belongs to which field of an entry, by the field's key; the rest under the empty key."""
        found: dict[str, tuple[Remark, ...]] = {}
        for remark in self.under(entry):
            rest = remark.path[len(entry) :].lstrip(".")
            key = next((key for key in sorted(keys, key=len, reverse=True) if _is_in(rest, key)), "")
            found[key] = (*found.get(key, ()), remark)
        return found


def check_files(load: LoadFiles, files: Files, *, thoroughly: bool = True) -> CheckedFiles:
    """Loads, and `thoroughly` analyses too; that takes around a second for a thousand rules, so not for the event
    loop."""
    try:
        strategy, document = load(files)
    except StrategyInvalid as error:
        return CheckedFiles(strategy=None, remarks=tuple(_remark(problem) for problem in error.problems))
    if not thoroughly:
        return CheckedFiles(strategy=strategy, remarks=())
    findings = tuple(
        Remark(
            severity=finding.severity.value,
            file=finding.place.file,
            line=finding.place.line,
            path=finding.place.path,
            message=finding.message,
        )
        for finding in analyse(strategy, document)
    )
    return CheckedFiles(strategy=strategy, remarks=findings)


def _remark(problem: Problem) -> Remark:
    return Remark(severity="problem", file=problem.file, line=problem.line, path=problem.path, message=problem.message)


def _is_in(rest: str, key: str) -> bool:
    return rest == key or rest.startswith((f"{key}.", f"{key}["))
