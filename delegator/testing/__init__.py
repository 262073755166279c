"""Tests without servers: delegated functions run in the test's own process, by the code that runs them in production.

- `run_handler` and `JobEnvironment`: one attempt of a handler, in a plain unit test.
- `InMemoryEngine`: whole jobs, with retries, timeouts and cancellation, without Temporal.
- `DelegatorTestPlugin`: workflows, in place of `DelegatorPlugin`, with nothing but a Temporal server.
"""

from delegator.testing.engine import InMemoryEngine
from delegator.testing.environment import JobEnvironment, run_handler
from delegator.testing.plugin import DelegatorTestPlugin
from delegator.testing.records import AttemptRecord, AttemptStatus, Delivery, JobRecord, JobStatus

__all__ = [
    "AttemptRecord",
    "AttemptStatus",
    "DelegatorTestPlugin",
    "Delivery",
    "InMemoryEngine",
    "JobEnvironment",
    "JobRecord",
    "JobStatus",
    "run_handler",
]

for _name in __all__:
    # Tracebacks, logs and help() name what is public by the name that people import.
    globals()[_name].__module__ = __name__
del _name
