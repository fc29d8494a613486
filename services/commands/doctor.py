"""`kairos doctor`: looks at everything a deployment stands on, and says what is not well and what to do."""

import argparse
import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import asdict

from services.commands import doctor_local, doctor_servers
from services.commands.doctor_findings import Finding, Level, fail, lines, ok
from services.ports import SettingsInvalid
from services.settings import PREFIX, read_settings

NAME = "doctor"
HELP = "examine settings, servers, topics, versions, clock, disks, strategy, models, states and the chain of acts"
EXAMPLE = "kairos doctor --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to report."""
    parser.add_argument("--json", action="store_true", help="as programs read it")


def run(args: argparse.Namespace) -> int:
    """Reports; status 1 if anything failed, 0 else, warnings included."""
    findings = asyncio.run(examine(os.environ))
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print("\n".join(lines(findings)))
    return 1 if any(finding.level is Level.FAIL for finding in findings) else 0


async def examine(environment: Mapping[str, str]) -> list[Finding]:
    """Everything, in the order in which things stand on one another. With settings that are wrong nothing else can be
    asked."""
    try:
        settings = read_settings(environment)
    except SettingsInvalid as error:
        problems = str(error).splitlines()
        return [
            fail("settings", problem, "kairos settings lists every setting with its meaning") for problem in problems
        ]
    given = sum(1 for name in environment if name.startswith(PREFIX))
    findings = [ok("settings", f"{given} given, none contradicts another"), doctor_local.versions()]
    strategy, loaded = await asyncio.to_thread(doctor_local.strategy, settings)
    findings += [strategy, await asyncio.to_thread(doctor_local.models, settings, loaded)]
    findings += doctor_local.disks(settings)
    bus = await doctor_servers.topics(settings)
    findings += await doctor_servers.store(settings, loaded)
    findings += bus
    if all(finding.level is not Level.FAIL for finding in bus):
        findings.append(await doctor_servers.chain(settings))
    return findings
