"""The fraud check of one payment: a child workflow, because a review may outlast every other step."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from examples.payments.contracts import ATTEMPT, FRAUD, STAGE, Payment, Review, Score, Times, record_review, score


@workflow.defn
class FraudCheck:
    """Scores a payment, and waits for a person if the score says so."""

    def __init__(self) -> None:
        self._review: Review | None = None

    @workflow.run
    async def run(self, payment: Payment, times: Times) -> Score:
        """Return pass or fail."""
        scored = await workflow.execute_activity(score, payment, task_queue=FRAUD, start_to_close_timeout=ATTEMPT)
        if scored.verdict != "review":
            return scored
        workflow.upsert_search_attributes([STAGE.value_set("review")])
        # Beside the wait, not before it: a cancellation that meets a signal on its way is swallowed by the signal.
        telling = asyncio.create_task(self._tell_parent(scored.why))
        try:
            await workflow.wait_condition(
                lambda: self._review is not None, timeout=timedelta(seconds=times.review_timeout)
            )
        except TimeoutError:
            return Score("fail", "nobody reviewed it in time")
        await telling
        assert self._review is not None
        await workflow.execute_activity(record_review, self._review, task_queue=FRAUD, start_to_close_timeout=ATTEMPT)
        return Score(self._review.verdict, f"reviewed by {self._review.reviewer}")

    async def _tell_parent(self, why: str) -> None:
        if (parent := workflow.info().parent) is not None:
            payment = workflow.get_external_workflow_handle(parent.workflow_id, run_id=parent.run_id)
            await payment.signal("fraud_reviewed_by_person", why)

    @workflow.signal
    def fraud_verdict(self, review: Review) -> None:
        """Take a person's verdict. The first one counts; it may come before it is needed."""
        self._review = self._review or review
