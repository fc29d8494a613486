"""Which methods an address has, for answers that refuse another one."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_PART = re.compile(r"\\{[^}]+\\}")


def allowed_methods(document: Mapping[str, Any]) -> Callable[[str], str | None]:
    """From a path to what `Allow` says of it; None for a path that the OpenAPI document does not know."""
    known: Sequence[tuple[re.Pattern[str], str]] = [
        (re.compile(_PART.sub("[^/]+", re.escape(path))), _listed(operations))
        for path, operations in document["paths"].items()
    ]

    def allowed(path: str) -> str | None:
        return next((methods for pattern, methods in known if pattern.fullmatch(path)), None)

    return allowed


def _listed(operations: Mapping[str, Any]) -> str:
    methods = {method.upper() for method in operations}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
