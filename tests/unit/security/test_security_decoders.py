"""Whatever bytes come: a decoder reads them or raises what it says it raises. `python -m loadtests.decoder_fuzz` is the
long run; each fault that it found stands here."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.contact_ledger import LedgerUnreadable, decode_records
from decision_engine.errors import StateUnreadable
from decision_engine.features.fold import fold
from decision_engine.features.remembered import read_remembered
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.triggers.memory_codec import HEADER, MemoryUnreadable, decode_memory
from loadtests.decoder_fuzz import Chunk, one_input, tried
from loadtests.fuzz_inputs import fuzzed
from loadtests.fuzz_targets import Target, all_targets, end
from models.decision_log.archive_files import archive_files, read_rows
from models.drift.reference import decode_reference
from models.errors import ArchiveDamaged, ArtifactUnreadable, EvidenceUnreadable, ManifestInvalid
from models.manifest import decode_manifest
from models.online.stored import cell_key, read_cell, read_option
from models.segment_calibration import decode_calibration
from models.tree_text import read_trees
from services.adapters.redis_address import RedisAddress
from services.adapters.redis_decision_store import tracked_option
from services.adapters.yaml_document import read_yaml
from services.adapters.yaml_source import read_source
from services.api.bodies import parse_json
from services.api.errors import ApiError
from services.api.keys_file import load_api_keys
from services.api.screens.visits import local_path
from services.ports import Delivery, SettingsInvalid
from services.use_cases.authoring.source_nodes import SourceUnreadable
from services.use_cases.outbound_messages import OutboundUnreadable, read_outbound
from services.use_cases.webhook_signature import SignatureInvalid, verify

INPUTS = 10
DEEP = b"[" * 200_000


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Target]]:
    yield all_targets()
    end()


def test_every_decoder_stands_some_inputs_of_every_kind(targets: dict[str, Target]) -> None:
    assert len(targets) > 100
    faults = []
    for target in targets.values():
        chunk = Chunk(target.name)
        for number in range(INPUTS):
            tried(target, number, chunk)
        faults += [(target.name, fault.number, fault.what) for fault in chunk.faults if " ms for " not in fault.what]
    assert faults == []


def test_what_is_right_is_read(targets: dict[str, Target]) -> None:
    """Otherwise the inputs would be mutations of what is wrong already."""
    never = []
    for target in targets.values():
        if target.name in ("access token", "claims of a token", "condition", "outbound message", "where to go next"):
            continue  # among whose samples are such as are refused, or that hold for another moment
        read = 0
        for sample in target.samples:
            try:
                target.decode(sample)
                read += 1
            except target.refuses:
                continue
        if not read:
            never.append(target.name)
    assert never == []


def test_inputs_are_the_same_each_time(targets: dict[str, Target]) -> None:
    for target in targets.values():
        assert [one_input(target, number) for number in range(5)] == [one_input(target, number) for number in range(5)]


@settings(max_examples=50, deadline=None)
@given(st.integers(), st.lists(st.binary(max_size=60), min_size=1, max_size=3))
def test_inputs_can_be_made_of_anything(seed: int, samples: list[bytes]) -> None:
    assert isinstance(fuzzed(Random(seed), samples), bytes)


def test_a_fault_is_found_and_named() -> None:
    def decode(value: bytes) -> None:
        if b"\xff" in value:
            raise KeyError(value)
        raise ValueError

    target = Target(name="faulty", samples=(b"abcdef",), decode=decode, refuses=(ValueError,))
    chunk = Chunk("faulty")
    for number in range(400):
        tried(target, number, chunk)
    assert chunk.faults and all(fault.what.startswith("KeyError") for fault in chunk.faults)
    assert b"\xff" in one_input(target, chunk.faults[0].number)


# Each of these was found by the long run.


def damaged_states(bank: Any) -> Iterator[bytes]:
    good: bytes = bank.store.states["retail:1"]
    for at in range(len(good)):
        for flip in (1, 128):
            yield good[:at] + bytes((good[at] ^ flip,)) + good[at + 1 :]


def test_a_damaged_state_is_unreadable_or_read_and_nothing_else(bank: Any) -> None:
    update = Update(event_key=9, source="bank.profile.updated", time_ms=bank.clock.now_ms(), attributes={"age": 41})
    unreadable = 0
    for state in damaged_states(bank):
        readers: tuple[Callable[[], object], ...] = (
            lambda state=state: read_snapshot(bank.live.features, state, bank.clock.now_ms()),  # type: ignore[misc]
            lambda state=state: fold(bank.live.features, state, [PositionedUpdate(0, 10**12, update)]),  # type: ignore[misc]
        )
        for read in readers:
            try:
                read()
            except StateUnreadable:
                unreadable += 1
    assert unreadable > 100


@pytest.mark.parametrize("document", [b"\xff", b"{}", b'{"t": 7, "e": {}}', b'{"t": {"a": [1, "x"]}, "e": {}}', b"["])
def test_what_a_state_remembers_is_unreadable_when_it_is_damaged(document: bytes) -> None:
    with pytest.raises(StateUnreadable):
        read_remembered(document)


def test_a_ledger_is_a_whole_number_of_records() -> None:
    assert decode_records(b"") == ()
    with pytest.raises(LedgerUnreadable):
        decode_records(bytes(63))


@pytest.mark.parametrize("rest", [b"\x80" * 1_000_000, b"\x02" + b"\xff" * 11])
def test_a_number_without_end_is_no_trigger_memory(rest: bytes) -> None:
    began_s = time.process_time()
    with pytest.raises(MemoryUnreadable):
        decode_memory(HEADER.pack(1, 1, 1) + b"\x03" + rest)
    assert time.process_time() - began_s < 1.0, "a hundred thousand times what it takes"


def test_evidence_that_is_damaged_is_unreadable() -> None:
    for value in (b"", bytes(7), bytes(23), bytes(8) + b"\xff" * 16):
        with pytest.raises(EvidenceUnreadable):
            read_cell(value)
    for text in (b"", b"{}", b"[1]", b"[1,2,3,4,5,6]", DEEP):
        with pytest.raises(EvidenceUnreadable):
            read_option(text)
    with pytest.raises(EvidenceUnreadable):
        cell_key("two\x1fparts")


def test_an_option_of_another_release_is_read_and_a_damaged_one_is_unknown() -> None:
    option = {
        "tracking_id": "01J.0", "decision_id": "01J", "customer_id": "retail:1", "offer": "gold", "group": "cards",
        "issue": "grow", "treatment": "t", "channel": "mobile", "placement": "home_banner", "decided_ms": 1,
    }  # fmt: skip
    newer = tracked_option(json.dumps(option | {"of_a_newer_release": 1}).encode())
    assert newer is not None and newer.offer == "gold"
    for damaged in (b"", b"[]", b"7", json.dumps(option | {"offer": 7}).encode(), b'{"offer": "gold"}'):
        assert tracked_option(damaged) is None


@pytest.mark.parametrize("text", ["//[", "http://[::1", "//[x]/a", "/\\evil", "https://evil"])
def test_where_to_go_next_is_never_elsewhere(text: str) -> None:
    assert local_path(text) == "/"


@pytest.mark.parametrize(
    "url", ["redis://a:٣x", "redis://a:99999", "redis://[::q]", "redis://[", "redis://a/" + "9" * 5_000]
)
def test_an_address_that_is_none_is_a_setting_that_is_wrong(url: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        RedisAddress.parse(url.replace("redis://", "redis://user:secret-of-it@") if "[" not in url else url)
    assert "secret-of-it" not in str(refused.value)


def test_half_of_a_character_in_a_strategy_is_a_problem_with_its_line() -> None:
    text = "name: bank\nversion: \ud800\n"
    (problem,) = read_yaml(text, "strategy.yaml").problems
    assert (problem.line, "surrogate" in problem.message) == (2, True)
    with pytest.raises(SourceUnreadable):
        read_source(text)


def test_half_of_a_character_in_a_signature_is_no_signature() -> None:
    for name in ("webhook-id", "webhook-signature"):
        headers = {"webhook-id": "m", "webhook-timestamp": "0", "webhook-signature": "v1,a"} | {name: "v1,\udcf5"}
        with pytest.raises(SignatureInvalid):
            verify([b"k" * 32], headers, b"{}", 0)


@pytest.mark.parametrize(
    "value", [b"7", b'{"type": 7}', b'{"type": "nbo.outbound.offered", "data": 3, "id": "a"}', DEEP]
)
def test_a_message_that_is_none_is_passed_over_or_unreadable(value: bytes) -> None:
    delivery = Delivery("nbo.outbound", 0, 0, b"retail:1", value, ())
    try:
        assert read_outbound(delivery) is None
    except OutboundUnreadable:
        return


def test_a_time_before_all_time_makes_a_message_unreadable() -> None:
    golden = Path(__file__).parents[2] / "golden" / "events" / "nbo.outbound.offered.1.json"
    event = json.loads(golden.read_bytes()) | {"time": "0001-01-01T00:00:00+14:00"}
    with pytest.raises(OutboundUnreadable):
        read_outbound(Delivery("nbo.outbound", 0, 0, b"retail:1", json.dumps(event).encode(), ()))


def test_trees_that_go_in_circles_are_refused() -> None:
    tree = (
        "num_leaves=3\nnum_cat=0\nsplit_feature=0 1\nthreshold=1 2\ndecision_type=2 2\nleft_child=0 -1\n"
        "right_child=1 -2\nleaf_value=1 2 3\n"
    )
    text = f"tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=2\n\nTree=0\n{tree}\nend of trees\n"
    with pytest.raises(ArtifactUnreadable):
        read_trees(text)


def test_files_of_models_nested_without_end_are_invalid(tmp_path: Path) -> None:
    from loadtests.fuzz_targets_files import _SCHEMA

    for read in (decode_manifest, decode_reference, lambda text: decode_calibration(text, _SCHEMA)):
        for text in (DEEP, b"{", b"\xff", b"[]", b"7"):
            with pytest.raises(ManifestInvalid):
                read(text)
    with pytest.raises(ManifestInvalid):
        decode_calibration(b'{"kind": "isotonic", "margins": ["a"], "probabilities": [1]}', _SCHEMA)
    keys = tmp_path / "keys.json"
    keys.write_bytes(DEEP)
    with pytest.raises(SettingsInvalid):
        load_api_keys(keys)


def test_a_file_of_the_archive_that_is_damaged_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "topic=bank.profile" / "day=2026-11-01"
    folder.mkdir(parents=True)
    (folder / "p0-0-8.parquet").write_bytes(b"PAR1 is what it says, and nothing else PAR1")
    (file,) = archive_files(tmp_path, "bank.profile")
    with pytest.raises(ArchiveDamaged, match="p0-0-8"):
        list(read_rows(file, ("value",)))


@pytest.mark.parametrize("depth", [65, 100_000])
def test_depth_is_found_in_time_that_grows_with_the_length_alone(depth: int) -> None:
    for body in (b"[" * depth, b"[" * depth + b"]" * depth, b"[" + b"[[]]," * depth + b"[" * 65):
        began_s = time.process_time()
        with pytest.raises(ApiError):
            parse_json(body)
        assert time.process_time() - began_s < 1.0
    shallow = b"[" + b",".join([b"[" * 60 + b"]" * 60] * 200) + b"]"
    assert isinstance(parse_json(shallow), list)
