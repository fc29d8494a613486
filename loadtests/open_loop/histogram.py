"""Latencies counted in buckets whose width grows with the value: three significant digits, whatever the range.

The scheme is that of HdrHistogram (Gil Tene; https://hdrhistogram.org): values below 2,048 us have a bucket each, every
further power of two is cut into 1,024. Counts are exact, so histograms of several processes add up to that of all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, inf

_SUB_BITS = 11
_SUB = 1 << _SUB_BITS
_HALF = _SUB >> 1
LONGEST_US = 3_600_000_000
"""What takes longer than an hour is counted as an hour."""


def bucket_of(value_us: int) -> int:
    """The number of the bucket that holds the value."""
    shift = max(0, value_us.bit_length() - _SUB_BITS)
    return shift * _HALF + (value_us >> shift)


def highest_in(bucket: int) -> int:
    """The highest value, in microseconds, that the bucket holds."""
    shift = max(0, bucket // _HALF - 1)
    return (((bucket - shift * _HALF) + 1) << shift) - 1


@dataclass(slots=True)
class LatencyHistogram:
    """Counts of latencies. Empty, every percentile is not a number."""

    counts: dict[int, int] = field(default_factory=dict)
    total: int = 0
    sum_us: int = 0
    least_us: int = LONGEST_US
    most_us: int = 0

    def record(self, seconds: float) -> None:
        """Counts one latency; a negative one, of a clock that was read in another order, is none at all."""
        value = min(LONGEST_US, max(0, round(seconds * 1e6)))
        bucket = bucket_of(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += 1
        self.sum_us += value
        self.least_us = min(self.least_us, value)
        self.most_us = max(self.most_us, value)

    def merge(self, other: "LatencyHistogram") -> None:
        """Adds what the other has counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total += other.total
        self.sum_us += other.sum_us
        self.least_us = min(self.least_us, other.least_us)
        self.most_us = max(self.most_us, other.most_us)

    def percentile_ms(self, percent: float) -> float:
        """The latency that so many per cent of all do not exceed, in milliseconds: at most 0.1 % above the exact one,
        never below it. `percent` above 0 and at most 100; ValueError otherwise."""
        if not 0 < percent <= 100:
            raise ValueError(f"a percentile is above 0 and at most 100: {percent}")
        if not self.total:
            return float("nan")
        wanted = max(1, ceil(round(percent * self.total / 100, 6)))  # 0.999 x 1,000 is not quite 999
        seen = 0
        for bucket, count in sorted(self.counts.items()):
            seen += count
            if seen >= wanted:
                return min(highest_in(bucket), self.most_us) / 1000
        return self.most_us / 1000

    def mean_ms(self) -> float:
        """The mean, exact, in milliseconds."""
        return self.sum_us / self.total / 1000 if self.total else float("nan")

    def most_ms(self) -> float:
        """The longest, exact, in milliseconds."""
        return self.most_us / 1000 if self.total else float("nan")

    def within(self, seconds: float) -> int:
        """How many took at most so long; those in the bucket of the bound itself are counted as within."""
        if seconds == inf:
            return self.total
        last = bucket_of(min(LONGEST_US, round(seconds * 1e6)))
        return sum(count for bucket, count in self.counts.items() if bucket <= last)

    def curve(self) -> Iterator[tuple[float, float]]:
        """The percentile curve, for plots: (share of 1 that took longer, milliseconds), one point a bucket."""
        seen = 0
        for bucket, count in sorted(self.counts.items()):
            seen += count
            yield max(1 - seen / self.total, 0.5 / self.total), min(highest_in(bucket), self.most_us) / 1000

    def as_mapping(self) -> dict[str, object]:
        """For JSON, between processes."""
        return {
            "counts": [[bucket, count] for bucket, count in sorted(self.counts.items())],
            "sum_us": self.sum_us,
            "least_us": self.least_us,
            "most_us": self.most_us,
        }

    @classmethod
    def of(cls, found: Mapping[str, object]) -> "LatencyHistogram":
        """What `as_mapping` gave. Raises KeyError, TypeError or ValueError on anything else."""
        counts = found["counts"]
        if not isinstance(counts, list):
            raise TypeError("counts of a histogram are a list")
        held = {int(bucket): int(count) for bucket, count in counts}
        return cls(
            counts=held,
            total=sum(held.values()),
            sum_us=_whole(found["sum_us"]),
            least_us=_whole(found["least_us"]),
            most_us=_whole(found["most_us"]),
        )


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a whole number of microseconds was expected: {value!r}")
    return value
