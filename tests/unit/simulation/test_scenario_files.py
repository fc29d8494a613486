"""Scenario files: what is read, in which order they come, and faults named at their place."""

from pathlib import Path

import pytest

from services.simulation.scenario_script import Moment, ScenarioUnknown, load_scenario, scenario_names

HEAD = """id: S1
title: {zh-CN: 试, en: A try}
about: {zh-CN: 试, en: "A try."}
"""


def written(folder: Path, text: str) -> Path:
    (folder / "S1.yaml").write_text(HEAD + text, encoding="utf-8")
    return folder


def test_a_scenario_is_read_with_its_lengths_and_moments(tmp_path: Path) -> None:
    steps = "steps:\n  - event: {type: bank.channel.login, ago: 3d, data: {at: {ahead: 2h}}}\n  - advance: 30m\n"
    scenario = load_scenario("S1", written(tmp_path, "attributes: {assessed_at: {ago: 1d}}\n" + steps))
    assert scenario.attributes == {"assessed_at": Moment(ago="1d")}
    assert Moment(ago="1d").shift_ms == -86_400_000
    event, advance = scenario.steps
    assert event.event is not None
    assert event.event.ago == 3 * 86_400_000
    assert advance.advance == 30 * 60_000


def test_scenarios_come_by_their_numbers_and_variants_after_theirs(tmp_path: Path) -> None:
    for name in ("S10", "S2", "S11-answered", "S11", "S1"):
        (tmp_path / f"{name}.yaml").touch()
    assert scenario_names(tmp_path) == ["S1", "S2", "S10", "S11", "S11-answered"]


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ("steps:\n  - {event: {type: a.b, ago: soon}}\n", "a length is a whole number with s, m, h or d"),
        ("steps:\n  - {decide: {channel: mobile}}\n", "steps.0.decide.placement: Field required"),
        (
            "steps:\n  - {say: {en: x}}\n  - {advance: 1d, cancelled: {channel: sms, trigger: t}}\n",
            "steps.1: .*one thing",
        ),
        ("steps:\n  - {respond: {outcome: shrug}}\n", "steps.0.respond.outcome"),
        ("steps:\n  - {outbond: {channel: sms, trigger: t}}\n", "steps.0.outbond: Extra inputs"),
        ("steps: []\nhour: 24\n", "hour: Input should be less than or equal to 23"),
        ("steps: []\narm: nobody\n", "arm: Input should be"),
        ("steps:\n  - {say: {en: x}\n", r"S1\.yaml:[0-9]+: "),
        ("steps: []\nsteps: []\n", r"S1\.yaml:5: "),
    ],
)
def test_a_fault_in_a_file_is_refused_with_its_place(tmp_path: Path, steps: str, problem: str) -> None:
    with pytest.raises(ScenarioUnknown, match=problem) as caught:
        load_scenario("S1", written(tmp_path, steps))
    assert "S1.yaml" in str(caught.value)


def test_a_name_without_a_file_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ScenarioUnknown, match="there is no scenario S99; there are S1"):
        load_scenario("S99", written(tmp_path, "steps: []\n"))
