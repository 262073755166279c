"""Running attempts, without servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from temporalio import activity
from temporalio.api.common.v1 import Payloads
from temporalio.converter import DataConverter

from delegator import current_job, delegated
from delegator.contracts import collect_handlers
from http_workers.attempt import AttemptRunner, Ended
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics

_CONVERTER = DataConverter.default


@delegated
@activity.defn(name="legacy")
async def legacy(number: int) -> list[Any]:
    activity.heartbeat("half")
    return [activity.info().activity_type, activity.info().attempt, number]


@delegated
@activity.defn
def legacy_sync(number: int) -> list[Any]:
    activity.heartbeat("half")
    return [activity.info().activity_type, current_job().job_id, number]


@delegated
async def waits() -> None:
    await asyncio.Event().wait()


async def _run(handler: Callable[..., Any], *args: Any, change: Callable[[Job], None] | None = None) -> Ended:
    handlers = collect_handlers([handler])
    runner = AttemptRunner(handlers, _CONVERTER, "default", WorkerMetrics(CollectorRegistry()))
    job = Job(_record(next(iter(handlers)), *args))
    if change is not None:
        change(job)
    job.task = asyncio.current_task()  # type: ignore[assignment]
    return await runner.run(job)


def _record(job_type: str, *args: Any) -> dict[str, Any]:
    payloads = Payloads(payloads=_CONVERTER.payload_converter.to_payloads(args))
    return {
        "job_id": "job",
        "job_type": job_type,
        "namespace": "default",
        "workflow_id": "workflow",
        "run_id": "run",
        "task_token": None,
        "lease_token": 7,
        "attempt": 0,
        "input": "\\x" + payloads.SerializeToString().hex(),
        "header": None,
        "options": None,
    }


def _result(ended: Ended) -> Any:
    assert ended.result is not None
    return _CONVERTER.payload_converter.from_payloads(Payloads.FromString(ended.result).payloads)[0]


async def test_activity_functions_find_their_context() -> None:
    assert _result(await _run(legacy, 7)) == ["legacy", 1, 7]
    assert _result(await _run(legacy_sync, 7)) == ["legacy_sync", "job", 7]


async def test_a_heartbeat_of_an_activity_function_is_the_jobs() -> None:
    seen: list[Job] = []
    await _run(legacy, 7, change=seen.append)
    assert _CONVERTER.payload_converter.from_payloads(seen[0].details) == ["half"]
    assert seen[0].details_changed


async def test_a_broken_off_attempt_is_released_unless_it_was_asked_to_stop() -> None:
    async def broken_off(change: Callable[[Job], None] | None) -> Ended:
        running = asyncio.create_task(_run(waits, change=change))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()
        return await running

    def give_back(job: Job) -> None:
        job.given_back = True

    assert (await broken_off(give_back)).released
    assert not (await broken_off(None)).released

    def ask(job: Job) -> None:
        asyncio.get_running_loop().call_soon(setattr, job, "cancel_requested", True)

    ended = await broken_off(ask)
    assert ended.failure is not None
    assert ended.failure.HasField("canceled_failure_info")


async def test_an_unknown_type_and_broken_arguments_can_never_succeed() -> None:
    def rename(job: Job) -> None:
        job.job_type = "nobody"

    def spoil(job: Job) -> None:
        job.input = b"\xff\xff"

    assert (await _run(legacy, 7, change=rename)).dead == "unknown_type"
    assert (await _run(legacy, 7, change=spoil)).dead == "undecodable"
