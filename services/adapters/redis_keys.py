"""The names of everything kept in the store.

On one server all keys may change together. In a cluster only those of one slot may, so there the keys of people are
divided into parts (redis_slots.py), and what is said of all states (fence, progress, completeness, …) is said of each
part apart. Braces are the hash tag: the person's own on one server, the part's in a cluster.
"""

import re
from dataclasses import dataclass, replace

from decision_engine.identifiers import CustomerId, DecisionId
from services.adapters.redis_slots import part_of

MEMBERS_KEPT = 64
"""Of those who said to belong to a household the newest so many; who left it is told by the members' own states."""
_OWNER = re.compile(r"((?:retail|corp):[A-Za-z0-9_-]{1,64}):")


@dataclass(frozen=True, slots=True)
class RedisKeys:
    """Keys of one deployment (`namespace`) for one state layout (`layout`, 16 hexadecimal digits). In a cluster with
    the `tags` of its parts; then what is said of one part is found with `of_part`, or in each of `parts`."""

    namespace: str
    layout: str
    tags: tuple[str, ...] = ()
    tag: str = ""
    """Of the part whose own keys these are."""

    def divided(self, tags: tuple[str, ...]) -> "RedisKeys":
        """The same for a store whose keys are divided by these tags; by none on one server."""
        return replace(self, tags=tags) if tags else self

    @property
    def parts(self) -> "tuple[RedisKeys, ...]":
        """The own keys of every part; on one server of the whole."""
        return tuple(replace(self, tag=tag) for tag in self.tags) if self.tags else (self,)

    def part(self, name: str) -> int:
        """The number of the part to which a customer, or something else divided like them, belongs."""
        return part_of(name) if self.tags else 0

    def of_part(self, name: str) -> "RedisKeys":
        """The own keys of that part."""
        return replace(self, tag=self.tags[part_of(name)]) if self.tags else self

    @property
    def base(self) -> str:
        """What the own keys of a part, or of the whole store, begin with."""
        return f"{self.namespace}:{{{self.tag}}}" if self.tag else self.namespace

    def own(self, customer_id: CustomerId, kind: str) -> str:
        """Something of one person."""
        if self.tags:
            return f"{self.namespace}:{{{self.tags[part_of(customer_id)]}}}:{customer_id}:{kind}"
        return f"{self.namespace}:{{{customer_id}}}:{kind}"

    def state(self, customer_id: CustomerId) -> str:
        """The compact state."""
        if self.tags:
            return self.own(customer_id, f"state:{self.layout}")
        return f"{self.namespace}:{{{customer_id}}}:state:{self.layout}"

    def triggers(self, customer_id: CustomerId) -> str:
        """The trigger memory; it belongs to no layout, for triggers outlive a change of features."""
        return self.own(customer_id, "triggers")

    def due(self, partition: int) -> str:
        """Customers of one partition by the earliest moment something of their triggers is due (a sorted set)."""
        return f"{self.base}:due:{partition}"

    @property
    def triggers_begun(self) -> str:
        """When the trigger memories of this store were begun: lost with them."""
        return f"{self.base}:triggers-begun"

    @property
    def matched(self) -> str:
        """For each topic and partition up to where triggers have seen the log (a hash); it belongs to no layout."""
        return f"{self.base}:matched"

    @property
    def unmatched(self) -> str:
        """For each topic and partition up to where the states of this layout may hold what no trigger has seen."""
        return f"{self.base}:unmatched:{self.layout}"

    def ledger(self, customer_id: CustomerId) -> str:
        """The contact records."""
        return self.own(customer_id, "ledger")

    def response(self, customer_id: CustomerId, response_id: str) -> str:
        """The marker that a response has been applied to the ledger."""
        return self.own(customer_id, f"response:{response_id}")

    def response_claim(self, response_id: str) -> str:
        """What a response id was given for, whoever's option it answers."""
        return f"{self.namespace}:response:{response_id}"

    def decision(self, decision_id: DecisionId) -> str:
        """A decision's record."""
        return f"{self.namespace}:decision:{decision_id}"

    def unpublished(self, node: str) -> str:
        """The decisions whose records that node has kept here and the bus has not acknowledged yet (a set)."""
        return f"{self.namespace}:unpublished:{node}"

    def publishing(self, node: str) -> str:
        """Present while that node lives."""
        return f"{self.namespace}:publishing:{node}"

    def recovering(self, node: str) -> str:
        """Which living node publishes what that one left."""
        return f"{self.namespace}:recovering:{node}"

    @property
    def publishers(self) -> str:
        """Every node that may have something to publish (a set)."""
        return f"{self.namespace}:publishers"

    def tracked(self, tracking_id: str) -> str:
        """A tracked option."""
        return f"{self.namespace}:tracked:{tracking_id}"

    def idempotency(self, key: str) -> str:
        """A claim or an answer; `key` is `<client>:<request id>`."""
        return f"{self.namespace}:idempotency:{key}"

    def members(self, link: str, value: str) -> str:
        """Who said to belong there, by the time of saying (a sorted set)."""
        return f"{self.of_part(household(link, value)).base}:members:{link}:{value}"

    def erased(self, person: str) -> str:
        """When that person (a pseudonym) was erased."""
        return f"{self.of_part(person).base}:erased:{person}"

    @property
    def erasures_known(self) -> str:
        """Present while all that the bus knows of erasures is kept."""
        return f"{self.base}:erasures-known"

    @property
    def erasing(self) -> str:
        """Who the store is still to be rid of (a hash)."""
        return f"{self.base}:erasing"

    @property
    def epoch(self) -> str:
        """Present while the states of this layout are what the committed offsets say."""
        return f"{self.base}:epoch:{self.layout}"

    @property
    def progress(self) -> str:
        """For each topic and partition the next offset the states of this layout want (a hash)."""
        return f"{self.base}:progress:{self.layout}"

    @property
    def whole(self) -> str:
        """The topic partitions whose whole log, as it stood when a builder took it over, these states hold (a hash)."""
        return f"{self.base}:whole:{self.layout}"

    @property
    def complete(self) -> str:
        """Present while that is so of every partition: without it states and ledgers may lack what matters most."""
        return f"{self.base}:complete:{self.layout}"

    @property
    def ledger_whole(self) -> str:
        """Present while the ledgers hold what the log says was reserved (a hash); it belongs to no layout."""
        return f"{self.base}:ledger-whole"

    def fence(self, writer: str) -> str:
        """What one state builder put down when it began its batch."""
        return f"{self.base}:fence:{self.layout}:{writer}"

    @property
    def rebuild(self) -> str:
        """How the states of this layout are rebuilt from the archive (JSON), while and after that is done."""
        return f"{self.base}:rebuild:{self.layout}"

    @property
    def in_use(self) -> str:
        """Who serves or builds which states at this moment (a sorted set by when they last said so)."""
        return f"{self.namespace}:in-use"

    @property
    def used(self) -> str:
        """Every layout by when somebody last served or built it (a sorted set)."""
        return f"{self.namespace}:used"

    @property
    def of_layout(self) -> str:
        """A pattern for every key of this layout and no other; the layout's digits occur nowhere else."""
        return f"{self.everything}:{self.layout}*"

    @property
    def everything(self) -> str:
        """A pattern for every key of the deployment."""
        escaped = "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in self.namespace)
        return f"{escaped}:*"

    @property
    def clock(self) -> str:
        """The newest event time applied."""
        return f"{self.namespace}:clock"

    def read(self, name: bytes) -> tuple[CustomerId | None, str]:
        """Whose key that is, if it is one person's, and what kind of: the name without namespace, hash tag of a person
        or part, and person."""
        rest = name[len(self.namespace) + 1 :].decode()
        tag, closed, inner = rest[1:].partition("}:") if rest.startswith("{") else ("", "", "")
        if closed and self.tags and tag in self.tags:
            found = _OWNER.match(inner)
            return (None, inner) if found is None else (CustomerId(found[1]), inner[found.end() :])
        if closed and not self.tags and ":" in tag:
            return CustomerId(tag), inner
        return None, rest


def household(link: str, value: str) -> str:
    """The name by which those who belong together are divided among the parts."""
    return f"{link}:{value}"
