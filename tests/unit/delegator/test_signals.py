"""Coalesced signals: their pace, their size, and what Temporal answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import PendingWorkflowTaskState, WorkflowExecutionStatus
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse, SignalWorkflowExecutionRequest
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.service import RPCError, RPCStatusCode

from delegator.completion.mailbox import Delivery, Entry, Mailbox, Parcel
from delegator.completion.runs import RunKey
from delegator.completion.signals import NotDeliveredError, SignalSender
from delegator.wire.outcomes import Outcome, OutcomeStatus, unpack_signal

KEY = RunKey("default", "w", "r1")
RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
COMPLETED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED


def error(status: RPCStatusCode) -> RPCError:
    return RPCError("said no", status, b"")


def outcome(body: bytes = b"x") -> Outcome:
    return Outcome(OutcomeStatus.COMPLETED, body)


class Temporal:
    """The two calls that a sender makes."""

    def __init__(self, answer: Callable[[SignalWorkflowExecutionRequest, list[str]], Exception | None]) -> None:
        self.answer = answer
        self.signals: list[tuple[str, list[tuple[str, Outcome]]]] = []
        self.runs: dict[str, tuple[str, str, int]] = {}
        self.task: Callable[[], int | RPCError | None] = lambda: None
        self.asked: list[str] = []
        self.workflow_service = self
        self.data_converter = DataConverter.default

    async def signal_workflow_execution(self, request: SignalWorkflowExecutionRequest, timeout: Any = None) -> None:
        outcomes = unpack_signal(request.input.payloads[0].data)
        await asyncio.sleep(0)
        problem = self.answer(request, [job_id for job_id, _ in outcomes])
        if problem is not None:
            raise problem
        self.signals.append((request.workflow_execution.run_id, outcomes))

    async def describe_workflow_execution(self, request: Any) -> DescribeWorkflowExecutionResponse:
        reply = DescribeWorkflowExecutionResponse()
        self.asked.append(request.execution.run_id)
        task = self.task() if request.execution.run_id not in self.runs else None
        if isinstance(task, RPCError):
            raise task
        if task is not None:
            reply.pending_workflow_task.state = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
            reply.pending_workflow_task.started_time.FromSeconds(task)
            return reply
        found = self.runs.get(request.execution.run_id)
        if found is None:
            raise error(RPCStatusCode.NOT_FOUND)
        info = reply.workflow_execution_info
        info.execution.run_id, info.first_run_id, info.status = found  # type: ignore[assignment]
        return reply


async def deliver(temporal: Temporal, outcomes: list[tuple[str, Outcome]]) -> Delivery:
    sender = SignalSender(temporal, identity="i")  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(60):
            return await sender.deliver(KEY, outcomes)
    finally:
        await sender.close()


async def test_outcomes_travel_in_one_signal():
    temporal = Temporal(lambda request, ids: None)
    outcomes = [(str(n), outcome()) for n in range(100)]
    assert await deliver(temporal, outcomes) is Delivery.DELIVERED
    assert temporal.signals == [("r1", outcomes)]


async def test_several_signals():
    """Outcomes that are too many or too large for one signal are sent in several."""
    temporal = Temporal(lambda request, ids: None)
    await deliver(temporal, [(str(n), outcome()) for n in range(4_500)])
    assert [len(outcomes) for _, outcomes in temporal.signals] == [2_000, 2_000, 500]
    temporal.signals.clear()
    await deliver(temporal, [(str(n), outcome(bytes(600_000))) for n in range(3)])
    assert [len(outcomes) for _, outcomes in temporal.signals] == [1, 1, 1]


async def test_temporal_outage():
    """Outcomes are sent again until Temporal accepts them."""
    problems = [error(RPCStatusCode.UNAVAILABLE), error(RPCStatusCode.PERMISSION_DENIED), RuntimeError("not connected")]
    temporal = Temporal(lambda request, ids: problems.pop() if problems else None)
    assert await deliver(temporal, [("a", outcome())]) is Delivery.LATE
    assert temporal.signals == [("r1", [("a", outcome())])]


@pytest.mark.parametrize(
    ("problem", "delivery"),
    [
        (error(RPCStatusCode.UNAVAILABLE), Delivery.LATE),
        (error(RPCStatusCode.DEADLINE_EXCEEDED), Delivery.LATE),
        (RuntimeError("not connected"), Delivery.LATE),
        (error(RPCStatusCode.RESOURCE_EXHAUSTED), Delivery.DELIVERED),
        (error(RPCStatusCode.PERMISSION_DENIED), Delivery.DELIVERED),
    ],
)
async def test_late(problem: Exception, delivery: Delivery):
    """A disturbed connection may have lost the workflow task, too. A server that refuses has been reached."""
    problems = [problem]
    temporal = Temporal(lambda request, ids: problems.pop() if problems else None)
    assert await deliver(temporal, [("a", outcome())]) is delivery


async def test_late_among_others():
    """What several signals carry together is late if one of them is."""
    problems = [error(RPCStatusCode.UNAVAILABLE)]
    temporal = Temporal(lambda request, ids: problems.pop() if problems else None)
    assert await deliver(temporal, [(str(n), outcome(bytes(600_000))) for n in range(3)]) is Delivery.LATE


@pytest.mark.parametrize("ends", ["the task ends", "another begins", "Temporal does not say"])
async def test_running_task(ends: str):
    """Little is sent while a workflow task runs: Temporal limits the buffer beside it."""
    sent = []

    def task() -> int | RPCError | None:
        sent.append(sum(len(outcomes) for _, outcomes in temporal.signals))
        if len(sent) < 4:
            return 1
        answers = {"the task ends": None, "another begins": len(sent)}
        return answers.get(ends, error(RPCStatusCode.PERMISSION_DENIED))

    temporal = Temporal(lambda request, ids: None)
    temporal.task = task
    await deliver(temporal, [(str(n), outcome(bytes(50_000))) for n in range(20)])
    assert sent[:4] == [5] * 4
    assert sum(len(outcomes) for _, outcomes in temporal.signals) == 20


async def test_small_signals_beside_task():
    """At most 16 signals that follow each other are sent while one workflow task runs."""
    temporal = Temporal(lambda request, ids: None)
    temporal.task = lambda: 1
    sender = SignalSender(temporal, identity="i")  # type: ignore[arg-type]
    for number in range(16):
        await sender.deliver(KEY, [(str(number), outcome())])
    held = asyncio.create_task(sender.deliver(KEY, [("held", outcome())]))
    await asyncio.wait([held], timeout=0.2)
    assert not held.done() and len(temporal.signals) == 16
    temporal.task = lambda: 2
    await held
    await sender.close()


async def test_full_mailbox():
    """A mailbox with a full signal, by number or by size, gathers no longer."""
    parcel = Parcel(1)
    for entries in ([Entry("a", outcome(), parcel)] * 2_000, [Entry("a", outcome(bytes(1_000_000)), parcel)]):
        mailbox = Mailbox("r1")
        mailbox.add([Entry("first", outcome(), parcel)])
        gathering = asyncio.create_task(mailbox.gather(600))
        await asyncio.sleep(0)
        assert not gathering.done()
        mailbox.add(entries)
        async with asyncio.timeout(60):
            await gathering


async def test_describe_is_repeated():
    """A question about the workflow task is repeated when Temporal can't answer it now."""
    temporal = Temporal(lambda request, ids: None)
    answers: list[int | RPCError | None] = [error(RPCStatusCode.RESOURCE_EXHAUSTED), 1, 1, None]
    sent = []

    def task() -> int | RPCError | None:
        sent.append(len(temporal.signals))
        return answers.pop(0)

    temporal.task = task
    await deliver(temporal, [("a", outcome(bytes(300_000)))])
    assert sent == [0] * 4 and not answers


