"""`python -m models.training`: fits a model from an archive and an offer catalogue file, without the services."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from models.decision_log.archive_files import TimeRange
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import decode_catalogue
from models.errors import ModelsError
from models.evaluation.report import manifest_summary
from models.registry import ModelRegistry
from models.training.fit import FitSettings
from models.training.pipeline import train_version


def main(argv: Sequence[str] | None = None) -> int:
    """Trains one model and prints its measures; 1 when it could not be trained."""
    args = _parser().parse_args(argv)
    try:
        query = LogQuery(
            model=args.model,
            archive=args.archive,
            offers=decode_catalogue(args.catalogue.read_text(encoding="utf-8")),
            zone=ZoneInfo(args.time_zone),
            attribution_seconds=args.attribution_seconds,
            period=TimeRange(since_ms=None if args.since is None else _epoch_ms(args.since)),
            excluded=frozenset(args.exclude),
        )
        settings = FitSettings(seed=args.seed, threads=args.threads)
        manifest = train_version(query, settings, ModelRegistry(args.out), datetime.now(UTC), _progress)
    except (ModelsError, OSError) as error:
        print(f"models.training: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print("\n".join(manifest_summary(manifest)))  # noqa: T201
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.training",
        description="Fit a propensity model from the decision archive.",
        epilog="example: python -m models.training --archive var/archive --catalogue offers.json "
        "--model cross_sell --out var/models",
    )
    parser.add_argument("--archive", type=Path, required=True, help="root of the Parquet archive")
    parser.add_argument(
        "--catalogue", type=Path, required=True, help="offers as JSON (`kairos train --write-catalogue` makes one)"
    )
    parser.add_argument("--model", required=True, help="model name, as the offers refer to it")
    parser.add_argument("--out", type=Path, required=True, help="root of the model registry")
    parser.add_argument("--since", type=datetime.fromisoformat, help="first decision time, RFC 3339")
    parser.add_argument("--time-zone", default="UTC", help="time zone of hour and weekday (default UTC)")
    parser.add_argument(
        "--attribution-seconds", type=int, default=7 * 86_400, help="how long after an impression an acceptance counts"
    )
    parser.add_argument("--exclude", nargs="*", default=[], help="attributes the model may not see")
    parser.add_argument("--seed", type=int, default=7, help="same data and seed give the same model")
    parser.add_argument("--threads", type=int, default=1, help="processors to use")
    return parser


def _epoch_ms(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _progress(sentence: str) -> None:
    print(f"  {sentence}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
