"""Names for people that lead back to nobody without the bank's key."""

from hashlib import blake2b

from services.ports import SettingsInvalid

LEAST_KEY_BYTES = 16
_DIGEST_BYTES = 16
_PURPOSE = b"kairos-person"
"""So that the same key used elsewhere gives other names."""


class Pseudonyms:
    """A keyed hash of customer ids: 128 bits, hexadecimal. Raises SettingsInvalid for a key that can be guessed."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) < LEAST_KEY_BYTES:
            raise SettingsInvalid(f"KAIROS_PSEUDONYM_KEY: has {len(key)} bytes; at least {LEAST_KEY_BYTES} are needed")
        # Longer keys than the hash takes are made into one it does.
        self._key = key if len(key) <= 64 else blake2b(key).digest()

    def __repr__(self) -> str:
        return "Pseudonyms(key hidden)"

    def of(self, customer_id: str) -> str:
        """The same for the same customer and key, for ever."""
        digest = blake2b(customer_id.encode(), key=self._key, digest_size=_DIGEST_BYTES, person=_PURPOSE)
        return digest.hexdigest()