async def test_ids_count():
    """Job ids count for the size of a signal: Temporal limits the whole signal."""
    temporal = Temporal(lambda request, ids: None)
    sizes = []

    def measure(request: SignalWorkflowExecutionRequest, ids: list[str]) -> None:
        sizes.append(request.ByteSize())

    temporal.answer = measure
    await deliver(temporal, [(f"{n:0>500}", outcome()) for n in range(2_000)])
    assert len(sizes) == 4 and max(sizes) < 300_000


async def test_continued_run():
    """Signals to the run that continues a closed one keep the same limits."""
    temporal = Temporal(
        lambda request, ids: error(RPCStatusCode.NOT_FOUND) if request.workflow_execution.run_id == "r1" else None
    )
    temporal.runs = {"r1": ("r1", "r1", COMPLETED), "": ("r2", "r1", RUNNING)}
    await deliver(temporal, [(str(n), outcome(bytes(200_000))) for n in range(4)])
    assert [run_id for run_id, _ in temporal.signals] == ["r2"] * 4
    assert temporal.asked.count("r2") >= 3


async def test_hurry():
    """A process that stops sends everything at once."""
    temporal = Temporal(lambda request, ids: None)
    temporal.task = lambda: 1
    sender = SignalSender(temporal, identity="i")  # type: ignore[arg-type]
    delivering = asyncio.create_task(sender.deliver(KEY, [(str(n), outcome(bytes(200_000))) for n in range(20)]))
    await asyncio.wait([delivering], timeout=0.1)
    assert len(temporal.signals) < 20
    sender.hurry()
    async with asyncio.timeout(2.5):
        await delivering
        await sender.deliver(KEY._replace(workflow_id="other"), [("a", outcome(bytes(300_000)))])
    await sender.close()


