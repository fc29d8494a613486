"""A decision record as text for people: what was asked, what was answered, and why every other candidate was not."""

from collections.abc import Iterator, Mapping, Sequence

from services.commands.report_words import ReportWords

Record = Mapping[str, object]

_LAST = 1_000
"""The place of whatever is not offered."""


def decision_report(data: Record, words: ReportWords) -> Iterator[str]:
    """Lines of the report; `data` has every candidate written out."""
    yield from _head(data, words)
    candidates = [_record(candidate) for candidate in _records(data.get("candidates"))]
    for placement in _records(data.get("placements")):
        yield ""
        yield from _placement(_record(placement), candidates, words)
    attributes = _record(data.get("attributes"))
    yield ""
    yield words.say("attributes", count=len(attributes))
    yield from (f"  {name} = {value}" for name, value in sorted(attributes.items()))


def _head(data: Record, words: ReportWords) -> Iterator[str]:
    models = ", ".join(f"{name} {version}" for name, version in _record(data.get("models")).items())
    yield words.say("decision", id=data.get("decision_id"), time=data.get("time"))
    said = {name: data.get(f"{name}_id", data.get(name)) for name in ("customer", "channel", "client")}
    yield "  " + words.say("customer", **said)
    strategy, arm = data.get("strategy_version"), data.get("arm")
    yield "  " + words.say("strategy", strategy=strategy, models=models or words.say("none"), arm=arm)
    arms = ", ".join(f"{name} {arm}" for name, arm in _record(data.get("experiments")).items())
    if arms:
        yield "  " + words.say("experiments", arms=arms)
    age, took = data.get("feature_age_ms"), data.get("took_ms")
    yield "  " + words.say("data", personalised=data.get("personalised"), age=age, took=took)
    causes = [str(cause) for cause in _records(data.get("degraded_causes"))]
    if causes:
        yield "  " + words.say("degraded", causes=", ".join(causes))


def _placement(placement: Record, candidates: Sequence[Record], words: ReportWords) -> Iterator[str]:
    here = [candidate for candidate in candidates if candidate.get("placement") == placement.get("id")]
    yield words.say("candidates", placement=placement.get("id"), count=len(here))
    options = [_record(option) for option in _records(placement.get("options"))]
    if not options:
        treatment, cause = placement.get("fallback"), placement.get("fallback_cause")
        yield "  " + words.say("fallback", treatment=treatment, cause=cause)
    ranks = {option.get("treatment"): option for option in options}
    for candidate in sorted(here, key=lambda candidate: _order(candidate, ranks)):
        said = _numbers(candidate, words) + _why(candidate, words)
        yield f"  {_fate(candidate, ranks, words):<13}  {candidate.get('treatment')}{said}"


def _order(candidate: Record, ranks: Mapping[object, Record]) -> tuple[int, float, str]:
    option = ranks.get(candidate.get("treatment"))
    place = int(str(option["rank"])) if option is not None and candidate.get("outcome") == "offered" else _LAST
    priority = candidate.get("priority")
    return place, -(priority if isinstance(priority, int | float) else float("-inf")), str(candidate.get("treatment"))


def _fate(candidate: Record, ranks: Mapping[object, Record], words: ReportWords) -> str:
    if candidate.get("outcome") == "offered":
        option = ranks.get(candidate.get("treatment"), {})
        return words.say("rank", rank=option.get("rank", "?"))
    return words.say(str(candidate.get("outcome")))


def _numbers(candidate: Record, words: ReportWords) -> str:
    if candidate.get("propensity") is None:
        return ""
    cost = candidate.get("resource_cost")
    less = f" - {cost:g}" if isinstance(cost, int | float) and cost else ""
    return (
        f"  P {candidate['propensity']:.4f} x C {candidate.get('context_weight')} % x V {candidate.get('value')} "
        f"x L {candidate.get('lever')} %{less} = {candidate.get('priority'):.2f}"
        f" ({words.say('chance')} {candidate.get('selection_probability')})"
    )


def _why(candidate: Record, words: ReportWords) -> str:
    if candidate.get("stage") is None:
        return ""
    offer, rule, reason = (str(candidate.get(name)) for name in ("offer", "rule", "reason"))
    said = f"  {words.say(str(candidate['stage']))}: {rule} [{reason}] {words.reason(offer, rule, reason)}"
    return said.rstrip()


def _record(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def _records(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []
