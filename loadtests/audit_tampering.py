"""The audit chain against somebody who can rewrite the log: hundreds of random manipulations, each of which
`kairos audit verify` has to find; and untouched logs, which it must call sound.

`python -m loadtests.audit_tampering [--logs N] [--seed N]`
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import process_time

from event_schemas.control import KillSwitch, StrategyAct
from services.use_cases.governance import acts
from services.use_cases.governance.audit import verified
from services.use_cases.governance.chain import Chain, ChainedEvent, Head, chained_record

BEGAN = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
LOGS = 100
EDITS, RECORDS = 1_000, 20_000
LEAST_A_SECOND = 50_000
Log = list[bytes | None]
Manipulation = Callable[[random.Random, Sequence[bytes]], Log]


def act(number: int, draw: random.Random) -> ChainedEvent:
    """Some act of some person."""
    at, who, version = BEGAN + timedelta(seconds=number), f"person-{draw.randrange(9)}", f"bank-{draw.randrange(6)}"
    kind = draw.randrange(5)
    if kind == 0:
        switch = KillSwitch(kind="offer", name=f"offer_{number}", engaged=draw.random() < 0.7, actor=who)
        return acts.switched(switch, f"act-{number}", at)
    what = StrategyAct(name="bank", version=version, actor=who, comment=f"reason {draw.random():.6f}")
    if kind == 1:
        files = {f"{n}.yaml": f"lever: {draw.randrange(99)}\n" * draw.randrange(1, 60) for n in "abc"}
        return acts.submitted(what.model_copy(update={"files": files}), f"act-{number}", at)
    if kind == 2:
        return acts.answered(draw.choice(("approved", "declined", "retired")), what, f"act-{number}", at)
    return (acts.activated if kind == 3 else acts.rolled_back)(what, f"act-{number}", at)


def written(event: ChainedEvent, head: Head) -> bytes:
    """The record as a writer who had read so far writes it."""
    chained = {"previous_hash": head.hash, "records": head.records, "records_hash": head.records_hash}
    return chained_record(event.model_copy(update={"data": event.data.model_copy(update=chained)})).value


def made_log(draw: random.Random) -> list[bytes]:
    """Acts in a row, some of them with a rival who lost the race."""
    chain, log = Chain(), []
    for number in range(draw.randrange(3, 40)):
        head = chain.head
        values = [written(act(number, draw), head)]
        if draw.random() < 0.2:
            values.append(written(act(10_000 + number, draw), head))
        for value in values:
            chain.take(value)
        log += values
    return log


def changed(draw: random.Random, log: Sequence[bytes]) -> Log:
    """One byte of one record."""
    which = draw.randrange(len(log))
    value = bytearray(log[which])
    place = draw.randrange(len(value))
    value[place] = (value[place] + draw.randrange(1, 256)) % 256
    return [*log[:which], bytes(value), *log[which + 1 :]]


def reworded(draw: random.Random, log: Sequence[bytes]) -> Log:
    """Another person did it."""
    names = [number for number, value in enumerate(log) if b'"actor":"person-' in value]
    which = draw.choice(names)
    return [*log[:which], log[which].replace(b'"actor":"person-', b'"actor":"somebody-'), *log[which + 1 :]]


def removed(draw: random.Random, log: Sequence[bytes]) -> Log:
    """Some records in a row, the last ones included."""
    first = draw.randrange(len(log))
    return [*log[:first], *log[first + draw.randrange(1, 4) :]]


def emptied(draw: random.Random, log: Sequence[bytes]) -> Log:
    """The content of a record, as a tombstone does."""
    which = draw.randrange(len(log))
    return [*log[:which], None, *log[which + 1 :]]


def reordered(draw: random.Random, log: Sequence[bytes]) -> Log:
    """Two records change places."""
    one, other = draw.sample(range(len(log)), 2)
    moved: Log = list(log)
    moved[one], moved[other] = moved[other], moved[one]
    return moved


def put_in(draw: random.Random, log: Sequence[bytes]) -> Log:
    """A record that is chained to the one before it by the rules."""
    where = draw.randrange(len(log))
    chain = Chain()
    for value in log[:where]:
        chain.take(value)
    return [*log[:where], written(act(99_999, draw), chain.head), *log[where:]]


def written_anew(draw: random.Random, log: Sequence[bytes]) -> Log:
    """A record is replaced and everything after it chained again as if it had been so: only the kept head tells."""
    which = draw.randrange(len(log))
    chain = Chain()
    for value in log[:which]:
        chain.take(value)
    forged: Log = []
    for number in range(which, len(log)):
        value = written(act(50_000 + number, draw), chain.head)
        chain.take(value)
        forged.append(value)
    return [*log[:which], *forged]


MANIPULATIONS: tuple[Manipulation, ...] = (changed, reworded, removed, emptied, reordered, put_in, written_anew)


def tamper(logs: int, seed: int) -> tuple[Counter[str], Counter[str], int]:
    """Manipulations tried and missed by kind, and untouched logs that were called broken."""
    draw = random.Random(seed)
    tried, missed, wrong = Counter[str](), Counter[str](), 0
    for _ in range(logs):
        log = made_log(draw)
        faults, kept = verified(list(log), None, None)
        wrong += bool(faults or verified(list(log), kept, kept.hash)[0])
        for manipulation in MANIPULATIONS:
            tried[manipulation.__name__] += 1
            if not verified(manipulation(draw, log), kept, None)[0]:
                missed[manipulation.__name__] += 1
    return tried, missed, wrong


def single_bytes(edits: int, seed: int) -> int:
    """Of so many edits of one byte of some log, how many are found."""
    draw, found = random.Random(seed), 0
    logs = [made_log(draw) for _ in range(20)]
    heads = [verified(list(log), None, None)[1] for log in logs]
    for _ in range(edits):
        which = draw.randrange(len(logs))
        found += bool(verified(changed(draw, logs[which]), heads[which], None)[0])
    return found


def records_a_second(records: int, seed: int) -> float:
    """How many records of a long log are verified in a second of processor time."""
    draw, chain, log = random.Random(seed), Chain(), list[bytes]()
    for number in range(records):
        log.append(written(act(number, draw), chain.head))
        chain.take(log[-1])
    began_s = process_time()
    faults, _ = verified(list(log), chain.head, None)
    took_s = process_time() - began_s
    if faults:
        raise RuntimeError(faults[0])
    return records / took_s


def main() -> int:
    """Status 1 when anything is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=LOGS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--edits", type=int, default=EDITS, help="of one byte each")
    parser.add_argument("--records", type=int, default=RECORDS, help="of the log whose verification is timed")
    args = parser.parse_args()
    tried, missed, wrong = tamper(args.logs, args.seed)
    for name, number in tried.items():
        print(f"{name.replace('_', ' ')}: {number - missed[name]} of {number} found")
    total, found = sum(tried.values()), sum(tried.values()) - sum(missed.values())
    print(f"{found} of {total} manipulations found; {wrong} of {args.logs} untouched logs called broken")
    alone = single_bytes(args.edits, args.seed)
    rate = records_a_second(args.records, args.seed)
    print(f"{alone} of {args.edits} edits of one byte found; {rate:,.0f} records verified a second of processor time")
    return 1 if missed or wrong or alone < args.edits or rate < LEAST_A_SECOND else 0


if __name__ == "__main__":
    sys.exit(main())
