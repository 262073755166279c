"""The checks, in their order. Each is a function that says in its first line what a worker has to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from temporalio.exceptions import ApplicationError, CancelledError

from delegator.gateway.conformance.proxy import Fault
from delegator.gateway.conformance.suite import Suite, WorkerProcess, require

Check = Callable[[Suite, WorkerProcess], Coroutine[Any, Any, None]]
_EXIT_SECONDS: Final = 10.0
_MOST_POLLS: Final = 20
_AFTER_STOP_SECONDS: Final = 1.0


async def echo(suite: Suite, _: WorkerProcess) -> None:
    """Arguments and results of every JSON type come back as they were."""
    for args in (
        [],
        [None],
        [True, False, 0, -1, 2**53 - 1, 0.5, ""],
        ["Grüße \N{EURO SIGN} \N{SNOWMAN} \U0001f600", 'a"b\\c\n\t\x7f', "$HOME `date` 'x'"],
        [{"a": [1, {"b": None}], "": {}}, [[], [[]]]],
    ):
        result = await suite.run("echo", *args)
        require(result == args, f"echo of {args!r} returned {result!r}")


async def add(suite: Suite, _: WorkerProcess) -> None:
    """Numbers stay numbers."""
    result = await suite.run("add", 40, 2)
    require(result == 42 and isinstance(result, int), f"add of 40 and 2 returned {result!r}")


async def many(suite: Suite, _: WorkerProcess) -> None:
    """Jobs that wait together are all run, each once."""
    job_ids = [await suite.enqueue("add", number, 1) for number in range(20)]
    results = await asyncio.gather(*(suite.result("add", job_id) for job_id in job_ids))
    require(results == [number + 1 for number in range(20)], f"the results are {results!r}")
    again = [job_id for job_id in job_ids if suite.proxy.token_of(job_id, 2) is not None]
    require(not again, f"{len(again)} jobs ran twice")


async def failure(suite: Suite, _: WorkerProcess) -> None:
    """A failure arrives with its type, its message, its details and its flag."""
    said = {"type": "Declined", "message": "no \N{EURO SIGN} left", "details": [{"code": 51}, 2], "non_retryable": True}
    cause = await suite.failure("fail", await suite.enqueue("fail", said))
    require(isinstance(cause, ApplicationError), f"the cause is {cause!r}")
    assert isinstance(cause, ApplicationError)
    got = {
        "type": cause.type,
        "message": cause.message,
        "details": list(cause.details),
        "non_retryable": cause.non_retryable,
    }
    require(got == said, f"{said!r} arrived as {got!r}")


async def retries(suite: Suite, _: WorkerProcess) -> None:
    """A failed attempt is followed by another one."""
    result = await suite.run("flaky", 2)
    require(result == 3, f"flaky of 2 returned {result!r}, and not the number of its third attempt")


async def heartbeats(suite: Suite, _: WorkerProcess) -> None:
    """Heartbeats keep a job that takes longer than its lease."""
    job_id = await suite.enqueue("slow", 5)
    result = await suite.result("slow", job_id)
    require(result == "done", f"slow returned {result!r}")
    require(suite.proxy.token_of(job_id, 2) is None, "slow lost its lease: it needed a second attempt")


async def details(suite: Suite, _: WorkerProcess) -> None:
    """An attempt gets the details of the last heartbeat before it."""
    result = await suite.run("resume")
    require(result == ["halfway"], f"resume returned {result!r}, and not the details of its heartbeat")


async def cancellation(suite: Suite, _: WorkerProcess) -> None:
    """A job that is asked to stop stops, and says that it was canceled."""
    job_id = await suite.enqueue("cancel")
    await suite.beats(await suite.given(job_id), 1)
    await suite.cancel(job_id)
    cause = await suite.failure("cancel", job_id)
    require(isinstance(cause, CancelledError), f"the cause is {cause!r}")


async def lost(suite: Suite, _: WorkerProcess) -> None:
    """A job that is lost is left alone: nothing more is sent about it."""
    job_id = suite.new_id()

    def says_lost(route: str, body: Any) -> Fault | None:
        if route != "heartbeat" or not suite.proxy.names(body, job_id):
            return None
        token = suite.proxy.token_of(job_id)
        return Fault(
            200,
            {
                "jobs": [
                    {"status": "lost" if entry["token"] == token else "held", "lease_seconds": 3}
                    for entry in body["jobs"]
                ]
            },
        )

    with suite.faults(says_lost):
        await suite.enqueue("slow", 2.5, job_id=job_id)
        token = await suite.given(job_id)
        told = await suite.proxy.until(lambda one: one.route == "heartbeat" and token in one.tokens)
        result = await suite.result("slow", job_id)
    require(result == "done", f"slow returned {result!r}")
    said = [one.route for one in suite.proxy.seen if token in one.tokens and one.at > told.at + _AFTER_STOP_SECONDS]
    require(not said, f"after the reply that said lost the worker sent {said}")


async def unavailable(suite: Suite, _: WorkerProcess) -> None:
    """A result that is answered with 503 is sent again, until it is taken."""
    left = [2]
    job_id = suite.new_id()

    def refuses(route: str, body: Any) -> Fault | None:
        if route != "complete" or not left[0] or not suite.proxy.names(body, job_id):
            return None
        left[0] -= 1
        return Fault(503, {"code": "unavailable"}, retry_after=1)

    with suite.faults(refuses):
        await suite.enqueue("add", 2, 2, job_id=job_id)
        require(await suite.result("add", job_id) == 4, "the result is wrong")
    require(not left[0], "the result did not come by complete")
    require(suite.proxy.token_of(job_id, 2) is None, "the job ran again, though its result could have been sent again")


async def lost_reply(suite: Suite, _: WorkerProcess) -> None:
    """A connection that breaks after the result was taken does not end the worker."""
    left = [1]
    job_id = suite.new_id()

    def breaks(route: str, body: Any) -> Fault | None:
        if route != "complete" or not left[0] or not suite.proxy.names(body, job_id):
            return None
        left[0] -= 1
        return Fault(forwards=True)

    with suite.faults(breaks):
        await suite.enqueue("add", 3, 3, job_id=job_id)
        require(await suite.result("add", job_id) == 6, "the result is wrong")
        require(await suite.run("add", 4, 4) == 8, "the worker does not go on")


async def too_many_requests(suite: Suite, _: WorkerProcess) -> None:
    """After 429 the worker waits as long as it is told, then goes on."""

    def refuses(route: str, _: Any) -> Fault | None:
        return Fault(429, {"code": "too-many-requests"}, retry_after=1) if route == "poll" else None

    began = len(suite.proxy.seen)
    with suite.faults(refuses):
        await suite.proxy.until(lambda one: one.status == 429)
        await asyncio.sleep(2.5)
        polls = sum(one.route == "poll" for one in suite.proxy.seen[began:])
    require(polls <= _MOST_POLLS, f"{polls} polls came within 2.5 seconds, though Retry-After says 1 second")
    require(await suite.run("add", 1, 1) == 2, "the worker does not go on")


async def unreachable(suite: Suite, _: WorkerProcess) -> None:
    """A gateway that can't be reached for a while does not end the worker."""
    with suite.faults(lambda _route, _body: Fault()):
        await suite.proxy.until(lambda one: one.status == 0)
        await asyncio.sleep(1)
    require(await suite.run("add", 5, 5) == 10, "the worker does not go on")


