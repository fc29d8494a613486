"""What the desk of governance refuses, as the caller is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from decision_engine.errors import StrategyInvalid
from services.api.errors import (
    INVALID,
    MAX_FIELDS,
    NOT_FOUND,
    OVERLOADED,
    REFUSED,
    UNAVAILABLE,
    ApiError,
    FieldError,
)
from services.ports import BusUnavailable, StrategyUnknown
from services.use_cases.governance.desk import VersionUnknown
from services.use_cases.governance.simulations import SimulationBusy
from services.use_cases.governance.writer import ActInvalid, ActRefused
from services.use_cases.live_strategy import SwitchRefused


@asynccontextmanager
async def refusing() -> AsyncIterator[None]:
    """What the desk refuses becomes what the caller is told. Raises ApiError."""
    try:
        yield
    except StrategyInvalid as error:
        found = [FieldError(p.file, "strategy", f"{p.file}:{p.line}: {p.path}: {p.message}") for p in error.problems]
        text = f"The strategy has {len(found)} problems."
        raise ApiError(INVALID, text, found[:MAX_FIELDS]) from error
    except ActInvalid as error:
        raise ApiError(INVALID, str(error)) from error
    except (ActRefused, SwitchRefused) as error:
        raise ApiError(REFUSED, str(error)) from error
    except (VersionUnknown, StrategyUnknown) as error:
        raise ApiError(NOT_FOUND, str(error)) from error
    except SimulationBusy as error:
        raise ApiError(OVERLOADED, str(error)) from error
    except BusUnavailable as error:
        raise ApiError(UNAVAILABLE, str(error)) from error
