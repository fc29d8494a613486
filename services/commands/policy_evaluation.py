"""`kairos evaluate policy`: what another way of deciding would have earned on the archived decisions."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson

from models.decision_log.archive_files import TimeRange
from models.decision_log.examples import AttributionRule, LoggedDecision, accepted_within
from models.decision_log.offer_catalogue import offer_facts, offers_of_model
from models.decision_log.records import logged_decision, read_responses
from models.errors import EvaluationRefused
from models.evaluation.off_policy.first_choices import (
    Chances,
    FirstChoice,
    PolicyOf,
    RewardRule,
    first_choices,
    judged_policy,
    recorded_choices,
)
from models.evaluation.off_policy.judgement import REPLICATES, JudgingRule, judge_policies
from models.evaluation.off_policy.placement_slates import placement_slates
from models.evaluation.off_policy.ranking_policy import RankingPolicy
from models.evaluation.off_policy.report import as_json, report_lines, slate_json, slate_lines
from models.evaluation.off_policy.slates import SlateModel, SlateValue, slate_value
from models.manifest import TrainingData
from models.registry import ModelRegistry
from services.adapters.parquet_archive import ArchiveReader
from services.bootstrap import LoadedStrategy, load_strategy, load_strategy_at, strategy_finder
from services.commands.explain import registered_models
from services.ports import ShellError
from services.settings import Settings, read_settings
from services.use_cases.decision_record import record_data
from services.use_cases.redecide import Redecider

INCONCLUSIVE = 2
"""Exit status when the weights carry no conclusion: neither success nor a failure of the command."""


class PolicyNotGiven(ShellError):
    """It is not said which policy to judge."""


def add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    """Which policy, and how it is judged; `--model`, `--version`, `--archive` and the period are the log's."""
    policy = parser.add_argument_group(
        "policy: what ranking by a model version, or deciding by another strategy, would have earned; "
        f"exit status {INCONCLUSIVE} when the weights carry no conclusion"
    )
    policy.add_argument("--draft", type=Path, help="a strategy (file or folder) that decides the requests again")
    policy.add_argument("--chances", type=Path, help="JSON lines: decision_id, treatment, chance to stand first")
    policy.add_argument("--reward", choices=("accepted", "value"), default="accepted", help="default: accepted options")
    policy.add_argument("--clip", type=float, help="limit of importance weights (default: none)")
    policy.add_argument("--seed", type=int, default=1, help="seed of the bootstrap (default 1)")
    policy.add_argument("--replicates", type=int, default=REPLICATES, help=f"of the bootstrap (default {REPLICATES})")
    policy.add_argument("--by-place", action="store_true", help="with --model: whole lists, place by place")
    policy.add_argument("--json", action="store_true", help="print JSON")


