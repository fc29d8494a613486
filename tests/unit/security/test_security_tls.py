"""TLS served by the API itself, certificates of clients, and tokens that are bound to them."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.api.app import create_app
from services.api.authentication import OpenAccess, thumbprint
from services.api.server import ServerLimits, bind, serve
from services.api.tls import TlsFiles, tls_context
from services.ports import SettingsInvalid

QUESTION = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}]}
Pair = tuple[Path, Path]


@pytest.fixture
def bank_ca(authority: Callable[[str], Any]) -> Any:
    return authority("bank-ca")


@asynccontextmanager
async def served(bank: Any, ca: Any, *, clients: Any = None, authenticator: Any = None) -> AsyncIterator[int]:
    """The bank's API over TLS; the port."""
    certificate, key = ca.issue("localhost")
    files = TlsFiles(certificate=certificate, key=key, client_ca=None if clients is None else clients.file)
    stop, started = asyncio.Event(), asyncio.Event()
    listener = bind("127.0.0.1", 0)
    app = create_app(bank.runtime(authenticator=authenticator or OpenAccess()))
    limits = ServerLimits(tls=tls_context(files))
    serving = asyncio.create_task(serve(app, listener, stop=stop, on_started=started.set, limits=limits))
    await started.wait()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        await asyncio.wait_for(serving, 5)


def trusting(ca: Any, shown: Pair | None = None) -> ssl.SSLContext:
    """A client's context that trusts the authority and shows a certificate."""
    context = ssl.create_default_context(cafile=ca.file)
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


async def asked(port: int, context: ssl.SSLContext, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=context, base_url=f"https://localhost:{port}") as client:
        return await client.post("/v1/decisions", json=QUESTION, headers=headers)


async def test_decisions_are_served_over_tls_and_nothing_else(bank: Any, bank_ca: Any) -> None:
    async with served(bank, bank_ca) as port:
        assert (await asked(port, trusting(bank_ca))).status_code == 200
        async with httpx.AsyncClient() as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(f"http://127.0.0.1:{port}/livez")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the old versions that are to be refused
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_versions_of_tls_are_refused(bank: Any, bank_ca: Any, version: ssl.TLSVersion) -> None:
    context = trusting(bank_ca)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, version
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with served(bank, bank_ca) as port:
        with pytest.raises(httpx.TransportError):
            await asked(port, context)


async def test_a_client_of_the_authority_is_let_in(bank: Any, bank_ca: Any) -> None:
    async with served(bank, bank_ca, clients=bank_ca) as port:
        assert (await asked(port, trusting(bank_ca, bank_ca.issue("app")))).status_code == 200


@pytest.mark.parametrize("shown", ["nothing", "expired", "self-signed", "another authority"])
async def test_any_other_client_gets_no_handshake(
    bank: Any, bank_ca: Any, authority: Callable[[str], Any], shown: str
) -> None:
    pair: Pair | None = {
        "nothing": lambda: None,
        "expired": lambda: bank_ca.issue("late", days=-1),
        "self-signed": lambda: self_signed(authority("self")),
        "another authority": lambda: authority("other-ca").issue("app"),
    }[shown]()  # type: ignore[no-untyped-call]
    async with served(bank, bank_ca, clients=bank_ca) as port:
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            await asked(port, trusting(bank_ca, pair))
    assert not bank.bus.events


def self_signed(made: Any) -> Pair:
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    key_file = made.folder / "self.key"
    key_file.write_bytes(made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made.file, key_file


async def test_a_stolen_token_is_worth_nothing_with_another_certificate(
    bank: Any, bank_ca: Any, tokens: Any, issuer: Any
) -> None:
    owner, thief = bank_ca.issue("owner"), bank_ca.issue("thief")
    certificate = x509.load_pem_x509_certificate(owner[0].read_bytes())
    bound = issuer.token(cnf={"x5t#S256": thumbprint(certificate.public_bytes(Encoding.DER))})
    async with served(bank, bank_ca, clients=bank_ca, authenticator=tokens) as port:
        headers = {"Authorization": f"Bearer {bound}"}
        for _ in range(2):  # seen first, and known
            assert (await asked(port, trusting(bank_ca, owner), **headers)).status_code == 200
            assert (await asked(port, trusting(bank_ca, thief), **headers)).status_code == 401


async def test_a_handshake_that_does_not_go_on_is_ended(
    bank: Any, bank_ca: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.server.HEADER_SECONDS", 0.2)
    async with served(bank, bank_ca) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


def test_files_that_are_no_certificates_stop_the_start(authority: Callable[[str], Any], tmp_path: Path) -> None:
    ca = authority("ca")
    (certificate, key), (_, other_key) = ca.issue("a"), ca.issue("b")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    for files, named in (
        (TlsFiles(certificate=tmp_path / "none", key=key), "KAIROS_TLS_CERT"),
        (TlsFiles(certificate=certificate, key=other_key), "KAIROS_TLS_KEY"),
        (TlsFiles(certificate=rubbish, key=key), "KAIROS_TLS_CERT"),
        (TlsFiles(certificate=certificate, key=key, client_ca=rubbish), "KAIROS_TLS_CLIENT_CA"),
    ):
        with pytest.raises(SettingsInvalid, match=named):
            tls_context(files)


async def test_half_a_request_is_ended_and_others_go_on(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: many connections that never finish what they began to say."""
    monkeypatch.setattr("services.api.guarded_protocol.HEADER_SECONDS", 0.3)
    stop, started = asyncio.Event(), asyncio.Event()
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serving = asyncio.create_task(serve(create_app(bank.runtime()), listener, stop=stop, on_started=started.set))
    await started.wait()
    halves = []
    for _ in range(100):
        half = socket.create_connection(("127.0.0.1", port))
        half.sendall(b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\nx-slow: ")
        half.setblocking(False)
        halves.append(half)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.post("/v1/decisions", json=QUESTION)).status_code == 200
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        assert set(await asyncio.gather(*(loop.sock_recv(half, 1) for half in halves))) == {b""}
    for half in halves:
        half.close()
    stop.set()
    await asyncio.wait_for(serving, 5)
