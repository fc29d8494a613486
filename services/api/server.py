"""Serving the application over HTTP: one process, one loop, bounded in every direction, drained on stop."""

import asyncio
import gc
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from services.api.front_door import AsgiApp
from services.api.guarded_protocol import HEADER_SECONDS, GuardedProtocol
from services.api.load_gate import LoadGate
from services.ports import ShellError

CLOSING = (b"connection", b"close")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """`keep_alive_s` closes idle connections; `drain_s` is how long a stop waits for answers under way. With `tls`
    nothing else is spoken. `gate` is the hot routes' own: what it has no room for is refused before it is parsed."""

    keep_alive_s: int = 30
    drain_s: int = 4
    backlog: int = 2048
    tls: ssl.SSLContext | None = None
    gate: LoadGate | None = None


def _nothing() -> None:
    """What a step of leaving does where nobody asks for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """How a stop goes. It begins with `on_notice`, which should say that this node is not ready any more, and serves on
    for `notice_s`, so that whoever spreads the requests can notice; `on_stopping` is called when connections are taken
    no more, to end what would not end by itself."""

    notice_s: float = 0.0
    on_notice: Callable[[], None] = _nothing
    on_stopping: Callable[[], None] = _nothing


class AddressUnavailable(ShellError):
    """The address to listen on is taken or not this machine's."""


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it, who also has stores and a bus to close, and tells when it has started. Takes
    connections itself, since its own way lets a client shake hands for a minute."""

    def __init__(self, config: uvicorn.Config, limits: ServerLimits, on_started: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._tls = limits.tls
        self._gate = limits.gate
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        for listener in sockets or ():
            self.servers.append(await self._listening(listener))
        if self.started and self._on_started is not None:
            self._on_started()

    def end_connections(self) -> None:
        """From now on each answer is the last of its connection, and says so, so that the next request is sent to
        another node; nobody finds a connection closed that they were about to use."""
        self.config.encoded_headers.append(CLOSING)
        self.server_state.default_headers.append(CLOSING)

    async def _listening(self, listener: socket.socket) -> asyncio.Server:
        """Connections of the socket, each with a protocol of its own. Raises AddressUnavailable where somebody else
        who had bound it, too, was first."""

        def protocol() -> asyncio.Protocol:
            return GuardedProtocol(
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state, gate=self._gate
            )

        try:
            return await asyncio.get_running_loop().create_server(
                protocol,
                sock=listener,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else HEADER_SECONDS,
                backlog=self.config.backlog,
            )
        except OSError as error:
            host, port = listener.getsockname()[:2]
            raise AddressUnavailable(f"cannot listen on {host}:{port}: {error.strerror}") from error

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: AsgiApp,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    on_started: Callable[[], None] | None = None,
    leave: Leave | None = None,
    limits: ServerLimits | None = None,
) -> None:
    """Serves on the bound socket until `stop` is set, then finishes what is under way. `on_started` is called once
    connections are taken. Run it on uvloop for speed. Raises AddressUnavailable."""
    _calm_collector()
    limits, leave = limits or ServerLimits(), leave or Leave()
    server = _Server(_config(app, limits), limits, on_started)
    serving = asyncio.create_task(server.serve([listener]), name="http-server")
    stopping = asyncio.create_task(stop.wait(), name="http-stop")
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        leave.on_notice()
        server.end_connections()
        await asyncio.wait({serving}, timeout=leave.notice_s)
        server.should_exit = True
        leave.on_stopping()
        await serving
    finally:
        for task in (stopping, serving):
            task.cancel()
        listener.close()


def _calm_collector() -> None:
    """Strategy, models and routes live as long as the process, so the collector need not look at them again and again;
    and a decision makes many objects but hardly a cycle, so it need not look often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def bind(host: str, port: int) -> socket.socket:
    """A socket with this address; port 0 picks a free one (`getsockname()[1]`). Nobody can connect to it before it is
    served: a node that starts is refused and asked elsewhere, not waited for. Processes that share it are asked as soon
    as the first of them serves. Raises AddressUnavailable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise AddressUnavailable(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.settimeout(0)
    return listener


def _config(app: AsgiApp, limits: ServerLimits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=GuardedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        backlog=limits.backlog,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=limits.drain_s,
    )
