"""`kairos import`: takes over decisions that another system made, and what came of them, from a file."""

import argparse
import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import orjson

from decision_engine.outcomes import Outcome
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.bootstrap import load_strategy, open_publisher
from services.settings import Settings, read_settings
from services.use_cases.import_decisions import ImportDecisions, Imported
from services.use_cases.past_decisions import PastDecision, PastDecisionInvalid, PastDecisions, PastResponse
from services.use_cases.wire_time import epoch_ms

NAME = "import"
HELP = (
    "take over decisions of another system from JSON lines, with the attributes this one would have served: to be run "
    "when the events before the decisions are applied and those after them are not yet published"
)
EXAMPLE = "kairos import autumn_campaign.jsonl --source old_campaigns"


@dataclass(slots=True)
class PastLog:
    """What a file holds: decisions in its order, and responses with the decision each belongs to."""

    decisions: dict[str, PastDecision] = field(default_factory=dict)
    responses: list[tuple[PastDecision, PastResponse]] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which file, and whose decisions they are."""
    parser.add_argument(
        "file", type=Path,
        help="lines of decision_id, customer_id, time, placement, chances {treatment: chance}, offered (null: none); "
        "and of response_id, decision_id, outcome, time",
    )  # fmt: skip
    parser.add_argument("--source", required=True, help="name of the system that decided")


def run(args: argparse.Namespace) -> int:
    """Imports the file whole. Raises PastDecisionInvalid, StateAhead, StoreUnavailable, BusUnavailable."""
    settings = read_settings(os.environ)
    done = asyncio.run(import_file(settings, args.file, args.source))
    print(f"imported {done.decisions:,} decisions and {done.responses:,} responses")
    if done.unknown:
        print(f"  of {done.unknown:,} customers nothing was known at the time of their decision")
    return 0


async def import_file(settings: Settings, file: Path, source: str) -> Imported:
    """Reads the file and imports it into a running deployment."""
    log = read_past_log(file)
    loaded = load_strategy(settings)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
        layout = loaded.features.layout
        importing = ImportDecisions(
            store=RedisStateStore(client, RedisKeys(settings.namespace, layout)),
            features=loaded.features,
            publisher=await stack.enter_async_context(open_publisher(settings)),
            past=PastDecisions(loaded.strategy, source, layout),
        )
        return await importing(list(log.decisions.values()), log.responses)


def read_past_log(file: Path) -> PastLog:
    """The decisions and responses of a file. Raises PastDecisionInvalid naming line and field."""
    log = PastLog()
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise PastDecisionInvalid(f"{file}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            _take(log, orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise PastDecisionInvalid(f"{file}:{number}: not JSON: {error}") from error
        except PastDecisionInvalid as error:
            raise PastDecisionInvalid(f"{file}:{number}: {error}") from error
    return log


def _take(log: PastLog, row: object) -> None:
    if not isinstance(row, dict):
        raise PastDecisionInvalid("an object is expected")
    if "response_id" in row:
        decision = log.decisions.get(_text(row, "decision_id"))
        if decision is None:
            raise PastDecisionInvalid("decision_id: no line before names this decision")
        log.responses.append((decision, _response(row)))
        return
    past = _decision(row)
    if past.decision_id in log.decisions:
        raise PastDecisionInvalid(f"decision_id: {past.decision_id} stands twice")
    log.decisions[past.decision_id] = past


def _decision(row: Mapping[str, object]) -> PastDecision:
    chances = row.get("chances")
    if not isinstance(chances, dict) or not all(_is_number(c) for c in chances.values()):
        raise PastDecisionInvalid("chances: an object of treatments and their chances is expected")
    return PastDecision(
        decision_id=_text(row, "decision_id"),
        customer_id=_text(row, "customer_id"),
        at_ms=_moment(row),
        placement=_text(row, "placement"),
        chances={str(name): float(chance) for name, chance in chances.items()},
        offered=None if "offered" in row and row["offered"] is None else _text(row, "offered"),
    )


def _response(row: Mapping[str, object]) -> PastResponse:
    try:
        outcome = Outcome(_text(row, "outcome"))
    except ValueError as error:
        raise PastDecisionInvalid(f"outcome: one of {', '.join(Outcome)} is expected") from error
    return PastResponse(response_id=_text(row, "response_id"), outcome=outcome, at_ms=_moment(row))


def _text(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise PastDecisionInvalid(f"{name}: a text is expected")
    return value


def _moment(row: Mapping[str, object]) -> int:
    text = _text(row, "time")
    try:
        if datetime.fromisoformat(text).tzinfo is not None:
            return epoch_ms(text)
    except ValueError:
        pass
    raise PastDecisionInvalid(f"time: RFC 3339 with an offset is expected (is {text!r})")


def _is_number(value: object) -> bool:
    """Whether it is one; true and false are none, though Python counts with them."""
    return isinstance(value, int | float) and not isinstance(value, bool)
