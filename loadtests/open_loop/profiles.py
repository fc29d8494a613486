"""Who asks, and what: the mobile app, agents at their desktops, a storm of events, and all of them at once.

A profile is made of streams. A stream's customers come independently of one another and of the answers; each goes
through the stream's steps and thinks in between. In texts, `%(id)s` is unique to a request, `%(customer)s` the
customer's number, `%(tracking)s` an option that an earlier step was offered.
"""

import json
from dataclasses import dataclass, replace

DEADLINE_MS = 100.0
"""What a decision may take where the caller names nothing: the default of KAIROS_DECISION_TIMEOUT_MS."""
RESPONSE_MS = 250.0
VIEW_MS = 250.0


class UnknownProfile(Exception):
    """No profile has this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request. In time is an answer of one of the `accepts` within `deadline_ms` of when it was meant to be sent.
    `answers` names the step whose offers it responds to; with none to respond to it is not sent, and counted so."""

    name: str
    path: str
    body: str | None = None
    deadline_ms: float = DEADLINE_MS
    accepts: tuple[int, ...] = (200,)
    answers: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Customers of one kind. `share` of all requests are theirs."""

    name: str
    steps: tuple[Step, ...]
    share: float = 1.0
    think_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a run sends. `events_per_request`: records on the bus for every request over HTTP; with no streams the rate
    of the run is that of the events."""

    name: str
    title: str
    streams: tuple[Stream, ...] = ()
    events_per_request: float = 0.0


def profile_of(name: str, *, deadline_ms: float | None = None, think_s: float | None = None) -> Profile:
    """The profile, with the deadline of its decisions and its thinking changed where given. Raises UnknownProfile."""
    if name not in PROFILES:
        raise UnknownProfile(f"{name!r}; known: {', '.join(PROFILES)}")
    found = PROFILES[name]
    streams = []
    for stream in found.streams:
        steps = tuple(
            step if deadline_ms is None or step.deadline_ms != DEADLINE_MS else replace(step, deadline_ms=deadline_ms)
            for step in stream.steps
        )
        think = stream.think_s if think_s is None else think_s
        streams.append(replace(stream, steps=steps, think_s=think))
    return replace(found, streams=tuple(streams))


def decide(name: str, channel: str, placement: str, count: int) -> Step:
    """A decision for one placement."""
    asked = {
        "request_id": "%(id)s",
        "customer_id": "retail:%(customer)s",
        "channel": channel,
        "placements": [{"id": placement, "count": count}],
    }
    return Step(name=name, path="/v1/decisions", body=json.dumps(asked))


def respond(name: str, outcome: str, to: str) -> Step:
    """What became of an option that `to` was offered."""
    said = {"response_id": "%(id)s", "tracking_id": "%(tracking)s", "outcome": outcome}
    body = json.dumps(said)
    return Step(name=name, path="/v1/responses", body=body, deadline_ms=RESPONSE_MS, accepts=(202,), answers=to)


_VIEW = Step(name="view", path="/v1/customers/retail:%(customer)s", deadline_ms=VIEW_MS)
_PANEL = decide("panel", "contact_centre", "agent_panel", 3)
_HOME = decide("home", "mobile", "home_banner", 3)
_SESSION = (_HOME, respond("seen", "impression", "home"), decide("tile", "mobile", "card_page_tile", 2))
_CALL = (_VIEW, _PANEL, respond("outcome", "reject", "panel"))

PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="decide",
            title="Decisions alone: three offers for a home page",
            streams=(Stream(name="app", steps=(_HOME,)),),
        ),
        Profile(
            name="app",
            title="The mobile app: a home page, that it was seen, a tile, seconds of thought between",
            streams=(Stream(name="app", steps=_SESSION, think_s=2.0),),
        ),
        Profile(
            name="agent",
            title="Agents: a customer's view, three offers for the desktop, what the customer said",
            streams=(Stream(name="agent", steps=_CALL, think_s=2.0),),
        ),
        Profile(
            name="priority",
            title="Decisions of the app, and one in ten for an agent with a customer on the line",
            streams=(
                Stream(name="app", steps=(_HOME,), share=0.9),
                Stream(name="agent", steps=(_PANEL,), share=0.1),
            ),
        ),
        Profile(name="storm", title="A storm of events on the bus", events_per_request=1.0),
        Profile(
            name="mixed",
            title="App, agents and the bank's events at once",
            streams=(
                Stream(name="app", steps=_SESSION, share=0.8, think_s=2.0),
                Stream(name="agent", steps=_CALL, share=0.2, think_s=2.0),
            ),
            events_per_request=2.0,
        ),
    )
}
