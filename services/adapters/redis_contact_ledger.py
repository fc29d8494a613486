"""The contact ledger in Redis or Valkey: caps are checked and reserved in one server-side step."""

from collections.abc import Sequence
from struct import Struct

from decision_engine.contact_ledger import (
    Alternative,
    ContactClock,
    ContactRecord,
    ContactRule,
    ReservationRequest,
    encode_records,
)
from decision_engine.identifiers import CustomerId
from decision_engine.outcomes import status_of
from services.adapters.redis_client import Argument, Command, RedisClient, Reply
from services.adapters.redis_keys import RedisKeys
from services.ports import ContactResponse, EarlierResponse, ResponseClaim, StoreUnavailable

# The functions read these in `redis_functions.lua` under the same names.
_COUNT = Struct("<H")
_ALTERNATIVE = Struct("<IIIIBB")
"""What follows the tracking key."""
_RULE = Struct("<BBHHBBIId")
_RESPONSE = Struct("<8sIIIIHBBd")
_TAKEN, _READ = "1", "log"
_DAY_MS = 86_400_000
_MAX_RULES = 255
_MAX_LIMIT = 2**32 - 1
_MOST_PACKED = 20_000
"""Alternatives whose packed form is remembered, a few hundred bytes each."""


class RedisContactLedger:
    """Implements `ports.ContactLedger`. `retention_days` bounds how long a contact counts, `marker_days` how long a
    response id is remembered."""

    def __init__(
        self, client: RedisClient, keys: RedisKeys, *, retention_days: int = 400, marker_days: int = 35
    ) -> None:
        self._client = client
        self._keys = keys.divided(client.tags)
        self._retention_ms = retention_days * _DAY_MS
        self._marker_seconds = marker_days * 86_400
        self._packed: dict[int, tuple[Alternative, bytes]] = {}

    async def read(self, customer_id: CustomerId) -> bytes | None:
        """The records as stored."""
        reply = await self._client.execute("GET", self._keys.ledger(customer_id))
        return reply if isinstance(reply, bytes) else None

    async def reserve(self, customer_id: CustomerId, request: ReservationRequest) -> list[int | None]:
        """For each position the index of the alternative taken, or None; atomic."""
        arguments = (
            request.now_ms,
            request.lapses_ms,
            self._retention_ms,
            1 if request.allow_duplicates else 0,
            b"".join(self._packed_positions(request)),
        )
        reply = await self._client.call("kairos_reserve", (self._keys.ledger(customer_id),), arguments)
        return [index if index >= 0 else None for index in _integers(reply)]

    async def claim_responses(self, claims: Sequence[ResponseClaim]) -> list[EarlierResponse]:
        """Binds each response id to what it says, for as long as it is remembered; what was known of it, in order."""
        commands: list[Command] = []
        for claim in claims:
            name = self._keys.response_claim(claim.response_id)
            commands.append(("SET", name, claim.says, "NX", "GET", "EX", self._marker_seconds))
            commands.append(("GET", self._keys.response(claim.customer_id, claim.response_id)))
        replies = await self._client.execute_many(commands)
        return [_earlier(said, mark) for said, mark in zip(replies[::2], replies[1::2], strict=True)]

    async def release(self, customer_id: CustomerId, trackings: Sequence[bytes]) -> None:
        """Gives back what is only reserved under these tracking keys; atomic, and repeating it changes nothing."""
        await self._client.call("kairos_release", (self._keys.ledger(customer_id),), (self._retention_ms, *trackings))

    async def respond(
        self, customer_id: CustomerId, responses: Sequence[ContactResponse], *, from_log: bool = False
    ) -> list[bool]:
        """False for those whose response id had been applied before; atomic. What was applied `from_log` only is still
        new to whoever takes it, once."""
        if not responses:
            return []
        keys = [self._keys.ledger(customer_id), *(self._keys.response(customer_id, r.response_id) for r in responses)]
        arguments: list[Argument] = [self._retention_ms, self._marker_seconds, *map(_packed_response, responses)]
        arguments.append(_READ if from_log else _TAKEN)
        return [applied == 1 for applied in _integers(await self._client.call("kairos_respond", keys, arguments))]

    async def restore(
        self, customer_id: CustomerId, records: Sequence[ContactRecord], response_ids: Sequence[str], now_ms: int
    ) -> int:
        """Merges what the log says of this person into the ledger and remembers its response ids; atomic, and doing it
        again changes nothing. Answers how many records there are then."""
        keys = [self._keys.ledger(customer_id), *(self._keys.response(customer_id, id_) for id_ in response_ids)]
        arguments = (now_ms, self._retention_ms, self._marker_seconds, encode_records(records))
        reply = await self._client.call("kairos_restore", keys, arguments)
        return reply if isinstance(reply, int) else 0

    async def forget(self, customer_id: CustomerId, until_ms: int) -> None:
        """Forgets every contact up to that time: the person was erased. Repeating it changes nothing."""
        await self._client.call("kairos_forget", (self._keys.ledger(customer_id),), (until_ms, self._retention_ms))

    def _packed_positions(self, request: ReservationRequest) -> list[bytes]:
        known, parts = self._packed, list[bytes]()
        for tracking, alternatives in zip(request.trackings, request.positions, strict=True):
            parts.append(_COUNT.pack(len(alternatives)))
            for alternative in alternatives:
                # The engine gives the same value for an offer, so it is known by its identity, which holding it keeps.
                _, packed = known.get(id(alternative)) or self._newly_packed(alternative)
                parts += (tracking, packed)
        return parts

    def _newly_packed(self, alternative: Alternative) -> tuple[Alternative, bytes]:
        if len(self._packed) >= _MOST_PACKED:
            self._packed.clear()
        entry = self._packed[id(alternative)] = alternative, _packed_alternative(alternative)
        return entry


def _packed_alternative(alternative: Alternative) -> bytes:
    keys = alternative.offer, alternative.group, alternative.issue, alternative.channel
    rules = _packed_rules(alternative.rules)
    return _ALTERNATIVE.pack(*keys, alternative.flags, len(alternative.rules)) + rules


def _packed_rules(rules: Sequence[ContactRule]) -> bytes:
    if len(rules) > _MAX_RULES:
        raise ValueError(f"{len(rules)} contact rules for one alternative; at most {_MAX_RULES} are possible")
    return b"".join([
        _RULE.pack(
            *(rule.scope, rule.clock is ContactClock.OUTCOME, rule.statuses, rule.without, rule.direction, 0),
            *(rule.key, min(max(rule.limit, 0), _MAX_LIMIT), rule.since_ms),
        )
        for rule in rules
    ])  # fmt: skip


def _packed_response(response: ContactResponse) -> bytes:
    return _RESPONSE.pack(
        *(response.tracking, response.offer, response.group, response.issue, response.channel),
        *(status_of(response.outcome), response.flags, 0, response.at_ms),
    )


def _earlier(said: Reply, mark: Reply) -> EarlierResponse:
    return EarlierResponse(
        said=said.decode() if isinstance(said, bytes) else None,
        published=mark is not None,
        taken=mark == _TAKEN.encode(),
    )


def _integers(reply: Reply) -> list[int]:
    if isinstance(reply, list):
        return [item for item in reply if isinstance(item, int)]
    raise StoreUnavailable(f"the store answered with {type(reply).__name__} where a list was due")
