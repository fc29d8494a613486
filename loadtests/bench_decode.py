"""How many transaction events a CPU-second decodes, by way of decoding (`python -m loadtests.bench_decode`)."""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import orjson
from pydantic import TypeAdapter

from event_schemas.catalogue import EVENT_ADAPTER
from event_schemas.codec import decode
from event_schemas.transactions import TransactionPosted

SAMPLE = orjson.dumps(
    {
        "specversion": "1.0",
        "id": "01JD3ZK6V0T2M4Q8R6W1X5Y7Z9",
        "type": "bank.transaction.posted",
        "source": "core-banking",
        "subject": "retail:1787",
        "time": "2026-11-21T09:30:00.123Z",
        "datacontenttype": "application/json",
        "dataschema": "https://schemas.kairos.example/events/bank.transaction.posted/1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": {
            "account_id": "6222021001",
            "direction": "debit",
            "amount": 12_350,
            "currency": "CNY",
            "balance_after": 1_182_000,
            "kind": "card",
            "category": "dining",
            "counterparty": "Green Tea House",
            "counterparty_bank": "UPAY",
            "own_account": False,
            "merchant_country": "CN",
            "channel": "pos",
        },
    }
)
LAX = TypeAdapter(TransactionPosted)


def ways() -> dict[str, Callable[[bytes], object]]:
    """Name to function; the first four give typed, checked events, the last two are what they stand beside."""
    return {
        "codec.decode (as served)": decode,
        "pydantic validate_json, union of all types": EVENT_ADAPTER.validate_json,
        "pydantic validate_json, one type": LAX.validate_json,
        "orjson + pydantic validate_python": lambda value: LAX.validate_python(orjson.loads(value), strict=False),
        "json (standard library) + validate_python": lambda value: LAX.validate_python(json.loads(value), strict=False),
        "orjson alone, nothing checked": orjson.loads,
        "json alone, nothing checked": json.loads,
    }


def events_per_second(decoder: Callable[[bytes], object], seconds: float) -> float:
    """The median of five rounds of at least `seconds` of CPU time each, so that a busy neighbour does not count."""
    rates = []
    for _ in range(5):
        done, began = 0, time.process_time()
        while (elapsed := time.process_time() - began) < seconds:
            for _ in range(500):
                decoder(SAMPLE)
            done += 500
        rates.append(done / elapsed)
    return median(rates)


def main() -> None:
    """Measures every way and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each of the five rounds a way")
    seconds = parser.parse_args().seconds
    print(f"{len(SAMPLE)} bytes, 21 fields, one core, CPU time\n{'way':<48}{'events/s':>12}{'us each':>10}")
    for name, decoder in ways().items():
        rate = events_per_second(decoder, seconds)
        print(f"{name:<48}{rate:>12,.0f}{1e6 / rate:>10.2f}")


if __name__ == "__main__":
    main()
