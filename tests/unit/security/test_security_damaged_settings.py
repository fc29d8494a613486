"""Addresses of keys and stores that are damaged are refused by their name and with a reason, and what an issuer sends
never opens a door, nor stops the node that asked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from services.adapters.jwks_source import JwksUnavailable, jwks_source
from services.adapters.redis_client import RedisClient
from services.adapters.redis_cluster_map import ClusterAddress
from services.adapters.redis_sentinel import SentinelAddress
from services.api.signing_keys import MOST_JWKS_BYTES, SigningKeys, usable_keys
from services.ports import SettingsInvalid
from services.settings import read_settings

JWT = {"KAIROS_AUTH": "jwt", "KAIROS_JWT_ISSUER": "https://issuer.bank.example", "KAIROS_JWT_AUDIENCE": "kairos"}
EC_KEY = {
    "kid": "e1", "kty": "EC", "crv": "P-256",
    "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
}  # fmt: skip
"""The point G of the curve: a public key that anybody has."""


@pytest.mark.parametrize(
    "address", ["https://[", "https://[::1", "http://[x]/keys", "https://h:99999/keys", "https://h:x/", "https:///keys"]
)
def test_an_address_of_keys_that_is_none_is_named_with_its_reason(address: str) -> None:
    with pytest.raises(SettingsInvalid, match="KAIROS_JWKS: is no address"):
        read_settings(JWT | {"KAIROS_JWKS": address})


def test_keys_are_not_asked_for_where_anybody_could_answer() -> None:
    with pytest.raises(SettingsInvalid, match=r"KAIROS_JWKS: .*https://"):
        read_settings(JWT | {"KAIROS_JWKS": "http://issuer.bank.example/keys"})
    for address in ("https://issuer.bank.example:8443/keys", "http://127.0.0.1:8080/keys", "/run/keys.json"):
        assert read_settings(JWT | {"KAIROS_JWKS": address}).jwks == address


@pytest.mark.parametrize("address", ["https://a\x07b/keys", "https://\udc80/keys", "https://h:x/"])
async def test_an_address_that_no_client_takes_is_keys_unavailable_and_stops_no_node(address: str) -> None:
    with pytest.raises(JwksUnavailable, match="cannot be reached: InvalidURL"):
        await jwks_source(address)()
    keys = SigningKeys(jwks_source(address))
    async with keys.following(60.0):
        assert not keys.known


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "line 1 column"),
        (b"\xff", "line 1 column"),
        (b'{"keys": [', "line 1 column"),
        (b"[" * 100_000, "line 1 column"),
        (b" " * (MOST_JWKS_BYTES + 1), "larger than"),
        (b"7", "no list of keys"),
        (b"[]", "no list of keys"),
        (b"{}", "no list of keys"),
        (b'{"keys": {"e1": 1}}', "no list of keys"),
        (b'{"keys": []}', "no key that tokens may be signed with"),
        (b'{"keys": [7, null, "e1", []]}', "no key that tokens may be signed with"),
    ],
    ids=range(11),
)
async def test_keys_that_are_damaged_are_refused_and_those_of_before_stay(
    document: bytes, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason):
        usable_keys(document)
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [EC_KEY]}))
    keys = SigningKeys(jwks_source(str(file)))
    await keys.refresh()
    file.write_bytes(document)
    await keys.refresh()
    assert keys.find("e1") is not None


@pytest.mark.parametrize("name", ["kty", "alg", "use", "key_ops", "crv", "x", "y"])
@pytest.mark.parametrize("value", [0.5, None, [1], [["verify"]], {"a": 1}, "", "\x00", "键"], ids=str)
def test_a_damaged_key_is_passed_over_and_the_one_beside_it_is_taken(name: str, value: object) -> None:
    damaged = EC_KEY | {"kid": "damaged", name: value}
    assert list(usable_keys(json.dumps({"keys": [damaged, EC_KEY]}).encode())) == ["e1"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis+sentinel://u:hidden@[/bank", "cannot be read"),
        ("redis+sentinel://u:hidden@a\udc80/bank", "cannot be read"),
        ("redis+sentinel://u:hid\udc80den@h/bank", "cannot be read"),
        ("redis+sentinel://u:hidden@h,/bank", "'' is no sentinel"),
        ("redis+sentinel://u:hidden@:26379/bank", "':26379' is no sentinel"),
        ("redis+sentinel://u:hidden@h:x/bank", "'h:x' is no sentinel"),
        ("redis+sentinel://u:hidden@h:-1/bank", "'h:-1' is no sentinel"),
        ("redis+sentinel://u:hidden@h:0/bank", "'h:0' is no sentinel"),
        ("redis+sentinel://u:hidden@h:99999/bank", "'h:99999' is no sentinel"),
        ("redis+sentinel://u:hidden@h:" + "9" * 5_000 + "/bank", "is no sentinel"),
        ("redis+sentinel://u:hidden@h", "name-of-the-master"),
        ("redis+sentinel://u:hidden@/bank", "name-of-the-master"),
        ("redis+sentinel://u:hidden@h/bank/x", "database 'x' is not a number"),
        ("redis+sentinel://u:hidden@h/bank/" + "9" * 5_000, "is not a number"),
        ("redis+sentinel://u:hidden@h/bank?what=1", "unknown options"),
    ],
    ids=range(15),
)
def test_a_damaged_address_of_sentinels_is_refused_with_its_reason_and_without_its_password(
    url: str, reason: str
) -> None:
    with pytest.raises(SettingsInvalid, match=r"^store URL: ") as refused:
        SentinelAddress.parse(url)
    assert reason in str(refused.value)
    assert "hid" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis+cluster://u:hidden@[", "redis+cluster://u:hid\udc80den@h:7000"], ids=range(2))
def test_a_damaged_address_of_a_cluster_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^store URL: it cannot be read$"):
        ClusterAddress.parse(url)


@pytest.fixture
def files(authority: Callable[[str], Any], tmp_path: Path) -> dict[str, Path]:
    """Good and bad ones, by what is the matter with them."""
    ca = authority("ca")
    (cert, key), (_, other_key) = ca.issue("a"), ca.issue("b")
    rubbish, locked = tmp_path / "rubbish.pem", tmp_path / "locked.key"
    rubbish.write_text("rubbish")
    locked.write_bytes(ca.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    return {
        "absent": tmp_path / "absent.pem", "folder": tmp_path, "rubbish": rubbish, "locked": locked, "ca": ca.file,
        "cert": cert, "key": key, "other_key": other_key,
    }  # fmt: skip


@pytest.mark.parametrize(
    "start", ["rediss://u:hidden@h/0", "rediss+sentinel://u:hidden@h/bank", "rediss+cluster://u:hidden@h"]
)
@pytest.mark.parametrize(
    ("options", "named", "reason"),
    [
        ("ssl_ca_certs={absent}", "ssl_ca_certs '{absent}'", "No such file or directory"),
        ("ssl_ca_certs={folder}", "ssl_ca_certs '{folder}'", "Is a directory"),
        ("ssl_ca_certs={rubbish}", "ssl_ca_certs '{rubbish}'", "no certificate or crl found"),
        ("ssl_ca_certs=%00", "ssl_ca_certs", "null byte"),
        ("ssl_certfile={absent}", "ssl_certfile '{absent}'", "No such file or directory"),
        ("ssl_certfile={rubbish}", "ssl_certfile '{rubbish}'", "PEM lib"),
        ("ssl_certfile={cert}&ssl_keyfile={absent}", "ssl_keyfile '{absent}'", "No such file or directory"),
        ("ssl_certfile={cert}&ssl_keyfile={other_key}", "ssl_keyfile '{other_key}'", "key values mismatch"),
        ("ssl_certfile={cert}&ssl_keyfile={locked}", "ssl_keyfile '{locked}'", "the key has a password"),
        ("ssl_keyfile={locked}", "ssl_keyfile", "needs ssl_certfile"),
    ],
    ids=range(10),
)
async def test_a_file_of_tls_that_cannot_be_used_is_named_with_its_option_and_the_reason(
    start: str, options: str, named: str, reason: str, files: dict[str, Path]
) -> None:
    with pytest.raises(SettingsInvalid, match=r"^store URL: ") as refused:
        async with RedisClient.open(f"{start}?{options.format_map(files)}"):
            pass
    said = str(refused.value)
    assert named.format_map(files) in said
    assert reason in said
    assert "hidden" not in said


async def test_sentinels_over_tls_before_a_store_without_it_have_its_files_checked(files: dict[str, Path]) -> None:
    with pytest.raises(SettingsInvalid, match="ssl_ca_certs"):
        SentinelAddress.parse(f"redis+sentinel://h/bank?sentinel_tls=true&ssl_ca_certs={files['absent']}")
