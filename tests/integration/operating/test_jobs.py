"""`delegator jobs` and `delegator explain` on a running engine."""

from __future__ import annotations

from tests.integration.delegator.environment import eventually
from tests.integration.operating.conftest import Operator


async def test_lone_job(operator: Operator) -> None:
    """A job is explained from its enqueueing to its end: no worker, then a failed attempt, then a run."""
    handle = await operator.buy("charge")
    job = await operator.job(handle, state="waiting", reason="no_worker")
    explained = await operator.json("explain", job["job_id"])
    assert explained["text"] == "No live worker serves queue default."
    assert "http-worker --queue default" in explained["needs"]

    async with operator.worker():
        failed = await operator.job(handle, state="backing_off")
        assert (failed["reason"], failed["error"], failed["attempt"]) == ("failed", "BankUnreachable", 1)
        explained = await operator.json("explain", job["job_id"])
        assert explained["text"] == "Attempt 1 failed with BankUnreachable."
        assert explained["next_look_at"] > explained["since"]
        shown = await operator.json("jobs", "show", job["job_id"])
        assert [moment["event"] for moment in shown["timeline"]] == ["enqueued", "claimed", "failed"]
        assert "after 10m" in shown["timeline"][-1]["detail"]
        text = (await operator.run("jobs", "show", job["job_id"])).out
        assert "no route" not in text
    await handle.terminate()


async def test_status(operator: Operator) -> None:
    """One screen says what waits, what fails and what is missing."""
    handle = await operator.buy("charge")
    await operator.job(handle, reason="no_worker")
    status = await operator.json("status")
    assert "queue default: no live worker: `http-worker --queue default --import MODULE`" in status["troubles"]
    async with operator.worker():
        await operator.job(handle, state="backing_off")
        status = await operator.json("status")
        (queue,) = status["queues"]
        assert queue["workers"] == 1
        assert status["maintenance"]
        (charge,) = [one for one in queue["types"] if one["type"] == "charge"]
        assert charge["backing_off"] >= 1
        assert charge["last_error"] == "BankUnreachable"
        text = (await operator.run("status")).out
        assert "type charge fails" in text
    await handle.terminate()


async def test_recent_runs(operator: Operator) -> None:
    """After a job, `status` says how fast jobs are claimed and how long handlers ran: the lease tells it."""
    async with operator.worker():
        assert await operator.engine.result(await operator.buy("greet")) == "hello x"

        async def told() -> bool:
            (queue,) = (await operator.json("status"))["queues"]
            return bool(queue["claims_per_second"] and queue["run_p99_seconds"])

        await eventually(told)
        assert "claims/s" in (await operator.run("status")).out
