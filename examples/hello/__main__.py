"""`python -m examples.hello [NAME] [--intercept]`: one workflow with one delegated job."""

from __future__ import annotations

import argparse
import uuid
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.worker import Worker

from examples.command import claim, run_example
from examples.hello import tasks
from examples.hello.workflow import Hello, OrdinaryHello
from examples.local import Pool, local_system


async def main(name: str, intercept: bool) -> None:
    """Greet somebody, and look into the history how."""
    async with (
        local_system(Pool([tasks]), intercept=intercept) as system,
        Worker(system.client, task_queue="hello", workflows=[Hello, OrdinaryHello]),
    ):
        workflow = "OrdinaryHello" if intercept else "Hello"
        handle = await system.client.start_workflow(workflow, name, id=f"hello-{uuid.uuid4()}", task_queue="hello")
        print(await handle.result())
        claim(await local_activities(handle) == (1, 0), "the step is one local activity and no scheduled activity")


async def local_activities(handle: WorkflowHandle[Any, Any]) -> tuple[int, int]:
    """Return how many local activities and how many scheduled activities a history has."""
    local = scheduled = 0
    async for event in handle.fetch_history_events():
        scheduled += event.HasField("activity_task_scheduled_event_attributes")
        local += event.marker_recorded_event_attributes.marker_name == "core_local_activity"
    return local, scheduled


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.hello", description=__doc__)
    parser.add_argument("name", nargs="?", default="world")
    parser.add_argument("--intercept", action="store_true", help="delegate an unchanged workflow.execute_activity call")
    arguments = parser.parse_args()
    run_example(main(arguments.name, arguments.intercept))
