"""A million inputs to every decoder of what comes from outside: each raises only what it says it raises, takes no input
longer than 100 ms of processor time, and grows by none. `python -m loadtests.decoder_fuzz`

Inputs are made by seeded mutation of what is right (`fuzz_inputs`), so each can be made again: its number and the
name of the decoder are its seed (`--decoder NAME --input N`).
"""

import argparse
import contextlib
import faulthandler
import gc
import logging
import multiprocessing
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from math import ceil
from random import Random

from loadtests.fuzz_inputs import fuzzed
from loadtests.fuzz_targets import Target, all_targets, end

INPUTS = 1_000_000
MOST_SECONDS = 0.1
"""Processor time of one input."""
HANGS_SECONDS = 5.0
MOST_GROWN_KIB = 64 * 1024
"""Of the largest resident size, by one input of at most 1.2 MB."""
_ADDRESS_SPACE = 6 * 1024**3
_CHUNK = 2_000
_SHOWN = 3
_TARGETS: dict[str, Target] = {}


class Hangs(BaseException):
    """An input that is still being read after `HANGS_SECONDS`; not to be caught by a decoder."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One input that a decoder did not stand: what happened, and where."""

    number: int
    what: str


@dataclass(slots=True)
class Chunk:
    """What came of some inputs to one decoder."""

    decoder: str
    inputs: int = 0
    read: int = 0
    faults: list[Fault] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: int = -1
    grown_kib: int = 0


def one_input(target: Target, number: int) -> bytes:
    """The input of that number."""
    return fuzzed(Random(f"{target.name} {number}"), target.samples)


def tried(target: Target, number: int, into: Chunk) -> None:
    """Gives the decoder one input, and notes what came of it."""
    value = one_input(target, number)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_PROF, HANGS_SECONDS)
    started_s = time.process_time()
    try:
        target.decode(value)
        into.read += 1
    except target.refuses:
        pass
    except (Exception, Hangs) as error:  # noqa: BLE001 - anything else is what is looked for
        into.faults.append(Fault(number, _place(error)))
    took_s = time.process_time() - started_s
    signal.setitimer(signal.ITIMER_PROF, 0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident
    into.inputs += 1
    if took_s > MOST_SECONDS:
        took_s = _again_s(target, value)
    if took_s > into.slowest_s:
        into.slowest_s, into.slowest = took_s, number
    if took_s > MOST_SECONDS:
        into.faults.append(Fault(number, f"took {took_s * 1000:.0f} ms for {len(value)} bytes"))
    if grown > MOST_GROWN_KIB:
        into.faults.append(Fault(number, f"grew by {grown // 1024} MiB for {len(value)} bytes"))
    into.grown_kib = max(into.grown_kib, grown)


def main() -> int:
    """A table by decoder; the exit status is the verdict."""
    args = _parser().parse_args()
    _prepare()
    targets = all_targets()
    if args.list:
        print("\n".join(f"{name}: {len(target.samples)} samples" for name, target in targets.items()))
        return 0
    if args.input is not None:
        return _replay(targets[args.decoder], args.input)
    chosen = {name: t for name, t in targets.items() if args.decoder is None or args.decoder in name}
    started_s = time.monotonic()
    found = run(chosen, args.inputs, args.processes, args.first)
    _report(found, time.monotonic() - started_s)
    end()
    return 1 if any(chunk.faults for chunk in found.values()) else 0


def run(targets: Mapping[str, Target], inputs: int, processes: int, first: int = 0) -> dict[str, Chunk]:
    """So many inputs altogether, shared among the decoders by weight, in so many processes."""
    _TARGETS.clear()
    _TARGETS.update(targets)
    total = sum(target.weight for target in targets.values())
    shares = {name: ceil(inputs * target.weight / total) for name, target in targets.items()}
    found = {name: Chunk(name) for name in targets}
    work = [
        (name, first + start, min(_CHUNK, share - start))
        for name, share in shares.items()
        for start in range(0, share, _CHUNK)
    ]
    Random(1).shuffle(work)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin) as pool:
        running = {pool.submit(_chunk, *part): part for part in work}
        for done, future in enumerate(as_completed(running), start=1):
            try:
                _add(found, future.result())
            except BrokenProcessPool:
                name, start, count = running[future]
                found[name].faults.append(Fault(start, f"a process died within {count} inputs from this one"))
            if done % 50 == 0:
                print(f"{done} of {len(work)} parts", file=sys.stderr, flush=True)
    return found


