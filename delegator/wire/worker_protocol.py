"""The bodies of the HTTP worker protocol: of gateways, and of workers that get their jobs from one.

The OpenAPI document is made from these declarations.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType
from temporalio.exceptions import TimeoutType

LEASE_SECONDS: Final = 30.0
"""How long a worker may be silent that does not say."""
MOST_WAIT_SECONDS: Final = 60.0
MOST_LEASE_SECONDS: Final = 3600.0
_MOST_JOBS: Final = 1000

TIMEOUTS: Final = {
    "start_to_close": TimeoutType.START_TO_CLOSE,
    "schedule_to_close": TimeoutType.SCHEDULE_TO_CLOSE,
    "heartbeat": TimeoutType.HEARTBEAT,
}
"""The limits of an attempt, by their names in the protocol."""

TypeName = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
JobToken = Annotated[str, Meta(min_length=1, max_length=4096)]
Size = Annotated[int, Meta(ge=0, le=1 << 53)]
Lease = Annotated[float, Meta(ge=1, le=MOST_LEASE_SECONDS)]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of a request."""


class RawPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of Temporal's payloads."""

    data: bytes = b""
    """The data, in Base64."""
    metadata: dict[str, bytes] = msgspec.field(default_factory=dict)
    """The metadata; each value in Base64."""
    external_sizes: list[Size] | UnsetType = UNSET
    """The sizes in bytes of what the data refers to in Temporal's external storage; absent: it refers to nothing."""


Payloads = Annotated[list[RawPayload], Meta(max_length=1000)]
PayloadForm = Annotated[str, Meta(pattern="^(json|raw)$")]
TimeoutName = Annotated[str, Meta(pattern=f"^({'|'.join(TIMEOUTS)})$")]
RefusalName = Annotated[str, Meta(pattern="^(undecodable|locked)$")]


class Poll(Request, frozen=True):
    """Asks for jobs."""

    queue: Annotated[str, Meta(min_length=1, max_length=40)]
    """The queue."""
    types: Annotated[list[TypeName], Meta(min_length=1, max_length=1000)]
    """The delegated activity types that the worker runs."""
    max_jobs: Annotated[float, Meta(ge=1, le=_MOST_JOBS, multiple_of=1)] = 1
    """The most jobs in the reply. JSON knows no integers: 5.0 is 5."""
    wait_seconds: Annotated[float, Meta(ge=0, le=MOST_WAIT_SECONDS)] = 20.0
    """How long to wait for the first job."""
    lease_seconds: Lease = LEASE_SECONDS
    """How long the worker may be silent about the job."""
    payloads: PayloadForm = "json"
    """The form of arguments and heartbeat details: `json` or `raw`."""
    call: bool = False
    """Whether the jobs in the reply say what else the caller has set."""
    worker: Annotated[str, Meta(max_length=200)] = ""
    """The worker's name, for people."""


class Retries(msgspec.Struct, frozen=True):
    """Temporal's retry policy."""

    initial_interval_seconds: float
    """The delay before the second attempt."""
    backoff_coefficient: float
    """By which each delay is longer than the one before."""
    maximum_interval_seconds: float | None
    """The longest delay; null: a hundred times the first."""
    maximum_attempts: int
    """The most attempts; 0: any number."""
    non_retryable_error_types: list[str]
    """The types of errors after which there is no other attempt."""


class Weight(msgspec.Struct, frozen=True):
    """Temporal's priority."""

    priority_key: int | None
    """1 to 5; a lower one goes first."""
    fairness_key: str | None
    """Jobs of different keys get their shares."""
    fairness_weight: float | None
    """The share."""


