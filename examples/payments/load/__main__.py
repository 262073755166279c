"""`python -m examples.payments.load SCENARIO`: payments in an open loop, faults, and whether the money is right."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import replace
from pathlib import Path

from delegator import connect
from examples.command import claim, run_example
from examples.k6_report import lines, result
from examples.local import Dispatch
from examples.open_loop import moments
from examples.payments.client import ApiClient
from examples.payments.load.run import AMOUNT, Run
from examples.payments.load.scenarios import RICH, SCENARIOS, Scenario
from examples.payments.system import System, running_system
from loadtest.meters.cost_meter import CostMeter, CostSources
from loadtest.results.run_result import RunResult

_JOBS = 5
"""Jobs of a payment that succeeds: validate, debit, score, charge and a mail."""


async def main(arguments: argparse.Namespace) -> None:
    """Run a scenario with one dispatch, or with both."""
    scenario = _scaled(SCENARIOS[arguments.scenario], arguments)
    dispatches = list(Dispatch) if arguments.dispatch == "both" else [Dispatch(arguments.dispatch)]
    results, kept = [], True
    for dispatch in dispatches:
        async with running_system(dispatch, scenario.times) as system:
            numbers, held = await run(system, arguments.scenario, scenario, poisson=arguments.poisson)
            results.append(numbers.to_json() | {"checks_held": held})
            kept = kept and held
    if arguments.json:
        await asyncio.to_thread(arguments.json.write_text, json.dumps({"results": results}, indent=2) + "\n")
    if arguments.check:
        claim(kept, "all thresholds and invariants hold")


async def run(system: System, name: str, scenario: Scenario, *, poisson: bool = False) -> tuple[RunResult, bool]:
    """Run a scenario on a system, print its block, and return its numbers and whether everything held."""
    planned = list(moments(scenario.steps, poisson=poisson))
    stack, dispatch = system.stack, system.dispatch
    sources = CostSources(
        processes={**system.pids, **(stack.pids if stack else {})},
        temporal_metrics_url=stack.temporal_metrics_url if stack else None,
        database_url=stack.database_url if stack else None,
    )
    async with ApiClient(system.url("api")) as api:
        one = Run(system, api, await connect())
        share = AMOUNT * (len(planned) // 2) // scenario.accounts if scenario.only_half else RICH
        await one.open_accounts([0 if scenario.is_poor(number) else share for number in range(scenario.accounts)])
        async with CostMeter(sources) as meter:
            async with asyncio.TaskGroup() as group:
                if scenario.disturb is not None:
                    group.create_task(scenario.disturb(one, sum(seconds for _, seconds in scenario.steps)))
                group.create_task(one.load(planned))
            await system.provider(mode="up")
        checks = [*scenario.checks(one.measured, scenario.steps), *await one.invariants()]
    print(*lines("payment", f"{name} ({dispatch})", one.measured, checks, meter.costs), sep="\n")
    numbers = result(f"payments {name}", dispatch, _JOBS, one.measured, meter.costs)
    return numbers, all(check.holds for check in checks)


def _scaled(scenario: Scenario, arguments: argparse.Namespace) -> Scenario:
    """Return the scenario with the rate of its first step, its whole duration and its accounts as asked for."""
    rate, seconds = scenario.steps[0][0], sum(step[1] for step in scenario.steps)
    faster, longer = (arguments.rate or rate) / rate, (arguments.duration or seconds) / seconds
    steps = tuple((step_rate * faster, step_seconds * longer) for step_rate, step_seconds in scenario.steps)
    return replace(scenario, steps=steps, accounts=arguments.accounts or scenario.accounts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.payments.load", description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--dispatch", choices=[*Dispatch, "both"], default=Dispatch.DELEGATED)
    parser.add_argument("--rate", type=float, help="payments in a second in the first step")
    parser.add_argument("--duration", type=float, help="seconds of all steps together")
    parser.add_argument("--accounts", type=int, help="accounts that pay in turns")
    parser.add_argument("--poisson", action="store_true", help="random distances between the payments")
    parser.add_argument("--json", type=Path, help="write the numbers here, for `loadtest report`")
    parser.add_argument("--check", action="store_true", help="exit 1 if a threshold or an invariant fails")
    run_example(main(parser.parse_args()))
