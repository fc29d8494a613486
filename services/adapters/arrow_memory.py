"""Which of its allocators Arrow works with, so that a role which writes files for months stays as small as it is.

Arrow takes mimalloc where nobody chooses. A process that writes small files and merges them then keeps more and more
that nobody uses: what a thread freed goes back to the system only while that thread allocates, and not all of it.
jemalloc hands back by a thread of its own what has been unused for a second.
"""

import sys
from collections.abc import MutableMapping

POOL = "ARROW_DEFAULT_MEMORY_POOL"
"""Arrow's own setting, read once, when it is first imported. Choosing a pool later leaves the buffers that reading and
writing Parquet needs in the first one."""
_ALLOCATOR = "jemalloc"


def choose_allocator(environment: MutableMapping[str, str]) -> None:
    """Sets Arrow's allocator in the environment of this process and of those it starts, unless the operator has chosen
    one. Without effect once pyarrow was imported; a build of Arrow that lacks it says so and takes its own."""
    if sys.platform == "linux":
        environment.setdefault(POOL, _ALLOCATOR)