class Call(msgspec.Struct, frozen=True):
    """What the caller has set for a job, beside its arguments."""

    fencing_token: int
    """Grows with each attempt. A system that refuses a lower one than it has seen refuses a worker that is late."""
    namespace: str | None
    """The namespace of the workflow."""
    workflow_type: str | None
    """Its type; null: not known."""
    task_queue: str | None
    """The task queue of the call; null: not known."""
    activity_id: str | None
    """The caller's id of the activity; null: it gave none."""
    headers: dict[str, RawPayload]
    """The headers of the call. With `raw` as the client has encoded them."""
    start_to_close_seconds: float | None
    """The limit of an attempt."""
    schedule_to_close_seconds: float | None
    """The limit of all attempts together."""
    heartbeat_seconds: float | None
    """How long a handler may be silent."""
    left_seconds: float | None
    """The time until the limit of all attempts."""
    waited_seconds: float
    """How long this attempt has waited for a worker."""
    retry_policy: Retries | None
    """The retry policy; null: Temporal's default."""
    priority: Weight | None
    """The priority; null: the default."""
    codec_probe: str | None
    """A known payload that the client's codec has encoded, as a serialized `Payload` in Base64. A worker that can't
    decode it can't decode the job either. Null: there is none."""
    lost_attempts: int
    """How many of the last attempts ended with the death of their worker, one after another."""
    task_token: bytes | None
    """The token of Temporal's activity task; null: the job is none."""


class Job(msgspec.Struct, frozen=True):
    """A job for the worker that asked."""

    token: str
    """Names the job and this attempt in all other requests."""
    job_id: str
    """The idempotency key: the same in all attempts."""
    type: str
    """The delegated activity type."""
    queue: str
    """The queue."""
    attempt: int
    """The number of the attempt, from 1."""
    args: list[Raw] | None
    """The arguments as JSON values; null: see `payloads`."""
    payloads: list[RawPayload] | None
    """The arguments as payloads; null: see `args`."""
    heartbeat_details: list[Raw]
    """Details of the last heartbeat of an earlier attempt: JSON values, or payloads if `payloads` is not null."""
    lease_seconds: float
    """How long the worker may be silent."""
    timeout_seconds: float | None
    """After that time the attempt has timed out; null: it has no such limit."""
    workflow_id: str | None
    """The workflow that waits for the result; null: none does."""
    run_id: str | None
    """Its run."""
    enqueued_at: str
    """When the job was enqueued (RFC 3339, UTC)."""
    call: Call | None = None
    """What else the caller has set; null: the poll did not ask for it."""


class Jobs(msgspec.Struct, frozen=True):
    """The reply to a poll."""

    jobs: list[Job]
    """The jobs; none came in time if it is empty."""


class Beat(Request, frozen=True):
    """Says that the worker still runs a job."""

    token: JobToken
    """The job token."""
    details: Annotated[list[Raw], Meta(max_length=1000)] | UnsetType = UNSET
    """What a later attempt gets. Without it the last ones stay."""
    payloads: Payloads | UnsetType = UNSET
    """The same, as raw payloads."""
    lease_seconds: Lease = LEASE_SECONDS
    """How long the worker may be silent from now on."""


class Heartbeats(Request, frozen=True):
    """Heartbeats of some jobs."""

    jobs: Annotated[list[Beat], Meta(min_length=1, max_length=_MOST_JOBS)]
    """One for each job."""


class Extension(Request, frozen=True):
    """Lets the worker be silent about a job for longer."""

    token: JobToken
    """The job token."""
    lease_seconds: Lease = LEASE_SECONDS
    """How long the worker may be silent from now on."""


class Extensions(Request, frozen=True):
    """Extensions of some jobs."""

    jobs: Annotated[list[Extension], Meta(min_length=1, max_length=_MOST_JOBS)]
    """One for each job."""


class Completion(Request, frozen=True):
    """The result of a job."""

    token: JobToken
    """The job token."""
    result: Raw | UnsetType = UNSET
    """The result, any JSON value; absent: null."""
    payloads: Annotated[list[RawPayload], Meta(min_length=1, max_length=1)] | UnsetType = UNSET
    """The result as a raw payload."""
    by_signal: bool = False
    """Whether the outcome must come behind what the worker has sent to the workflow."""


class Completions(Request, frozen=True):
    """The results of some jobs."""

    jobs: Annotated[list[Completion], Meta(min_length=1, max_length=_MOST_JOBS)]
    """One for each job."""


