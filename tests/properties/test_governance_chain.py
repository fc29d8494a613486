"""The chain of acts: whatever is done to a log of acts afterwards is found, and races do no harm."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from event_schemas.control import KillSwitch, StrategyAct
from services.use_cases.governance import acts
from services.use_cases.governance.chain import GENESIS, NOTHING, Chain, ChainedEvent, Head, Verdict, chained_record

BEGAN = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


def log_of(kinds: list[int], races: list[int]) -> list[bytes]:
    """Acts in a row; before those numbered in `races` another writer's act that will be void stands, too."""
    chain, log = Chain(), []
    for number, kind in enumerate(kinds):
        head = chain.head
        values = [stamped(act(number, kind), head)]
        if number in races:
            values.append(stamped(act(1000 + number, kind), head))
        for value in values:
            chain.take(value)
        log += values
    return log


def act(number: int, kind: int) -> ChainedEvent:
    at = BEGAN + timedelta(seconds=number)
    if kind == 0:
        return acts.switched(
            KillSwitch(kind="offer", name=f"offer_{number}", engaged=True, actor="li"), f"e{number}", at
        )
    what = StrategyAct(name="bank", version=f"bank-{number}", actor="wang", comment=f"why {number}")
    return acts.activated(what, f"e{number}", at) if kind == 1 else acts.submitted(what, f"e{number}", at)


def stamped(event: ChainedEvent, head: Head) -> bytes:
    chained = {"previous_hash": head.hash, "records": head.records, "records_hash": head.records_hash}
    return chained_record(event.model_copy(update={"data": event.data.model_copy(update=chained)})).value


def read(log: list[bytes | None]) -> tuple[Chain, bool]:
    """The chain, and whether it shows a fault by itself."""
    chain = Chain()
    faults = [chain.take(value).faulty for value in log]
    return chain, any(faults)


def found(log: list[bytes | None], kept: Head) -> bool:
    chain, faulty = read(log)
    return faulty or chain.contradiction(kept) is not None


logs = st.builds(log_of, st.lists(st.integers(0, 2), min_size=2, max_size=12), st.lists(st.integers(0, 11), max_size=4))


@given(logs)
@settings(max_examples=40, deadline=None)
def test_an_untouched_log_is_sound_and_its_losers_are_void(log: list[bytes]) -> None:
    chain, faulty = read(list(log))
    assert not faulty
    assert chain.contradiction(chain.head) is None
    verdicts = [Chain.take(again, value).verdict for again in [Chain()] for value in log]
    assert Verdict.BROKEN not in verdicts
    assert verdicts.count(Verdict.VALID) == chain.head.sequence


@given(logs, st.data())
@settings(max_examples=80, deadline=None)
def test_any_changed_byte_is_found(log: list[bytes], data: st.DataObject) -> None:
    kept = read(list(log))[0].head
    which = data.draw(st.integers(0, len(log) - 1))
    place = data.draw(st.integers(0, len(log[which]) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != log[which][place]))
    value = log[which]
    assert found([*log[:which], value[:place] + bytes([other]) + value[place + 1 :], *log[which + 1 :]], kept)


@given(logs, st.data())
@settings(max_examples=80, deadline=None)
def test_any_removed_record_is_found_also_the_last_and_also_one_without_effect(
    log: list[bytes], data: st.DataObject
) -> None:
    kept = read(list(log))[0].head
    which = data.draw(st.integers(0, len(log) - 1))
    assert found([*log[:which], *log[which + 1 :]], kept)
    assert found([*log[:which], None, *log[which + 1 :]], kept), "emptied, as by a tombstone"


@given(logs, st.data())
@settings(max_examples=80, deadline=None)
def test_any_two_records_that_change_places_are_found(log: list[bytes], data: st.DataObject) -> None:
    kept = read(list(log))[0].head
    first = data.draw(st.integers(0, len(log) - 2))
    second = data.draw(st.integers(first + 1, len(log) - 1))
    moved = list(log)
    moved[first], moved[second] = moved[second], moved[first]
    assert found(list(moved), kept)


@given(logs, st.data())
@settings(max_examples=80, deadline=None)
def test_any_record_that_is_put_in_is_found(log: list[bytes], data: st.DataObject) -> None:
    """Also one that is chained perfectly to the act before it, by somebody who knows how."""
    kept = read(list(log))[0].head
    where = data.draw(st.integers(0, len(log) - 1))
    chain, _ = read(list(log[:where]))
    forged = stamped(act(5000, data.draw(st.integers(0, 2))), chain.head)
    assert found([*log[:where], forged, *log[where:]], kept)
    repeated = [*log[:where], log[data.draw(st.integers(0, len(log) - 1))], *log[where:]]
    if repeated[: len(log)] != log:  # otherwise it came after everything, as when a producer sends twice
        assert found(list(repeated), kept)


@given(logs, st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_missing_last_acts_are_found_by_the_head_that_was_kept(log: list[bytes], missing: int) -> None:
    kept = read(list(log))[0].head
    chain, faulty = read(list(log[: -min(missing, len(log))]))
    assert not faulty, "the log alone cannot tell"
    assert chain.contradiction(kept) is not None


def test_an_act_after_a_broken_one_still_counts_when_it_follows_what_counts() -> None:
    """Somebody who can write to the log cannot end governance by writing nonsense: a kill switch still works."""
    log = log_of([1, 0], [])
    chain, _ = read([*log, b"nonsense", stamped(act(77, 0), replace(NOTHING, hash="f" * 64))])
    link = chain.take(stamped(act(5, 0), chain.head))
    assert link.verdict is Verdict.VALID
    assert link.sequence == 3


def test_the_first_act_follows_the_fixed_beginning() -> None:
    chain = Chain()
    assert chain.head.hash == GENESIS
    assert chain.take(stamped(act(0, 1), chain.head)).verdict is Verdict.VALID
    assert chain.take(stamped(act(1, 1), NOTHING)).verdict is Verdict.VOID
