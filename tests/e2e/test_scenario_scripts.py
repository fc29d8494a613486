"""The scenarios as they are played on screen, each against one running deployment of all roles they need."""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from decision_engine.prepared import prepare
from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.role_processes import RoleProcess
from services.commands import topics
from services.commands.scenario import Stage, stage
from services.settings import read_settings
from services.simulation import scenario_player
from services.simulation.scenario_player import ExpectationFailed, Played
from services.simulation.scenario_script import Scenario, load_scenario, scenario_names
from services.terminal.scenario_view import ScenarioView
from tests.e2e.deployed import until_ready

ROOT = Path(__file__).parents[2]
STRATEGY, SCENARIOS = ROOT / "deploy/strategies/demo_bank", ROOT / "deploy/scenarios"
ROLES = ("state-builder", "api", "archiver", "attributor", "pacer")
READY_SECONDS = 90.0


def environment_of(servers: EmbeddedServers, folder: Path) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
        "KAIROS_KAFKA_PARTITIONS": "2",
        "KAIROS_REDIS_URL": servers.redis_url,
        "KAIROS_STRATEGY_PATH": str(STRATEGY),
        "KAIROS_MODEL_PATH": str(folder / "models"),
        "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
        "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
        "KAIROS_ARCHIVE_FLUSH_SECONDS": "1",
        "KAIROS_PORT": str(free_port()),
        "KAIROS_CLOCK": "events",
        "KAIROS_PRICES_FRESH_SECONDS": "86400",  # the clock jumps from scenario to scenario
    }


class Deployment:
    """Servers and roles on an event loop of their own, and a stage that scenarios are played on one by one."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner()
        self._scope = self._serving(folder)
        self.stage: Stage = self._runner.run(anext(self._scope))

    def play(self, scenario: Scenario) -> list[Played]:
        """What the steps did. Raises ExpectationFailed."""

        async def playing() -> list[Played]:
            return [played async for _, played in self.stage.play(scenario) if played is not None]

        return self._runner.run(playing())

    def close(self) -> None:
        """Stops everything."""
        self._runner.run(self._scope.aclose())
        self._runner.close()

    @staticmethod
    async def _serving(folder: Path) -> AsyncIterator[Stage]:
        async with EmbeddedServers.start(folder / "servers") as servers:
            environment = environment_of(servers, folder)
            await topics.create(read_settings(environment))
            roles = [
                RoleProcess(
                    arguments=[role],
                    environment={**environment, "KAIROS_METRICS_PORT": str(free_port())},
                    log=folder / f"{role}.log",
                )
                for role in ROLES
            ]
            try:
                for role in roles:
                    await role.start()
                url = f"http://127.0.0.1:{environment['KAIROS_PORT']}"
                await until_ready(url, roles, READY_SECONDS)
                async with stage(url, prepare(load_strategy_file(STRATEGY))) as playing:
                    yield playing
            finally:
                await asyncio.gather(*(role.stop() for role in roles))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    running = Deployment(tmp_path_factory.mktemp("scenarios"))
    yield running
    running.close()


def test_there_is_a_script_for_every_scenario() -> None:
    assert {name.split("-")[0] for name in scenario_names(SCENARIOS)} == {f"S{number}" for number in range(1, 18)}


@pytest.mark.parametrize("name", scenario_names(SCENARIOS))
def test_the_scenario_comes_out_as_the_bank_wants_it(deployment: Deployment, name: str) -> None:
    scenario = load_scenario(name, SCENARIOS)
    played = deployment.play(scenario)
    assert [each.step for each in played] == list(scenario.steps)


def changed(name: str, old: str, new: str, folder: Path) -> Scenario:
    """A scenario of the bank's with one thing in it changed."""
    text = (SCENARIOS / f"{name}.yaml").read_text("utf-8")
    assert text.count(old) == 1
    (folder / f"{name}.yaml").write_text(text.replace(old, new), encoding="utf-8")
    return load_scenario(name, folder)


@pytest.mark.parametrize(
    "case",
    [
        ("S4", "live: [branch_activity_b001]", "offers: [gold_card]", "S4: gold_card is not offered"),
        ("S16", "mobile_payment: CARD_LOST", "mobile_payment: CAP_DAY", "mobile_payment is CARD_LOST, not CAP_DAY"),
        ("S7", "recipient: M007", "recipient: M008", "large_inflow went to M007, not to M008"),
        ("S7", "INFLOW_FAR_ABOVE_AVERAGE", "MONEY_MOVES", "no reason MONEY_MOVES"),
        ("S16", "none_of: [card_lost_help]", "offers: [card_lost_help]", "card_lost_help is not offered"),
        (
            "S11-answered",
            "    respond: {outcome: click}",
            "    respond: {outcome: impression}",
            "made contact (wave 1)",
        ),
    ],
)
def test_what_comes_out_otherwise_fails_the_scenario(
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, str, str, str],
) -> None:
    name, old, new, told = case
    monkeypatch.setattr(scenario_player, "RIPENING_SECONDS", 0.5)  # what never comes about need not be waited for
    with pytest.raises(ExpectationFailed, match=re.escape(told)):
        deployment.play(changed(name, old, new, tmp_path))


def test_what_the_api_refuses_fails_the_scenario(deployment: Deployment, tmp_path: Path) -> None:
    scenario = changed(
        "S4", "placement: branch_tablet, count: 5, context", "placement: nowhere, count: 5, context", tmp_path
    )
    with pytest.raises(ExpectationFailed, match=r"the decision was refused: .*unknown_placement"):
        deployment.play(scenario)


def test_the_screen_tells_the_story_with_offers_reasons_and_scripts(deployment: Deployment) -> None:
    scenario = load_scenario("S9", SCENARIOS)
    played = deployment.play(scenario)
    console = Console(file=io.StringIO(), width=240)
    view = ScenarioView(console=console)
    view.open(scenario, "retail:1")
    for each in played:
        view.show(each)
    view.close(scenario)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "S9  VIP walks into the branch  贵宾到店识别" in text
    assert "The customer walks in and is recognised." in text
    assert "vip_arrival by manager for M012" in text
    contact = next(each for each in played if each.act == "outbound")
    for option in contact.result["options"]:  # type: ignore[attr-defined]
        assert option["offer"] in text
        assert option["script"][:20] in text
    assert "conversion credited to" in text
    assert "S9: everything came out as the bank wants it" in text
