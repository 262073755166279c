"""Start, signal and cancel workflows, and enqueue jobs, in an application's own PostgreSQL transaction."""

from delegator.outbox.asynchronous import AsyncOutbox
from delegator.outbox.jobs import PlainJob, plain_job
from delegator.outbox.outbox import Outbox
from delegator.outbox.results import JobResults

__all__ = ["AsyncOutbox", "JobResults", "Outbox", "PlainJob", "plain_job"]

for _name in __all__:
    # Tracebacks, logs and help() then show public objects under the name that users import.
    globals()[_name].__module__ = __name__
del _name
