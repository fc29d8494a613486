"""What a measurement leaves behind: one JSON file in `var/bench`, whatever was measured; `loadtests.report` draws them.

    minutes = Line("Kairos", [(0, 24_300), (1, 24_000)])
    result = describe(
        "ingest-hour",
        "Ingest for an hour of simulated traffic",
        figures={"events_per_core_s": 24_100.0},
        plots=[Plot(title="Events a second", x="minute", y="events/s", lines=[minutes])],
    )
    write(result)

A result says when, on what machine, under what load and from which commit its figures are, so that none stands alone.
`figures` are single numbers with their unit in the name (`p99_ms`, `events_per_core_s`, `cpu_ms_per_decision`).
"""

import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

FORMAT = 1
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "var" / "bench"
LIBRARIES = (
    "numpy",
    "lightgbm",
    "pylignum",
    "uvicorn",
    "uvloop",
    "httptools",
    "redis",
    "hiredis",
    "aiokafka",
    "pydantic",
)
"""Whose versions are written beside every figure, where they are installed."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")


class ResultUnreadable(Exception):
    """A file in the results' folder is not a result of this format."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot: its name in the legend, and its points as (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot. `kind` is `lines` over a number, or `bars`: lines stacked over the places named by `labels`, with x = 0,
    1, … the place in `labels`. Logarithmic axes show only what is above zero."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    kind: Literal["lines", "bars"] = "lines"
    labels: Sequence[str] = ()
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts and numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and whether it was reached."""

    claim: str
    target: str
    measured: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One measurement. `name` is the file's name: a later run of the same measurement takes its place."""

    name: str
    title: str
    measured_at: str
    command: str
    commit: str
    machine: Mapping[str, str | float]
    versions: Mapping[str, str]
    figures: Mapping[str, float] = field(default_factory=dict)
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    verdicts: Sequence[Verdict] = ()
    notes: Sequence[str] = ()
    format: int = FORMAT


def describe(
    name: str,
    title: str,
    *,
    figures: Mapping[str, float] | None = None,
    plots: Sequence[Plot] = (),
    tables: Sequence[Table] = (),
    verdicts: Iterable[Verdict] = (),
    notes: Iterable[str] = (),
) -> Result:
    """The result, with date, machine, load, versions, commit and the command that runs now. What is not a number, since
    nothing was measured, is left out of figures and plots and a dash in tables. `name` is of small letters, digits and
    hyphens; ValueError otherwise."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a result's name is small letters, digits and hyphens: {name!r}")
    return Result(
        name=name,
        title=title,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        command=_command(),
        commit=_commit(),
        machine=_machine(),
        versions=_versions(),
        figures={key: value for key, value in (figures or {}).items() if math.isfinite(value)},
        plots=[replace(plot, lines=[_finite_line(line) for line in plot.lines]) for plot in plots],
        tables=[replace(table, rows=[_finite_row(row) for row in table.rows]) for table in tables],
        verdicts=tuple(verdicts),
        notes=tuple(notes),
    )


def write(result: Result, folder: Path = FOLDER) -> Path:
    """Writes `<name>.json` whole or not at all, over an earlier run's."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.name}.json"
    unfinished = path.with_suffix(".json.new")
    unfinished.write_text(json.dumps(asdict(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    unfinished.replace(path)
    return path


def read(path: Path) -> Result:
    """Raises ResultUnreadable, naming the file and what is wrong with it."""
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["format"] != FORMAT:
            raise ResultUnreadable(f"{path.name}: format {found['format']!r}, this program reads {FORMAT}")
        plots = [Plot(**{**plot, "lines": [_line(line) for line in plot["lines"]]}) for plot in found["plots"]]
        tables = [Table(**table) for table in found["tables"]]
        verdicts = [Verdict(**verdict) for verdict in found["verdicts"]]
        return Result(**{**found, "plots": plots, "tables": tables, "verdicts": verdicts})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultUnreadable(f"{path.name}: {error!r}") from error


def read_all(folder: Path = FOLDER) -> list[Result]:
    """Every result of the folder, by name. Raises ResultUnreadable."""
    return [read(path) for path in sorted(folder.glob("*.json"))]


def _finite_line(line: Line) -> Line:
    return Line(line.name, [(x, y) for x, y in line.points if math.isfinite(x) and math.isfinite(y)])


def _finite_row(row: Sequence[str | float]) -> list[str | float]:
    return ["-" if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in row]


def _line(found: Mapping[str, object]) -> Line:
    points = found["points"]
    if not isinstance(points, list):
        raise TypeError(f"points of a line are a list: {points!r}")
    return Line(str(found["name"]), [(float(x), float(y)) for x, y in points])


def _command() -> str:
    """What a reader types: a module is named as a module, without the machine's paths."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is None:
        return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return " ".join(["python -m", spec.name.removesuffix(".__main__"), *sys.argv[1:]])


def _commit() -> str:
    """The commit, with a `+` where the tree has changes that no commit has; `unknown` outside a repository."""
    found = _git("rev-parse", "--short", "HEAD")
    if found is None:
        return "unknown"
    return found + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _machine() -> dict[str, str | float]:
    return {
        "processor": _processor(),
        "cores": float(os.cpu_count() or 1),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()}",
        "load_1m": round(os.getloadavg()[0], 2),
        "load_5m": round(os.getloadavg()[1], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return 0.0


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
