"""`kairos erase`: has a person erased everywhere, or tells how far that has come and what was removed where."""

import argparse
import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from decision_engine.identifiers import CustomerId
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import open_clock, open_publisher
from services.erasure_wiring import erasures_in_store, needed_pseudonyms, proofs_on_the_bus
from services.ports import ShellError
from services.settings import Settings, read_settings
from services.use_cases.erasure.proofs import ARCHIVE, PLACES, SNAPSHOTS, STORE, Erasure
from services.use_cases.erasure.request_erasure import ErasureUnknown, RequestErasure
from services.use_cases.wire_time import rfc3339

NAME = "erase"
HELP = "erase a person from store, archive and snapshots; --status prints the proof, place by place"
EXAMPLE = "kairos erase retail:1787 && kairos erase retail:1787 --status"

_CUSTOMER = re.compile(r"(retail|corp):[A-Za-z0-9_-]{1,64}")
_WAIT_LOOK_SECONDS = 0.5
_WHO = {
    STORE: "a running kairos state-builder removes it within seconds, once it has read up to the act",
    ARCHIVE: "a running kairos archiver goes through all files as soon as it meets the act",
    SNAPSHOTS: "the archiver goes through them together with the archive",
}
"""Who has to act; each needs the KAIROS_PSEUDONYM_KEY of this command."""


class CustomerMalformed(ShellError):
    """A customer is written retail:<id> or corp:<id>, letters, digits, _ and -, at most 64."""


class ErasureUnfinished(ShellError):
    """The erasure has begun and is not done everywhere within the time waited for."""


def is_customer(text: str) -> bool:
    """Whether it is written as a customer is."""
    return _CUSTOMER.fullmatch(text) is not None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom, and whether to ask or to look."""
    parser.add_argument("customer", help="the customer, such as retail:1787")
    parser.add_argument("--status", action="store_true", help="print what was removed where and when; erase nothing")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS",
                        help="wait so long for it to be done everywhere (default 0: do not wait)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Status 0 when asked for, or, with --status or --wait, when it is done everywhere; else 1. Raises ErasureNotSetUp,
    ErasureUnknown, CustomerMalformed, BusUnavailable, StoreUnavailable."""
    if not is_customer(args.customer):
        raise CustomerMalformed
    settings, customer = read_settings(os.environ), CustomerId(args.customer)
    if args.status:
        return asyncio.run(print_status(settings, customer))
    return asyncio.run(_erase(settings, customer, args.wait))


async def _erase(settings: Settings, customer: CustomerId, wait_s: float) -> int:
    async with _open(settings) as erase:
        person = await erase(customer, "kairos/erase")
        print(f"erasure {person} has begun; kairos erase {customer} --status tells how far it has come")
        if wait_s <= 0:
            return 0
        deadline = time.monotonic() + wait_s
        while not ((known := await erase.progress.progress(person)) is not None and known.done):
            if time.monotonic() > deadline:
                raise ErasureUnfinished(unfinished(customer, known, wait_s))
            await asyncio.sleep(_WAIT_LOOK_SECONDS)
    print("\n".join(erasure_lines(person, known)))
    return 0


async def print_status(settings: Settings, customer: CustomerId) -> int:
    """The proof as the bus keeps it; 0 when the erasure is done everywhere. Raises ErasureUnknown, BusUnavailable."""
    person = needed_pseudonyms(settings).of(customer)
    known = (await proofs_on_the_bus(settings)).get(person)
    if known is None:
        raise ErasureUnknown
    print("\n".join(erasure_lines(person, known)))
    return 0 if known.done else 1


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[RequestErasure]:
    pseudonyms = needed_pseudonyms(settings)
    async with (
        RedisClient.open(settings.redis_url) as client,
        open_publisher(settings) as publisher,
        open_clock(settings, client, RedisKeys(settings.namespace, "")) as clock,
    ):
        progress = erasures_in_store(settings, client)
        yield RequestErasure(publisher=publisher, progress=progress, pseudonyms=pseudonyms, clock=clock, ids=UlidIds())


def unfinished(customer: CustomerId, known: Erasure | None, waited_s: float) -> str:
    """What is still awaited, and of whom."""
    told = {} if known is None else known.places
    awaited = [
        f"  {place:<10} {f'{told[place].left:,} left' if place in told else 'not gone through yet'}: {_WHO[place]}"
        for place in PLACES
        if place not in told or told[place].left
    ]
    head = f"the erasure goes on, after {waited_s:g} s these are still awaited (kairos erase {customer} --status):"
    return "\n".join([head, *awaited])


def erasure_lines(person: str, erasure: Erasure) -> list[str]:
    """The proof for people: per place what was removed, and when it was gone through."""
    lines = [
        f"erasure {person}: {'done' if erasure.done else 'running'}",
        f"everything up to {rfc3339(erasure.erased_ms)}",
    ]
    for place in PLACES:
        account = erasure.places.get(place)
        if account is None:
            lines.append(f"  {place:<10} not gone through yet")
            continue
        removed = ", ".join(f"{number:,} {kind}" for kind, number in account.removed.items() if number) or "nothing"
        rest = f"; {account.left:,} LEFT" if account.left else "; nothing left"
        lines.append(f"  {place:<10} {rfc3339(account.at_ms)}  removed {removed}{rest}")
    return lines
