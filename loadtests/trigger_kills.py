"""Absences that fire exactly once while the state builder is killed, with SIGKILL, at random moments.

    python -m loadtests.trigger_kills --kills 20

Customers open a form and leave it; some come back and submit. Builders are started one after another and killed
somewhere between their first breath and a few tenths of a second after they began to fire; the last one is left alone.
Then every customer who left must stand on the outbound topic once, and must have one contact in the ledger.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from loadtests.trigger_world import OutboundReader, TriggerBank, strategy_text, trigger_bank

PATIENCE_S = 15.0
SUBMITTING = 5
"""Every so-manieth customer submits the form in time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen after all."""

    kills: int
    fired: int
    under_way: int
    """Kills that struck while contacts had fired and were not concluded."""
    missing: list[str]
    repeated: list[str]
    wrong: list[str]
    reserved_twice: list[str]
    """Customers who have not exactly one contact in the ledger."""


async def kill_at_random(bank: TriggerBank, kills: int, customers: int, seed: int) -> Outcome:
    """Runs it all against the bank's servers."""
    draw = random.Random(seed)
    everybody = [f"retail:{number}" for number in range(customers)]
    leaving = [customer for number, customer in enumerate(everybody) if number % SUBMITTING]
    share = max(1, customers // kills)
    under_way = 0
    async with OutboundReader.open(bank) as channel:
        for number in range(kills):
            left = (
                everybody[number * share :] if number == kills - 1 else everybody[number * share : (number + 1) * share]
            )
            await _visit(bank, left, leaving)
            victim = await bank.builder_process()
            await _until_it_works(bank, channel, draw)
            under_way += await _anything_under_way(bank)
            os.kill(victim.pid, signal.SIGKILL)
            await victim.wait()
        async with bank.builder():
            await channel.until(len(leaving))
            await bank.until_settled_but_waves()
            await channel.silence(1.5)
    heard = [event.data.customer_id for event in channel.offered() if event.data.wave == 0]
    contacts = {customer: await bank.contacts(customer) for customer in leaving}
    return Outcome(
        kills=kills,
        fired=len(heard),
        under_way=under_way,
        missing=sorted(set(leaving) - set(heard)),
        repeated=sorted({customer for customer in heard if heard.count(customer) > 1}),
        wrong=sorted(set(heard) - set(leaving)),
        reserved_twice=sorted(
            f"{customer}:{len(records)}" for customer, records in contacts.items() if len(records) != 1
        ),
    )


async def _visit(bank: TriggerBank, customers: list[str], leaving: list[str]) -> None:
    await bank.post(*(bank.form("opened", customer) for customer in customers))
    submitting = [customer for customer in customers if customer not in leaving]
    if submitting:
        await bank.post(*(bank.form("submitted", customer) for customer in submitting))


async def _until_it_works(bank: TriggerBank, channel: OutboundReader, draw: random.Random) -> None:
    """A random moment: mostly within the first hundredths of a second of firing, sometimes before or after."""
    if draw.random() < 0.15:
        await asyncio.sleep(draw.uniform(0.2, 2.5))
        return
    patience = asyncio.get_running_loop().time() + PATIENCE_S
    while not await _anything_under_way(bank) and asyncio.get_running_loop().time() < patience:
        await channel.poll(0.001)
    await asyncio.sleep(draw.uniform(0.0, 0.1))


async def _anything_under_way(bank: TriggerBank) -> bool:
    """Whether contacts have fired that are not concluded."""
    return any(at == 0 for _, at in await bank.due_customers())


async def _run(kills: int, customers: int, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="kairos-kills-") as folder:
        async with trigger_bank(Path(folder), strategy_text()) as bank:
            return await kill_at_random(bank, kills, customers, seed)


def main() -> int:
    """Exit status 0 only if each absence fired once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    outcome = asyncio.run(_run(arguments.kills, arguments.customers, arguments.seed))
    print(
        f"{outcome.kills} kills ({outcome.under_way} with contacts under way), {outcome.fired} absences fired: "
        f"{len(outcome.missing)} missing, {len(outcome.repeated)} repeated, {len(outcome.wrong)} wrong, "
        f"{len(outcome.reserved_twice)} not reserved exactly once"
    )
    return 1 if outcome.missing or outcome.repeated or outcome.wrong or outcome.reserved_twice else 0


if __name__ == "__main__":
    sys.exit(main())
