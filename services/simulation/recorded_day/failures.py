"""Why a recorded day cannot be simulated."""

from services.ports import ShellError


class SimulationRefused(ShellError):
    """The recorded day cannot be simulated: something it needs is missing or unreadable."""


class SimulationCancelled(ShellError):
    """The simulation was stopped before its end."""