@given(st.lists(st.lists(st.integers(0, 300_000), max_size=6), max_size=6), st.integers(1, 3))
async def test_mailbox(arrivals: list[list[int]], every: int):
    """A mailbox gives out every entry once, in order, in batches within the limits."""
    mailbox, parcel, names = Mailbox("r1"), Parcel(1), count()
    arrived: list[str] = []
    taken: list[str] = []

    def take() -> None:
        batch = mailbox.take()
        assert batch and (len(batch) == 1 or sum(len(entry.outcome.body) for entry in batch) <= 256 * 1024)
        taken.extend(entry.job_id for entry in batch)

    for turn, sizes in enumerate(arrivals):
        entries = [Entry(str(next(names)), outcome(bytes(size)), parcel) for size in sizes]
        arrived += [entry.job_id for entry in entries]
        mailbox.add(entries)
        if turn % every == 0 and mailbox.entries:
            take()
    while mailbox.entries:
        take()
    assert taken == arrived
    mailbox.was_seen()
    assert not mailbox.may_overflow


async def test_full_signal(monkeypatch: pytest.MonkeyPatch):
    """A full signal is sent without a pause."""
    monkeypatch.setattr(Mailbox, "pause_after", lambda mailbox, batch, now: 60.0)
    temporal = Temporal(lambda request, ids: None)
    await deliver(temporal, [(str(n), outcome()) for n in range(6_000)])
    assert [len(outcomes) for _, outcomes in temporal.signals] == [2_000] * 3


