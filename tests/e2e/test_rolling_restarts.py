"""The bank goes on being served while processes are restarted: `loadtests.rolling_restarts` in small."""

from pathlib import Path

import pytest

from loadtests.rolling_restarts import Plan, measure

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]


async def test_nobody_notices_that_a_node_and_a_builder_are_restarted_and_the_builder_killed(tmp_path: Path) -> None:
    """No request fails, no event, decision or response is lost or doubled by an independent fold of the log."""
    outcome = await measure(tmp_path, Plan(seconds=5.0, rate=12.0, builders=2, stopped=1, killed=1))
    assert outcome.complaints() == [], outcome.summary()
    assert outcome.holds, outcome.summary()
    assert [restart.by for restart in outcome.restarts] == ["SIGTERM", "SIGTERM", "SIGKILL"]