def evaluate_policy(args: argparse.Namespace) -> int:
    """Prints the judgement. Status 0 when it carries a conclusion. Raises PolicyNotGiven, ShellError, ModelsError."""
    _require_one_policy(args)
    settings = read_settings(os.environ)
    log = _read_log(args, settings)
    rule = JudgingRule(clip=args.clip, replicates=args.replicates, seed=args.seed)
    name, policy_of, choices = _policy(args, settings, log)
    recorded = recorded_choices(choices, log.reward)
    report = judge_policies(recorded, {name: judged_policy(choices, policy_of, log.reward)}, rule)
    slates = _by_place(args, settings, log, rule)
    if args.json:
        shown = {**as_json(report), "left_out": log.left_out, "reward": args.reward}
        shown |= {} if slates is None else {"by_place": slate_json(slates)}
        sys.stdout.write(orjson.dumps(shown, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode() + "\n")
    else:
        print("\n".join([*log.lines(args.reward), *report_lines(report)]))
        print("\n".join([] if slates is None else ["", *slate_lines(slates)]))
    return 0 if report.conclusive and not (slates and slates.refusals) else INCONCLUSIVE


def _require_one_policy(args: argparse.Namespace) -> None:
    by_model = bool(args.model or args.version)
    listed, drafted = args.chances is not None, args.draft is not None
    if not (by_model or listed or drafted) or (listed and (by_model or drafted)):
        raise PolicyNotGiven(
            "which policy? Give --model NAME or --version VERSION, --draft STRATEGY (with --model: its models "
            "replaced by it), or --chances FILE"
        )
    if args.by_place and (listed or drafted):
        raise PolicyNotGiven("--by-place judges the ranking by a model version: give --model or --version alone")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Log:
    """The period's decisions that can be judged, how many cannot and why, and what options earned."""

    decisions: tuple[LoggedDecision, ...]
    redecided: Mapping[str, Chances]
    """By decision id, what the draft would do; empty without one."""
    window: AttributionRule
    reward: RewardRule
    left_out: Mapping[str, int]
    strategy: LoadedStrategy

    def lines(self, reward: str) -> Iterator[str]:
        unit = "accepted options" if reward == "accepted" else "value of accepted options in minor units"
        yield f"reward: {unit}; {len(self.decisions):,} decisions can be judged"
        yield from (f"left out: {count:,} decisions {why}" for why, count in self.left_out.items())


_SEVERAL = "that were asked for several placements at once, whose chances depend on each other"
_UNREADABLE = "whose candidates cannot be read, as their strategy is not kept"
_SILENT = "that offered nothing: what a policy would have earned by offering there is not known"
_OPEN = "whose attribution window is still open"


def _read_log(args: argparse.Namespace, settings: Settings) -> _Log:
    archive = args.archive or settings.archive_path
    learnt = _learnt_from(args, settings)
    since_ms = learnt.held_out_since_ms if args.since is None and learnt is not None else args.since
    period = TimeRange(since_ms=since_ms)
    strategy = load_strategy(settings)
    responses = list(read_responses(archive, period))
    trained_with = settings.attribution_seconds if learnt is None else learnt.attribution_seconds
    seconds = args.attribution_seconds or trained_with
    newest = max((response.at_ms for response in responses), default=0)
    window = AttributionRule(window_ms=seconds * 1000, log_end_ms=newest)
    redecider = None if args.draft is None else _redecider(args, settings)
    redecided: dict[str, Chances] = {}
    decisions: list[LoggedDecision] = []
    seen: set[str] = set()
    left_out: Counter[str] = Counter()
    for record, decision in _decisions(archive, period, settings):
        if decision.decision_id in seen:
            continue
        seen.add(decision.decision_id)
        if why := _not_judged(record, decision, window):
            left_out[why] += 1
            continue
        decisions.append(decision)
        if redecider is not None and any(first_choices([decision])):
            # At once, as the records of a whole archive would not fit into memory.
            redecided[decision.decision_id] = redecider.first_chances(record)
    values = offer_facts(strategy.strategy) if args.reward == "value" else None
    return _Log(
        decisions=tuple(decisions),
        redecided=redecided,
        window=window,
        reward=RewardRule(accepted=accepted_within(responses, window), values=values),
        left_out=left_out,
        strategy=strategy,
    )


def _decisions(archive: Path, period: TimeRange, settings: Settings) -> Iterator[tuple[bytes, LoggedDecision]]:
    strategy_of = strategy_finder(settings)
    for record in ArchiveReader(archive).iter_decisions(period):
        decision = logged_decision(record, strategy_of)
        if decision is not None:
            yield record, decision


def _not_judged(record: bytes, decision: LoggedDecision, window: AttributionRule) -> str | None:
    """Why a decision is left out, None when it is not."""
    if len(_asked(record)) > 1:
        return _SEVERAL
    if not decision.options:
        return _SILENT
    if not decision.candidates:
        return _UNREADABLE
    return _OPEN if decision.decided_ms + window.window_ms > window.log_end_ms else None


def _learnt_from(args: argparse.Namespace, settings: Settings) -> TrainingData | None:
    """What the judged version learnt from; None without one."""
    if not (args.model or args.version):
        return None
    registry = ModelRegistry(args.models or settings.model_path)
    return registry.manifest(_version(args, registry)).data


def _version(args: argparse.Namespace, registry: ModelRegistry) -> str:
    version: str | None = args.version or registry.newest(args.model)
    if version is None:
        raise EvaluationRefused(f"no version of {args.model} is registered; train one with `kairos train`")
    return version


def _asked(record: bytes) -> list[object]:
    asked = record_data(record).get("placements_asked")
    return asked if isinstance(asked, list) else []


def _policy(args: argparse.Namespace, settings: Settings, log: _Log) -> tuple[str, PolicyOf, list[FirstChoice]]:
    """Its name, its chances, and the choices that it can be judged on."""
    choices = list(first_choices(log.decisions, log.window))
    if args.chances is not None:
        listed = _listed_chances(args.chances)
        known = [choice for choice in choices if choice.decision.decision_id in listed]
        return args.chances.name, lambda choice: listed[choice.decision.decision_id], known
    if args.draft is not None:
        name = f"strategy {load_strategy_at(args.draft).strategy.version}"
        return name, lambda choice: log.redecided[choice.decision.decision_id], choices
    ranking = _ranking(args, settings, log)
    return f"ranked by {ranking.scorer.version}", ranking.chances, choices


def _redecider(args: argparse.Namespace, settings: Settings) -> Redecider:
    """The draft, with the model version that is to replace the recorded one, if any."""
    instead = {}
    if args.model or args.version:
        registry = ModelRegistry(args.models or settings.model_path)
        version = _version(args, registry)
        instead = {registry.manifest(version).name: registry.load(version)}
    draft = load_strategy_at(args.draft).prepared
    return Redecider(draft, strategy_finder(settings), registered_models(settings), instead)


def _ranking(args: argparse.Namespace, settings: Settings, log: _Log) -> RankingPolicy:
    registry = ModelRegistry(args.models or settings.model_path)
    version = _version(args, registry)
    strategy = log.strategy.strategy
    offers = offers_of_model(offer_facts(strategy), registry.manifest(version).name)
    return RankingPolicy(scorer=registry.load(version), offers=offers, zone=ZoneInfo(strategy.time_zone))


def _by_place(args: argparse.Namespace, settings: Settings, log: _Log, rule: JudgingRule) -> SlateValue | None:
    if not args.by_place:
        return None
    choices = first_choices(log.decisions, log.window)
    slates = placement_slates(choices, _ranking(args, settings, log).order, log.reward)
    return slate_value(slates, SlateModel.ITEM_POSITION, rule)


def _listed_chances(path: Path) -> dict[str, dict[str, float]]:
    """Decision id to its treatments' chances. Raises EvaluationRefused at the first line that is none."""
    listed: dict[str, dict[str, float]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = orjson.loads(line)
            chances = listed.setdefault(str(row["decision_id"]), {})
            chances[str(row["treatment"])] = float(row["chance"])
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationRefused(f"{path}:{number}: not decision_id, treatment and chance: {error!r}") from error
    return listed
