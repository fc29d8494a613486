"""What `kairos doctor` can tell without any server: versions, folders and disks, strategy, models."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from decision_engine.errors import StrategyInvalid
from models.errors import ModelsError
from models.registry import ModelRegistry
from services.bootstrap import LoadedStrategy, load_strategy
from services.commands.doctor_findings import Finding, fail, ok, warn
from services.settings import Settings

GIB = 1 << 30
FAIL_FREE = 1 * GIB
WARN_FREE = 10 * GIB
WARN_SHARE = 0.1
"""Of a disk that should be left free."""
_LIBRARIES = ("kairos-nbo", "aiokafka", "redis", "fastapi", "lightgbm", "numpy", "pyarrow", "pydantic")


def versions() -> Finding:
    """The program's and its libraries'."""
    found, missing = [f"Python {platform.python_version()}"], []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing == ["kairos-nbo"]:
        return warn("versions", ", ".join(found), "the program runs from its sources; install the wheel for service")
    if missing:
        return fail("versions", f"not installed: {', '.join(missing)}", "install with requirements/run.txt")
    return ok("versions", ", ".join(found))


def strategy(settings: Settings) -> tuple[Finding, LoadedStrategy | None]:
    """Whether it loads; what was loaded."""
    try:
        loaded = load_strategy(settings)
    except StrategyInvalid as error:
        problems = str(error).splitlines()
        said = f"{settings.strategy_path}: {len(problems)} problems, such as {problems[0]}"
        return fail("strategy", said, f"kairos strategy check {settings.strategy_path} lists them all"), None
    found = loaded.strategy
    said = f"{found.name} {found.version}: {len(found.offers)} offers, layout {loaded.features.layout}"
    return ok("strategy", said), loaded


def models(settings: Settings, loaded: LoadedStrategy | None) -> Finding:
    """Whether every version is what was registered and can be loaded, and each model of the strategy has one."""
    registry = ModelRegistry(settings.model_path)
    kept = registry.versions()
    damaged = []
    for name in kept:
        try:
            registry.verify(name)
            registry.load(name)
        except ModelsError as error:
            damaged.append(f"{name}: {error}")
    if damaged:
        said = f"{len(damaged)} of {len(kept)} versions cannot be used: {damaged[0]}"
        return fail(
            "models", said, "kairos restore of the last backup puts them back; move the damaged folder away first"
        )
    wanted = [] if loaded is None else [str(name) for name in loaded.strategy.models]
    without = [name for name in wanted if registry.newest(name) is None]
    if without:
        said = f"{len(kept)} versions load; none of {', '.join(without)}"
        return warn("models", said, "base rates rank until the learner has fitted one; kairos train fits one by hand")
    return ok("models", f"{len(kept)} versions load")


def disks(settings: Settings) -> list[Finding]:
    """Whether each folder can be written to and has room."""
    folders = {
        "models": settings.model_path,
        "archive": settings.archive_path,
        "strategies": settings.strategy_archive,
        "snapshots": settings.snapshot_path,
    }
    return [_disk(f"disk of {name}", path) for name, path in folders.items()]


def _disk(about: str, path: Path) -> Finding:
    there = path
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        return fail(about, f"{path}: cannot be written to", "mount the volume writable for the role's user")
    usage = shutil.disk_usage(there)
    share = usage.free / usage.total
    said = f"{path}: {usage.free / GIB:.1f} GiB free, {share:.0%}"
    if usage.free < FAIL_FREE:
        return fail(about, said, "make room at once: what cannot be archived stops the archiver")
    if usage.free < WARN_FREE or share < WARN_SHARE:
        return warn(about, said, "enlarge the volume, or move old partitions of the archive to cheaper storage")
    return ok(about, said)
