"""What one process of the generator is to do, as it is handed over: the same plan gives the same requests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import itemgetter

from loadtests.open_loop.profiles import Step, Stream
from loadtests.open_loop.schedule import Phase, Spacing, arrivals, length_s, sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`share` of `shares` processes sends every so-manieth customer's requests. What is meant to be sent in the first
    `warm_up_s` is sent, not counted."""

    host: str
    port: int
    tls: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    streams: Sequence[Stream]
    phases: Sequence[Phase]
    spacing: Spacing = "poisson"
    customers: int = 2_000
    seed: int = 1
    run: str = "run"
    """A part of every request's id: another for each run, so that no request is an idempotent repeat."""
    warm_up_s: float = 2.0
    timeout_s: float = 5.0
    connections: int = 16
    """Opened before the run; more as they are needed, up to `most_connections`."""
    most_connections: int = 512
    share: int = 0
    shares: int = 1
    processors: Sequence[int] = ()

    @property
    def seconds(self) -> float:
        """How long requests are sent."""
        return length_s(self.phases)

    def steps(self) -> list[Step]:
        """Every step of every stream; their places here are how a request names its step."""
        return [step for stream in self.streams for step in stream.steps]

    def as_mapping(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, found: Mapping[str, object]) -> "Plan":
        """What `as_mapping` gave. Raises TypeError on anything else."""
        held = dict(found)
        phases, streams = held.pop("phases"), held.pop("streams")
        if not isinstance(phases, list) or not isinstance(streams, list):
            raise TypeError("phases and streams of a plan are lists")
        return cls(
            **held,  # type: ignore[arg-type]
            phases=[Phase(**phase) for phase in phases],
            streams=[_stream(stream) for stream in streams],
        )


@dataclass(frozen=True, slots=True)
class Sending:
    """One request to come: seconds from the beginning, its step's place, its customer, and a number of its own."""

    at_s: float
    step: int
    customer: int
    number: int


def sendings(plan: Plan) -> list[Sending]:
    """This process's part of the run, in order. Sessions that would go on after the end are cut there; those that began
    before the beginning are under way at it, so that the rate is the same throughout."""
    found: list[tuple[float, int, int, int]] = []
    first = 0
    for place, stream in enumerate(plan.streams):
        found += _of_stream(plan, stream, place, first)
        first += len(stream.steps)
    found.sort(key=itemgetter(0))
    return [Sending(*row) for row in found]


def _of_stream(plan: Plan, stream: Stream, place: int, first: int) -> Iterator[tuple[float, int, int, int]]:
    """Each session begins a step's share of the stream's rate; its further requests are superposed."""
    steps = len(stream.steps)
    total = sum(each.share for each in plan.streams)
    scale = stream.share / total / steps
    lead_in = min(4 * stream.think_s * (steps - 1), 60.0)
    begun = Phase(plan.phases[0].start * scale, plan.phases[0].start * scale, lead_in)
    phases = [Phase(each.start * scale, each.end * scale, each.seconds) for each in plan.phases]
    if lead_in:
        phases = [begun, *phases]
    starts = arrivals(phases, plan.spacing, plan.seed * 1_000 + place) - lead_in
    times, owners = sessions(starts, steps, stream.think_s, plan.seed * 1_000 + place + 500)
    asked = [0] * len(starts)
    for number, (at_s, owner) in enumerate(zip(times.tolist(), owners.tolist(), strict=True)):
        step = asked[owner]
        asked[owner] += 1
        if 0 <= at_s < plan.seconds and owner % plan.shares == plan.share:
            customer = (owner * 7_919 + place * 104_729 + plan.seed) % plan.customers + 1
            yield at_s, first + step, customer, number * len(plan.streams) + place


def _stream(found: Mapping[str, object]) -> Stream:
    held = dict(found)
    steps = held.pop("steps")
    if not isinstance(steps, list):
        raise TypeError("steps of a stream are a list")
    return Stream(
        **held,  # type: ignore[arg-type]
        steps=tuple(Step(**{**step, "accepts": tuple(step["accepts"])}) for step in steps),
    )
