"""Reads what offers are ordered into: models, issues, groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.identifiers import key32
from decision_engine.strategy_loading.rules import read_lever
from decision_engine.strategy_loading.section import Section, distinct, suggestion
from decision_engine.strategy_loading.trainings import TRAINING_KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Offers that share an issue, a lever and usually a model; `lever` has the issue's added."""

    name: str
    issue: str
    lever: float
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """Model name to whether it is required; issue names; groups by name."""

    models: Mapping[str, bool]
    issues: tuple[str, ...]
    groups: Mapping[str, Group]


def read_hierarchy(root: Section, locales: Sequence[str]) -> Hierarchy:
    """Reads `models`, `issues` and `groups`."""
    models = _models(root)
    issues = _issues(root, locales)
    sections = root.sections("groups")
    groups = [_group(section, locales, issues, tuple(models)) for section in sections]
    distinct_keys(sections, [group.name for group in groups])
    return Hierarchy(
        models=models,
        issues=tuple(name for name in issues if name),
        groups={group.name: group for group in groups if group.name},
    )


def distinct_keys(sections: Sequence[Section], names: Sequence[str]) -> None:
    """Reports names given twice, and different names whose 32-bit keys in the contact ledger are the same."""
    distinct(sections, names, "name")
    first: dict[int, str] = {}
    for section, name in zip(sections, names, strict=True):
        other = first.setdefault(key32(name), name)
        if other != name:
            section.problem(f"{name} has the same key as {other} in the contact ledger; rename one", "name")


def _models(root: Section) -> dict[str, bool]:
    sections = root.sections("models")
    models: dict[str, bool] = {}
    names = []
    for section in sections:
        name = section.name("name")
        names.append(name)
        models[name] = section.flag("required", default=False)
        for key in TRAINING_KEYS:
            section.has(key)  # read where attributes and offers are known
        section.finish()
    distinct(sections, names, "name")
    models.pop("", None)
    return models


def _issues(root: Section, locales: Sequence[str]) -> dict[str, float]:
    sections = root.sections("issues")
    names, levers = [], []
    for section in sections:
        names.append(section.name("name"))
        levers.append(read_lever(section))
        section.optional_local_text("title", locales)
        section.finish()
    distinct_keys(sections, names)
    return dict(zip(names, levers, strict=True))


def _group(section: Section, locales: Sequence[str], issues: Mapping[str, float], models: Sequence[str]) -> Group:
    name, issue = section.name("name"), section.text("issue")
    if issue and issue not in issues:
        section.problem(f"unknown issue {issue}{suggestion(issue, tuple(issues))}", "issue")
    section.optional_local_text("title", locales)
    group = Group(
        name=name,
        issue=issue,
        lever=issues.get(issue, 0.0) + read_lever(section),
        model=read_model(section, models),
    )
    section.finish()
    return group


def read_model(section: Section, models: Sequence[str]) -> str | None:
    """The name of a declared model, or None when absent."""
    model = section.optional_text("model")
    if model and model not in models:
        section.problem(f"unknown model {model}{suggestion(model, models)}", "model")
    return model
