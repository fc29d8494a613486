"""What is stopped at this moment, as this node has read it, and earlier answers without what was stopped since.

A switch acts on decisions, on triggered contacts, on what is delivered and streamed, and on answers that are given
again for a request id: these keep everything but what is stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from decision_engine.fallback import FallbackCause
from decision_engine.kill_switches import Switches, stops_offer, stops_version, switch_text
from event_schemas.codec import Event
from event_schemas.control import KillSwitch, KillSwitchSet
from services.ports import Metrics
from services.use_cases.decision_answer import Wording
from services.use_cases.outbound_messages import OutboundMessage

KILL_SWITCH_SET = "nbo.control.kill_switch.set"
_NO_CONTENT = {"treatment": "none", "content": {}}
"""What a placement shows that the strategy does not have any more."""


class KillSwitches:
    """The engaged switches; call it for them as a request carries them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._engaged: dict[tuple[str, str], KillSwitch] = {}
        self._texts: Switches = ()

    def __call__(self) -> Switches:
        """Each engaged switch as `kind:name`, ascending; the same value until one changes."""
        return self._texts

    def engaged(self) -> Sequence[KillSwitch]:
        """The engaged switches with who engaged them and why."""
        return list(self._engaged.values())

    async def on_set(self, event: Event) -> None:
        """To be subscribed to `KILL_SWITCH_SET`; the newest act on each name counts."""
        if isinstance(event, KillSwitchSet):
            self.set(event.data)

    def set(self, act: KillSwitch) -> None:
        """Engages or releases."""
        key = act.kind, act.name
        if act.engaged:
            self._engaged[key] = act
        else:
            self._engaged.pop(key, None)
        self._metrics.gauge("kill_switch_engaged", float(act.engaged), kind=act.kind, name=act.name)
        self._texts = tuple(sorted(switch_text(*key) for key in self._engaged))

    def stops(self, message: OutboundMessage) -> bool:
        """Whether an outbound message offers anything that is stopped. One that does is not sent at all: what is left
        of it was never decided."""
        if not self._texts or message.is_cancelled_notice:
            return False
        version = message.strategy_version
        if version is not None and stops_version(self._texts, version):
            return True
        return any(stops_offer(self._texts, offer, group, message.channel) for offer, group in message.offers)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierAnswer:
    """How an answer of before is looked at again: what is stopped by now, and the words it was given in."""

    switches: Switches
    channel: str
    locale: str
    wording: Wording

    def without_stopped(self, answer: bytes) -> bytes:
        """The answer without what is stopped; a placement that has no option left shows its fallback. Ids, order and
        everything else stay as they were."""
        if not self.switches:
            return answer
        document = orjson.loads(answer)
        everything = stops_version(self.switches, str(document.get("strategy_version")))
        placements = document.get("placements", [])
        left = [self._left(placement, [] if everything else None) for placement in placements]
        return answer if left == placements else orjson.dumps({**document, "placements": left})

    def options_left(self, options: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The options that are not stopped."""
        return [option for option in options if not self._is_stopped(option)]

    def _left(self, placement: Mapping[str, Any], allowed: list[Mapping[str, Any]] | None) -> Mapping[str, Any]:
        options = placement.get("options")
        if not options:
            return placement
        left = self.options_left(options) if allowed is None else allowed
        if left:
            return placement if len(left) == len(options) else {**placement, "options": left}
        name = placement["id"]
        fallback: Mapping[str, Any] = _NO_CONTENT
        if name in self.wording.fallbacks:
            content = self.wording.contents[name, self.wording.locale(self.locale)]
            fallback = {"treatment": self.wording.fallbacks[name], "content": content}
        return {"id": name, "fallback": fallback, "fallback_cause": FallbackCause.STOPPED.value}

    def _is_stopped(self, option: Mapping[str, Any]) -> bool:
        known = self.wording.treatments.get(str(option["treatment"]))
        group = None if known is None else known[0].group
        return stops_offer(self.switches, str(option["offer"]), group, self.channel)