async def stop(suite: Suite, worker: WorkerProcess) -> None:
    """On SIGTERM the worker takes no more jobs, ends or releases those that it has, and exits with the status 0."""
    job_id = await suite.enqueue("slow", 3)
    token = await suite.given(job_id)
    loop = asyncio.get_running_loop()
    stopped_at = loop.time()
    worker.ask_to_stop()
    try:
        async with asyncio.timeout(_EXIT_SECONDS):
            status = await worker.process.wait()
    except TimeoutError:
        require(False, f"the worker still runs {_EXIT_SECONDS:.0f} seconds after SIGTERM")
    require(status == 0, f"the worker's exit status is {status}")
    ends = [one for route in ("complete", "fail", "release") for one in suite.proxy.sent(route, token)]
    require(ends, "the worker neither ended nor released the job that it had")
    late = [one for one in suite.proxy.seen if one.route == "poll" and one.at > stopped_at + _AFTER_STOP_SECONDS]
    require(not late, "the worker polled after SIGTERM")


def _named(*checks: Check) -> dict[str, Check]:
    return {check.__name__.replace("_", "-"): check for check in checks}


TOGETHER: Final = _named(
    heartbeats, lost, cancellation, unavailable, retries, details, many, echo, add, failure, lost_reply
)
"""By name. They may run at the same time."""
ALONE: Final = _named(too_many_requests, unreachable, stop)
"""Each has the worker for itself. The last one stops it."""
CHECKS: Final = TOGETHER | ALONE
"""All of them."""