class JobFailure(Request, frozen=True):
    """Why an attempt failed."""

    token: JobToken
    """The job token."""
    message: str = ""
    """What went wrong."""
    type: Annotated[str, Meta(max_length=1000)] = ""
    """The type of the error."""
    details: Annotated[list[Raw], Meta(max_length=1000)] | UnsetType = UNSET
    """The details of the error, JSON values."""
    payloads: Payloads | UnsetType = UNSET
    """The same, as raw payloads."""
    stack_trace: str = ""
    """Shown in Temporal's UI."""
    non_retryable: bool = False
    """Whether there must be no other attempt."""
    next_retry_delay_seconds: Annotated[float, Meta(ge=0, le=315_360_000)] | None = None
    """When the next attempt is due; null: the retry policy decides."""
    canceled: bool = False
    """The worker stopped because a heartbeat said `cancel`."""
    timed_out: TimeoutName | None = None
    """The limit that the worker has found exceeded. Only `heartbeat` matters then."""
    heartbeat: Payloads | UnsetType = UNSET
    """The details of the attempt's last heartbeat, raw payloads for the next attempt; absent: the last ones stay."""
    failure: bytes | UnsetType = UNSET
    """The whole failure, a serialized `temporal.api.failure.v1.Failure` in Base64, in place of the fields above."""
    refused: RefusalName | None = None
    """Why the worker could not begin the attempt; null: it began."""
    by_signal: bool = False
    """Whether the outcome must come behind what the worker has sent to the workflow."""


class JobFailures(Request, frozen=True):
    """The failures of some jobs."""

    jobs: Annotated[list[JobFailure], Meta(min_length=1, max_length=_MOST_JOBS)]
    """One for each job."""


class Release(Request, frozen=True):
    """Gives a job back."""

    token: JobToken
    """The job token."""
    delay_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    """When another worker may take it."""


class Releases(Request, frozen=True):
    """Gives some jobs back."""

    jobs: Annotated[list[Release], Meta(min_length=1, max_length=_MOST_JOBS)]
    """One for each job."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one entry of a request."""

    status: Annotated[str, Meta(pattern="^(held|cancel|accepted|lost|rejected)$")]
    """`held` or `cancel` after a heartbeat, `accepted` after an end, `lost` or `rejected` after both."""
    lease_seconds: float | UnsetType = UNSET
    """With `held` and `cancel`: how long the worker may be silent."""
    code: str | UnsetType = UNSET
    """With `rejected`: why."""
    detail: str | UnsetType = UNSET
    """With `rejected`: why, for people."""


class TypesAsked(Request, frozen=True):
    """Asks for the declared types."""

    queue: Annotated[str, Meta(min_length=1, max_length=40)] | UnsetType = UNSET
    """Only those of this queue."""


class DeclaredType(msgspec.Struct, frozen=True):
    """A delegated activity type that the gateway was told of by `--import`."""

    type: str
    """The delegated activity type."""
    queue: str
    """The queue of its jobs."""
    arguments: dict[str, Any]
    """The JSON Schema of the list of its arguments."""
    result: dict[str, Any]
    """The JSON Schema of its result."""


class DeclaredTypes(msgspec.Struct, frozen=True):
    """The declared types that the token is for."""

    types: list[DeclaredType]


class Answers(msgspec.Struct, frozen=True):
    """The reply to all requests but a poll."""

    jobs: list[Answer]
    """One for each entry of the request, in its order."""


class Problem(msgspec.Struct, frozen=True):
    """The body of an error (RFC 9457)."""

    type: str
    """A URN that ends with the code."""
    title: str
    """The code in words."""
    status: int
    """The HTTP status."""
    code: str
    """What went wrong. Decide by it."""
    detail: str
    """What went wrong here, for people."""


ACCEPTED: Final = Answer("accepted")
LOST: Final = Answer("lost")


def rejected(code: str, detail: str) -> Answer:
    """Return the answer to an entry that can't be taken."""
    return Answer("rejected", code=code, detail=detail)
