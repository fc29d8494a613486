"""Going through the store for what is left of erased people: every key by its name, and the values of those whose names
do not say whose they are.

Keys of other people are passed over by their names, unread. What belongs to a later relationship stays.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from decision_engine.identifiers import CustomerId
from services.adapters.redis_client import Argument, Command, RedisClient, Reply
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import VERSION_PREFIX_BYTES, items_of
from services.ports import StoreUnavailable
from services.use_cases.wire_time import epoch_ms

IsOutdated = Callable[[str, bytes, int], bool]
"""Whether the value of a layout (its name, the value) is of before that moment (epoch milliseconds)."""
_PLAIN = {"triggers": "triggers", "response": "response_ids"}
_AT_ONCE = 1_000
_VALUES_AT_ONCE = 64
_HEAD_BYTES = 1_024
"""A decision record begins with its envelope; whose it is stands there."""
_PAUSE_SECONDS = 0.001
_WALKS = 4
"""A key that moves from a master still to be walked to one that was is met by another walk."""
_STEP_SECONDS = 30.0
_SUBJECT = re.compile(rb'"subject":"((?:retail|corp):[A-Za-z0-9_-]{1,64})"')
_TIME = re.compile(rb'"time":"([^"]+)"')
_PERSON = re.compile(rb"(?:retail|corp):[A-Za-z0-9_-]{1,64}(?![A-Za-z0-9_-])")


@dataclass(slots=True)
class Swept:
    """What was removed, by person and kind, and how many keys were looked at."""

    removed: dict[CustomerId, Counter[str]]
    keys: int = 0

    def note(self, customer_id: CustomerId, kind: str, number: int = 1) -> None:
        """So many of a kind are gone."""
        if number:
            self.removed.setdefault(customer_id, Counter())[kind] += number


@dataclass(slots=True)
class _Step:
    """The keys of one step of the walk, sorted by what is to be done with them."""

    own: list[tuple[CustomerId, str]] = field(default_factory=list)
    """Keys of the erased themselves: whose, and what follows the tag."""
    decisions: list[bytes] = field(default_factory=list)
    tracked: list[bytes] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    sets: list[bytes] = field(default_factory=list)
    lists: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisErasureSweep:
    """One walk at a time. `is_outdated` judges what is stored of a person by layout."""

    client: RedisClient
    namespace: str
    is_outdated: IsOutdated

    async def __call__(self, persons: Mapping[CustomerId, int]) -> Swept:
        """Removes everything of these people up to their moments (epoch milliseconds). Repeatable. Raises
        StoreUnavailable."""
        swept = Swept({})
        alive = await self._returned(persons)
        for _ in range(_WALKS):
            standing = await self.client.placement(_STEP_SECONDS)
            await self._gone_through(persons, alive, swept)
            if standing == await self.client.placement(_STEP_SECONDS):
                return swept
        raise StoreUnavailable("slots of the cluster moved while it was gone through")

    async def _gone_through(self, persons: Mapping[CustomerId, int], alive: set[CustomerId], swept: Swept) -> None:
        async for names in self.client.walk(self._keys().everything, _AT_ONCE, _STEP_SECONDS):
            swept.keys += len(names)
            step = self._sorted(names, persons)
            await self._own(step.own, persons, alive, swept)
            await self._decisions(step.decisions, persons, swept)
            await self._tracked(step.tracked, persons, swept)
            await self._texts(step.texts, persons, swept)
            await self._sets(step.sets, persons, alive, swept)
            await self._lists(step.lists, persons, swept)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _returned(self, persons: Mapping[CustomerId, int]) -> set[CustomerId]:
        """Those with a state of a later relationship: what has no time of its own then stays."""
        used = items_of(await self.client.execute("ZRANGE", self._keys().used, 0, -1))
        layouts = [name.decode() for name in used if isinstance(name, bytes) and name != b"attribution"]
        asked = [(person, layout) for person in persons for layout in layouts]
        values = await self._values("GET", [self._keys(layout).state(p) for p, layout in asked])
        return {
            person
            for (person, layout), value in zip(asked, values, strict=True)
            if value is not None and not self.is_outdated(layout, value, persons[person])
        }

    def _sorted(self, names: Sequence[bytes], persons: Mapping[CustomerId, int]) -> _Step:
        step, keys = _Step(), self._keys()
        for name in names:
            owner, rest = keys.read(name)
            kind, _, more = rest.partition(":")
            if owner is not None:
                if owner in persons:
                    step.own.append((owner, rest))
            elif rest.startswith("{leads}:closed:"):
                step.lists.append(name)
            elif kind == "decision":
                step.decisions.append(name)
            elif kind == "tracked":
                step.tracked.append(name)
            elif kind in ("idempotency", "simulation"):
                step.texts.append(name)
            elif kind in ("members", "due", "opened") and more:
                step.sets.append(name)
        return step

    def _keys(self, layout: str = "") -> RedisKeys:
        return RedisKeys(self.namespace, layout).divided(self.client.tags)

    async def _own(
        self,
        keys: Sequence[tuple[CustomerId, str]],
        persons: Mapping[CustomerId, int],
        alive: set[CustomerId],
        swept: Swept,
    ) -> None:
        for person, kind in keys:
            name = self._keys().own(person, kind)
            if kind.startswith("state:"):
                gone = await self._state(name, kind.removeprefix("state:"), persons[person])
                swept.note(person, "attribution" if kind == "state:attribution" else "states", gone)
            elif kind == "ledger":
                ledger = RedisContactLedger(self.client, RedisKeys(self.namespace, ""))
                before = await self.client.execute("STRLEN", name)
                await ledger.forget(person, persons[person])
                after = await self.client.execute("STRLEN", name)
                if isinstance(before, int) and isinstance(after, int):
                    swept.note(person, "contacts", (before - after) // 64)
            elif kind != "triggers" or person not in alive:
                gone_keys = await self.client.execute("UNLINK", name)
                swept.note(
                    person, _PLAIN.get(kind.partition(":")[0], "others"), gone_keys if isinstance(gone_keys, int) else 0
                )

    async def _state(self, name: str, layout: str, until_ms: int) -> int:
        """1 when the value was of before; one that was written meanwhile is looked at again the next time."""
        value = await self.client.execute("GET", name)
        if not isinstance(value, bytes) or not self.is_outdated(layout, value, until_ms):
            return 0
        keys: tuple[Argument, ...] = (f"{self.namespace}:{{{_tag(name)}}}:no-fence", name)
        arguments: tuple[Argument, ...] = ("", VERSION_PREFIX_BYTES, value[:VERSION_PREFIX_BYTES], "")
        conflicts = await self.client.call("kairos_save", keys, arguments)
        return 0 if conflicts else 1

    async def _decisions(self, names: Sequence[bytes], persons: Mapping[CustomerId, int], swept: Swept) -> None:
        for start in range(0, len(names), _VALUES_AT_ONCE):
            chosen = names[start : start + _VALUES_AT_ONCE]
            heads = await self._values("GETRANGE", chosen, 0, _HEAD_BYTES - 1)
            for name, head in zip(chosen, heads, strict=True):
                subject, moment = _SUBJECT.search(head or b""), _TIME.search(head or b"")
                person = CustomerId(subject[1].decode()) if subject else None
                if person in persons and person is not None:
                    decided_ms = epoch_ms(moment[1].decode()) if moment else 0
                    await self._unlink(name, person, "decisions", swept, gone=decided_ms <= persons[person])

    async def _tracked(self, names: Sequence[bytes], persons: Mapping[CustomerId, int], swept: Swept) -> None:
        for name, value in await self._mentioning(names, persons):
            option = orjson.loads(value)
            person = CustomerId(option["customer_id"])
            if person in persons:
                is_before = option["decided_ms"] <= persons[person]
                await self._unlink(name, person, "tracked_options", swept, gone=is_before)

    async def _texts(self, names: Sequence[bytes], persons: Mapping[CustomerId, int], swept: Swept) -> None:
        """Answers and reports: one that names an erased person goes whole; they are short-lived copies."""
        for name, value in await self._mentioning(names, persons):
            for found in dict.fromkeys(_PERSON.findall(value)):
                person = CustomerId(found.decode())
                if person in persons:
                    kind = "reports" if b":simulation:" in name else "answers"
                    await self._unlink(name, person, kind, swept, gone=True)

    async def _sets(
        self, names: Sequence[bytes], persons: Mapping[CustomerId, int], alive: set[CustomerId], swept: Swept
    ) -> None:
        """Sorted sets of customers; where the score is a time of the past it tells what is of before."""
        for name in names:
            due = self._keys().read(name)[1].startswith("due:")
            asked = [person for person in persons if not (due and person in alive)]
            if not asked:
                continue
            scores = await self.client.execute_many([("ZSCORE", name, person) for person in asked], _STEP_SECONDS)
            for person, score in zip(asked, scores, strict=True):
                if isinstance(score, bytes) and (due or float(score) <= persons[person]):
                    await self.client.execute("ZREM", name, person)
                    swept.note(person, "due" if due else "memberships" if b":members:" in name else "opened")

    async def _lists(self, names: Sequence[bytes], persons: Mapping[CustomerId, int], swept: Swept) -> None:
        for name in names:
            for entry in items_of(await self.client.execute("LRANGE", name, 0, -1)):
                person, at_ms = _closed_lead(entry)
                if person in persons and person is not None and at_ms <= persons[person] and isinstance(entry, bytes):
                    await self.client.execute("LREM", name, 0, entry)
                    swept.note(person, "leads")

    async def _mentioning(self, names: Sequence[bytes], persons: Mapping[CustomerId, int]) -> list[tuple[bytes, bytes]]:
        """Names and values of those texts in which one of the ids occurs at all."""
        ids = [person.encode() for person in persons]
        found = []
        for start in range(0, len(names), _VALUES_AT_ONCE):
            chosen = names[start : start + _VALUES_AT_ONCE]
            for name, value in zip(chosen, await self._values("GET", chosen), strict=True):
                if value is not None and any(one in value for one in ids):
                    found.append((name, value))
        return found

    async def _unlink(self, name: bytes, person: CustomerId, kind: str, swept: Swept, *, gone: bool) -> None:
        if gone:
            number = await self.client.execute("UNLINK", name)
            swept.note(person, kind, number if isinstance(number, int) else 0)

    async def _values(self, verb: str, names: Sequence[Argument], *arguments: Argument) -> list[bytes | None]:
        """Strings by name; a key that is none of them has no value here."""
        commands: list[Command] = [(verb, name, *arguments) for name in names]
        replies = await self.client.execute_many(commands, _STEP_SECONDS) if commands else []
        return [reply if isinstance(reply, bytes) else None for reply in replies]


def _tag(name: str) -> str:
    return name[name.index("{") + 1 : name.rindex("}")]


def _closed_lead(entry: Reply) -> tuple[CustomerId | None, int]:
    if not isinstance(entry, bytes):
        raise StoreUnavailable("the store answered with something else than text where a list was asked for")
    document = orjson.loads(entry)
    return CustomerId(document["customer_id"]), int(document["at_ms"])
