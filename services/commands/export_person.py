"""`kairos export-person`: everything that is held on a person, as JSON for them."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from decision_engine.identifiers import CustomerId
from services.adapters.parquet_archive import ArchiveReader
from services.adapters.redis_client import RedisClient
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.bootstrap import load_strategy, open_clock
from services.commands.erase import CustomerMalformed, is_customer
from services.settings import Settings, read_settings
from services.use_cases.make_decision import Live
from services.use_cases.person_export.export_person import ExportPerson

NAME = "export-person"
HELP = "print everything that is held on a person: attributes, consents with receipts, contacts, archived records"
EXAMPLE = "kairos export-person retail:1787 --to retail-1787.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom, and where to."""
    parser.add_argument("customer", help="the customer, such as retail:1787")
    parser.add_argument("--to", type=Path, help="file to write (default: standard output)")


def run(args: argparse.Namespace) -> int:
    """Writes the document. Raises CustomerMalformed, StrategyInvalid, StoreUnavailable."""
    if not is_customer(args.customer):
        raise CustomerMalformed
    document = asyncio.run(export_person(read_settings(os.environ), CustomerId(args.customer)))
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"
    if args.to is None:
        sys.stdout.write(text)
    else:
        args.to.write_text(text, encoding="utf-8")
        print(f"{args.to}: {document['archived_records']:,} archived records and what is known now")
    return 0


async def export_person(settings: Settings, customer: CustomerId) -> dict[str, object]:
    """The document of one person. Raises StrategyInvalid, StoreUnavailable."""
    loaded = load_strategy(settings)
    live = Live.of(loaded.prepared, loaded.features, {})
    keys = RedisKeys(namespace=settings.namespace, layout=loaded.features.layout)
    async with (
        RedisClient.open(settings.redis_url) as client,
        open_clock(settings, client, keys) as clock,
    ):
        store = RedisDecisionStore(client, keys)
        export = ExportPerson(live=lambda: live, store=store, archive=_Archive(settings.archive_path), clock=clock)
        return await export(customer)


class _Archive:
    """The archive, read off the event loop."""

    def __init__(self, root: Path) -> None:
        self._reader = ArchiveReader(root)

    async def of_person(self, customer_id: str) -> Sequence[tuple[str, bytes]]:
        """Topic and event, by time."""
        return await asyncio.to_thread(self._reader.of_person, customer_id)
