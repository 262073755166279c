"""An operator's day on the real stack, by command."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ActivityError, CancelledError

from tests.integration.delegator.environment import eventually
from tests.integration.operating.conftest import Operator
from tests.integration.ui.conftest import visited


async def test_failing_type(operator: Operator) -> None:
    """Find the type that fails, see why, pause it, ship the fix, retry now, resume; the deadline is kept."""
    async with operator.worker():
        handles = [await operator.buy("charge", str(amount)) for amount in (1, 2)]
        jobs = [await operator.job(handle, state="backing_off") for handle in handles]
        status = await operator.json("status")
        assert "queue default: type charge fails: 2 jobs back off, with BankUnreachable" in status["troubles"]
        await operator.json("types", "pause", "charge")
        assert (await operator.job(handles[0]))["reason"] == "paused"
        (operator.engine.directory / "fixed").touch()
        dry = await operator.run("jobs", "retry", "--type", "charge", "--dry-run")
        assert (dry.code, dry.out) == (0, "would retry 2 jobs (2 charge waiting)\n")
        asked = await operator.run("jobs", "retry", "--type", "charge")
        assert (asked.code, "confirm with --yes" in asked.err) == (2, True)
        retried = await operator.json("jobs", "retry", "--type", "charge", "--yes")
        assert sorted(retried["retried"]) == sorted(job["job_id"] for job in jobs)
        assert (await operator.job(handles[1]))["reason"] == "paused"
        await operator.json("types", "resume", "charge")
        assert [await operator.engine.result(handle) for handle in handles] == ["charged 1", "charged 2"]
        (operator.engine.directory / "fixed").unlink()


async def test_cancel(operator: Operator) -> None:
    """Cancel what is no longer wanted: a waiting job, a running one and one that backs off."""
    waiting = await operator.buy("greet")
    job = await operator.job(waiting, reason="no_worker")
    assert await operator.json("jobs", "cancel", job["job_id"]) == {"ended": [job["job_id"]], "asked": [], "left": []}
    async with operator.worker():
        running, failing = await operator.buy("pack"), await operator.buy("charge")
        job = await operator.job(running, state="running")
        canceled = await operator.json("jobs", "cancel", "--workflow-id", running.id)
        assert canceled == {"ended": [], "asked": [job["job_id"]], "left": []}
        job = await operator.job(failing, state="backing_off")
        await operator.json("jobs", "cancel", "--type", "charge", "--error", "BankUnreachable", "--yes")
        for handle in (waiting, running, failing):
            with pytest.raises(WorkflowFailureError) as failed:
                await handle.result()
            error = failed.value.cause
            assert isinstance(error, ActivityError)
            assert isinstance(error.cause, CancelledError)
    assert await operator.engine.dead_letters(running.id) == []


async def test_killed_worker(operator: Operator) -> None:
    """A job's history is read after a worker was killed, by command and by page: who ran it, and who runs it."""
    async with operator.worker() as worker:
        handle = await operator.buy("pack", "mirror")
        job = await operator.job(handle, state="running")
        first = job["worker"]

        async def is_reported() -> bool:
            (seen,) = await operator.json("workers")
            return bool(seen["worker"] == first and [one["job_id"] for one in seen["jobs"]] == [job["job_id"]])

        await eventually(is_reported)
        shown = await operator.json("jobs", "show", job["job_id"])
        assert "heartbeat" in [moment["event"] for moment in shown["timeline"]]
        worker.kill()
        async with operator.worker():

            async def runs_elsewhere() -> bool:
                seen = await operator.job(handle)
                return bool(seen["state"] == "running" and seen["worker"] != first)

            await eventually(runs_elsewhere)
            shown = await operator.json("jobs", "show", job["job_id"])
            events = [moment["event"] for moment in shown["timeline"]]
            assert events[0] == "enqueued"
            assert "worker lost" in events
            lost = shown["timeline"][events.index("worker lost")]["detail"]
            assert lost.startswith(f"attempt 1 on {first}; next attempt after")
            assert shown["attempt"] == 2
            async with visited(operator.engine.settings) as visitor:
                await visitor.log_in()
                _, page = await visitor.get(f"/job?id={job['job_id']}")
                assert "worker lost" in page
                assert f"attempt 1 on {first}; next attempt after" in page
            (operator.engine.directory / "packed").touch()
            assert await operator.engine.result(handle) == "packed mirror"
            (operator.engine.directory / "packed").unlink()