class NoKey(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise LookupError("no key")

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise NotImplementedError


async def test_codec_refuses():
    """An outcome that the codec refuses does not count as delivered: else its row would be deleted."""
    temporal = Temporal(lambda request, ids: None)
    temporal.data_converter = DataConverter(payload_codec=NoKey())
    with pytest.raises(LookupError):
        await deliver(temporal, [("a", outcome()), ("b", outcome())])


async def test_refused_signal():
    """Outcomes of a signal that Temporal refuses are sent one by one."""
    temporal = Temporal(lambda request, ids: error(RPCStatusCode.INVALID_ARGUMENT) if len(ids) > 1 else None)
    assert await deliver(temporal, [("a", outcome()), ("b", outcome())]) is Delivery.DELIVERED
    assert [ids for _, ids in temporal.signals] == [[("a", outcome())], [("b", outcome())]]


async def test_refused_outcome():
    """An outcome that Temporal refuses for its size is replaced by a failure that says so."""
    large = outcome(bytes(100_000))

    def refuse_large(request: SignalWorkflowExecutionRequest, ids: list[str]) -> Exception | None:
        return error(RPCStatusCode.INVALID_ARGUMENT) if request.ByteSize() > 50_000 else None

    temporal = Temporal(refuse_large)
    assert await deliver(temporal, [("a", large)]) is Delivery.DELIVERED
    ((_, ((job_id, delivered),)),) = temporal.signals
    assert (job_id, delivered.status) == ("a", OutcomeStatus.FAILED)
    assert Failure.FromString(delivered.body).cause.application_failure_info.type == "PayloadsTooLarge"


async def test_refused_failure():
    """A run to which not even the failure can be sent is given up."""
    temporal = Temporal(lambda request, ids: error(RPCStatusCode.INVALID_ARGUMENT))
    assert await deliver(temporal, [("a", outcome())]) is Delivery.ORPHANED


@pytest.mark.parametrize(
    ("runs", "delivery"),
    [
        ({"r1": ("r1", "r1", COMPLETED), "": ("r2", "r1", RUNNING)}, Delivery.DELIVERED),
        ({"r1": ("r1", "r1", COMPLETED), "": ("r1", "r1", COMPLETED)}, Delivery.ORPHANED),
        ({"r1": ("r1", "r1", COMPLETED), "": ("r9", "r9", RUNNING)}, Delivery.ORPHANED),
        ({"": ("r9", "r9", RUNNING)}, Delivery.ORPHANED),
        ({}, Delivery.ORPHANED),
    ],
    ids=["reset or continued", "closed", "another chain", "run forgotten", "all forgotten"],
)
async def test_closed_run(runs: dict[str, tuple[str, str, int]], delivery: Delivery):
    """Outcomes for a closed run go to the run that continues it, or are given up."""
    temporal = Temporal(
        lambda request, ids: error(RPCStatusCode.NOT_FOUND) if request.workflow_execution.run_id == "r1" else None
    )
    temporal.runs = runs
    assert await deliver(temporal, [("a", outcome())]) is delivery
    assert [run_id for run_id, _ in temporal.signals] == (["r2"] if delivery is Delivery.DELIVERED else [])


def pace(batch: int, rate: float, seconds: float) -> list[float]:
    """Return when signals leave, if each finds `batch` outcomes."""
    mailbox, now, times = Mailbox("r1"), 0.0, []
    while now < seconds:
        times.append(now)
        now += rate + mailbox.pause_after(batch, now)
    return times


def test_no_pause_for_single_outcomes():
    """Outcomes that follow each other slowly are signalled without a pause."""
    mailbox = Mailbox("r1")
    assert [mailbox.pause_after(1, now / 10) for now in range(100)] == [0.0] * 100


def test_fan_out_signals():
    """The number of a fan-out's signals grows slowly with its duration: each costs up to four events."""
    assert len(pace(100, 0.001, 1.0)) <= 10
    assert len(pace(100, 0.001, 10.0)) <= 20
    assert len(pace(100, 0.001, 60.0)) <= 50


def test_pause_limit():
    """The pause between two signals stays within a quarter of the fan-out's duration and two seconds."""
    times = pace(100, 0.001, 60.0)
    for earlier, later in pairwise(times):
        assert later - earlier <= max(0.26, earlier * 0.26, 0.01)
        assert later - earlier <= 2.1


def test_pause_grows_with_signals():
    """The pauses grow with the number of signals that a run has got."""
    mailbox = Mailbox("r1")
    pauses = [mailbox.pause_after(1, 0.0) for _ in range(10_000)]
    assert pauses[199] == 0.0 and pauses[1_200] == pytest.approx(1.0, abs=0.01) and pauses[-1] == 2.0
    assert sum(pauses) > 10_000


async def test_namespaces_apart(caplog: pytest.LogCaptureFixture):
    """A namespace that refuses the signals of many runs delays no other namespace. It is logged once."""
    temporal = Temporal(
        lambda request, ids: error(RPCStatusCode.RESOURCE_EXHAUSTED) if request.namespace == "refuses" else None
    )
    sender = SignalSender(temporal, identity="i")  # type: ignore[arg-type]
    refused = [
        asyncio.create_task(sender.deliver(RunKey("refuses", "w", f"r{number}"), [("a", outcome())]))
        for number in range(200)
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await sender.deliver(KEY, [("b", outcome())]) is Delivery.DELIVERED
    assert not any(task.done() for task in refused)
    assert [record.getMessage() for record in caplog.records] == ["namespace_refuses"]
    await sender.close()
    await asyncio.wait(refused)


async def test_refusal_is_known():
    """Of a namespace that refuses already, outcomes are soon given back. They would take the room for others'."""
    temporal = Temporal(lambda request, ids: error(RPCStatusCode.RESOURCE_EXHAUSTED))
    sender = SignalSender(temporal, identity="i", patience=timedelta(hours=1))  # type: ignore[arg-type]
    first = asyncio.create_task(sender.deliver(KEY, [("a", outcome())]))
    while not sender._namespaces.refuses("default"):
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        with pytest.raises(NotDeliveredError):
            await sender.deliver(RunKey("default", "w", "r2"), [("b", outcome())])
    assert not first.done()
    await sender.close()
    await asyncio.wait([first])


async def test_hanging_namespace():
    """A namespace whose calls are not answered takes no call from another one."""

    class Hangs(Temporal):
        async def signal_workflow_execution(self, request: SignalWorkflowExecutionRequest, timeout: Any = None) -> None:
            if request.namespace == "hangs":
                await asyncio.Event().wait()
            await super().signal_workflow_execution(request)

    temporal = Hangs(lambda request, ids: None)
    sender = SignalSender(temporal, identity="i")  # type: ignore[arg-type]
    hanging = [
        asyncio.create_task(sender.deliver(RunKey("hangs", "w", f"r{number}"), [("a", outcome())]))
        for number in range(200)
    ]
    async with asyncio.timeout(10):
        assert await sender.deliver(KEY, [("b", outcome())]) is Delivery.DELIVERED
    await sender.close()
    await asyncio.wait(hanging)


async def test_patience():
    """A sender that is not patient gives up what Temporal refuses, and what waits behind it."""
    temporal = Temporal(lambda request, ids: error(RPCStatusCode.PERMISSION_DENIED))
    sender = SignalSender(temporal, identity="i", patience=timedelta(milliseconds=10))  # type: ignore[arg-type]
    first = asyncio.create_task(sender.deliver(KEY, [("a", outcome())]))
    await asyncio.sleep(0)
    second = asyncio.create_task(sender.deliver(KEY, [("b", outcome())]))
    async with asyncio.timeout(60):
        for waiting in (first, second):
            with pytest.raises(NotDeliveredError):
                await waiting
    await sender.close()
