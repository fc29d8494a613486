"""`kairos restore`: puts a backup back, after it was verified, into an empty control topic and beside what is there."""

import argparse
import asyncio
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from event_schemas.topics import CONTROL
from services.adapters.backup_folder import Backup, ControlRecord, control_records, lasting, put_back, read_backup
from services.adapters.redis_client import RedisClient
from services.bootstrap import open_publisher
from services.commands import topics
from services.commands.backup import MODELS, STRATEGIES
from services.commands.control_records import chain_of, read_control
from services.commands.governance_connections import kept_head
from services.ports import OutgoingEvent, ShellError
from services.settings import Settings, read_settings
from services.use_cases.governance.chain import Head

NAME = "restore"
HELP = "put a backup back: verified first, into a control topic that is empty or holds its beginning"
EXAMPLE = "kairos restore /backup/20261121T021700Z --accept-loss"
_AT_ONCE = 200
_CONTENT_TYPE = "content-type"


class RestoreRefused(ShellError):
    """What is there is not what a backup may be put beside."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which backup, and what may be lost."""
    parser.add_argument("backup", type=Path, help="folder of one backup")
    parser.add_argument("--check", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="even if the store knows of acts after the backup: they are lost, and what the store knows is forgotten",
    )


def run(args: argparse.Namespace) -> int:
    """Says what was put back. Raises BackupDamaged, RestoreRefused, BusUnavailable, ControlUnread, StoreUnavailable."""
    settings = read_settings(os.environ)
    backup = read_backup(args.backup)
    asyncio.run(restore(settings, backup, check=args.check, accept_loss=args.accept_loss))
    return 0


async def restore(settings: Settings, backup: Backup, *, check: bool = False, accept_loss: bool = False) -> None:
    """The topic first, then the files. Interrupted, it goes on where it was when it is run again."""
    await topics.create(settings)
    records = control_records(backup)
    missing = await _missing(settings, backup, records)
    known = await kept_head(settings)
    lost = known is not None and known.sequence > backup.chain.sequence
    if lost and not accept_loss:
        raise RestoreRefused(_lost(backup, known))
    if check:
        print(f"{len(missing)} of {len(records)} control records would be published; nothing was done")
        return
    if lost:
        await _forget_head(settings)
    await _publish(settings, missing)
    await _verified(settings, backup)
    print(f"{len(missing)} control records published; the chain holds {backup.chain.sequence} acts and verifies")
    different: list[str] = []
    for name, target in ((MODELS, settings.model_path), (STRATEGIES, settings.strategy_archive)):
        copied, others = await asyncio.to_thread(put_back, backup, name, target)
        different += others
        print(f"{copied} files of {name} put back under {target}")
    if different:
        raise RestoreRefused(f"{len(different)} files differ from the backup and were left: {', '.join(different[:5])}")


async def _missing(settings: Settings, backup: Backup, records: Sequence[ControlRecord]) -> list[ControlRecord]:
    """What the topic does not hold yet. Raises RestoreRefused where it holds anything else."""
    log = await read_control(settings, NAME)
    if log.partitions != backup.partitions:
        raise RestoreRefused(
            f"{CONTROL} has {log.partitions} partitions and had {backup.partitions}: create the topics anew with "
            f"KAIROS_KAFKA_PARTITIONS={backup.partitions}"
        )
    there, wanted = _by_partition(lasting(log.deliveries)), _by_partition(records)
    for partition, held in there.items():
        if wanted[partition][: len(held)] != held:
            raise RestoreRefused(
                f"{CONTROL}, partition {partition}, holds other records than the backup: move that topic away first "
                "(kairos audit export keeps its acts), and run kairos topics"
            )
    return [record for partition in sorted(wanted) for record in wanted[partition][len(there[partition]) :]]


def _by_partition(records: Sequence[ControlRecord]) -> defaultdict[int, list[ControlRecord]]:
    found: defaultdict[int, list[ControlRecord]] = defaultdict(list)
    for record in records:
        found[record.partition].append(record)
    return found


async def _publish(settings: Settings, records: Sequence[ControlRecord]) -> None:
    async with open_publisher(settings) as publisher:
        for start in range(0, len(records), _AT_ONCE):
            await publisher.publish([_event(record) for record in records[start : start + _AT_ONCE]])


def _event(record: ControlRecord) -> OutgoingEvent:
    headers = {name: value for name, value in record.headers if name != _CONTENT_TYPE}
    return OutgoingEvent(
        topic=CONTROL,
        key=record.key.decode(),
        value=record.value,
        headers=headers,
        partition=record.partition,
    )


async def _verified(settings: Settings, backup: Backup) -> None:
    head, faults = chain_of((await read_control(settings, NAME)).deliveries)
    if faults or head.hash != backup.chain.hash:
        raise RestoreRefused(
            f"after publishing the chain ends at {head.hash} with {faults} faults, not at {backup.chain.hash}"
        )


def _lost(backup: Backup, known: Head | None) -> str:
    upto = 0 if known is None else known.sequence
    return (
        f"the store knows of {upto} acts and the backup ends at {backup.chain.sequence}: the last "
        f"{upto - backup.chain.sequence} would be lost. Take a newer backup, or accept it with --accept-loss and have "
        "them done again"
    )


async def _forget_head(settings: Settings) -> None:
    async with RedisClient.open(settings.redis_url) as client:
        await client.execute("DEL", f"{settings.namespace}:governance:head")
