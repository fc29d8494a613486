"""`kairos rebuild`: makes anew from the bus what the store holds."""

import argparse
import asyncio
import os
from contextlib import AsyncExitStack

from event_schemas.topics import DECISIONS, PROFILE_UPDATES, RESPONSES
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.bootstrap import load_strategy, open_clock, open_event_stream
from services.settings import Settings, read_settings
from services.simulation.progress import progress
from services.use_cases.contacts_in_log import ContactsInLog
from services.use_cases.rebuild_ledger import RebuildLedger, Rebuilt, log_length

NAME = "rebuild"
HELP = "rebuild the contact ledgers from the bus into the running namespace; safe to repeat, and while decisions go on"
EXAMPLE = "kairos rebuild ledger"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to rebuild."""
    parser.add_argument(
        "what", choices=["ledger"], help="ledger: everybody's contacts, and which responses were counted"
    )


def run(args: argparse.Namespace) -> int:
    """Raises StrategyInvalid, SettingsInvalid, BusUnavailable, StoreUnavailable."""
    rebuilt = asyncio.run(rebuild_ledgers(read_settings(os.environ)))
    print(
        f"rebuilt the {args.what}s of {rebuilt.customers:,} customers from {rebuilt.events:,} events: "
        f"{rebuilt.contacts:,} accounts of contacts, {rebuilt.responses:,} responses, {rebuilt.unreadable:,} unreadable"
    )
    return 0


async def rebuild_ledgers(settings: Settings) -> Rebuilt:
    """Merges what the bus says into the ledgers of the settings' namespace."""
    loaded = load_strategy(settings)
    keys = RedisKeys(namespace=settings.namespace, layout=loaded.features.layout)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
        clock = await stack.enter_async_context(open_clock(settings, client, keys))
        logs = [
            await stack.enter_async_context(open_event_stream(settings, [topic]))
            for topic in (PROFILE_UPDATES, RESPONSES, DECISIONS)
        ]
        rebuild = RebuildLedger(
            ledger=RedisContactLedger(client, keys),
            contacts=ContactsInLog.of(loaded.strategy),
            clock=clock,
            on_progress=stack.enter_context(progress("rebuild", await log_length(logs))),
        )
        return await rebuild(*logs)
