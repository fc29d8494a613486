"""`kairos explain`: why a decision came out as it did, for people, and whether it can be computed again."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import orjson

from decision_engine.identifiers import DecisionId
from decision_engine.propensity import Scorers
from models.errors import ModelsError
from models.registry import ModelRegistry
from services.adapters.parquet_archive import ArchiveReader
from services.adapters.redis_client import RedisClient
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.bootstrap import LoadedStrategy, load_strategy, open_strategy_versions
from services.commands.decision_report import decision_report
from services.commands.report_words import ReportWords
from services.settings import Settings, read_settings
from services.use_cases.decision_replay import LoadScorers, Replay, ReplayImpossible
from services.use_cases.explain_decision import DecidingStrategies, ExplainDecision, Explanation

NAME = "explain"
HELP = "show every candidate of a decision and why it ended as it did; recompute it to prove the record"
EXAMPLE = "kairos explain 01JD7ZK3V8Q4X9T2M5R6W7Y8AB --replay --locale en"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The decision, and how to show it."""
    parser.add_argument("decision_id", help="the decision_id of an answer, or the part of a tracking_id before the dot")
    parser.add_argument("--replay", action="store_true", help="compute it again and compare byte for byte")
    parser.add_argument("--json", action="store_true", help="print the record as JSON instead of a report")
    parser.add_argument("--locale", default="en", help="language of the report and its reasons: en, zh-CN")


def run(args: argparse.Namespace) -> int:
    """Status 1 when a replay differs. Raises DecisionUnknown, StrategyUnknown, StoreUnavailable, ReplayImpossible."""
    return asyncio.run(_explain(args, read_settings(os.environ)))


async def _explain(args: argparse.Namespace, settings: Settings) -> int:
    decision_id = DecisionId(args.decision_id.partition(".")[0])
    loaded = load_strategy(settings)
    async with _open(settings, loaded) as explain:
        _show(await explain(decision_id), args)
        if not args.replay:
            return 0
        replay = await explain.replay(decision_id, registered_models(settings))
    return _show_replay(replay)


@asynccontextmanager
async def _open(settings: Settings, loaded: LoadedStrategy) -> AsyncIterator[ExplainDecision]:
    keys = RedisKeys(namespace=settings.namespace, layout=loaded.features.layout)
    async with RedisClient.open(settings.redis_url) as client:
        strategies = DecidingStrategies(at_hand=lambda: loaded.prepared, kept=open_strategy_versions(settings))
        yield ExplainDecision(store=RedisDecisionStore(client, keys), strategies=strategies, archive=_Archive(settings))


class _Archive:
    """The archive, read off the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._reader = ArchiveReader(settings.archive_path)

    async def read_decision(self, decision_id: str) -> bytes | None:
        """The decision event as published."""
        return await asyncio.to_thread(self._reader.read_decision, decision_id)


def registered_models(settings: Settings) -> LoadScorers:
    """Exactly the versions that scored, from the registry, whatever is live now."""
    registry = ModelRegistry(settings.model_path)

    def load(used: Mapping[str, str]) -> Scorers:
        try:
            return {name: registry.load(version) for name, version in used.items()}
        except ModelsError as error:
            raise ReplayImpossible(f"a model it was made with is not in the registry: {error}") from error

    return load


def _show(explanation: Explanation, args: argparse.Namespace) -> None:
    data, strategy = explanation.data, explanation.prepared.strategy
    if args.json:
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        print("\n".join(decision_report(data, ReportWords.of(strategy, args.locale))))


def _show_replay(replay: Replay) -> int:
    if replay.identical:
        print(f"\nreplay: identical, all {len(replay.record)} bytes", file=sys.stderr)
        return 0
    place = replay.first_difference or 0
    print(f"\nreplay: DIFFERENT from byte {place}", file=sys.stderr)
    for name, text in (("recorded", replay.record), ("recomputed", replay.recomputed)):
        print(f"  {name}: …{text[max(0, place - 40) : place + 40].decode(errors='replace')}…", file=sys.stderr)
    return 1
