"""A decision record as text for people: what was asked, what was answered, and why every other candidate was not."""

from collections.abc import Iterator, Mapping, Sequence

Record = Mapping[str, object]
Texts = Mapping[str, Mapping[str, str]]


def decision_report(data: Record, texts: Texts, locale: str) -> Iterator[str]:
    """Lines of the report. `texts` are the strategy's words for reason codes by locale."""
    yield from _head(data)
    candidates = [_record(candidate) for candidate in _records(data.get("candidates"))]
    for placement in _records(data.get("placements")):
        yield ""
        yield from _placement(_record(placement), candidates, texts, locale)
    attributes = _record(data.get("attributes"))
    yield ""
    yield f"attributes used ({len(attributes)})"
    yield from (f"  {name} = {value}" for name, value in sorted(attributes.items()))


def _head(data: Record) -> Iterator[str]:
    yield f"decision {data.get('decision_id')} at {data.get('time')}"
    yield f"  customer {data.get('customer_id')} in {data.get('channel')}, asked by {data.get('client')}"
    models = ", ".join(f"{name} {version}" for name, version in _record(data.get("models")).items()) or "none"
    yield f"  strategy {data.get('strategy_version')}; models {models}; arm {data.get('arm')}"
    age, took = data.get("feature_age_ms"), data.get("took_ms")
    yield f"  personalised {data.get('personalised')}; data {age} ms old; took {took} ms"
    causes = [str(cause) for cause in _records(data.get("degraded_causes"))]
    if causes:
        yield f"  DEGRADED: {', '.join(causes)}"


def _placement(placement: Record, candidates: Sequence[Record], texts: Texts, locale: str) -> Iterator[str]:
    here = [candidate for candidate in candidates if candidate.get("placement") == placement.get("id")]
    yield f"{placement.get('id')}: {len(here)} candidates"
    options = [_record(option) for option in _records(placement.get("options"))]
    if not options:
        yield f"  fallback {placement.get('fallback')} because {placement.get('fallback_cause')}"
    ranks = {option.get("treatment"): option for option in options}
    for candidate in sorted(here, key=lambda candidate: _order(candidate, ranks)):
        said = _numbers(candidate) + _why(candidate, texts, locale)
        yield f"  {_fate(candidate, ranks)}  {candidate.get('treatment')}{said}"


def _order(candidate: Record, ranks: Mapping[object, Record]) -> tuple[int, float, str]:
    option = ranks.get(candidate.get("treatment"))
    place = int(str(option["rank"])) if option is not None and candidate.get("outcome") == "offered" else 1_000
    priority = candidate.get("priority")
    return place, -(priority if isinstance(priority, int | float) else float("-inf")), str(candidate.get("treatment"))


def _fate(candidate: Record, ranks: Mapping[object, Record]) -> str:
    if candidate.get("outcome") == "offered":
        option = ranks.get(candidate.get("treatment"), {})
        return f"{'rank ' + str(option.get('rank', '?')):<13}"
    return f"{str(candidate.get('outcome')).replace('_', ' '):<13}"


def _numbers(candidate: Record) -> str:
    if candidate.get("propensity") is None:
        return ""
    return (
        f"  P {candidate['propensity']:.4f} x C {candidate.get('context_weight')} % x V {candidate.get('value')} "
        f"x L {candidate.get('lever')} % = {candidate.get('priority'):.2f}"
        f" (chance {candidate.get('selection_probability')})"
    )


def _why(candidate: Record, texts: Texts, locale: str) -> str:
    if candidate.get("stage") is None:
        return ""
    words = texts.get(str(candidate.get("reason")), {})
    text = words.get(locale) or next(iter(words.values()), "")
    return f"  {candidate['stage']}: {candidate.get('rule')} [{candidate.get('reason')}] {text}".rstrip()


def _record(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def _records(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []
