"""The names of everything kept in the store. Braces are the cluster hash tag: one person's keys share a slot."""

from dataclasses import dataclass

from decision_engine.identifiers import CustomerId, DecisionId

MEMBERS_KEPT = 64
"""Of those who said to belong to a household the newest so many; who left it is told by the members' own states."""


@dataclass(frozen=True, slots=True)
class RedisKeys:
    """Keys of one deployment (`namespace`) for one state layout (`layout`, 16 hexadecimal digits)."""

    namespace: str
    layout: str

    def state(self, customer_id: CustomerId) -> str:
        """The compact state."""
        return f"{self.namespace}:{{{customer_id}}}:state:{self.layout}"

    def triggers(self, customer_id: CustomerId) -> str:
        """The trigger memory; it belongs to no layout, for triggers outlive a change of features."""
        return f"{self.namespace}:{{{customer_id}}}:triggers"

    def due(self, partition: int) -> str:
        """Customers of one partition by the earliest moment something of their triggers is due (a sorted set)."""
        return f"{self.namespace}:due:{partition}"

    @property
    def triggers_begun(self) -> str:
        """When the trigger memories of this store were begun: lost with them."""
        return f"{self.namespace}:triggers-begun"

    @property
    def matched(self) -> str:
        """For each topic and partition up to where triggers have seen the log (a hash); it belongs to no layout."""
        return f"{self.namespace}:matched"

    @property
    def unmatched(self) -> str:
        """For each topic and partition up to where the states of this layout may hold what no trigger has seen."""
        return f"{self.namespace}:unmatched:{self.layout}"

    def ledger(self, customer_id: CustomerId) -> str:
        """The contact records."""
        return f"{self.namespace}:{{{customer_id}}}:ledger"

    def response(self, customer_id: CustomerId, response_id: str) -> str:
        """The marker that a response has been applied to the ledger."""
        return f"{self.namespace}:{{{customer_id}}}:response:{response_id}"

    def response_claim(self, response_id: str) -> str:
        """What a response id was given for, whoever's option it answers."""
        return f"{self.namespace}:response:{response_id}"

    def decision(self, decision_id: DecisionId) -> str:
        """A decision's record."""
        return f"{self.namespace}:decision:{decision_id}"

    def tracked(self, tracking_id: str) -> str:
        """A tracked option."""
        return f"{self.namespace}:tracked:{tracking_id}"

    def idempotency(self, key: str) -> str:
        """A claim or an answer; `key` is `<client>:<request id>`."""
        return f"{self.namespace}:idempotency:{key}"

    def members(self, link: str, value: str) -> str:
        """Who said to belong there, by the time of saying (a sorted set)."""
        return f"{self.namespace}:members:{link}:{value}"

    @property
    def epoch(self) -> str:
        """Present while the states of this layout are what the committed offsets say."""
        return f"{self.namespace}:epoch:{self.layout}"

    @property
    def progress(self) -> str:
        """For each topic and partition the next offset the states of this layout want (a hash)."""
        return f"{self.namespace}:progress:{self.layout}"

    @property
    def whole(self) -> str:
        """The topic partitions whose whole log, as it stood when a builder took it over, these states hold (a hash)."""
        return f"{self.namespace}:whole:{self.layout}"

    @property
    def complete(self) -> str:
        """Present while that is so of every partition: without it states and ledgers may lack what matters most."""
        return f"{self.namespace}:complete:{self.layout}"

    def fence(self, writer: str) -> str:
        """What one state builder put down when it began its batch."""
        return f"{self.namespace}:fence:{self.layout}:{writer}"

    @property
    def rebuild(self) -> str:
        """How the states of this layout are rebuilt from the archive (JSON), while and after that is done."""
        return f"{self.namespace}:rebuild:{self.layout}"

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
