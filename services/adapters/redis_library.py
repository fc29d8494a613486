"""A library of server-side functions under names of its own: two releases that serve side by side, as in a rolling
upgrade, each call the functions they were written with, whoever loaded a library last.

The names of functions are shared by everybody on a server, so a digest of the source is put behind each. What an
earlier release loaded stays, a few kilobytes, until it is deleted or the server starts anew.
"""

import hashlib
import re
from dataclasses import dataclass

_HEAD = re.compile(r"^#!lua name=(\w+)")
_REGISTERED = re.compile(r"(register_function\(')(\w+)(')")
_DIGEST_CHARACTERS = 10


@dataclass(frozen=True, slots=True)
class FunctionLibrary:
    """`source` as it is loaded."""

    source: str
    digest: str

    @classmethod
    def of(cls, source: str) -> "FunctionLibrary":
        """Raises ValueError for what is no library, or registers nothing."""
        digest = hashlib.sha256(source.encode()).hexdigest()[:_DIGEST_CHARACTERS]
        named, heads = _HEAD.subn(rf"#!lua name=\1_{digest}", source)
        named, functions = _REGISTERED.subn(rf"\1\2_{digest}\3", named)
        if not heads or not functions:
            raise ValueError("a function library begins with its name and registers functions")
        return cls(named, digest)

    def called(self, function: str) -> str:
        """What the function of the source is called on the server."""
        return f"{function}_{self.digest}"
