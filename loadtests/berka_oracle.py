"""Every online aggregate of the Berka strategy, computed again from the raw files with pandas.

Independent on purpose: nothing of the engine is imported. The strategy's declarations are read with yaml, filters are
evaluated on columns, windows are cut from the dates of the files.
"""

import ast
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import yaml

from loadtests.berka_language import is_richer, richer

ZONE = ZoneInfo("Europe/Prague")
EPOCH = date(1970, 1, 1)
KINDS = {"VKLAD": "cash_deposit", "VYBER": "cash_withdrawal", "PREVOD Z UCTU": "transfer_in",
         "PREVOD NA UCET": "transfer_out", "VYBER KARTOU": "card"}  # fmt: skip
CATEGORIES = {"UROK": "interest", "SLUZBY": "statement_fee", "SIPO": "household", "DUCHOD": "pension",
              "POJISTNE": "insurance", "UVER": "loan_payment", "SANKC. UROK": "penalty_interest"}  # fmt: skip
ZERO_WHEN_EMPTY = {
    "count", "sum", "distinct", "decayed", "active", "streak", "longest_streak", "sequence", "unfollowed",
}  # fmt: skip
Values = dict[str, dict[str, object]]


def declared_features(strategy: Path) -> list[Mapping[str, object]]:
    """The feature declarations of all files of the strategy."""
    found: list[Mapping[str, object]] = []
    for file in sorted(strategy.glob("*.yaml")):
        found += (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("features", [])
    return found


class BerkaOracle:
    """The raw files as frames of events; `values` tells the aggregates as of the end of a local day."""

    def __init__(self, data: Path, strategy: Path) -> None:
        self.features = declared_features(strategy)
        postings = _transactions(data)
        self.accounts = sorted(postings["account"].unique())
        self.log_end: date = postings["date"].max()
        self._sources = {"bank.transaction.posted": postings, "bank.product.opened": _products(data, self.accounts)}

    def values(self, as_of: date) -> Values:
        """Attribute to customer to value; customers without a value are absent."""
        result: Values = {}
        for feature in self.features:
            events = self._sources.get(str(feature["source"]))
            chosen = None if events is None else _chosen(events, feature.get("where"), as_of)
            for name, window in _attributes(feature):
                found = {} if events is None or chosen is None else _value(events, chosen, feature, window, as_of)
                result[name] = self._with_defaults(feature, found)
        return result

    def customers(self, as_of: date) -> list[str]:
        """Everybody something has happened to by then."""
        known = set()
        for events in self._sources.values():
            known |= set(events.loc[events["date"] <= as_of, "account"])
        return sorted(known)

    def _with_defaults(self, feature: Mapping[str, object], found: dict[str, object]) -> dict[str, object]:
        zero = feature["over"] == "count" if "per" in feature else feature["aggregate"] in ZERO_WHEN_EMPTY
        default = feature.get("default", 0 if zero else None)
        if default is None:
            return found
        return {account: found.get(account, default) for account in self.accounts}


def _transactions(data: Path) -> pd.DataFrame:
    raw = _read(data, "trans", dtype={"amount": str, "balance": str, "account": str, "bank": str})
    frame = pd.DataFrame({"account": raw["account_id"].astype(str), "date": raw["date"].map(_day)})
    frame["direction"] = raw["type"].map({"PRIJEM": "credit", "VYDAJ": "debit", "VYBER": "debit"})
    symbol = raw["k_symbol"].where(raw["k_symbol"].fillna("").str.strip() != "")
    missing = raw["operation"].isna()
    kind = raw["operation"].map(KINDS)
    kind = kind.where(~missing, raw["type"].map({"VYBER": "cash_withdrawal"}).fillna("other"))
    frame["kind"] = kind.where(~(missing & (symbol == "UROK")), "interest")
    frame["category"] = symbol.map(CATEGORIES).where(symbol.isna() | symbol.isin(list(CATEGORIES)), "other")
    frame["amount"] = raw["amount"].map(_minor)
    frame["balance_after"] = raw["balance"].map(_minor)
    partner = raw["bank"].notna() & raw["account"].notna()
    frame["counterparty_bank"] = raw["bank"].where(partner)
    frame["counterparty"] = raw["account"].where(partner)
    frame["second"] = [_second(f"trans-{number}") for number in raw["trans_id"]]
    return _in_order(frame)


def _products(data: Path, accounts: list[str]) -> pd.DataFrame:
    account, card, loan, disp = (_read(data, name) for name in ("account", "card", "loan", "disp"))
    card = card.merge(disp[["disp_id", "account_id"]], on="disp_id")
    parts = [
        pd.DataFrame({"account": account["account_id"], "date": account["date"], "product": "current_account",
                      "second": 7 * 3600}),
        pd.DataFrame({"account": card["account_id"], "date": card["issued"].str[:6].astype(int),
                      "product": card["type"] + "_card", "second": [_second(f"card-{n}") for n in card["card_id"]]}),
        pd.DataFrame({"account": loan["account_id"], "date": loan["date"], "product": "personal_loan",
                      "second": [_second(f"loan-{n}") for n in loan["loan_id"]]}),
    ]  # fmt: skip
    frame = pd.concat(parts, ignore_index=True)
    frame["account"] = frame["account"].astype(str)
    frame["date"] = frame["date"].map(_day)
    return _in_order(frame[frame["account"].isin(accounts)])


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.sort_values(["date", "second"], kind="stable").reset_index(drop=True)
    frame["day"] = [(day - EPOCH).days for day in frame["date"]]
    return frame


def _chosen(events: pd.DataFrame, where: object, as_of: date) -> pd.DataFrame:
    happened = events[events["date"] <= as_of]
    if where is None:
        return happened
    text = str(where).replace("&&", " and ").replace("||", " or ")
    return happened[_mask(ast.parse(text, mode="eval").body, happened)]


def _mask(node: ast.expr, events: pd.DataFrame) -> pd.Series:
    """A filter as a column of booleans; a comparison with a missing value is false. Other syntax is refused."""
    if isinstance(node, ast.BoolOp):
        masks = [_mask(value, events) for value in node.values]
        joined = masks[0]
        for mask in masks[1:]:
            joined = joined & mask if isinstance(node.op, ast.And) else joined | mask
        return joined
    if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and len(node.ops) == 1:
        column, constant = events[node.left.id], ast.literal_eval(node.comparators[0])
        operations = {ast.Eq: "eq", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.In: "isin"}
        return getattr(column, operations[type(node.ops[0])])(constant).fillna(False).astype(bool) & column.notna()
    raise ValueError(f"the oracle does not know this filter: {ast.unparse(node)}")


def _attributes(feature: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    windows = feature.get("windows")
    if not windows:
        yield str(feature["name"]), None
        return
    for window in windows:
        pair = isinstance(window, list)
        yield f"{feature['name']}_{'_'.join(window) if pair else window}", window


def _value(
    events: pd.DataFrame, chosen: pd.DataFrame, feature: Mapping[str, object], window: object, as_of: date
) -> dict[str, object]:
    if not is_richer(feature, window):
        return _aggregate(chosen, feature, window, as_of)
    return richer(chosen, feature, window, as_of, lambda of, where: _chosen(events if of is None else of, where, as_of))


def _aggregate(events: pd.DataFrame, feature: Mapping[str, object], window: object, as_of: date) -> dict[str, object]:
    kind, field = str(feature["aggregate"]), feature.get("field")
    today = (as_of - EPOCH).days
    if kind == "ratio":
        short, long = (_days(text) for text in window)
        above, below = _amounts(events, field, today, short), _amounts(events, field, today, long)
        if feature.get("against") == "before":
            below, long = {a: whole - above.get(a, 0) for a, whole in below.items()}, long - short
        return {a: (above.get(a, 0) / short) / (whole / long) for a, whole in below.items() if whole}
    if kind == "trend":
        length = _days(window)
        now, both = _amounts(events, field, today, length), _amounts(events, field, today, 2 * length)
        before = {a: whole - now.get(a, 0) for a, whole in both.items()}
        return {a: (now.get(a, 0) - amount) / amount for a, amount in before.items() if amount}
    inside = events if window is None else events[events["day"] > today - _days(window)]
    return _simple(inside, kind, field, today)


def _simple(inside: pd.DataFrame, kind: str, field: object, today: int) -> dict[str, object]:
    grouped = inside.groupby("account")
    if kind == "count":
        return _plain(grouped.size())
    if kind == "days_since_last":
        return _plain(today - grouped["day"].max())
    if kind == "days_since_first":
        return _plain(today - grouped["day"].min())
    column = inside.dropna(subset=[str(field)]).groupby("account")[str(field)]
    if kind == "mean":
        totals, counts = _plain(column.sum()), _plain(column.count())
        return {account: int(total) / counts[account] for account, total in totals.items()}
    operations = {"sum": "sum", "min": "min", "max": "max", "last": "last", "first": "first", "distinct": "nunique"}
    return _plain(getattr(column, operations[kind])())


def _amounts(events: pd.DataFrame, field: object, today: int, length: int) -> dict[str, int]:
    inside = events[events["day"] > today - length].groupby("account")
    return _plain(inside[str(field)].sum() if field else inside.size())


def _plain(series: pd.Series) -> dict[str, object]:
    return dict(zip(series.index, series.tolist(), strict=True))


def _days(window: object) -> int:
    text = str(window)
    if not text.endswith("d"):
        raise ValueError(f"the oracle knows windows of days only, not {text}")
    return int(text[:-1])


def _read(data: Path, name: str, dtype: Mapping[str, type] | None = None) -> pd.DataFrame:
    return pd.read_csv(data / f"{name}.asc.gz", sep=";", encoding="latin-1", dtype=dtype)


def _day(number: int) -> date:
    return date(1900 + number // 10_000, number // 100 % 100, number % 100)


def _minor(text: str) -> int:
    return round(float(text) * 100)


def _second(key: str) -> int:
    return 8 * 3600 + int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "little") % 36_000


def end_of_day_ms(day: date) -> int:
    """The last millisecond of that local day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZONE) + timedelta(days=1)
    return round(midnight.timestamp() * 1000) - 1
