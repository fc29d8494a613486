"""Bodies and headers of who means harm, over real connections to a node in another process: every one is refused with a
problem document, keeps the loop busy for less than 50 ms, and leaves nothing behind. `python -m loadtests.hostile_http`

Times are processor time of the node, so that what else runs on the machine does not count.
"""

import argparse
import asyncio
import gzip
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.hostile_server import QUESTION, Served, answered, busy, question, served_apart

TIMES = 40
MOST_BUSY_MS = 50.0
MOST_CPU_MS = 5.0
"""Of a request that is small."""
_SMALL_BYTES = 8 * 1024
MOST_GROWN_KIB = 5 * 1024
_JSON = b"content-type: application/json\r\nx-api-key: open\r\n"


@dataclass(frozen=True, slots=True)
class Hostile:
    """What is sent, and with which statuses it may be refused."""

    sent: bytes
    refused: frozenset[int]


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one kind, sent so many times."""

    statuses: frozenset[int]
    problems: bool
    busy_ms: float
    cpu_ms: float
    grown_kib: int


def posted(body: bytes, more: bytes = b"") -> bytes:
    """A question with this body."""
    return b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n%s%s\r\n%s" % (
        len(body),
        _JSON,
        more,
        body,
    )


def chunked(*pieces: bytes) -> bytes:
    """A body that does not say how long it is."""
    parts = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n%s\r\n" % _JSON
    return head + parts + b"0\r\n\r\n"


def _of(sent: bytes, *refused: int) -> Hostile:
    return Hostile(sent, frozenset(refused))


def everything() -> Mapping[str, Hostile]:
    """Every kind of bad input of the list that this is held against."""
    filled = QUESTION[:-1]
    return {
        "NaN": _of(posted(b'{"a": NaN}'), 400),
        "Infinity": _of(posted(b'{"a": Infinity}'), 400),
        "1e400": _of(posted(b'{"a": 1e400}'), 400),
        "5,000 digits": _of(posted(b'{"a": ' + b"9" * 5_000 + b"}"), 400),
        "a truth value for a number": _of(posted(filled + b', "timeout_ms": true}'), 422),
        "a number for a text": _of(posted(QUESTION.replace(b'"retail:1"', b"1")), 422),
        "a negative count": _of(posted(QUESTION.replace(b'"home_banner"', b'"home_banner", "count": -1')), 422),
        "a huge count": _of(posted(QUESTION.replace(b'"home_banner"', b'"home_banner", "count": 1000000000000')), 422),
        "an unknown key": _of(posted(filled + b', "top": 5}'), 422),
        "a key twice": _of(posted(filled + b', "channel": "mobile"}'), 400),
        "a null byte": _of(posted(QUESTION.replace(b"retail:1", b"retail:1\\u0000")), 422),
        "invalid UTF-8": _of(posted(QUESTION.replace(b"retail:1", b"retail:\xff")), 400),
        "a lone surrogate": _of(posted(QUESTION.replace(b"retail:1", b"retail:\\ud800")), 400),
        "64 KB of one text": _of(posted(b'{"customer_id": "' + b"a" * 65_000 + b'"}'), 422),
        "6,000 unknown keys": _of(posted(b"{" + b",".join(b'"k%d":1' % n for n in range(6_000)) + b"}"), 422),
        "nesting of 65": _of(posted(b"[" * 65 + b"]" * 65), 400),
        "nesting of 60,000": _of(posted(b"[" * 60_000), 400),
        "nesting of 30,000, closed": _of(posted(b"[" * 30_000 + b"]" * 30_000), 400),
        "16,000 brackets beside each other": _of(posted(b"[" + b",".join([b"[]"] * 16_000) + b"]"), 422),
        "nesting of 200,000": _of(posted(b"[" * 200_000)[:70_000], 413),
        "a million keys": _of(posted(b"{" + b",".join(b'"%d":1' % n for n in range(1_000_000)) + b"}")[:70_000], 413),
        "a declared gigabyte": _of(posted(b"").replace(b"length: 0", b"length: 1073741824"), 413),
        "chunks without length": _of(chunked(*[b" " * 8_192] * 20), 413),
        "a zip bomb": _of(posted(gzip.compress(b"0" * 50_000_000), b"content-encoding: gzip\r\n"), 415),
        "64 KB of headers": _of(posted(QUESTION, b"x-much: " + b"a" * 65_536 + b"\r\n"), 431),
        "10,000 headers": _of(posted(QUESTION, b"x: y\r\n" * 10_000), 431),
    }  # fmt: skip


async def tried(node: Served, hostile: Hostile, times: int) -> Found:
    """One kind, so many times, one after the other."""
    await _ask(node.port, hostile.sent)
    before, resident = await busy(node.port), node.resident_kib()
    statuses, problems = set[int](), True
    for _ in range(times):
        status, head, body = await _ask(node.port, hostile.sent)
        statuses.add(status)
        problems &= b"application/problem+json" in head and json.loads(body)["status"] == status
    after = await busy(node.port)
    cpu_ms = (after["used_s"] - before["used_s"]) * 1000 / times
    return Found(frozenset(statuses), problems, after["longest_ms"], cpu_ms, node.resident_kib() - resident)


async def run(times: int) -> Mapping[str, Found]:
    """Every kind; between them a good question is answered."""
    found = {}
    with served_apart() as node:
        for _ in range(200):
            await _ask(node.port, question("open"))
        for name, hostile in everything().items():
            found[name] = await tried(node, hostile, times)
            if (await _ask(node.port, question("open")))[0] != 200:
                raise RuntimeError(f"after {name} a good question was not answered")
    return found


def main() -> int:
    """A table; the exit status is the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=TIMES)
    found, kinds = asyncio.run(run(parser.parse_args().times)), everything()
    print("| sent | refused with | loop busy at most, ms | CPU each, ms | grew, KiB | |\n|---|---|---|---|---|---|")
    holds = True
    for name, each in found.items():
        sound = _sound(kinds[name], each)
        holds &= sound
        statuses = ", ".join(map(str, sorted(each.statuses)))
        print(
            f"| {name} | {statuses} | {each.busy_ms:.1f} | {each.cpu_ms:.2f} | {each.grown_kib} | "
            f"{'' if sound else 'MISSED'} |"
        )
    grown = sum(each.grown_kib for each in found.values())
    longest, dearest = (
        max(values) for values in zip(*((each.busy_ms, each.cpu_ms) for each in found.values()), strict=True)
    )
    print(
        f"{len(found)} kinds: the loop was busy {longest:.1f} ms at most, {dearest:.2f} ms of CPU each at most, "
        f"{grown} KiB grown in all"
    )
    return 0 if holds and grown <= MOST_GROWN_KIB else 1


def _sound(hostile: Hostile, found: Found) -> bool:
    good = found.statuses <= hostile.refused and found.problems and found.busy_ms <= MOST_BUSY_MS
    quick = found.cpu_ms <= MOST_CPU_MS or len(hostile.sent) > _SMALL_BYTES
    return good and quick and found.grown_kib <= MOST_GROWN_KIB


async def _ask(port: int, data: bytes) -> tuple[int, bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            return await answered(reader)
    finally:
        writer.close()


if __name__ == "__main__":
    sys.exit(main())
