"""That a node is about to stop: it says so before it takes no requests any more, so that none is sent to it in vain."""

from services.ports import ShellError


class NodeLeaving(ShellError):
    """This node was told to stop: it still answers, and should be sent nothing any more."""


class Leaving:
    """Whether this node has been told to stop."""

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        """It has."""
        self._begun = True

    async def check(self) -> None:
        """For readiness. Raises NodeLeaving."""
        if self._begun:
            raise NodeLeaving
