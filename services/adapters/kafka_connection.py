"""A connection to a broker that is lost when writing to it fails, whatever loop it is on.

aiokafka closes a connection that cannot be written to, and makes another, if writing raises OSError. uvloop raises
RuntimeError where the connection was cut a moment before; that goes through aiokafka's senders, fetchers and
coordinators, which end with it for good.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import conn
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError


class SteadyConnection(AIOKafkaConnection):  # type: ignore[misc] # aiokafka has no types here
    """Tells of a cut connection as of any other that was lost: these two are all that write to one."""

    def send(self, request: Any, expect_response: bool = True) -> Any:  # noqa: FBT001, FBT002 - as it is called
        """Raises KafkaConnectionError for what cannot be written."""
        with self._told_when_cut():
            return super().send(request, expect_response)

    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Any:  # noqa: FBT001, FBT002
        with self._told_when_cut():
            return super()._send_sasl_token(payload, expect_response)

    @contextmanager
    def _told_when_cut(self) -> Iterator[None]:
        try:
            yield
        except KafkaError:
            raise  # a RuntimeError as well, which says what it is already
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"the connection to {self.host}:{self.port} was cut: {error}") from error


def use_steady_connections() -> None:
    """From now on aiokafka's clients make these: it has no other place to say so."""
    conn.AIOKafkaConnection = SteadyConnection
