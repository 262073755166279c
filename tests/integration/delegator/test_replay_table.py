"""A workflow whose code changed while it ran fails its replay exactly where it would with ordinary activities."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, Worker
from temporalio.workflow import NondeterminismError

from delegator import DelegatorPlugin, PluginOptions, delegated
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.testing import DelegatorTestPlugin
from tests.integration.delegator.environment import PATIENT
from tests.integration.delegator.replay_flows import CODE, Program, Runs, Step

ORDINARY, INTERCEPTED, DELEGATED = "ordinary activities", "execute_activity", "delegate"
WAYS = (ORDINARY, INTERCEPTED, DELEGATED)


@delegated
async def charge(number: int) -> int:
    return number


@delegated
async def refund(number: int) -> int:
    return number


@delegated
async def notify(number: int) -> int:
    return number


ACTIVITIES = [charge, refund, notify]
BEFORE: Program = [
    [Step("charge")],
    [Step("refund")],
    [Step("charge"), Step("refund"), Step("notify")],
    [Step("charge", 3)],
    [Step("notify")],
]


def changed(turn: int, *steps: Step) -> Program:
    """Return the program with another turn in the place of one."""
    return [*BEFORE[:turn], list(steps), *BEFORE[turn + 1 :]]


CHANGES: dict[str, Program] = {
    "nothing": BEFORE,
    "type swapped": changed(0, Step("refund")),
    "type swapped at the end": changed(4, Step("charge")),
    "reordered": [BEFORE[1], BEFORE[0], *BEFORE[2:]],
    "reordered within a gather": changed(2, Step("refund"), Step("charge"), Step("notify")),
    "inserted first": [[Step("notify")], *BEFORE],
    "inserted between": [*BEFORE[:2], [Step("charge")], *BEFORE[2:]],
    "inserted last": [*BEFORE, [Step("notify")]],
    "inserted in a gather": changed(2, Step("charge"), Step("charge"), Step("refund"), Step("notify")),
    "inserted at the end of a gather": changed(2, Step("charge"), Step("refund"), Step("notify"), Step("notify")),
    "removed first": BEFORE[1:],
    "removed between": [*BEFORE[:3], BEFORE[4]],
    "removed last": BEFORE[:-1],
    "removed from a gather": changed(2, Step("charge"), Step("notify")),
    "several at once": [[Step("notify")], [Step("charge")], [Step("notify", 3)], *BEFORE[3:]],
    "count changed": changed(1, Step("refund"), Step("refund")),
    "length of a map grown": changed(3, Step("charge", 4)),
    "length of a map shrunk": changed(3, Step("charge", 2)),
    "all removed": [],
    "queue changed": changed(1, Step("refund", task_queue="elsewhere")),
    "patched": [[Step("notify", since="first notified")], *BEFORE],
    "patched within a gather": changed(2, *BEFORE[2], Step("notify", 2, since="notified twice more")),
}
"""What changes, and the program after that."""
SAFE = {"nothing", "queue changed", "patched", "patched within a gather"}
"""Changes that Temporal allows while a workflow runs."""
OPTIONS = PluginOptions(inline_wait=PATIENT.inline_wait, task_queues={"elsewhere": "elsewhere"})


@pytest.fixture(autouse=True)
def code() -> None:
    CODE.program, CODE.queues = BEFORE, {"elsewhere": "elsewhere"}


@pytest.fixture(scope="module")
async def client(temporal: TemporalServer) -> Client:
    return await Client.connect(temporal.address, namespace=NAMESPACE)


@pytest.fixture(scope="module", params=WAYS)
async def history(request: pytest.FixtureRequest, client: Client) -> WorkflowHistory:
    """The history of a run by one way."""
    CODE.program = BEFORE
    way: str = request.param
    plugins = [] if way == ORDINARY else [DelegatorTestPlugin(ACTIVITIES, options=OPTIONS, intercept=True)]
    activities = ACTIVITIES if way == ORDINARY else []
    async with Worker(client, task_queue=way, workflows=[Runs], activities=activities, plugins=plugins):
        handle = await client.start_workflow(Runs.run, way, id=f"replayed {way}", task_queue=way)
        await handle.result()
    return await handle.fetch_history()


async def replay(way: str, history: WorkflowHistory, program: Program) -> None:
    CODE.program = program
    plugins = [] if way == ORDINARY else [DelegatorPlugin(ACTIVITIES, options=OPTIONS, intercept=True)]
    await Replayer(workflows=[Runs], plugins=plugins).replay_workflow(history)


@pytest.mark.parametrize("change", CHANGES)
async def test_changed_code(history: WorkflowHistory, change: str):
    """A change that breaks the replay of ordinary activities breaks that of delegated ones, and no other does."""
    way = history.workflow_id.removeprefix("replayed ")
    if change in SAFE:
        await replay(way, history, CHANGES[change])
    else:
        with pytest.raises(NondeterminismError):
            await replay(way, history, CHANGES[change])


@pytest.mark.parametrize("history", [DELEGATED], indirect=True)
async def test_changed_calls(history: WorkflowHistory):
    """As many jobs in other calls are another request, and the error names both."""
    one_call_in_two = changed(3, Step("charge", 2), Step("charge"))
    said = "reply is for 3 x charge in calls of 3 jobs, and the workflow asks for 3 x charge in calls of 2, 1 jobs"
    with pytest.raises(NondeterminismError, match=said):
        await replay(DELEGATED, history, one_call_in_two)
    with pytest.raises(NondeterminismError, match="reply is for 1 x charge, and the workflow asks for 1 x refund"):
        await replay(DELEGATED, history, CHANGES["type swapped"])
