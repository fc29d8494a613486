"""What stands for a customer in logs, where the customer's id must not: a keyed hash, the same for the same key.

Whoever has the key can look for a customer's lines in the logs; whoever has the logs alone cannot tell a customer from
them, nor try ids until one fits.
"""

import re
from hashlib import blake2b
from secrets import token_bytes

_CUSTOMER = re.compile(r"(?<![A-Za-z0-9_])(?:retail|corp):[A-Za-z0-9_-]{1,64}")
"""A customer's id wherever it stands in a text (`event_schemas.envelope.CustomerKey`)."""
_BYTES = 8


class LogPseudonyms:
    """Pseudonyms under one key. Without a key there is a random one: then pseudonyms agree within this process only."""

    def __init__(self, key: str = "") -> None:
        self._key = blake2b(key.encode(), digest_size=32).digest() if key else token_bytes(32)

    def __repr__(self) -> str:
        return "LogPseudonyms(key hidden)"

    def pseudonym(self, customer_id: str) -> str:
        """`customer-` and 16 hex digits."""
        return f"customer-{blake2b(customer_id.encode(), key=self._key, digest_size=_BYTES).hexdigest()}"

    def of_both(self, person: str, customer_id: str) -> str:
        """What stands for a person together with a customer: 32 hex digits, from which neither can be found."""
        parts = person.encode() + b"\0" + customer_id.encode()
        return blake2b(parts, key=self._key, digest_size=2 * _BYTES, person=b"both").hexdigest()

    def masked(self, text: str) -> str:
        """The text with every customer's id replaced by its pseudonym."""
        return _CUSTOMER.sub(lambda found: self.pseudonym(found[0]), text)
