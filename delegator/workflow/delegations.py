"""The delegations of one workflow run: calls to enqueue, and calls that wait for an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.converter import FailureConverter
from temporalio.exceptions import ActivityError, FailureError
from temporalio.worker import WorkflowOutboundInterceptor
from temporalio.workflow import ActivityCancellationType

from delegator.errors import ConfigurationError, WireError
from delegator.wire.frames import from_payload, to_raw_value
from delegator.wire.outcomes import SIGNAL_NAME, Outcome, unpack_signal
from delegator.wire.pending import PENDING_QUERY, pack_job_ids, unpack_job_ids
from delegator.wire.requests import (
    CANCEL_ACTIVITY,
    ENQUEUE_ACTIVITY,
    EnqueueRequest,
    generated_job_id,
    pack_cancel,
    pack_enqueue,
)
from delegator.workflow.calls import WITHDRAWN, Call, CallGroup, Converter, canceled_error, outcome_of_removed
from delegator.workflow.chunks import chunks_of, use_queues
from delegator.workflow.early_outcomes import EarlyOutcomes
from delegator.workflow.job_ids import JobIds
from delegator.workflow.labels import cancel_summary, event_groups_of, shown, summary_of
from delegator.workflow.local_activities import LocalActivities, as_seen, is_timeout
from delegator.workflow.lost_jobs import LostJobs, longest_enqueueing, timed_out
from delegator.workflow.open_task import OpenTask
from delegator.workflow.replay import call_runs, fail_task, read_reply
from delegator.workflow.resets import enqueued, request_again, watch_resets
from delegator.workflow.searchable import SearchAttributes
from delegator.workflow.specs import CallSpecs

_REPLY_BYTES = 448 * 1024  # Temporal warns of payloads over 512 KiB
_ENQUEUE_TIMEOUT = timedelta(seconds=60)
_CANCEL_TIMEOUT = timedelta(seconds=10)
_NOT_ASKED = RawValue(Payload())


class Delegations:
    """All delegations of one workflow run.

    The bound method `on_outcomes` is the run's signal handler. `current` finds the object through it.
    """

    def __init__(
        self,
        info: workflow.Info,
        sdk: WorkflowOutboundInterceptor,
        converter: Converter,
        replay_differs: Callable[[str, Exception], None],
    ) -> None:
        self.converter = converter
        self.ids = JobIds(info.run_id)
        self.info = info
        """Of the workflow; asked of the SDK itself, so that users' interceptors do not see it."""
        self.headers: Callable[[str, int], Mapping[str, Payload]] | None = None
        """Returns the headers of calls, by their type and number. A tracer sets it."""
        self._run_id = info.run_id
        self._local_activities = LocalActivities(sdk)
        self._replay_differs = replay_differs
        self.spec = CallSpecs(info).of
        self._answers_queries = False
        self._next_sequence = 0
        self._unsent: list[Call] = []
        self._pending: dict[str, Call] = {}
        self._early_outcomes = EarlyOutcomes(self._resolve, self._spawn)
        self._to_cancel: list[Call] = []
        self._cancel_done: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost_jobs = LostJobs(
            self._pending,
            self._local_activities,
            resolve=self._resolve,
            enqueue_again=lambda calls: self._send(calls, again=True),
            spawn=self._spawn,
            search_attributes=SearchAttributes(info),
        )
        self._open_task = OpenTask()

    @classmethod
    def install(
        cls,
        info: workflow.Info,
        sdk: WorkflowOutboundInterceptor,
        failure_converter: FailureConverter,
        *,
        is_default: bool,
        with_contexts: bool,
        replay_differs: Callable[[str, Exception], None],
    ) -> Delegations:
        """Register the run's handlers of the signal and of the query. Call this before the workflow code runs.

        Args:
            info: of the workflow.
            sdk: the SDK's own outbound interceptor.
            failure_converter: the worker's.
            is_default: whether the worker's payload converter is the SDK's default one.
            with_contexts: whether the worker's data converter uses serialization contexts.
            replay_differs: called with the run id and the error if workflow code asks for other jobs than its history.
        """
        context = info if with_contexts else None
        converter = Converter(workflow.payload_converter(), failure_converter, is_default=is_default, info=context)
        delegations = cls(info, sdk, converter, replay_differs)
        workflow.set_signal_handler(SIGNAL_NAME, delegations.on_outcomes)
        if info.first_execution_run_id != info.run_id:
            # Only a run that continues another one can wait for jobs of an earlier run.
            delegations.answer_queries()
        watch_resets(delegations.was_reset)
        return delegations

    @classmethod
    def current(cls) -> Delegations:
        """Return the delegations of the running workflow.

        Raises:
            ConfigurationError: the worker lacks the plugin. It fails the workflow task, not the workflow.
        """
        handler = workflow.get_signal_handler(SIGNAL_NAME)
        owner = getattr(handler, "__self__", None)
        if not isinstance(owner, cls):
            raise ConfigurationError(
                "this worker can't delegate: give it (or its client, or the replayer) plugins=[DelegatorPlugin(...)]"
            )
        return owner

    def header_of(self, job_type: str, jobs: int = 1) -> bytes:
        """Return the header of calls of `delegate`, or of all calls of one `delegate_map`."""
        return b"" if self.headers is None else self.converter.header(self.headers(job_type, jobs))

    def submit(self, call: Call) -> None:
        """Enqueue a call. All calls made before the event loop's next turn travel together.

        Raises:
            ValueError: the caller's own job id was used before in this run.
        """
        if call.request.job_id is not None:
            self.ids.use(call.request.job_id)
        self.submit_all((call,))

    def submit_all(self, calls: Sequence[Call]) -> None:
        """Like `submit`, for calls without a job id of their own."""
        if not self._unsent and calls:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent += calls
        for call in calls:
            call.caller.add(call)

    async def wait(self, group: CallGroup, cancellation_type: ActivityCancellationType) -> None:
        """Wait for a group's outcomes. A cancellation of the caller has the same effect as for Temporal's activities.

        Raises:
            ActivityError: the caller was canceled; its cause is Temporal's CancelledError.
        """
        while True:
            try:
                await group.wait()
                break
            except asyncio.CancelledError:
                unresolved = [call for call in group.calls if call.outcome is None]
                if not unresolved:
                    raise
            if cancellation_type is not ActivityCancellationType.ABANDON:
                await self.cancel(unresolved)
            if cancellation_type is not ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
                raise canceled_error(unresolved[0])
        if group.failure is not None:
            raise group.failure

    async def cancel(self, calls: Iterable[Call]) -> None:
        """Remove waiting jobs and ask running ones to stop. A removed job's call then has its outcome."""
        asked = None
        for call in calls:
            if call.outcome is None:
                if call.sent is None:
                    call.withdraw()
                else:
                    asked = self.ask_to_cancel(call, call.sent.get_loop())
        if asked is not None:
            await asyncio.shield(asked)

    def ask_to_cancel(self, call: Call, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Cancel a call. All cancellations before the event loop's next turn travel together.

        Args:
            call: a call that a local activity has, or had.
            loop: the workflow's event loop. None is running while the SDK cancels tasks to evict the workflow.

        Returns:
            A future, shared by these calls. It is done when the jobs are removed or asked to stop.
        """
        if self._cancel_done is None:
            self._cancel_done = loop.create_future()
            loop.call_soon(self._flush_to_cancel)
        self._to_cancel.append(call)
        call.is_cancelled = True
        return self._cancel_done

    def _flush_to_cancel(self) -> None:
        calls, self._to_cancel = self._to_cancel, []
        asked, self._cancel_done = self._cancel_done, None
        assert asked is not None
        cancel = self._cancel(calls, asked)
        try:
            self._spawn(cancel)
        except BaseException:  # no task can begin while the workflow is evicted
            cancel.close()
            asked.cancel()
            raise

    async def _cancel(self, calls: Sequence[Call], asked: asyncio.Future[None]) -> None:
        try:
            await self._request_cancel(calls)
        except BaseException:  # the workflow is evicted
            asked.cancel()
            raise
        asked.set_result(None)

    async def _request_cancel(self, calls: Sequence[Call]) -> None:
        for sent in {id(call.sent): call.sent for call in calls}.values():
            if sent is not None and not sent.done():
                await asyncio.wait([sent])
        self._early_outcomes.cancelled(calls)
        waiting = [call for call in calls if call.outcome is None and call.job_id in self._pending]
        if not waiting:
            return
        try:
            reply = await self._local_activities.run(
                CANCEL_ACTIVITY,
                pack_cancel([(call.spec.job.queue, call.job_id) for call in waiting]),
                schedule_to_close_timeout=_CANCEL_TIMEOUT,
                summary=cancel_summary(waiting),
            )
        except ActivityError:
            workflow.logger.warning("cancel_request_failed", extra={"jobs": len(waiting)})
            return
        try:
            removed = unpack_signal(reply)
        except WireError as error:
            for call in waiting:
                call.caller.fail(error)
            return
        for job_id, outcome in removed:
            removed_call = self._pending.get(job_id)
            self._resolve(job_id, outcome if removed_call is None else outcome_of_removed(removed_call, outcome))

    def on_outcomes(self, outcomes: RawValue) -> None:
        """Handle the signal that carries outcomes.

        An outcome of a call that has one already is ignored. One that comes before the code that causes it has to wait.
        """
        for job_id, outcome in unpack_signal(from_payload(outcomes.payload)):
            call = self._pending.get(job_id)
            if call is None:
                if not self.ids.is_used(job_id, self._next_sequence):
                    self._early_outcomes.keep(job_id, outcome)
            elif not self._early_outcomes.waits(call, outcome):
                self._resolve(job_id, outcome)

    def answer_queries(self) -> None:
        """Register the query handler, once. That takes long, so a run that gets all outcomes inline has none."""
        if not self._answers_queries:
            self._answers_queries = True
            workflow.set_query_handler(PENDING_QUERY, self.pending_of)

    def pending_of(self, asked: RawValue = _NOT_ASKED) -> Any:
        """Answer the query which of these jobs this run waits for. People ask for all, and get them as JSON."""
        if asked is _NOT_ASKED:
            return shown(self._pending.values())
        job_ids = unpack_job_ids(asked.payload.data)
        return to_raw_value(pack_job_ids(job_id for job_id in job_ids if job_id in self._pending))

    def _resolve(self, job_id: str, outcome: Outcome) -> bool:
        call = self._pending.pop(job_id, None)
        if call is None:
            return False
        if call.outcome is None:
            call.resolve(outcome)
        if not self._pending and self._lost_jobs.task is not None:
            self._lost_jobs.ended()
        return True

    def _flush(self) -> None:
        buffer, self._unsent = [call for call in self._unsent if call.outcome is None], []
        run_id, pending = self._run_id, self._pending
        for sequence, call in enumerate(buffer, self._next_sequence):
            call.sequence = sequence
            call.job_id = job_id = call.request.job_id or generated_job_id(run_id, sequence)
            pending[job_id] = call
        self._next_sequence += len(buffer)
        if self._early_outcomes:
            buffer = [call for call in buffer if not self._early_outcomes.give(call)]
        self._send(buffer)

    def _send(self, calls: Sequence[Call], *, again: bool = False) -> None:
        chunks = list(chunks_of(calls))
        for chunk in chunks:
            sent = asyncio.get_running_loop().create_future()
            for call in chunk:
                call.sent = sent
            self._spawn(self._enqueue(chunk, self._reply_share(len(chunks)), sent, again=again))

    def was_reset(self, patch_id: str) -> None:
        """Enqueue the pending jobs again, with their ids. Those that are in the queue still are taken over.

        Args:
            patch_id: see `watch_resets`.
        """
        loop = next((call.sent.get_loop() for call in self._pending.values() if call.sent is not None), None)
        if loop is not None:
            # After the signals of this activation: they bring outcomes of jobs that have ended.
            loop.call_soon(self._enqueue_again, patch_id)

    def _enqueue_again(self, patch_id: str) -> None:
        calls = [call for call in enqueued(self._pending.values()) if not self._early_outcomes.has(call)]
        if not calls or not workflow.patched(patch_id):
            return
        for call in calls:
            if call.is_cancelled:
                self._resolve(call.job_id, WITHDRAWN)
        workflow.logger.info("jobs_enqueued_again", extra={"jobs": len(calls)})
        self._send([call for call in calls if call.outcome is None], again=True)

    def _reply_share(self, chunks: int) -> int:
        self._open_task.note_request(self.info.get_current_history_length())
        return min(_REPLY_BYTES, self._open_task.reply_bytes_left // chunks)

    async def _enqueue(
        self, calls: Sequence[Call], reply_bytes: int, sent: asyncio.Future[None], *, again: bool
    ) -> None:
        requests = [request_again(call) if again else call.request for call in calls]
        sequences = [call.sequence for call in calls]
        request = EnqueueRequest(requests, sequences, reply_bytes, self._open_task.began_at, call_runs(calls), again)
        limit = longest_enqueueing(calls)
        try:
            frame = await self._local_activities.run(
                ENQUEUE_ACTIVITY,
                pack_enqueue(request),
                start_to_close_timeout=_ENQUEUE_TIMEOUT,
                schedule_to_close_timeout=None if limit is None else timedelta(seconds=limit),
                cancellation_type=ActivityCancellationType.ABANDON,
                summary=summary_of(calls),
                event_groups=event_groups_of(calls),
            )
            reply = read_reply(frame, calls)
        except Exception as error:  # a payload converter may raise any error
            if limit is not None and is_timeout(error):  # no queue was there in time
                for call in calls:
                    self._resolve(call.job_id, timed_out(call))
            else:
                self._fail(calls, as_seen(error))
            sent.set_result(None)
            return
        self._open_task.note_reply(len(frame))
        may_differ = not again and self.ids.may_differ(reply)
        use_queues(calls, reply.asked.queues)
        for call, outcome in zip(calls, reply.outcomes, strict=True):
            if may_differ:
                self._adopt_id(call, self.ids.recorded(call.request.job_id, call.sequence, reply))
            if outcome is not None:
                self._resolve(call.job_id, outcome)
        sent.set_result(None)
        if self._pending:
            self.answer_queries()
        if reply.look_ms is not None:
            self._lost_jobs.expect(calls, reply)

    def _fail(self, calls: Sequence[Call], error: Exception) -> None:
        if isinstance(error, workflow.NondeterminismError):
            self._replay_differs(self._run_id, error)
        if not isinstance(error, FailureError) and fail_task(error):
            return
        for call in calls:
            self._pending.pop(call.job_id, None)
            call.caller.fail(error)

    def _adopt_id(self, call: Call, job_id: str) -> None:
        """Use the id under which the job was enqueued."""
        if job_id == call.job_id or self._pending.pop(call.job_id, None) is None:
            return
        call.job_id = job_id
        self._pending[job_id] = call
        self._early_outcomes.give(call)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
