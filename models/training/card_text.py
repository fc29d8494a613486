"""A model card as Markdown, for people: customers' questions, auditors, and whoever registers the algorithm."""

from collections.abc import Mapping, Sequence

from models.evaluation.report import METRIC_TITLES
from models.training.card_reading import entries, listed, mapping, number

CARD_FILE, CARD_TEXT_FILE = "card.json", "card.md"
_MOST_INPUTS = 400
"""A card lists its inputs whole; no strategy has more."""


def card_text(card: Mapping[str, object]) -> str:
    """The whole card."""
    sections = [
        [f"# Model card: {card['name']}", "", f"Family: {card['family']}", "", str(card["purpose"])],
        ["## What it foretells", "", str(card["target"]), "", *_data(mapping(card["data"]))],
        ["## Consent", "", str(card["consent"])],
        ["## How good it is", "", *_metrics(mapping(card["metrics"]))],
        *[_segments(by, entries(lines)) for by, lines in sorted(mapping(card["segments"]).items())],
        ["## Fairness", "", *_fairness(mapping(card["fairness"]))],
        ["## Limits", "", *(f"- {limit}" for limit in listed(card["limits"]))],
        ["## How it was made", "", *_making(card)],
        ["## Inputs", "", *_inputs(card)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; bars inside a cell are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _data(data: Mapping[str, object]) -> list[str]:
    parts = mapping(data.get("parts"))
    rows = [
        (title, f"{number(mapping(part)['rows']):,.0f}", f"{number(mapping(part)['positives']):,.0f}")
        for title, part in parts.items()
    ]
    window = number(data.get("window_seconds"))
    return [
        f"Decided between {data.get('since')} and {data.get('until')}; an outcome counts within {window:,.0f} seconds. "
        f"Rows from {data.get('held_out_since')} on were only judged on. Fingerprint of the rows: "
        f"{data.get('fingerprint')}.",
        "",
        *table(("part, in order of time", "rows", "positives"), [*rows]),
    ]


def _metrics(metrics: Mapping[str, object]) -> list[str]:
    rows = []
    for name in [*(n for n in METRIC_TITLES if n in metrics), *sorted(set(metrics) - set(METRIC_TITLES))]:
        metric = mapping(metrics[name])
        low, high = metric["low"], metric["high"]
        interval = "" if low is None or high is None else f"{number(low):.4f} .. {number(high):.4f}"
        rows.append((METRIC_TITLES.get(name, name), _shown(metric["value"]), interval))
    return [*table(("measure, on rows never learnt from", "value", "95 % interval"), rows)]


def _segments(by: str, lines: Sequence[Mapping[str, object]]) -> list[str]:
    head = ("segment", "rows", "positives", "observed", "predicted", "predicted less observed", "AUC")
    return [f"### By {by}", "", *table(head, [(str(line["segment"]), *_rates(line)) for line in lines])]


def _fairness(tables: Mapping[str, object]) -> list[str]:
    if not tables:
        return ["Not judged: see the limits."]
    head = ("group", "rows", "positives", "observed", "predicted", "predicted less observed", "AUC",
            "chosen (top fifth)", "over the most chosen", "judged")  # fmt: skip
    lines = ["The groups are for this judgement alone; none of them is an input unless it is listed as one below.", ""]
    for attribute, groups in sorted(tables.items()):
        rows = [
            (
                str(line["group"]), *_rates(line), f"{number(line['chosen']):.3f}",
                f"{number(line['chosen_ratio']):.2f}", "yes" if line["judged"] else "too few",
            )
            for line in entries(groups)
        ]  # fmt: skip
        lines += [f"### {attribute}", "", *table(head, rows), ""]
    return lines[:-1]


def _rates(line: Mapping[str, object]) -> tuple[str, ...]:
    gap = mapping(line["gap"])
    interval = "" if gap["low"] is None else f" ({number(gap['low']):+.4f} .. {number(gap['high']):+.4f})"
    return (
        f"{number(line['rows']):,.0f}",
        f"{number(line['positives']):,.0f}",
        f"{number(line['observed']):.4f}",
        f"{number(line['predicted']):.4f}",
        f"{number(gap['value']):+.4f}{interval}",
        "" if line["auc"] is None else f"{number(line['auc']):.3f}",
    )


def _making(card: Mapping[str, object]) -> list[str]:
    parameters, calibration = mapping(card["parameters"]), mapping(card["calibration"])
    shown = [(name.replace("_", " "), _shown(value)) for name, value in parameters.items() if not _is_list(value)]
    lines = [
        "Gradient-boosted trees (LightGBM), split by time, stopped early on the validation part; probabilities by "
        f"{calibration['kind']} calibration there. Seeds {_joined(card['seeds'])}; "
        + ", ".join(f"{name} {version}" for name, version in mapping(card["libraries"]).items())
        + ".",
        "",
        *table(("parameter", "value"), shown),
        "",
        f"May only rise with: {_joined(parameters['rising'])}. May only fall with: {_joined(parameters['falling'])}.",
    ]
    for by, segments in mapping(calibration["by"]).items():
        rows = [
            (
                str(line["segment"]),
                f"{number(line['rows']):,.0f}",
                f"{number(line['positives']):,.0f}",
                f"{number(line['slope']):.3f}",
                f"{number(line['shift']):+.3f}",
            )
            for line in entries(segments)
        ]
        lines += ["", f"### Calibrated by {by}", "", "Log-odds become slope times log-odds plus shift; small segments "
                  "are drawn to 1 and 0.", "", *table((by, "rows", "positives", "slope", "shift"), rows)]  # fmt: skip
    return lines


def _inputs(card: Mapping[str, object]) -> list[str]:
    withheld = _joined(card["withheld"])
    rows = [
        (
            f"{line['source']}.{line['name']}",
            str(line["description"]),
            str(line["kind"]),
            f"{number(line['gain']):.1%}",
            f"{number(line['missing']):.1%}",
            str(line["monotone"] or ""),
            f"`{line['definition']}`" if line["definition"] else "",
        )
        for line in entries(card["inputs"])[:_MOST_INPUTS]
    ]
    head = ("input", "meaning", "kind", "share of the gain", "missing", "score only", "definition")
    return [f"Never an input: {withheld}.", "", *table(head, rows)]


def _joined(value: object) -> str:
    return ", ".join(map(str, listed(value))) or "none"


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _shown(value: object) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4f}"
