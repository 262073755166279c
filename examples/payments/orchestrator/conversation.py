"""What the world tells a payment and asks of it: signals, the query and the updates, and the state behind them."""

from __future__ import annotations

from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from examples.payments.contracts import STAGE, STATUS, Moment, Payment, State, Status, Times

MUST_SUCCEED: Final = ("void", "credit", "send_email", "send_sms")


class Conversation:
    """The state of a payment, and everything that reaches it from outside."""

    def __init__(self, payment: Payment, times: Times) -> None:
        self._payment = payment
        self._times = times
        self._state = State(payment)
        self._stop_reason: str | None = None
        self._interventions: dict[str, str] = {}

    @workflow.query
    def state(self) -> State:
        """Return the payment's state, also after its end."""
        return self._state

    @workflow.update
    async def decision(self) -> State:
        """Wait until the account is validated, and return the state."""
        await workflow.wait_condition(lambda: self._state.status != "pending")
        return self._state

    @workflow.update
    def try_cancel(self) -> bool:
        """Cancel the payment if its outcome is open, and return whether it is being cancelled."""
        self._stop("cancelled")
        return self._stop_reason == "cancelled" and self._state.status in ("pending", "processing")

    @workflow.signal
    def cancel(self) -> None:
        """Cancel the payment if its outcome is open."""
        self._stop("cancelled")

    @workflow.signal
    def gateway_callback(self, status: str) -> None:
        """Take the provider's word. The first one counts, even if the charge has not returned; others are kept."""
        state = self._state
        if state.callback is not None or state.status == "fail" or self._stop_reason is not None:
            state.other_callbacks.append(status)
            return
        state.callback = status
        self._note(None, f"callback: {status}")
        if status != "captured":
            self._stop(f"the provider says {status}")

    @workflow.signal
    def fraud_reviewed_by_person(self, why: str) -> None:
        """Know that the fraud check waits for a person."""
        self._state.fraud = "review"
        self._note(None, f"fraud check: a person must look ({why})")

    @workflow.signal
    def attempt_failed(self, job: str, attempt: int, error: str) -> None:
        """Know of a failed attempt. The services' workers say so, because attempts are not in a workflow's history."""
        self._state.attempts[job] = max(attempt, self._state.attempts.get(job, 0))
        self._state.last_error = f"{job}: {error}"
        if attempt >= self._times.person_after and job in MUST_SUCCEED:
            self._ask_person(job, error)

    @workflow.signal
    def retry(self, job: str) -> None:
        """Run a job again at once. A person has removed what stopped it."""
        self._intervene(job, "retry")

    @workflow.signal
    def resolve(self, job: str) -> None:
        """Give a job up. A person has done its work in another way."""
        self._intervene(job, "resolve")

    def _stop(self, reason: str) -> None:
        """Ask the payment to stop and to compensate, unless its outcome is decided. The first reason counts."""
        if self._stop_reason is None and self._state.reason is None and self._state.status in ("pending", "processing"):
            self._stop_reason = reason
            self._note(None, f"stop: {reason}")

    def _intervene(self, job: str, how: str) -> None:
        if job in self._state.needs_person:
            self._interventions[job] = how
            self._note(None, f"a person decided: {how} {job}")

    def _ask_person(self, job: str, error: str) -> None:
        self._state.last_error = f"{job}: {error}"
        if job not in self._state.needs_person:
            self._state.needs_person.append(job)
            self._note(None, f"a person must look at {job}: {error}")

    def _person_decided(self, job: str) -> str | None:
        """Forget that a person must look at a job. Return what the person decided; None: it succeeded before."""
        self._state.needs_person = [other for other in self._state.needs_person if other != job]
        return self._interventions.pop(job, None)

    def _enter(self, status: Status, stage: str, what: str) -> None:
        """Enter a stage, visible in lists of payments too."""
        self._state.status = status
        self._note(stage, what)
        workflow.upsert_search_attributes([STATUS.value_set(status), STAGE.value_set(stage)])

    def _note(self, stage: str | None, what: str) -> None:
        self._state.stage = stage or self._state.stage
        self._state.timeline.append(Moment(workflow.now().isoformat(), what))