def _chunk(name: str, start: int, count: int) -> Chunk:
    chunk = Chunk(name)
    for number in range(start, start + count):
        tried(_TARGETS[name], number, chunk)
        if len(chunk.faults) >= 200:
            break
    return chunk


def _begin() -> None:
    """In each process: hangs end, memory is bounded, nothing is logged, and the folder is removed at the end."""
    signal.signal(signal.SIGPROF, _hangs)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    multiprocessing.util.Finalize(None, end, exitpriority=1)
    gc.freeze()


def _hangs(*_: object) -> None:
    raise Hangs


def _prepare() -> None:
    faulthandler.enable()
    logging.disable(logging.CRITICAL)


def _again_s(target: Target, value: bytes) -> float:
    """The least time of three: another process or a collection of garbage may have come between."""
    times = []
    for _ in range(3):
        gc.collect()
        started_s = time.process_time()
        with contextlib.suppress(Exception, Hangs):
            signal.setitimer(signal.ITIMER_PROF, HANGS_SECONDS)
            target.decode(value)
        signal.setitimer(signal.ITIMER_PROF, 0)
        times.append(time.process_time() - started_s)
    return min(times)


def _place(error: BaseException) -> str:
    """The error, and the innermost place in our own code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/site-packages/" not in f.filename and "/loadtests/" not in f.filename]
    last = (ours or list(frames))[-1]
    where = last.filename.rpartition("/services/")[2] if "/services/" in last.filename else last.filename
    return f"{type(error).__name__} at {'/'.join(where.split('/')[-3:])}:{last.lineno}: {str(error)[:90]!r}"


def _add(found: dict[str, Chunk], chunk: Chunk) -> None:
    whole = found[chunk.decoder]
    whole.inputs += chunk.inputs
    whole.read += chunk.read
    whole.faults += chunk.faults
    whole.grown_kib = max(whole.grown_kib, chunk.grown_kib)
    if chunk.slowest_s > whole.slowest_s:
        whole.slowest_s, whole.slowest = chunk.slowest_s, chunk.slowest


def _report(found: Mapping[str, Chunk], took_s: float) -> None:
    print("| decoder | inputs | read | slowest, ms | grew, MiB | faults |\n|---|---|---|---|---|---|")
    for chunk in found.values():
        print(
            f"| {chunk.decoder} | {chunk.inputs} | {chunk.read} | {chunk.slowest_s * 1000:.1f} | "
            f"{chunk.grown_kib / 1024:.0f} | {len(chunk.faults)} |"
        )
    for line in _kinds(found.values()):
        print(line)
    inputs, faults = sum(c.inputs for c in found.values()), sum(len(c.faults) for c in found.values())
    slowest = max(found.values(), key=lambda chunk: chunk.slowest_s)
    print(
        f"{inputs} inputs to {len(found)} decoders in {took_s:.0f} s: {faults} faults; the slowest took "
        f"{slowest.slowest_s * 1000:.0f} ms ({slowest.decoder} {slowest.slowest})"
    )


def _kinds(chunks: Iterable[Chunk]) -> Iterator[str]:
    """Each kind of fault once, with the inputs that show it."""
    kinds: dict[tuple[str, str], list[Fault]] = {}
    for chunk in chunks:
        for fault in chunk.faults:
            kinds.setdefault((chunk.decoder, fault.what.partition(": ")[0]), []).append(fault)
    for (decoder, _), faults in kinds.items():
        numbers = ", ".join(str(fault.number) for fault in faults[:_SHOWN])
        yield f"{decoder}: {faults[0].what}: {len(faults)} inputs, as {numbers}"


def _replay(target: Target, number: int) -> int:
    value = one_input(target, number)
    print(repr(value[:2_000]), f"{len(value)} bytes")
    signal.signal(signal.SIGPROF, _hangs)
    started_s = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, HANGS_SECONDS)
    try:
        print("read:", repr(target.decode(value))[:500])
    except target.refuses as error:
        print("refused:", repr(error)[:500])
    except (Exception, Hangs):  # noqa: BLE001 - to be shown
        traceback.print_exc()
        return 1
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(f"{(time.process_time() - started_s) * 1000:.1f} ms")
        end()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="altogether")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--decoder", help="only decoders whose name contains this")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input of each decoder")
    parser.add_argument("--input", type=int, help="only this one, of the decoder of exactly this name")
    parser.add_argument("--list", action="store_true", help="the decoders")
    return parser


if __name__ == "__main__":
    sys.exit(main())
